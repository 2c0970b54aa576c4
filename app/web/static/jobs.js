// The list of jobs. Only the lines in view are in the page; the rest wait in memory.

import { JobList } from "./joblist.js";
import { $, actions, ask, call, doing, el, live, moveInLine, notice, percent, sure, svg, time } from "./api.js";

const POLL_MS = 2000;
const SPARE_ROWS = 8;
const AT_ONCE = 6;
const STEPS = { raise: 1, lower: -1 };
const USUAL = { kind: "training", sort: "-created_at" };
const SEVERAL = new Set(["label", "kind"]);

const grid = $("grid");
const holder = $("rows");
const filters = $("filters");

const list = new JobList();
let focused = null;
const selected = new Set();
const shown = new Map();

function asked() {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(filters)) {
    const text = value.trim();
    if (!text || text === USUAL[name]) continue;
    for (const part of SEVERAL.has(name) ? text.split(/\s+/) : [text]) query.append(name, part);
  }
  return query;
}

function restore() {
  const query = new URLSearchParams(location.search);
  for (const box of filters.elements.status) box.checked = query.getAll("status").includes(box.value);
  filters.elements.name.value = query.get("name") ?? "";
  filters.elements.label.value = query.getAll("label").join(" ");
  filters.elements.dataset.value = query.get("dataset") ?? "";
  filters.elements.kind.value = query.getAll("kind").join(" ") || USUAL.kind;
  filters.elements.sort.value = query.get("sort") ?? USUAL.sort;
}

async function restart() {
  const query = asked();
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
  await attempt(async () => {
    if (!(await list.restart(query))) return;
    scrollTo({ top: 0 });
    render();
  });
}

async function more() {
  await attempt(async () => (await list.more()) && render());
}

async function refresh() {
  if (document.hidden || !list.isKnown) return;
  await attempt(async () => (await list.refresh(...inView())) && render());
}

async function attempt(work) {
  try {
    await work();
    live(true);
  } catch (error) {
    complain(error);
  }
}

function complain(error) {
  live(false, error.message);
  if (!list.isKnown || error.status === 422) {
    $("empty").hidden = false;
    $("empty").replaceChildren(el("h2", {}, "The list cannot be shown"), el("p", {}, error.message), ...places(error));
  }
}

const places = (error) => (error.errors ?? []).map((place) => el("p", {}, `${place.parameter}: ${place.detail}`));

const rowHeight = () => parseFloat(getComputedStyle(holder).getPropertyValue("--row"));

function inView() {
  const height = rowHeight();
  const top = -holder.getBoundingClientRect().top;
  const first = Math.max(0, Math.floor(top / height) - SPARE_ROWS);
  const end = Math.min(list.jobs.length, Math.ceil((top + innerHeight) / height) + SPARE_ROWS);
  return [Math.min(first, list.jobs.length), Math.max(end, 0)];
}

function render() {
  const height = rowHeight();
  const [first, end] = inView();
  holder.style.height = `${list.jobs.length * height}px`;
  grid.setAttribute("aria-rowcount", list.isPart ? -1 : list.jobs.length + 1);
  const index = new Map(list.jobs.slice(first, end).map((job, place) => [job.id, first + place]));
  const kept = focused === null ? -1 : list.jobs.findIndex((job) => job.id === focused);
  if (kept >= 0) index.set(focused, kept);
  for (const [id, line] of shown) {
    if (!index.has(id)) {
      line.node.remove();
      shown.delete(id);
    }
  }
  const stop = kept >= 0 ? focused : list.jobs[first]?.id;
  for (const [id, place] of index) {
    const node = lineOf(list.jobs[place]);
    node.style.transform = `translateY(${place * height}px)`;
    node.setAttribute("aria-rowindex", place + 2);
    node.tabIndex = id === stop ? 0 : -1;
  }
  order(index);
  summarize();
  if (list.isPart && end > list.jobs.length - SPARE_ROWS * 5) more();
}

/** Lines stand in the page in the order in which they are seen, for those who hear them. */
function order(index) {
  const ids = [...index].sort((a, b) => a[1] - b[1]).map(([id]) => id);
  let before = null;
  for (const id of ids) {
    const { node } = shown.get(id);
    const wanted = before ? before.nextSibling : holder.firstChild;
    if (node !== wanted) {
      const had = node.contains(document.activeElement);
      holder.insertBefore(node, wanted);
      if (had) node.focus({ preventScroll: true });
    }
    before = node;
  }
}

