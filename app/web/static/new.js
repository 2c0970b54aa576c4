// A spec as it is written, as text or in the form beside it: checked with every pause, and what it would do.

import { $, bytes, call, el, figure, nonce, notice, percent, short, table, whole } from "./api.js";
import { Clock } from "./charts.js";
import { saveMenu } from "./picture.js";
import { SpecForm } from "./specform.js";
import { isMap, parseDocument } from "./vendor/yaml/yaml.min.js";

const PAUSE_MS = 250;
const editor = $("spec");
const marked = new Map();
let asking = null;
let plan = null;

// Line numbers move with the text.
function number() {
  const count = editor.value.split("\n").length;
  const lines = Array.from({ length: count }, (_, index) => {
    const kind = marked.get(index + 1);
    return el(`span${kind ? `.${kind}` : ""}`, {}, String(index + 1));
  });
  $("gutter").replaceChildren(...lines);
  $("gutter").scrollTop = editor.scrollTop;
}

function goTo(line) {
  const lines = editor.value.split("\n");
  const start = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
  editor.focus();
  editor.setSelectionRange(start, start + (lines[line - 1] ?? "").length);
  editor.scrollTop = (line - 5) * parseFloat(getComputedStyle(editor).lineHeight);
}

// The form shows what the text says, and changes the text where it is changed, which keeps its comments.
const LONGEST_LINE = 110;
const LONGEST_IN_BRACES = 70;
let text = null;
let form = null;

function read() {
  const found = parseDocument(editor.value, { keepSourceTokens: false });
  const isSpec = !found.errors.length && (isMap(found.contents) || found.contents === null);
  $("form-told").hidden = isSpec;
  $("form").inert = !isSpec;
  if (!isSpec) return;
  text = found;
  form?.show(found.toJS() ?? {});
}

