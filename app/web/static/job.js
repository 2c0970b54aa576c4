// One job as it goes: a stream tells what happens, and what it tells of is fetched.

import { $, atMostEvery, bytes, call, el, figure, follow, live, percent, save, table, whole } from "./api.js";
import { Clock, indexAt, join, shareRange, smooth } from "./charts.js";
import { bindActions, drawHead } from "./jobhead.js";
import { showLayers } from "./layers.js";
import { offerScoring } from "./scoring.js";
import { drawEvents, output } from "./story.js";
import { offerTakeaway } from "./takeaway.js";

const id = $("job").dataset.id;
const here = `/v1/jobs/${id}`;
const POINTS = 2000;

let job = null;
let epochs = [];
let snapshots = [];
let events = [];
let overview = { loss: [[], []], learning_rate: [[], []] };
let detail = null;
const settings = readSettings();

// What the address keeps of the page.
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

// Curves.
let clock = null;

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

// What was asked before the job went back to an earlier step is of no use after.
let era = 0;

function forgetCurves() {
  era += 1;
  overview = { loss: [[], []], learning_rate: [[], []] };
}

const refreshMetrics = atMostEvery(1000, async () => {
  const from = (overview.loss[0].at(-1) ?? 0) + 1;
  const isPart = from > 1 && from <= job.progress.step && overview.loss[0].length < 2 * POINTS;
  const own = era;
  try {
    const metrics = await call(`${here}/metrics?max_points=${POINTS}${isPart ? `&from_step=${from}` : ""}`);
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

let detailing = null;
async function fetchDetail() {
  detailing?.abort();
  detailing = new AbortController();
  const [from, to] = settings.range.map(Math.round);
  try {
    const address = `${here}/metrics?max_points=${POINTS}&from_step=${Math.max(1, from)}&to_step=${to}`;
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

// Snapshots and what they predict together.
const refreshSnapshots = atMostEvery(500, async () => {
  try {
    snapshots = (await call(`${here}/snapshots`)).items;
  } catch {
    return;
  }
  const heads = [["Snapshot", ""], ["Epoch", "number"], ["Accuracy", "number"], ["Loss", "number"], ["Size", "number"], ["Weights", ""]];
  const best = Math.max(...snapshots.map((one) => one.scores.accuracy));
  const rows = snapshots.map((one) => [
    el("span", { title: one.id }, `no. ${one.number}`),
    String(one.epoch),
    one.scores.accuracy === best ? el("b", {}, percent(one.scores.accuracy)) : percent(one.scores.accuracy),
    figure(one.scores.negative_log_likelihood),
    bytes(one.size),
    el("a", { href: one.weights, download: true, "aria-label": `Download snapshot ${one.number}` }, "Download"),
  ]);
  if (!rows.length) return $("snapshots").replaceChildren(el("p.faint", {}, "None yet: one is taken where the learning rate is lowest."));
  const made = el("table");
  table(made, heads, rows, { caption: "Snapshots" });
  $("snapshots").replaceChildren(made);
  if (job.status === "succeeded") offerUses();
  drawFilters();
  $("provenance").textContent = JSON.stringify(snapshots.at(-1).provenance, null, 2);
  drawCurves();
});

/** What can be done with the snapshots once there will be no others. */
function offerUses() {
  if (!$("scoring").hasChildNodes()) offerScoring($("scoring"), $("scores"), job, snapshots);
  const select = $("taken");
  if (select.options.length === snapshots.length) return;
  select.replaceChildren(...snapshots.toReversed().map((one) => el("option", { value: one.id }, `no. ${one.number}`)));
  $("takeaway-card").hidden = false;
  takeAlong();
}

async function takeAlong() {
  const { shape } = await call(`/v1/datasets/${job.dataset}`);
  await offerTakeaway($("takeaway"), { address: `/v1/snapshots/${$("taken").value}`, shape });
}

/** Of the newest snapshot; some networks have none that could be seen. */
function drawFilters() {
  const { id: newest, number } = snapshots.at(-1);
  if ($("filters").dataset.of === newest) return;
  $("filters").dataset.of = newest;
  $("filters").onload = () => ($("filters-card").hidden = false);
  $("filters").src = $("save-filters").href = `/v1/snapshots/${newest}/filters.png`;
  $("filters-told").textContent = `in snapshot ${number}; grey is zero`;
}

const refreshEnsemble = atMostEvery(500, async () => {
  if (events.some((event) => event.kind === "ensemble_scored")) {
    await call(`${here}/ensemble`).then(drawEnsemble, () => {});
    return;
  }
  const isAsked = job.spec.ensemble && job.spec.ensemble.kind !== "none";
  const text = !isAsked ? "The spec asks for none." : job.finished_at ? "It was never scored." : "It is scored when the training is done.";
  $("ensemble").replaceChildren(el("p.faint", {}, text));
});

function drawEnsemble(found) {
  const lines = [
    ...found.members.map((member) => [`snapshot ${member.number}`, member.scores, figure(member.weight, 3), ""]),
    ["last model alone", found.single, "", ""],
    found.geometric_mean && ["geometric mean", found.geometric_mean, "", ""],
    found.majority_vote && ["majority vote", found.majority_vote, "", ""],
    [found.averaged ? `${found.kind}, ${found.averaged} averaged` : `ensemble of ${found.members.length}`, found.scores, "", "ours"],
  ].filter(Boolean);
  const worst = Math.max(...lines.map(([, scores]) => scores.error), 1e-9);
  const heads = [["Model", ""], ["Weight", "number"], ["Accuracy", "number"], ["Error", "number"], [el("span.unseen", {}, "Error as a bar"), "bar"], ["Loss", "number"]];
  const rows = lines.map(([name, scores, weight, kind]) => {
    const bar = el(`span.error-bar${kind ? `.${kind}` : ""}`);
    bar.style.width = `${(100 * scores.error) / worst}%`;
    return [kind ? el("b", {}, name) : name, weight, percent(scores.accuracy), percent(scores.error), bar, figure(scores.negative_log_likelihood)];
  });
  const made = el("table");
  table(made, heads, rows, { caption: "The ensemble beside its members" });
  const gain = found.single.error - found.scores.error;
  const points = `${figure(100 * Math.abs(gain), 2)} percentage points`;
  const told = gain > 0 ? `${points} less error than the last model alone.` : gain < 0 ? `${points} more error than the last model alone.` : "As many errors as the last model alone.";
  const tried = el("p.actions", {}, el("a.button", { href: `/ensembles/${found.id}` }, "Try it, or export it"));
  $("ensemble").replaceChildren(el("div.scroll", { tabindex: 0, role: "region", "aria-label": "Ensemble, as a table" }, made), el(`p.gain${gain > 0 ? ".good" : ""}`, {}, told), tried);
}

const refreshLayers = atMostEvery(4000, () => call(`${here}/layers`).then(showLayers, () => {}));

// What the stream tells.
const refreshLog = output(here);
const drawEventsSoon = atMostEvery(200, () => {
  drawEvents(events);
  drawCurves();
});

function hear({ kind, data }) {
  if (kind !== "job") {
    if (events.at(-1)?.number >= data.number) return false;
    events.push(data);
    if (["retried", "requeued", "resumed"].includes(data.kind)) refreshAll();
    drawEventsSoon();
    return false;
  }
  const before = job;
  job = data;
  drawHead(job, (changed) => hear({ kind: "job", data: changed }));
  const isNews = !before || before.progress.step !== job.progress.step || before.status !== job.status || before.attempt !== job.attempt;
  if (isNews) {
    refreshMetrics();
    refreshLog();
  }
  if (!before || before.progress.epoch !== job.progress.epoch || before.status !== job.status) {
    refreshSnapshots();
    refreshLayers();
    refreshEnsemble();
  }
  return !!job.finished_at;
}

function refreshAll() {
  forgetCurves();
  if (!job) return;
  for (const refresh of [refreshMetrics, refreshSnapshots, refreshEnsemble, refreshLayers, refreshLog]) refresh();
}

buildClock();
const stream = follow(`${here}/events?job=true`, { told: hear, state: (is, error) => live(is, error?.message) });

// What people do.
bindActions(
  () => job,
  (answer) => {
    hear({ kind: "job", data: answer });
    stream.again();
  },
);

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
$("taken").addEventListener("change", takeAlong);
$("zoom-all").addEventListener("click", () => clock.zoom(null));
$("save-png").addEventListener("click", async () => save(await clock.png(job.name), `${id}.png`));
$("save-svg").addEventListener("click", () => save(clock.svg(job.name), `${id}.svg`));
document.addEventListener("visibilitychange", () => {
  if (document.hidden || !job) return;
  stream.again();
});
