// Trainings side by side. The address names them, and keeps what is shown.

import { $, call, doing, duration, el, figure, live, notice, percent, table, whole } from "./api.js";
import { Clock, indexAt, shareRange } from "./charts.js";
import { saveMenu } from "./picture.js";

const POLL_MS = 3000;
const MOST = 20;
const OFFERED = 200;
const COLORS = 8;
const DASHES = [undefined, [7, 4], [2, 3]];
const SHARES = new Set(["validation_accuracy", "train_accuracy", "ensemble_error"]);
const NAMES = {
  train_loss: "Training loss",
  validation_loss: "Validation loss",
  validation_accuracy: "Validation accuracy",
  ensemble_error: "Ensemble error",
  ensemble_negative_log_likelihood: "Ensemble loss",
};
const FINAL = ["succeeded", "failed", "cancelled"];

const query = new URLSearchParams(location.search);
const settings = {
  jobs: query.getAll("jobs").slice(0, MOST),
  figure: query.get("figure") ?? "validation_accuracy",
  log: query.get("log") === "1",
  seeds: query.get("seeds") === "1",
  across: query.get("across") ?? "",
  up: query.get("up") ?? "validation_accuracy",
};
let found = null;
let clock = null;
let plot = null;

function keep() {
  const kept = new URLSearchParams(settings.jobs.map((id) => ["jobs", id]));
  if (settings.figure !== "validation_accuracy") kept.set("figure", settings.figure);
  if (settings.log) kept.set("log", "1");
  if (settings.seeds) kept.set("seeds", "1");
  if (settings.across) kept.set("across", settings.across);
  if (settings.up !== "validation_accuracy") kept.set("up", settings.up);
  history.replaceState(null, "", kept.size ? `?${kept}` : location.pathname);
}

const shown = (name, value, digits) => (SHARES.has(name) ? `${figure(100 * value, digits)}%` : figure(value, digits));
const range = (name) => (SHARES.has(name) ? (_, low, high) => shareRange(low, high) : undefined);
const look = (index) => ({ color: `--s${(index % COLORS) + 1}`, dash: DASHES[Math.floor(index / COLORS) % DASHES.length] });

function mark(index) {
  const { color, dash } = look(index);
  const made = el("i.swatch");
  made.style.borderColor = `var(${color})`;
  if (dash) made.style.borderTopStyle = "dashed";
  return made;
}

/** A name for people, with the seed where several have the same. */
function nameOf(index) {
  const { name, seed } = found.jobs[index];
  return found.jobs.filter((job) => job.name === name).length > 1 ? `${name}, seed ${seed}` : name;
}

function drawJobs() {
  const heads = [["Training", ""], ["Status", ""], ["Seed", "number"], ["Epochs", "number"], ["Accuracy", "number"], ["Loss, last", "number"], ["best", "number"], ["Ensemble error", "number"], ["Took", "number"], ["", ""]];
  const rows = found.jobs.map((job, index) => [
    el("span.named-job", {}, mark(index), el("a", { href: `/jobs/${job.id}`, title: job.id }, job.name)),
    el(`span.badge.${job.status}`, {}, doing({ ...job, phase: "training" })),
    String(job.seed),
    whole(job.last?.epoch),
    percent(job.last?.validation_accuracy),
    figure(job.last?.validation_loss),
    figure(job.best?.validation_loss),
    percent(job.ensemble?.error),
    duration(job.seconds),
    el("button.quiet", { type: "button", "aria-label": `Remove ${job.name}`, onclick: () => remove(job.id) }, "×"),
  ]);
  table($("jobs"), heads, rows, { caption: "Trainings" });
}

/** The lines to be drawn: of each job, or of each group over seeds with what lies around it. */
function lines() {
  const values = found.series[settings.figure];
  if (!settings.seeds) return values.map((list, index) => ({ label: nameOf(index), index, values: list }));
  const grouped = new Set(found.repetitions.flatMap((group) => group.jobs));
  const alone = found.jobs.map((job, index) => ({ label: nameOf(index), index, values: values[index], id: job.id })).filter((one) => !grouped.has(one.id));
  const together = found.repetitions.map((group) => {
    const places = group.jobs.map((id) => found.jobs.findIndex((job) => job.id === id));
    const spreads = found.series.epochs.map((_, at) => spread(places.map((place) => values[place][at])));
    return { label: `${found.jobs[places[0]].name}, ${places.length} seeds`, index: places[0], values: spreads.map((one) => one.mean), low: spreads.map((one) => one.low), high: spreads.map((one) => one.high) };
  });
  return [...together, ...alone];
}

/** Mean, and one standard deviation below and above it, once all have come so far. */
function spread(values) {
  if (values.some((value) => value === null)) return { mean: null, low: null, high: null };
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const std = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
  return { mean, low: mean - std, high: mean + std };
}

