// One data set: as it is imported, then what is in it, which never changes.

import { $, bytes, call, el, figure, live, notice, percent, sure, table, time, whole } from "./api.js";
import { bars, saveMenu } from "./picture.js";

const name = $("dataset").dataset.name;
const here = `/v1/datasets/${encodeURIComponent(name)}`;
const POLL_MS = 1000;
const MOST_ENTRIES = 200;
const BADGES = { ready: "succeeded", importing: "running", failed: "failed" };

let found = null;

function draw() {
  $("status").hidden = false;
  $("status").className = `badge ${BADGES[found.status]}`;
  $("status").textContent = found.status;
  $("id").textContent = found.id ?? "";
  $("facts").replaceChildren(...facts().map(([key, value]) => el("div", {}, el("dt", {}, key), el("dd", {}, value))));
  $("train").hidden = found.status !== "ready";
  $("delete").hidden = !found.owner || found.status === "importing";
  drawWarnings();
  drawFailure();
  if (found.status === "ready") drawContent();
}

function facts() {
  const { shape } = found;
  return [
    shape && ["Images", `${shape[1]}×${shape[2]}, ${shape[0] === 1 ? "grey" : `${shape[0]} channels`}`],
    shape && ["Classes", whole(found.classes.length)],
    ...filled().map(([split, { count }]) => [`${split[0].toUpperCase()}${split.slice(1)} split`, whole(count)]),
    found.mean && ["Mean of pixels", found.mean.map((value) => figure(value, 4)).join(", ")],
    found.std && ["Standard deviation", found.std.map((value) => figure(value, 4)).join(", ")],
    found.size && ["Size", bytes(found.size)],
    ["Owner", found.owner ?? "comes with Annealer"],
    found.owner && ["Made", time(found.created_at)],
    found.origin && ["Made of", found.origin.source],
    found.origin?.options.licence && ["Licence", found.origin.options.licence],
    found.links.job && ["Import", el("a", { href: found.links.job.replace("/v1", "") }, "its job")],
  ].filter(Boolean);
}

/** The splits that there are, with their names. */
const filled = () => Object.entries(found.splits ?? {}).filter(([, split]) => split);

function drawContent() {
  $("classes-card").hidden = $("sample-card").hidden = false;
  if (!$("sample").getAttribute("src")) $("sample").src = $("save-sample").href = found.links.sample;
  const splits = filled();
  const most = Math.max(...found.splits.train.per_class, 1);
  const heads = [["Class", ""], [el("span.unseen", {}, "Training images as a bar"), "bar"], ...splits.map(([split]) => [split, "number"])];
  const rows = found.classes.map((label, index) => {
    const bar = el("span.error-bar.share");
    bar.style.width = `${(100 * found.splits.train.per_class[index]) / most}%`;
    return [label, bar, ...splits.map(([, split]) => whole(split.per_class[index]))];
  });
  table($("classes"), heads, rows, { caption: "Classes" });
}

function entries(list, count) {
  if (!list.length) return "";
  const more = count > list.length ? ` and ${whole(count - list.length)} more` : "";
  return el("details", {}, el("summary", {}, `${whole(count)} of them`), el("p", {}, list.slice(0, MOST_ENTRIES).join(", "), more));
}

function drawWarnings() {
  $("warnings-card").hidden = !found.warnings.length;
  $("warnings").replaceChildren(...found.warnings.map((one) => el("li.warning", {}, el("span", {}, one.detail), entries(one.entries, one.count))));
}

function drawFailure() {
  $("failure").hidden = !found.error;
  if (!found.error) return;
  const lines = found.error.errors.slice(0, MOST_ENTRIES).map((one) => el("li", {}, one.entry ? el("code", {}, one.entry) : "", " ", one.detail));
  $("failure").replaceChildren(el("b", {}, found.error.detail), el("ul", {}, ...lines), el("p", {}, "Nothing was stored. ", el("a", { href: "/datasets" }, "Try it with other options"), ": what was uploaded is kept for a while."));
}

async function progress() {
  $("meter").hidden = found.status !== "importing";
  if (found.status !== "importing" || !found.links.job) return;
  const job = await call(found.links.job);
  $("meter").setAttribute("aria-valuenow", Math.round(100 * job.progress.fraction));
  $("meter").firstElementChild.style.width = percent(job.progress.fraction);
}

async function watch() {
  while (true) {
    try {
      found = await call(here);
      live(true);
      draw();
      await progress();
      if (found.status !== "importing") return;
    } catch (error) {
      live(false, error.message);
      if (error.status === 404) return;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function picture() {
  const counts = found.splits.train.per_class;
  const most = Math.max(...counts, 1);
  return bars(found.classes.map((label, index) => ({ name: label, share: counts[index] / most, text: whole(counts[index]), color: "--c1" })));
}

function numbers() {
  const splits = filled();
  const rows = found.classes.map((label, index) => [label, ...splits.map(([, split]) => split.per_class[index])]);
  return [["class", ...splits.map(([split]) => split)], rows];
}

$("save-classes").append(saveMenu(picture, `${name}-classes`, numbers));

$("delete").addEventListener("click", async () => {
  if (!(await sure(`Delete “${name}”? That is refused while a job or an ensemble needs it.`, "Delete"))) return;
  try {
    await call(here, { method: "DELETE" });
    location.assign("/datasets");
  } catch (error) {
    notice(error.message, "error");
  }
});

await watch();
