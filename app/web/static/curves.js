// Loss, accuracy and learning rate of a training, on one clock of steps.

import { $, atMostEvery, call, el, figure, live, percent, save, table, whole } from "./api.js";
import { Clock, indexAt, join, shareRange, smooth } from "./charts.js";

const { id } = $("job").dataset;
const POINTS = 2000;

let clock = null;
let job = null;
let snapshots = [];
let events = [];
let epochs = [];
let overview = { loss: [[], []], learning_rate: [[], []] };
let detail = null;
let detailing = null;
// What was asked before the job went back to an earlier step is of no use after.
let era = 0;
const settings = readSettings();

/** What the address keeps of them. */
function readSettings() {
  const query = new URLSearchParams(location.search);
  const range = [query.get("from"), query.get("to")].map(Number);
  const smoothing = Number(query.get("smoothing") ?? 0.8);
  return {
    smoothing: smoothing >= 0 && smoothing < 1 ? smoothing : 0.8,
    log: query.get("log") === "1",
    range: range[1] > range[0] ? range : null,
  };
}

function writeSettings() {
  const query = new URLSearchParams();
  if (settings.smoothing !== 0.8) query.set("smoothing", settings.smoothing);
  if (settings.log) query.set("log", "1");
  if (settings.range) {
    query.set("from", Math.round(settings.range[0]));
    query.set("to", Math.round(settings.range[1]));
  }
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
}

function buildClock() {
  $("charts").replaceChildren();
  clock = new Clock($("charts"), {
    panels: [
      {
        title: "Loss", unit: "nats", height: 230, log: settings.log, format: figure,
        series: [
          { label: null, color: "--c1", alpha: 0.28, width: 1 },
          { label: "training", color: "--c1", width: 2 },
          { label: "validation", color: "--c2", width: 2, points: true },
        ],
      },
      {
        title: "Accuracy", height: 190, format: (value, digits) => `${figure(100 * value, digits)}%`,
        range: (_, low, high) => shareRange(low, high),
        series: [
          { label: "training", color: "--c1", width: 2, dash: [6, 4], points: true },
          { label: "validation", color: "--c2", width: 2, points: true },
        ],
      },
      { title: "Learning rate", height: 110, format: figure, series: [{ label: null, color: "--c3", width: 2, fill: true }] },
    ],
    marks,
    hovered: readOut,
    zoomed(range) {
      settings.range = range;
      detail = null;
      writeSettings();
      drawCurves();
      if (range) fetchDetail();
    },
  });
  clock.range = settings.range;
}

function marks() {
  const [low, high] = clock?.range ?? clock?.extent ?? [0, 1];
  const inView = epochs.filter((epoch) => epoch.step >= low && epoch.step <= high);
  const ends = inView.length <= 40 ? inView.map((epoch) => ({ at: epoch.step, kind: "epoch" })) : [];
  const attempts = events.filter((event) => event.kind === "resumed" && Number.isFinite(event.data.step));
  return [
    ...ends,
    ...attempts.map((event) => ({ at: event.data.step, kind: "attempt" })),
    ...snapshots.map((snapshot) => ({ at: snapshot.step, kind: "snapshot" })),
  ];
}

/** Mark where snapshots were taken and attempts began. */
export function markCurves(taken, happened) {
  snapshots = taken;
  events = happened;
  drawCurves();
}

const source = () => (settings.range && detail) || overview;

function drawCurves() {
  const { loss, learning_rate: rate } = source();
  const last = Math.max(job?.progress.step ?? 1, overview.loss[0].at(-1) ?? 1, 2);
  const shown = settings.log ? (values) => values.map((value) => (value > 0 ? value : null)) : (values) => values;
  const ends = epochs.map((epoch) => epoch.step);
  const of = (name) => epochs.map((epoch) => epoch[name]);
  const joined = [
    [[loss[0], shown(loss[1]), shown(smooth(loss[1], settings.smoothing))], [ends, shown(of("validation_loss"))]],
    [[ends, of("train_accuracy"), of("validation_accuracy")]],
    [rate],
  ];
  const counts = [3, 2, 1];
  const data = joined.map((tables, index) => {
    const columns = tables.every((one) => !one[0].length) ? [[]] : tables.length === 1 ? tables[0] : both(...tables);
    while (columns.length < counts[index] + 1) columns.push(columns[0].map(() => null));
    return columns;
  });
  clock.set(data, [1, last]);
  const kinds = marks();
  const legend = [
    [kinds.some((mark) => mark.kind === "snapshot"), "snapshot", "snapshot taken"],
    [kinds.some((mark) => mark.kind === "attempt"), "attempt", "taken up again"],
    [kinds.some((mark) => mark.kind === "epoch"), "epoch", "end of an epoch"],
  ];
  $("marks").replaceChildren(...legend.filter(([is]) => is).map(([, kind, text]) => el("span", {}, el(`i.mark.${kind}`), text)));
  readOut(null);
}