let drawn = "";

function drawCurves() {
  const name = settings.figure;
  const all = lines();
  const { epochs } = found.series;
  const series = [];
  const columns = [];
  const bands = [];
  for (const line of all) {
    const { color, dash } = look(line.index);
    if (line.low) {
      bands.push({ series: [series.length + 2, series.length + 1], color });
      series.push({ label: null, color, width: 0 }, { label: null, color, width: 0 });
      columns.push(line.low, line.high);
    }
    series.push({ label: line.label, color, dash, width: 2, points: true });
    columns.push(line.values);
  }
  // The chart is built anew only where it has other lines: its zoom stays.
  const form = JSON.stringify([name, settings.log, series.map((one) => [one.label, one.color])]);
  if (form !== drawn) {
    drawn = form;
    const title = $("figure").selectedOptions[0].textContent;
    const panel = { title, unit: "by epoch", height: 360, log: settings.log, range: range(name), format: (value, digits) => shown(name, value, digits), series, bands };
    if (clock) Object.assign(clock, { panels: [panel], data: [[[]]] }).build();
    else clock = new Clock($("charts"), { name: "compare", x: String, panels: [panel], hovered: readOut });
  }
  const positive = (list) => (settings.log ? list.map((value) => (value > 0 ? value : null)) : list);
  clock.set([[epochs, ...columns.map(positive)]], [1, Math.max(2, epochs.at(-1) ?? 2)]);
  const heads = ["Epoch", ...all.map((line) => line.label)];
  table($("curves"), heads.map((head) => [head, "number"]), epochs.map((epoch, at) => [String(epoch), ...all.map((line) => (line.values[at] === null ? null : shown(name, line.values[at])))]), { caption: "Curves" });
  readOut(null);
}

function curveTable() {
  const all = lines();
  return [["epoch", ...all.map((line) => line.label)], found.series.epochs.map((epoch, at) => [epoch, ...all.map((line) => line.values[at])])];
}

function readOut(epoch) {
  const { epochs } = found.series;
  const at = epoch === null ? epochs.length - 1 : indexAt(epochs, Math.round(epoch));
  if (at < 0) return $("readout").replaceChildren();
  const parts = lines().map((line) => el("span", {}, el("small", {}, mark(line.index), line.label), el("b", {}, line.values[at] === null ? "–" : shown(settings.figure, line.values[at]))));
  $("readout").replaceChildren(el("span", {}, el("small", {}, "Epoch"), el("b", {}, String(epochs[at]))), ...parts);
}

const text = (value) => (value === null ? "–" : typeof value === "string" ? value : JSON.stringify(value));

function drawDifferences() {
  if (!found.differences.length) return $("differences").replaceChildren(el("p.faint", {}, "Nothing: they are the same training."));
  const made = el("table");
  const heads = [["Field", ""], ...found.jobs.map((_, index) => [el("span.named-job", {}, mark(index), nameOf(index)), ""])];
  table(made, heads, found.differences.map((one) => [el("code", {}, one.pointer), ...one.values.map(text)]), { caption: "Differences" });
  $("differences").replaceChildren(made);
}

function drawRepetitions() {
  $("repetitions-card").hidden = !found.repetitions.length;
  const names = [...new Set(found.repetitions.flatMap((group) => Object.keys(group.figures)))];
  const heads = [["Trainings", ""], ...names.map((name) => [NAMES[name] ?? name, "number"])];
  const rows = found.repetitions.map((group) => {
    const index = found.jobs.findIndex((job) => job.id === group.jobs[0]);
    const told = names.map((name) => {
      const one = group.figures[name];
      if (!one) return null;
      const half = (one.high - one.low) / 2;
      return `${shown(name, one.mean)} ± ${SHARES.has(name) ? `${figure(100 * half, 2)}%` : figure(half, 2)}`;
    });
    return [`${found.jobs[index].name}, seeds ${group.seeds.join(", ")}`, ...told];
  });
  const made = el("table");
  table(made, heads, rows, { caption: "Over seeds" });
  $("repetitions").replaceChildren(made);
}

/** The figure of a job that the scatter shows; null where there is none. */
function height(job) {
  const figures = { best_validation_loss: job.best?.validation_loss, ensemble_error: job.ensemble?.error, seconds: job.seconds };
  return settings.up in figures ? figures[settings.up] ?? null : job.last?.[settings.up] ?? null;
}

/** What can stand on the axis: numbers that differ, and the seed. */
function axes() {
  const numeric = found.differences.filter((one) => one.values.every((value) => typeof value === "number"));
  const seeds = found.jobs.map((job) => job.seed);
  const hasSeeds = numeric.some((one) => one.pointer === "/seed");
  return [...numeric, ...(hasSeeds || new Set(seeds).size < 2 ? [] : [{ pointer: "/seed", values: seeds }])];
}

