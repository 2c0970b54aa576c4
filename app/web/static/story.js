// What happened to a job, and what it wrote.

import { $, atMostEvery, call, el, time } from "./api.js";

const SHOWN_EVENTS = 200;
const LOG_LINES = 300;
const LOG_CHARACTERS = 100_000;

export function drawEvents(events) {
  const newest = events.slice(-SHOWN_EVENTS).reverse();
  $("events").replaceChildren(...newest.map((event) => el(`li.${event.kind}`, {}, time(event.created_at), el("span", {}, event.message))));
}

/** Asks for what the job at `address` has written since it was asked last. */
export function output(address) {
  let offset = null;
  return atMostEvery(1500, async () => {
    try {
      const found = await call(`${address}/logs?${offset === null ? `tail=${LOG_LINES}` : `offset=${offset}`}`);
      offset = found.next_offset;
      if (found.items.length || !$("output").textContent) show(found.items.map((item) => item.text).join(""));
    } catch {
      // The next change asks again.
    }
  });
}

function show(fresh) {
  const pane = $("output");
  const isAtEnd = pane.scrollTop + pane.clientHeight > pane.scrollHeight - 20;
  const text = (pane.dataset.empty ? "" : pane.textContent) + fresh;
  pane.textContent = text.slice(-LOG_CHARACTERS) || "Nothing has been written.";
  if (text) delete pane.dataset.empty;
  else pane.dataset.empty = "yes";
  if (isAtEnd) pane.scrollTop = pane.scrollHeight;
}
