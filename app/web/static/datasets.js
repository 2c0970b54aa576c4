// What can be trained on, and the ways in for more.

import { $, bytes, call, complaints, dropped, el, live, notice, percent, post, table, time, whole } from "./api.js";
import { upload } from "./upload.js";

const PAGE = 200;
const POLL_MS = 3000;
const HEADS = [["Name", ""], ["Status", ""], ["Images", ""], ["Classes", "number"], ["Training", "number"], ["Validation", "number"], ["Size", "number"], ["Owner", ""], ["Made", ""]];
const BADGES = { ready: "succeeded", importing: "running", failed: "failed" };

let items = [];
let next = null;

async function refresh() {
  if (document.hidden) return;
  try {
    const page = await call(`/v1/datasets?limit=${PAGE}`);
    const last = page.items.at(-1)?.name;
    const rest = page.next_cursor ? items.filter((one) => one.name > last) : [];
    if (!rest.length) next = page.next_cursor;
    items = [...page.items, ...rest];
    draw();
    live(true);
  } catch (error) {
    live(false, error.message);
  }
}

function draw() {
  $("more").hidden = next === null;
  table($("datasets"), HEADS, items.map(line), { caption: "Data sets" });
  const known = new Set(items.filter((one) => one.status !== "failed").map((one) => one.name));
  for (const button of $("named").querySelectorAll("button")) {
    button.disabled = known.has(button.dataset.name);
    button.textContent = button.disabled ? "Is here" : "Fetch";
  }
}

function line(one) {
  return [
    el("a", { href: `/datasets/${one.name}` }, one.name),
    el(`span.badge.${BADGES[one.status]}`, {}, one.status),
    one.shape ? `${one.shape[1]}×${one.shape[2]}, ${one.shape[0] === 1 ? "grey" : "RGB"}` : null,
    one.classes.length ? whole(one.classes.length) : null,
    whole(one.train_count),
    whole(one.validation_count),
    one.size ? bytes(one.size) : "–",
    one.owner ?? "comes with Annealer",
    one.owner ? time(one.created_at) : "–",
  ];
}

$("more").addEventListener("click", async () => {
  const page = await call(`/v1/datasets?limit=${PAGE}&cursor=${encodeURIComponent(next)}`);
  items.push(...page.items);
  next = page.next_cursor;
  draw();
});

// What everybody knows.
$("named").addEventListener("click", async (event) => {
  const { name } = event.target.dataset;
  if (!name) return;
  event.target.disabled = true;
  try {
    await post("/v1/datasets", { source: { kind: "named", name } });
    location.assign(`/datasets/${name}`);
  } catch (error) {
    event.target.disabled = false;
    notice(error.message, "error");
  }
});

// Uploads.
let control = null;

function options() {
  const [height, width] = [$("height"), $("width")].map((field) => field.valueAsNumber);
  return {
    ...($("validation").value ? { split: { kind: "stratified", validation: Number($("validation").value) } } : {}),
    ...(height || width ? { size: [height || width, width || height] } : {}),
    ...($("fit").value !== "crop" ? { fit: $("fit").value } : {}),
    ...($("channels").value ? { channels: Number($("channels").value) } : {}),
    ...($("licence").value.trim() ? { licence: $("licence").value.trim() } : {}),
    ...($("skip_unreadable").checked ? { skip_unreadable: true } : {}),
  };
}

function told(stage, share) {
  $("meter").setAttribute("aria-valuenow", Math.round(100 * share));
  $("meter").firstElementChild.style.width = `${100 * share}%`;
  $("sent").textContent = stage === "hashing" ? `Reading the file: ${percent(share)}` : `Sent: ${percent(share)}. What has arrived stays there: the same file goes on from it.`;
}

function busy(is) {
  $("sending").hidden = $("stop").hidden = !is;
  $("send").disabled = is;
}

$("upload").addEventListener("submit", async (event) => {
  event.preventDefault();
  control = new AbortController();
  $("mistakes").replaceChildren();
  busy(true);
  try {
    const name = $("name").value;
    const sent = await upload($("file").files[0], { told, signal: control.signal });
    const source = { kind: "upload", upload: sent.id };
    await post("/v1/datasets", { name, source, options: options(), keep_upload: true });
    location.assign(`/datasets/${name}`);
  } catch (error) {
    if (error.name !== "AbortError") $("mistakes").replaceChildren(...complaints(error));
  } finally {
    busy(false);
    control = null;
  }
});
$("stop").addEventListener("click", () => control?.abort());
addEventListener("beforeunload", (event) => control && event.preventDefault());

/** Suggest a name of the file's. */
function suggest() {
  const file = $("file").files[0];
  if (!file || $("name").value) return;
  const stem = file.name.toLowerCase().replace(/(\.tar)?\.[a-z0-9]+$/, "");
  $("name").value = stem.replace(/[^a-z0-9._-]+/g, "-").replace(/^[^a-z0-9]+/, "").slice(0, 100);
}

$("file").addEventListener("change", suggest);
dropped($("drop"), (files) => {
  $("file").files = files;
  suggest();
});

document.addEventListener("visibilitychange", refresh);
await refresh();
setInterval(refresh, POLL_MS);
