// One ensemble: until it is scored it is asked for again and again, then it never changes.

import { $, call, el, figure, live, notice, percent, post, sure, table } from "./api.js";
import * as report from "./report.js";
import { offerTakeaway } from "./takeaway.js";
import { offerTrial } from "./trial.js";

const id = $("ensemble").dataset.id;
const here = `/v1/ensembles/${id}`;
const POLL_MS = 1000;
const FINAL = ["succeeded", "failed", "cancelled"];

let found = null;


/** What people call the members: by their number, and by their training where there are several. */
function names() {
  const isOfOne = new Set(found.members.map((one) => one.job_id)).size === 1;
  return found.members.map((member) => (isOfOne ? `snapshot ${member.number}` : `${member.job_id.slice(-6)}, no. ${member.number}`));
}

function draw() {
  const isScored = !!found.scores;
  $("status").hidden = false;
  $("status").className = `badge ${found.status}`;
  $("status").textContent = isScored ? "scored" : found.status;
  $("facts").replaceChildren(...facts().map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  $("card").hidden = !isScored;
  $("delete").hidden = found.kind !== "combined" || !FINAL.includes(found.status);
  $("rescore").hidden = found.kind === "combined" || !isScored || found.averaged !== null;
  drawMembers();
  $("spec-card").hidden = !found.spec;
  $("spec").textContent = JSON.stringify(found.spec, null, 2);
  $("gain").hidden = isScored || FINAL.includes(found.status);
  $("gain").textContent = "A worker scores it; what it finds will stand here.";
  if (found.report) drawReport();
}

function facts() {
  const made = [
    ["Kind", found.kind.replace("_", " ")],
    ["Members", found.averaged ? `${found.averaged} averaged` : String(found.members.filter((one) => one.weight !== 0).length)],
    ["Owner", found.owner],
  ];
  if (found.report) return [...report.facts(found.report), ...made];
  if (!found.scores) return made;
  return [
    ["Accuracy", percent(found.scores.accuracy)],
    ["Error", percent(found.scores.error)],
    ["Negative log-likelihood", figure(found.scores.negative_log_likelihood)],
    ["Last model alone", `${percent(found.single.error)} error`],
    ...made,
  ];
}

function drawMembers() {
  const heads = [["Member", ""], ["Training", ""], ["Epoch", "number"], ["Share", "number"], ["Accuracy alone", "number"], ["Error", "number"], ["Loss", "number"]];
  const alone = new Map((found.report?.members ?? []).map((one) => [one.snapshot_id, one]));
  const rows = found.members.map((member) => {
    const scores = alone.get(member.snapshot_id) ?? member.scores;
    return [
      el("span", { title: member.snapshot_id }, `no. ${member.number}`),
      el("a", { href: `/jobs/${member.job_id}` }, member.job_id),
      String(member.epoch),
      member.weight === null ? "–" : member.weight === 0 ? "not chosen" : percent(member.weight),
      percent(scores.accuracy),
      percent(scores.error),
      figure(scores.negative_log_likelihood),
    ];
  });
  table($("members"), heads, rows, { caption: "Members" });
}

function drawReport() {
  const { text, isGood } = report.gain(found.report);
  $("gain").hidden = found.report.members.length < 2;
  $("gain").textContent = text;
  $("gain").className = `gain${isGood ? " good" : ""}`;
  $("report").replaceChildren(...report.all(found.report, names()));
}

async function offer() {
  const job = await call(`/v1/jobs/${found.members[0].job_id}`);
  const dataset = await call(`/v1/datasets/${job.dataset}`);
  const called = new Map(names().map((name, index) => [found.members[index].snapshot_id, name]));
  $("trial-card").hidden = false;
  offerTrial($("trial"), { address: `${here}/predict`, shape: dataset.shape, names: called });
  $("takeaway-card").hidden = false;
  await offerTakeaway($("takeaway"), { address: here, shape: dataset.shape });
}

async function watch() {
  while (true) {
    try {
      found = await call(here);
      live(true);
      draw();
      if (found.scores) return await offer();
      if (FINAL.includes(found.status)) return await explain();
    } catch (error) {
      live(false, error.message);
      if (error.status === 404) return;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function explain() {
  const { error } = await call(`/v1/jobs/${found.job_id}`);
  $("failure").hidden = false;
  $("failure").replaceChildren(el("b", {}, error?.message ?? `Its scoring was ${found.status}.`), error?.hint ? el("p", {}, error.hint) : "");
}

$("rescore").addEventListener("click", async () => {
  try {
    const ids = found.members.map((one) => one.snapshot_id);
    const name = document.querySelector("h1").textContent;
    const made = await post("/v1/ensembles", { name, members: { kind: "snapshots", ids } }, `full-${id}`);
    location.assign(`/ensembles/${made.id}`);
  } catch (error) {
    notice(error.message, "error");
  }
});

$("delete").addEventListener("click", async () => {
  if (!(await sure("Delete this ensemble and its scores? Its snapshots stay.", "Delete"))) return;
  try {
    await call(here, { method: "DELETE" });
    location.assign("/ensembles");
  } catch (error) {
    notice(error.message, "error");
  }
});

await watch();