let scattered = "";

function drawScatter() {
  const offered = axes();
  const words = found.differences.length > 0 && !offered.length;
  $("scatter-told").textContent = offered.length ? "" : words ? "What they differ in are no numbers." : "They differ in no number.";
  $("scatter").hidden = !offered.length;
  if (!offered.length) return;
  const pointers = offered.map((one) => one.pointer);
  if (!pointers.includes(settings.across)) settings.across = pointers.find((pointer) => pointer !== "/seed") ?? pointers[0];
  if ([...$("across").options].map((one) => one.value).join() !== pointers.join()) $("across").replaceChildren(...pointers.map((pointer) => el("option", { value: pointer }, pointer)));
  $("across").value = settings.across;
  const { xs, points, columns } = scatterData(offered);
  const form = JSON.stringify([settings.up, settings.across, found.jobs.map((job) => job.id)]);
  if (form !== scattered) {
    scattered = form;
    const series = found.jobs.map((_, index) => ({ label: nameOf(index), color: look(index).color, kind: "dots" }));
    const title = $("up").selectedOptions[0].textContent;
    const panel = { title, unit: `against ${settings.across}`, height: 260, range: range(settings.up), format: (value, digits) => shown(settings.up, value, digits), series };
    if (plot) Object.assign(plot, { panels: [panel], data: [[[]]] }).build();
    else plot = new Clock($("scatter"), { name: "scatter", x: (value) => figure(value), whole: false, panels: [panel] });
  }
  const [low, high] = [Math.min(...xs), Math.max(...xs)];
  const margin = 0.08 * (high - low) || Math.abs(low) || 1;
  plot.set([[xs, ...columns]], [low - margin, high + margin]);
  table($("points"), [["Training", ""], [settings.across, "number"], [$("up").selectedOptions[0].textContent, "number"]], points.map(([label, x, y]) => [label, figure(x), y === null ? null : shown(settings.up, y)]), { caption: "Setting and figure" });
}

/** Rising settings, and a column for each job with its one value. */
function scatterData(offered = axes()) {
  const { values } = offered.find((one) => one.pointer === settings.across);
  const xs = [...new Set(values)].sort((a, b) => a - b);
  const columns = found.jobs.map((job, index) => xs.map((x) => (x === values[index] ? height(job) : null)));
  return { xs, columns, points: found.jobs.map((job, index) => [nameOf(index), values[index], height(job)]) };
}

function draw() {
  $("seeds-label").hidden = !found.repetitions.length;
  drawJobs();
  drawCurves();
  drawDifferences();
  drawRepetitions();
  drawScatter();
}

async function refresh() {
  if (document.hidden) return;
  const isEnough = settings.jobs.length > 1;
  $("empty").hidden = isEnough;
  $("compared").hidden = !isEnough;
  if (!isEnough) return;
  try {
    found = await call(`/v1/compare?${new URLSearchParams(settings.jobs.map((id) => ["jobs", id]))}`);
    live(true);
    draw();
  } catch (error) {
    live(false, error.message);
    if (error.status === 404 || error.status === 422) notice(error.message, "error");
  }
}

function remove(id) {
  settings.jobs = settings.jobs.filter((one) => one !== id);
  keep();
  refresh();
  offer().catch(() => {});
}

/** Trainings that can be added. */
async function offer() {
  const { items } = await call(`/v1/jobs?view=summary&limit=${OFFERED}`);
  const others = items.filter((job) => !settings.jobs.includes(job.id));
  $("other").replaceChildren(...others.map((job) => el("option", { value: job.id }, `${job.name} · ${job.status} · ${job.id.slice(-6)}`)));
  $("add").querySelector("button").disabled = !others.length;
}

$("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const id = $("other").value;
  if (settings.jobs.length >= MOST) return notice(`At most ${MOST} trainings.`, "error");
  settings.jobs.push(id);
  $("other").selectedOptions[0].remove();
  keep();
  await refresh();
});

function bind(id, property) {
  const field = $(id);
  if (field.type === "checkbox") field.checked = settings[id];
  else field.value = settings[id];
  field.addEventListener("change", () => {
    settings[id] = field[property];
    keep();
    if (found) draw();
  });
}

for (const id of ["figure", "across", "up"]) bind(id, "value");
for (const id of ["log", "seeds"]) bind(id, "checked");
$("save").replaceWith(saveMenu(() => clock, "curves", curveTable));
$("save-scatter").replaceWith(saveMenu(() => plot, "scatter", () => [["training", settings.across, settings.up], scatterData().points]));
document.addEventListener("visibilitychange", refresh);
offer().catch((error) => live(false, error.message));
await refresh();
setInterval(() => {
  if (found?.jobs.some((job) => !FINAL.includes(job.status))) refresh();
}, POLL_MS);
