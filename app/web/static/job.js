// One job as it goes: a stream tells what happens, and what it tells of is fetched.

import { $, atMostEvery, bytes, call, el, figure, follow, live, notice, percent, points, table } from "./api.js";
import { forgetCurves, markCurves, refreshCurves } from "./curves.js";
import { bindActions, drawHead } from "./jobhead.js";
import { showLayers } from "./layers.js";
import { bars, saveMenu } from "./picture.js";
import { offerScoring } from "./scoring.js";
import { drawEvents, output } from "./story.js";
import { offerTakeaway } from "./takeaway.js";

const here = `/v1/jobs/${$("job").dataset.id}`;

let job = null;
let snapshots = [];
let events = [];

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
  markCurves(snapshots, events);
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
  try {
    const { shape } = await call(`/v1/datasets/${job.dataset}`);
    await offerTakeaway($("takeaway"), { address: `/v1/snapshots/${$("taken").value}`, shape });
  } catch (error) {
    notice(error.message, "error");
  }
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
    ...found.members.map((member) => [`snapshot ${member.number}`, member.scores, member.weight, ""]),
    ["last model alone", found.single, null, ""],
    found.geometric_mean && ["geometric mean", found.geometric_mean, null, ""],
    found.majority_vote && ["majority vote", found.majority_vote, null, ""],
    [found.averaged ? `${found.kind}, ${found.averaged} averaged` : `ensemble of ${found.members.length}`, found.scores, null, "ours"],
  ].filter(Boolean);
  const worst = Math.max(...lines.map(([, scores]) => scores.error), 1e-9);
  const heads = [["Model", ""], ["Weight", "number"], ["Accuracy", "number"], ["Error", "number"], [el("span.unseen", {}, "Error as a bar"), "bar"], ["Loss", "number"]];
  const rows = lines.map(([name, scores, weight, kind]) => {
    const bar = el(`span.error-bar${kind ? `.${kind}` : ""}`);
    bar.style.width = `${(100 * scores.error) / worst}%`;
    return [kind ? el("b", {}, name) : name, weight === null ? "" : figure(weight, 3), percent(scores.accuracy), percent(scores.error), bar, figure(scores.negative_log_likelihood)];
  });
  const made = el("table");
  table(made, heads, rows, { caption: "The ensemble beside its members" });
  const picture = () => bars(lines.map(([name, { error }, , kind]) => ({ name, share: error / worst, text: percent(error), color: kind ? "--c4" : "--faint" })));
  const numbers = () => [["model", "weight", "accuracy", "error", "loss"], lines.map(([name, scores, weight]) => [name, weight, scores.accuracy, scores.error, scores.negative_log_likelihood])];
  $("save-ensemble").replaceChildren(saveMenu(picture, "ensemble", numbers));
  const gain = found.single.error - found.scores.error;
  const apart = points(Math.abs(gain));
  const told = gain > 0 ? `${apart} less error than the last model alone.` : gain < 0 ? `${apart} more error than the last model alone.` : "As many errors as the last model alone.";
  const tried = el("p.actions", {}, el("a.button", { href: `/ensembles/${found.id}` }, "Try it, or export it"));
  $("ensemble").replaceChildren(el("div.scroll", { tabindex: 0, role: "region", "aria-label": "Ensemble, as a table" }, made), el(`p.gain${gain > 0 ? ".good" : ""}`, {}, told), tried);
}

const refreshLayers = atMostEvery(4000, () => call(`${here}/layers`).then(showLayers, () => {}));

const refreshLog = output(here);
const drawEventsSoon = atMostEvery(200, () => {
  drawEvents(events);
  markCurves(snapshots, events);
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
    refreshCurves(job);
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
  refreshCurves(job);
  for (const refresh of [refreshSnapshots, refreshEnsemble, refreshLayers, refreshLog]) refresh();
}

const stream = follow(`${here}/events?job=true`, { told: hear, state: (is, error) => live(is, error?.message) });

bindActions(
  () => job,
  (answer) => {
    hear({ kind: "job", data: answer });
    stream.again();
  },
);

$("taken").addEventListener("change", takeAlong);
document.addEventListener("visibilitychange", () => {
  if (document.hidden || !job) return;
  stream.again();
});
