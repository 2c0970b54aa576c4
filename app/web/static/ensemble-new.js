// Snapshots of finished trainings, ticked, and how they are to predict together.

import { $, call, complaints, el, figure, notice, percent, post, table, time } from "./api.js";

const MOST_TRAININGS = 200;
const TOLD = {
  all: "What is ticked is the ensemble.",
  best: "Each is judged alone, on images that the score does not count.",
  greedy: "Caruana 2004: starting from nothing, whichever member lowers the figure most is added, again and again. A member may come several times, and then counts as often.",
};

const wished = new URLSearchParams(location.search);
const ticked = new Set();
let trainings = [];

async function begin() {
  const asked = wished.getAll("jobs");
  const page = await call(`/v1/jobs?status=succeeded&view=summary&limit=${MOST_TRAININGS}`);
  trainings = page.items;
  const missing = asked.filter((id) => !trainings.some((job) => job.id === id));
  if (missing.length) {
    const query = new URLSearchParams([["view", "summary"], ...missing.map((id) => ["id", id])]);
    trainings.push(...(await call(`/v1/jobs?${query}`)).items);
  }
  $("empty").hidden = trainings.length > 0;
  const names = [...new Set(trainings.map((job) => job.dataset))].sort();
  $("dataset").replaceChildren(...names.map((name) => el("option", { value: name }, name)));
  const first = trainings.find((job) => asked.includes(job.id)) ?? trainings[0];
  $("dataset").value = first?.dataset ?? "";
  $("name").value = first ? `of ${first.name}` : "";
  draw(asked.length ? asked : trainings.slice(0, 1).map((job) => job.id));
}

function draw(open = []) {
  ticked.clear();
  const shown = trainings.filter((job) => job.dataset === $("dataset").value);
  $("trainings").replaceChildren(...shown.map((job) => part(job, open.includes(job.id))));
  tell();
}

/** One training, whose snapshots are asked for when it is opened. */
function part(job, isOpen) {
  const list = el("div.scroll", { tabindex: 0, role: "region", "aria-label": `Snapshots of ${job.name}` });
  const made = el(
    "details",
    {},
    el("summary", {}, el("b", {}, job.name), " ", el("span.faint", {}, percent(job.validation_accuracy), ", ", time(job.finished_at))),
    list,
  );
  made.addEventListener("toggle", () => made.open && !list.hasChildNodes() && fill(list, job, isOpen), { passive: true });
  made.open = isOpen;
  return made;
}

async function fill(list, job, areTicked) {
  list.append(el("p.faint", {}, "Loading …"));
  try {
    const { items } = await call(`/v1/jobs/${job.id}/snapshots`);
    if (areTicked) items.forEach((one) => ticked.add(one.id));
    const made = el("table");
    const all = el("input", { type: "checkbox", "aria-label": `All snapshots of ${job.name}`, ".checked": areTicked });
    const boxes = items.map((one) =>
      el("input", { type: "checkbox", value: one.id, "aria-label": `Snapshot ${one.number} of ${job.name}`, ".checked": areTicked, onchange: changed }),
    );
    all.addEventListener("change", () => {
      for (const box of boxes) {
        box.checked = all.checked;
        changed({ target: box });
      }
    });
    const rows = items.map((one, index) => [boxes[index], `no. ${one.number}`, String(one.epoch), percent(one.scores.accuracy), figure(one.scores.negative_log_likelihood)]);
    table(made, [[all, "pick"], ["Snapshot", ""], ["Epoch", "number"], ["Accuracy", "number"], ["Loss", "number"]], rows, { caption: "Snapshots" });
    list.replaceChildren(made);
    tell();
  } catch (error) {
    list.replaceChildren(el("p.mistake", {}, error.message));
  }
}

function changed({ target }) {
  if (target.checked) ticked.add(target.value);
  else ticked.delete(target.value);
  tell();
}

function tell() {
  $("chosen").textContent = trainings.length ? `${ticked.size} ticked.` : "";
  $("make").disabled = ticked.size === 0;
  const kind = $("select").value;
  $("select-told").textContent = TOLD[kind];
  for (const field of document.querySelectorAll(".chosen-by")) field.hidden = kind === "all";
}

/** The ScoringSpec of the form. */
function spec() {
  const kind = $("select").value;
  const chosen = kind === "all" ? { kind } : { kind, count: $("count").valueAsNumber || 1, by: $("by").value };
  return {
    name: $("name").value,
    members: { kind: "snapshots", ids: [...ticked] },
    select: chosen,
    combine: $("combine").value,
    ...($("temperature").checked ? { temperature: {} } : {}),
    ...($("score_on").value ? { score_on: $("score_on").value } : {}),
  };
}

$("wish").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("make").disabled = true;
  $("mistakes").replaceChildren();
  try {
    const made = await post("/v1/ensembles", spec());
    location.assign(`/ensembles/${made.id}`);
  } catch (error) {
    $("make").disabled = false;
    $("mistakes").replaceChildren(...complaints(error));
    if (!error.errors?.length) notice(error.message, "error");
  }
});
$("select").addEventListener("change", tell);
$("dataset").addEventListener("change", () => draw());

try {
  await begin();
} catch (error) {
  notice(error.message, "error");
}