function lineOf(job) {
  const known = shown.get(job.id);
  const isSelected = selected.has(job.id);
  if (known && known.version === job.version && known.position === job.queue_position && known.isSelected === isSelected) {
    return known.node;
  }
  const node = known?.node ?? el("div.row", { role: "row" });
  const had = document.activeElement;
  node.dataset.id = job.id;
  node.setAttribute("aria-selected", isSelected);
  node.replaceChildren(...cells(job, isSelected));
  if (had !== document.activeElement && had?.closest?.(".row") === node) node.focus({ preventScroll: true });
  shown.set(job.id, { node, version: job.version, position: job.queue_position, isSelected });
  if (!known) holder.append(node);
  return node;
}

function cells(job, isSelected) {
  const cell = (kind, ...children) => el(`span.${kind}`, { role: "gridcell" }, ...children);
  const labels = Object.entries(job.labels).map(([key, value]) =>
    el("button.tag", { type: "button", tabindex: -1, "data-label": `${key}:${value}`, title: `Only ${key}: ${value}` }, `${key}: ${value}`),
  );
  return [
    cell("pick", el("input", { type: "checkbox", tabindex: -1, "aria-label": `Select ${job.name}`, ".checked": isSelected })),
    cell("name", el("a", { href: `/jobs/${job.id}`, tabindex: -1, title: job.name }, job.name), job.kind === "training" ? "" : el("small.faint", {}, job.kind), ...labels),
    cell("status", el(`span.badge.${job.status}`, {}, doing(job)), job.priority && !job.finished_at ? el("small.priority", { title: "Priority" }, signed(job.priority)) : ""),
    cell("progress", ...progress(job)),
    cell("accuracy", sparkline(job.validation_accuracies), el("b", {}, percent(job.validation_accuracy))),
    cell("dataset", job.dataset ?? "–"),
    cell("owner", job.owner),
    cell("age", time(job.created_at)),
  ];
}

const signed = (priority) => (priority > 0 ? `+${priority}` : `−${-priority}`);

function progress(job) {
  const { fraction, epoch, epochs } = job.progress;
  const bar = el("span.meter", { "aria-hidden": true }, el("i"));
  bar.firstChild.style.width = `${100 * fraction}%`;
  if (job.status === "queued") return [bar, el("small", {}, job.queue_position === 1 ? "next" : `${job.queue_position ?? "?"} in line`)];
  if (job.status === "failed" && job.error) return [bar, el("small.why", { title: job.error.message }, job.error.code.replaceAll("_", " "))];
  return [bar, el("small", {}, job.kind === "training" ? `${epoch}/${epochs}` : `${Math.floor(100 * fraction)}%`)];
}

function sparkline(values) {
  const picture = svg("svg", { viewBox: "0 0 100 24", class: "spark", "aria-hidden": "true", preserveAspectRatio: "none" });
  if (values.length < 2) return picture;
  const low = Math.min(...values);
  const spread = Math.max(0.02, Math.max(...values) - low);
  const points = values.map((value, index) => `${(100 * index) / (values.length - 1)},${22 - (20 * (value - low)) / spread}`);
  picture.append(svg("polyline", { points: points.join(" ") }));
  return picture;
}

function summarize() {
  $("count").textContent = list.jobs.length ? `${list.jobs.length}${list.isPart ? " loaded, more below" : list.jobs.length === 1 ? " job" : " jobs"}` : "";
  const empty = $("empty");
  empty.hidden = !list.isKnown || list.jobs.length > 0;
  if (!empty.hidden) {
    empty.replaceChildren(
      ...(asked().size
        ? [el("h2", {}, "No job is like that"), el("p", {}, "Clear the filters to see every job.")]
        : [
            el("h2", {}, "No jobs yet"),
            el("p", {}, "A job is a spec, a few lines of YAML without code. It is checked as you write it."),
            el("p", {}, el("a.button.primary", { href: "/new" }, "Write the first one")),
          ]),
    );
  }
  const all = selected.size > 0 && list.jobs.every((job) => selected.has(job.id));
  $("all").checked = all;
  $("all").indeterminate = selected.size > 0 && !all;
  $("selection").hidden = selected.size === 0;
  $("selected").textContent = `${selected.size} selected`;
}

function choose(id, is = !selected.has(id)) {
  if (is) selected.add(id);
  else selected.delete(id);
  render();
}