const edit = {
  get: (path) => path.reduce((part, key) => part?.[key], text.toJS() ?? {}),
  has: (path) => text.hasIn(path),
  set: (path, value) => text.setIn(path, typeof value === "object" ? node(value) : value),
  remove: (path) => text.deleteIn(path),
  done() {
    const hasPadding = /\{ /.test(editor.value);
    editor.value = text.toString({ lineWidth: LONGEST_LINE, flowCollectionPadding: hasPadding });
    changed();
  },
};

/** A new part of the text, in braces where it is short. */
const node = (value) => text.createNode(value, { flow: JSON.stringify(value).length < LONGEST_IN_BRACES });

async function check() {
  asking?.abort();
  asking = new AbortController();
  const headers = { "Content-Type": "application/yaml" };
  try {
    plan = await call("/v1/jobs:validate", { method: "POST", headers, body: editor.value, signal: asking.signal });
    told(plan.warnings.length ? `Can be trained; ${plan.warnings.length} warning${plan.warnings.length > 1 ? "s" : ""}.` : "Can be trained.", "good");
    complain(plan.warnings, "warning");
    drawPlan();
    drawDifference().catch(() => {});
    $("submit").disabled = false;
  } catch (error) {
    if (error.name === "AbortError") return;
    $("submit").disabled = true;
    const mistakes = error.errors ?? [];
    told(mistakes.length ? `${mistakes.length} mistake${mistakes.length > 1 ? "s" : ""}.` : error.message, "bad");
    complain(mistakes, "mistake");
    if (error.status === 0) setTimeout(check, 2000);
  }
}

function told(text, kind) {
  $("verdict").textContent = text;
  $("verdict").className = `verdict ${kind}`;
  editor.setAttribute("aria-invalid", kind === "bad");
}

function complain(places, kind) {
  marked.clear();
  for (const place of places) if (place.line) marked.set(place.line, kind);
  number();
  const lines = places.map((place) =>
    el(
      `li.${kind}`,
      {},
      place.line ? el("button.quiet", { type: "button", onclick: () => goTo(place.line) }, `Line ${place.line}`) : "",
      place.pointer ? el("code", {}, place.pointer) : "",
      el("span", {}, place.detail),
    ),
  );
  $("mistakes").replaceChildren(...lines);
  form?.complain(kind === "mistake" ? places : []);
}

// What it would do.
let clock = null;

function drawPlan() {
  $("plan").classList.add("known");
  const ends = plan.snapshot_epochs;
  if (!clock) {
    clock = new Clock($("rate"), {
      name: "rate",
      x: (value) => short(value),
      panels: [{ title: "Learning rate", unit: "over epochs", height: 170, format: figure, series: [{ label: null, color: "--c3", width: 2, fill: true }] }],
      marks: () => plan.snapshot_epochs.map((at) => ({ at, kind: "snapshot" })),
    });
    const points = () => [["epoch", "learning_rate"], plan.curve.map((point) => [point.epoch, point.rate])];
    $("save-rate").replaceWith(saveMenu(() => clock, "learning-rate", points));
  }
  const epochs = Math.max(...plan.curve.map((point) => point.epoch));
  clock.set([[plan.curve.map((point) => point.epoch), plan.curve.map((point) => point.rate)]], [0, epochs]);
  $("rate-facts").textContent = ends.length ? `${ends.length} snapshot${ends.length > 1 ? "s" : ""}, after epoch ${ends.join(", ")}` : "no snapshots";
  table($("rate-table"), [["Epoch", "number"], ["Learning rate at its end", "number"]], plan.learning_rates.map((rate, index) => [String(index + 1), figure(rate)]), { caption: "Learning rate" });
  const { weights, gradients, optimizer, activations } = plan.memory_bytes;
  const total = weights + gradients + optimizer + activations;
  const facts = [
    ["Parameters", whole(plan.parameters)],
    ["Steps", `${whole(plan.steps)}, ${whole(plan.steps_per_epoch)} an epoch`],
    ["Multiply-adds of a step", short(plan.step_multiply_adds)],
    ["Of an image, forward", short(plan.multiply_adds)],
    ["Memory", bytes(total)],
    ["of it activations", `${bytes(activations)}, ${percent(activations / total)}`],
    ["weights and gradients", bytes(weights + gradients)],
    ["optimizer", bytes(optimizer)],
  ];
  $("cost").replaceChildren(...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  const shape = (numbers) => numbers.join("×");
  table(
    $("layers"),
    [["Layer", ""], ["Kind", ""], ["In", ""], ["Out", ""], ["Weights", "number"], ["Multiply-adds", "number"]],
    plan.layers.map((one) => [one.name, one.kind, shape(one.input_shape), shape(one.output_shape), whole(one.weights + one.biases), short(one.multiply_adds)]),
    { caption: "Layers" },
  );
  $("resolved").textContent = JSON.stringify(plan.spec, null, 2);
}

// How a clone differs from its origin, default values filled in on both sides.
const origin = $("difference") && call(`/v1/jobs/${$("difference").dataset.origin}`);

async function drawDifference() {
  if (!origin) return;
  const [before, now] = [flat((await origin).spec), flat(plan.spec)];
  const fields = [...new Set([...before.keys(), ...now.keys()])].filter((field) => before.get(field) !== now.get(field));
  const none = el("p.faint", {}, "Nothing yet.");
  if (!fields.length) return $("difference").replaceChildren(none);
  const made = el("table");
  const rows = fields.map((field) => [el("code", {}, field), before.get(field), now.get(field)]);
  table(made, [["Field", ""], ["Before", ""], ["Now", ""]], rows, { caption: "What is different" });
  $("difference").replaceChildren(made);
}

/** Every value of a document by its JSON Pointer. */
function flat(value, pointer = "", found = new Map()) {
  if (value !== null && typeof value === "object" && Object.keys(value).length) {
    for (const [key, part] of Object.entries(value)) flat(part, `${pointer}/${key}`, found);
  } else {
    found.set(pointer, JSON.stringify(value));
  }
  return found;
}

// The same request twice is one job: the name of a request changes with its text.
let name = nonce();

$("submit").addEventListener("click", async () => {
  $("submit").disabled = true;
  const headers = { "Content-Type": "application/yaml", "Idempotency-Key": name };
  try {
    const job = await call("/v1/jobs", { method: "POST", headers, body: editor.value });
    written = editor.value;
    location.assign(`/jobs/${job.id}`);
  } catch (error) {
    $("submit").disabled = false;
    if (error.errors?.length) complain(error.errors, "mistake");
    notice(error.message, "error");
  }
});

let pausing = 0;
let written = editor.value;

function changed() {
  name = nonce();
  number();
  clearTimeout(pausing);
  pausing = setTimeout(check, PAUSE_MS);
}

editor.addEventListener("input", () => {
  changed();
  read();
});
editor.addEventListener("scroll", () => ($("gutter").scrollTop = editor.scrollTop));
editor.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !$("submit").disabled) $("submit").click();
});
addEventListener("beforeunload", (event) => {
  if (editor.value !== written) event.preventDefault();
});

for (const way of document.querySelectorAll("[name=way]")) {
  way.addEventListener("change", () => ($("new").dataset.way = way.value));
}

number();
check();
form = new SpecForm($("form"), await call($("form").dataset.schema), edit);
read();
