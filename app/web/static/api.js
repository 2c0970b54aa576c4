// What every page needs: calls to the API, streams that survive sleep, elements whose text is never markup, formats.

class Problem extends Error {
  constructor(status, document) {
    super(document.detail);
    this.status = status;
    this.errors = document.errors ?? [];
    this.requestId = document.request_id;
  }
}

const AWAY = { detail: "The server does not answer. Trying again …" };

async function answered(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, AWAY);
  }
  if (answer.status === 401) signIn();
  if (!answer.ok) throw new Problem(answer.status, await answer.json().catch(() => ({ detail: answer.statusText })));
  return answer;
}

// A page shows its content once what it asked for at first has come, so that nothing moves under a reader's eyes.
const SETTLED_MS = 20;
let underWay = 0;
const show = () => underWay || $("main").removeAttribute("data-waits");

/** The JSON that the API answers with, null where it answers with nothing. Throws `Problem`. */
export async function call(path, options = {}) {
  underWay += 1;
  try {
    const answer = await answered(path, options);
    return answer.status === 204 ? null : await answer.json();
  } finally {
    underWay -= 1;
    setTimeout(show, SETTLED_MS);
  }
}

function signIn() {
  location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
}

const QUIET_MS = 40_000;
const LONGEST_PAUSE_MS = 10_000;

/**
 * Follow server-sent events at `path` until `told` returns true for one, or the page is left.
 *
 * Hidden pages hold no connection: a browser has but six for a server. A line that has been silent for longer than the
 * server ever is, as after sleep, is opened anew behind the last event that came.
 */