async function bulk(action) {
  const able = list.jobs.filter((job) => selected.has(job.id) && may(job, action));
  if (!able.length) return notice(`None of the selected jobs can be ${past(action)}.`);
  const count = `${able.length} job${able.length > 1 ? "s" : ""}`;
  if (["cancel", "delete"].includes(action) && !(await sure(`${title(action)} ${count}?`, title(action)))) return;
  const refused = [];
  const line = [...able];
  const work = async () => {
    for (let job; (job = line.pop()); ) {
      try {
        await (action in STEPS ? moveInLine(job, STEPS[action]) : ask(job.id, action));
      } catch (error) {
        refused.push(error.message);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  // Who is moved once is often moved again.
  if (!(action in STEPS)) selected.clear();
  if (refused.length) notice(`${refused.length} of ${count} could not be ${past(action)}: ${refused[0]}`, "error");
  else notice(`${count} ${past(action)}.`);
  refresh();
}

const title = (word) => word[0].toUpperCase() + word.slice(1);
const past = (word) => ({ pause: "paused", resume: "resumed", retry: "retried", cancel: "cancelled", delete: "deleted", raise: "raised", lower: "lowered" })[word];
const may = (job, action) => (action in STEPS ? !job.finished_at : actions(job).includes(action));

function move(step) {
  const at = list.jobs.findIndex((job) => job.id === focused);
  const to = Math.max(0, Math.min(list.jobs.length - 1, at + step));
  if (!list.jobs[to]) return;
  focused = list.jobs[to].id;
  const height = rowHeight();
  const top = holder.getBoundingClientRect().top + to * height;
  const head = document.querySelector(".row.head").getBoundingClientRect().bottom;
  if (top < head) scrollBy({ top: top - head });
  else if (top + height > innerHeight) scrollBy({ top: top + height - innerHeight + 8 });
  render();
  shown.get(focused)?.node.focus({ preventScroll: true });
}

grid.addEventListener("keydown", (event) => {
  if (event.target.matches("input, a, button") && [" ", "Enter"].includes(event.key)) return;
  // Browsers may keep the event of a focus that is set while their window is behind another.
  focused = event.target.closest("#rows .row")?.dataset.id ?? focused;
  const page = Math.floor(innerHeight / rowHeight()) - 3;
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
  if (event.key in steps) move(steps[event.key]);
  else if (event.key === "Enter" && focused) location.assign(`/jobs/${focused}`);
  else if (event.key === " " && focused) choose(focused);
  else if (event.key === "/") filters.elements.name.focus();
  else return;
  event.preventDefault();
});

holder.addEventListener("focusin", (event) => {
  focused = event.target.closest(".row")?.dataset.id ?? null;
});

let lastPicked = null;
holder.addEventListener("click", (event) => {
  const id = event.target.closest(".row")?.dataset.id;
  if (!id) return;
  if (event.target.matches("input")) {
    const is = event.target.checked;
    const [from, to] = [lastPicked, id].map((one) => list.jobs.findIndex((job) => job.id === one)).sort((a, b) => a - b);
    if (event.shiftKey && from >= 0) for (const job of list.jobs.slice(from, to + 1)) choose(job.id, is);
    else choose(id, is);
    lastPicked = id;
  } else if (event.target.dataset.label) {
    filters.elements.label.value = event.target.dataset.label;
    restart();
  } else if (!event.target.closest("a") && !getSelection().toString()) {
    location.assign(`/jobs/${id}`);
  }
});

$("all").addEventListener("change", (event) => {
  for (const job of list.jobs) event.target.checked ? selected.add(job.id) : selected.delete(job.id);
  render();
});
$("unselect").addEventListener("click", () => (selected.clear(), render()));
$("selection").addEventListener("click", ({ target }) => {
  if (target.dataset.bulk) bulk(target.dataset.bulk);
  if (target.dataset.lead) location.assign(`${target.dataset.lead}?${new URLSearchParams([...selected].map((id) => ["jobs", id]))}`);
});

let typing = 0;
filters.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(restart, 200);
});
filters.addEventListener("submit", (event) => (event.preventDefault(), restart()));
filters.addEventListener("reset", () => setTimeout(restart));

let isDue = false;
function soon() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    render();
  });
}
addEventListener("scroll", soon, { passive: true });
addEventListener("resize", soon);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
addEventListener("pageshow", (event) => event.persisted && refresh());

restore();
restart();
(async function keepUp() {
  await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  await refresh();
  keepUp();
})();
call("/v1/datasets")
  .then((found) => $("datasets").append(...found.items.map((item) => el("option", { value: item.name }))))
  .catch(() => {});
