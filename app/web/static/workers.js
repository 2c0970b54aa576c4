// Who trains, on what, and what runs there now.

import { $, bytes, call, doing, el, live, notice, time, whole } from "./api.js";

const POLL_MS = 3000;

async function refresh() {
  if (document.hidden) return;
  try {
    const { items, waiting } = await call("/v1/workers");
    live(true);
    const alive = items.filter((worker) => worker.alive);
    const running = alive.reduce((sum, worker) => sum + worker.running, 0);
    const slots = alive.reduce((sum, worker) => sum + worker.slots, 0);
    $("summary").textContent = items.length ? `${alive.length} alive, ${running} of ${slots} slots in use` : "";
    $("empty").hidden = items.length > 0;
    const asked = Object.entries(waiting).map(([device, count]) => `${whole(count)} for ${device}`);
    $("queue").textContent = asked.length ? `Waiting: ${asked.join(", ")}` : "Nothing waits";
    $("workers").replaceChildren(...items.map(card));
  } catch (error) {
    live(false, error.message);
  }
}

function card(worker) {
  const offers = Object.entries(worker.offers).map(([device, offer]) =>
    el("li", {}, el("b", {}, device), ` ${whole(offer.devices)}, `, el("span.faint", {}, offer.precisions.join(", "))),
  );
  const others = worker.running - worker.jobs.length;
  return el(
    "section.card",
    { "aria-label": `Worker on ${worker.host}` },
    el(
      "div.card-head",
      {},
      el("h2", {}, worker.host, el("span.faint", {}, ` · ${worker.device}`)),
      state(worker),
    ),
    el(
      "dl.facts",
      {},
      ...fact("Heartbeat", time(worker.heartbeat_at)),
      ...fact("Slots", `${worker.running} of ${worker.slots} in use`),
      ...Object.entries(worker.memory).flatMap(([device, { used, total }]) => fact(`Memory, ${device}`, `${bytes(used)} of ${bytes(total)}`)),
      ...fact("Up since", time(worker.started_at)),
      ...fact("Process", String(worker.pid)),
      ...fact("Version", worker.version),
    ),
    el("ul.offers", { "aria-label": "What a job can have here" }, ...offers),
    worker.jobs.length || others
      ? el("ul.runs", { "aria-label": "Running here" }, ...worker.jobs.map(line), others > 0 && el("li.faint", {}, `${others} of other owners`))
      : el("p.faint", {}, "Nothing runs here now."),
    worker.alive && $("workers").hasAttribute("data-admin") && el("p.actions", {}, button(worker)),
  );
}

function state(worker) {
  if (!worker.alive) return el("span.badge.failed", {}, "gone");
  return worker.drained ? el("span.badge.paused", {}, "drained") : el("span.badge.succeeded", {}, "alive");
}

function button(worker) {
  const [action, told, title] = worker.drained
    ? ["resume", "Take jobs again", "It looks for some within seconds"]
    : ["drain", "Drain", "It takes no more jobs; those that run here are checkpointed and go on elsewhere"];
  const ask = async () => {
    try {
      await call(`/v1/workers/${worker.id}/${action}`, { method: "POST" });
    } catch (error) {
      notice(error.message, "error");
    }
    await refresh();
  };
  return el("button.quiet", { type: "button", title, "aria-label": `${told}: worker on ${worker.host}`, onclick: ask }, told);
}

const fact = (name, value) => [el("div", {}, el("dt", {}, name), el("dd", {}, value))];

function line(job) {
  const bar = el("span.meter", { "aria-hidden": true }, el("i"));
  bar.firstChild.style.width = `${100 * job.fraction}%`;
  const what = doing({ ...job, status: "running" });
  return el("li", {}, el("a", { href: `/jobs/${job.job_id}` }, job.name), el("span.faint", {}, what), bar, time(job.started_at));
}

await refresh();
setInterval(refresh, POLL_MS);
document.addEventListener("visibilitychange", refresh);