export function follow(path, { told, state }) {
  let after = null;
  let over = false;
  let control = null;
  let pause = 500;
  let timer = 0;

  async function open() {
    clearTimeout(timer);
    if (over || control || document.hidden) return;
    const own = (control = new AbortController());
    try {
      const headers = { Accept: "text/event-stream", ...(after ? { "Last-Event-ID": after } : {}) };
      const answer = await answered(path, { headers, signal: own.signal });
      pause = 500;
      state(true);
      for await (const event of frames(answer.body, own)) {
        after = event.id ?? after;
        if (told(event)) over = true;
        if (over) break;
      }
    } catch (error) {
      if (error.status === 404) over = true;
      if (!own.signal.aborted) state(false, error);
      else if (own.signal.reason === "quiet") state(false);
    } finally {
      own.abort();
      if (control === own) control = null;
    }
    if (!over && !document.hidden) {
      timer = setTimeout(open, pause);
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
  }

  const look = () => (document.hidden ? control?.abort("hidden") : open());
  document.addEventListener("visibilitychange", look);
  addEventListener("online", look);
  open();
  return {
    again() {
      over = false;
      open();
    },
  };
}

async function* frames(body, control) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (true) {
    const silence = setTimeout(() => control.abort("quiet"), QUIET_MS);
    const { value, done } = await reader.read().finally(() => clearTimeout(silence));
    if (done) return;
    text += value;
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const fields = {};
      for (const line of text.slice(0, end).split("\n")) {
        const colon = line.indexOf(":");
        if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
      }
      text = text.slice(end + 2);
      if (fields.data) yield { id: fields.id, kind: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

/** An element: attributes by name, properties with a leading dot, handlers with `on…`; children are nodes or text. */
export function el(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const made = document.createElement(name);
  if (classes.length) made.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key.startsWith(".")) made[key.slice(1)] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export const $ = (id) => document.getElementById(id);

/** Run at most once in `ms`, the first time at once and the last time surely. */
export function atMostEvery(ms, work) {
  let last = -Infinity;
  let timer = 0;
  return () => {
    const wait = last + ms - performance.now();
    if (timer) return;
    timer = setTimeout(
      () => {
        timer = 0;
        last = performance.now();
        work();
      },
      Math.max(0, wait),
    );
  };
}

export function notice(text, kind = "info") {
  const line = el(`p.${kind}`, {}, text, el("button.quiet", { "aria-label": "Dismiss", onclick: () => line.remove() }, "×"));
  $("notice").append(line);
  if (kind === "info") setTimeout(() => line.remove(), 6000);
}

/** Ask before something that cannot be taken back. */
export function sure(text, yes) {
  const dialog = $("question");
  $("question-text").textContent = text;
  $("question-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

export function live(is, why) {
  const mark = $("live");
  mark.classList.toggle("off", !is);
  mark.textContent = is ? "live" : "not live";
  mark.title = is ? "This page follows the service" : (why ?? "Trying again …");
}

export function table(target, heads, rows, options = {}) {
  const head = el("thead", {}, el("tr", {}, ...heads.map(([name, kind]) => el(`th.${kind}`, { scope: "col" }, name))));
  const cell = (value, index) =>
    index === 0
      ? el(`th.${heads[index][1]}`, { scope: "row" }, value)
      : el(`td.${heads[index][1]}`, {}, value ?? "–");
  const body = el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map(cell))));
  target.replaceChildren(...(options.caption ? [el("caption.unseen", {}, options.caption)] : []), head, body);
}

export function save(blob, name) {
  const address = URL.createObjectURL(blob);
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** A table as a file, by RFC 4180. A cell that a spreadsheet would take for a formula is none. */
export function csv(heads, rows) {
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const lines = [heads, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`);
  return new Blob(lines, { type: "text/csv" });
}

/** Hear of the files that are dropped on `place`. */
export function dropped(place, take) {
  place.addEventListener("dragover", (event) => {
    event.preventDefault();
    place.classList.add("over");
  });
  place.addEventListener("dragleave", () => place.classList.remove("over"));
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    place.classList.remove("over");
    take(event.dataTransfer.files);
  });
}

/** What the server says of a mistaken request, at the places that it names. */
export function complaints(error, where = (place) => place.pointer ?? place.entry ?? place.parameter) {
  const places = error.errors?.length ? error.errors : [{ detail: error.message }];
  return places.map((place) => el("li.mistake", {}, where(place) ? el("code", {}, where(place)) : "", el("span", {}, place.detail)));
}

/** POST `body` as JSON under a name of its own, so that it is done once however often it is sent. */
export function post(path, body, name = nonce()) {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": name };
  return call(path, { method: "POST", headers, body: JSON.stringify(body) });
}

const percents = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 2, maximumFractionDigits: 2 });
const wholes = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const shorts = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

export const percent = (value) => (value === null || value === undefined ? "–" : percents.format(value));
export const whole = (value) => (value === null || value === undefined ? "–" : wholes.format(value));
export const short = (value) => shorts.format(value);

/** How far two shares are apart, in words. */
export function points(share) {
  const number = figure(100 * share, 2);
  return `${number} percentage point${number === "1" ? "" : "s"}`;
}

/** Four significant digits, without zeros that say nothing. */
export function figure(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(digits - 2).replace("e+", "e");
  return String(Number(value.toPrecision(digits)));
}

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${figure(value, 3)} ${units[unit]}`;
}

export function duration(seconds) {
  const total = Math.max(0, Math.round(seconds));
  if (total < 60) return `${total} s`;
  if (total < 3600) return `${Math.floor(total / 60)} min ${total % 60} s`;
  if (total < 48 * 3600) return `${Math.floor(total / 3600)} h ${Math.floor((total % 3600) / 60)} min`;
  return `${Math.floor(total / 86400)} days`;
}

function relative(moment) {
  const seconds = (Date.now() - moment) / 1000;
  if (Math.abs(seconds) < 5) return "now";
  const size = Math.abs(seconds);
  const [count, unit] =
    size < 60 ? [size, "s"] : size < 3600 ? [size / 60, "min"] : size < 86400 ? [size / 3600, "h"] : [size / 86400, "d"];
  return seconds > 0 ? `${Math.floor(count)} ${unit} ago` : `in ${Math.ceil(count)} ${unit}`;
}

/** A moment as a distance from now, with the moment itself in the title. */
export function time(iso) {
  if (!iso) return "–";
  const moment = new Date(iso);
  return el("time", { datetime: iso, title: moment.toLocaleString() }, relative(moment));
}

setInterval(() => {
  if (document.hidden) return;
  for (const shown of document.querySelectorAll("time[datetime]")) {
    const text = relative(new Date(shown.dateTime));
    if (shown.textContent !== text) shown.textContent = text;
  }
}, 5000);

/** Random text that no other request has; `crypto.randomUUID` is not there on plain HTTP. */
export function nonce() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What may be asked of a job in each status; the server decides. */
export function actions(job) {
  if (job.wanted === "cancel" && job.status === "running") return [];
  return {
    queued: ["pause", "cancel"],
    running: job.wanted === "pause" ? ["resume", "cancel"] : ["pause", "cancel"],
    paused: ["resume", "cancel"],
    succeeded: ["delete"],
    failed: ["retry", "delete"],
    cancelled: ["retry", "delete"],
  }[job.status];
}

export function ask(id, action) {
  if (action === "delete") return call(`/v1/jobs/${id}`, { method: "DELETE" });
  return call(`/v1/jobs/${id}/${action}`, { method: "POST" });
}

const moved = new Map();

/** Move a job that has not ended up in the line, or down, within what there is. Moves that follow each other add up. */
export function moveInLine(job, by) {
  const before = moved.get(job.id) ?? Promise.resolve(job);
  const after = before
    .catch(() => job)
    .then((known) => prioritize(job.id, (known.version > job.version ? known : job).priority + by));
  moved.set(job.id, after);
  return after;
}

function prioritize(id, priority) {
  const body = JSON.stringify({ priority: Math.max(-100, Math.min(100, priority)) });
  return call(`/v1/jobs/${id}`, { method: "PATCH", headers: { "Content-Type": "application/json" }, body });
}

/** What a job does just now, in a word or two. */
export function doing(job) {
  if (job.status === "running" && job.wanted === "cancel") return "cancelling";
  if (job.status === "running" && job.wanted === "pause") return "pausing";
  if (job.status === "running" && job.phase !== "training") return job.phase.replace("_", " ");
  return job.status;
}