function both(steps, ends) {
  if (!steps[0].length) return [ends[0], ends[0].map(() => null), ends[0].map(() => null), ends[1]];
  if (!ends[0].length) return [...steps, steps[0].map(() => null)];
  return join([steps, ends]);
}

/** All series at one step, the newest where nothing is pointed at. */
function readOut(step) {
  const { loss, learning_rate: rate } = source();
  const at = step === null ? (overview.loss[0].at(-1) ?? epochs.at(-1)?.step) : Math.round(step);
  const value = ([steps, values]) => values[indexAt(steps, at)];
  const epoch = epochs.findLast((one) => one.step <= at);
  const smoothed = smooth(loss[1], settings.smoothing)[indexAt(loss[0], at)];
  const parts = at === undefined ? [] : [
    ["Step", whole(at), ""],
    ["Loss", figure(value(loss)), "c1"],
    ["smoothed", figure(smoothed), "c1"],
    ["Epoch", epoch ? String(epoch.epoch) : "–", ""],
    ["validation loss", figure(epoch?.validation_loss), "c2"],
    ["training accuracy", percent(epoch?.train_accuracy), "c1"],
    ["validation accuracy", percent(epoch?.validation_accuracy), "c2"],
    ["Learning rate", figure(value(rate)), "c3"],
  ];
  $("readout").replaceChildren(...parts.map(([name, text, color]) => el("span", {}, el("small", {}, name), el(`b.${color || "plain"}`, {}, text))));
}

const columnsOf = (metrics, name) => {
  const found = metrics.series[name];
  return found ? [found.steps, found.values] : [[], []];
};

/** What is known is of an attempt that has been gone back from. */
export function forgetCurves() {
  era += 1;
  overview = { loss: [[], []], learning_rate: [[], []] };
}

/** Fetch what is new. */
export function refreshCurves(newer) {
  job = newer;
  refresh();
}

const refresh = atMostEvery(1000, async () => {
  const from = (overview.loss[0].at(-1) ?? 0) + 1;
  const isPart = from > 1 && from <= job.progress.step && overview.loss[0].length < 2 * POINTS;
  const own = era;
  try {
    const metrics = await call(`/v1/jobs/${id}/metrics?max_points=${POINTS}${isPart ? `&from_step=${from}` : ""}`);
    if (own !== era) return;
    epochs = metrics.epochs;
    for (const name of ["loss", "learning_rate"]) {
      const fresh = columnsOf(metrics, name);
      overview[name] = isPart ? overview[name].map((column, index) => column.concat(fresh[index])) : fresh;
    }
    drawCurves();
    drawEpochs();
    if (settings.range && (!detail || settings.range[1] > detail.loss[0].at(-1))) fetchDetail();
  } catch (error) {
    if (error.status) live(false, error.message);
  }
});

async function fetchDetail() {
  detailing?.abort();
  detailing = new AbortController();
  const [from, to] = settings.range.map(Math.round);
  try {
    const address = `/v1/jobs/${id}/metrics?max_points=${POINTS}&from_step=${Math.max(1, from)}&to_step=${to}`;
    const metrics = await call(address, { signal: detailing.signal });
    detail = { loss: columnsOf(metrics, "loss"), learning_rate: columnsOf(metrics, "learning_rate") };
    drawCurves();
  } catch (error) {
    if (error.name !== "AbortError") live(false, error.message);
  }
}

function drawEpochs() {
  const heads = [["Epoch", "number"], ["Step", "number"], ["Loss", "number"], ["Accuracy", "number"], ["Validation loss", "number"], ["Validation accuracy", "number"], ["Learning rate", "number"], ["Images/s", "number"]];
  const rows = epochs.map((one) => [
    String(one.epoch), whole(one.step), figure(one.train_loss), percent(one.train_accuracy), figure(one.validation_loss), percent(one.validation_accuracy), figure(one.learning_rate), whole(one.images_per_second),
  ]);
  table($("epochs"), heads, rows, { caption: "Epochs" });
}

buildClock();
$("smoothing").value = settings.smoothing;
$("log").checked = settings.log;
const showSmoothing = () => ($("smoothing-value").value = settings.smoothing.toFixed(2));
showSmoothing();
$("smoothing").addEventListener("input", (event) => {
  settings.smoothing = Number(event.target.value);
  showSmoothing();
  drawCurves();
});
$("smoothing").addEventListener("change", writeSettings);
$("log").addEventListener("change", (event) => {
  settings.log = event.target.checked;
  clock.panels[0].log = settings.log;
  clock.build();
  writeSettings();
  drawCurves();
});
$("zoom-in").addEventListener("click", () => clock.scale(0.5));
$("zoom-out").addEventListener("click", () => clock.scale(2));
$("zoom-left").addEventListener("click", () => clock.scale(1, -0.4));
$("zoom-right").addEventListener("click", () => clock.scale(1, 0.4));
$("zoom-all").addEventListener("click", () => clock.zoom(null));
$("save-png").addEventListener("click", async () => save(await clock.png(job.name), `${id}.png`));
$("save-svg").addEventListener("click", () => save(clock.svg(job.name), `${id}.svg`));
