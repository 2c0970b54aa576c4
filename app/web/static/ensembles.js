// Every ensemble, the newest first.

import { $, call, el, figure, live, percent, table, time } from "./api.js";

const PAGE = 50;
const POLL_MS = 5000;
const HEADS = [["Ensemble", ""], ["Status", ""], ["Kind", ""], ["Members", "number"], ["Error", "number"], ["Single model", "number"], ["Loss", "number"], ["Owner", ""], ["Made", ""]];

let items = [];
let next = null;

async function refresh() {
  if (document.hidden) return;
  try {
    const page = await call(`/v1/ensembles?limit=${PAGE}`);
    const known = new Set(page.items.map((one) => one.id));
    const rest = items.length > PAGE ? items.filter((one) => !known.has(one.id)) : [];
    if (!rest.length) next = page.next_cursor;
    items = [...page.items, ...rest];
    draw();
    live(true);
  } catch (error) {
    live(false, error.message);
  }
}

async function more() {
  const page = await call(`/v1/ensembles?limit=${PAGE}&cursor=${encodeURIComponent(next)}`);
  const known = new Set(items.map((one) => one.id));
  items.push(...page.items.filter((one) => !known.has(one.id)));
  next = page.next_cursor;
  draw();
}

function draw() {
  $("card").hidden = !items.length;
  $("empty").hidden = items.length > 0;
  $("more").hidden = next === null;
  table($("ensembles"), HEADS, items.map(line), { caption: "Ensembles" });
}

function line(one) {
  const isBetter = one.scores && one.single && one.scores.error < one.single.error;
  return [
    el("a", { href: `/ensembles/${one.id}`, title: one.id }, one.name),
    el(`span.badge.${one.status}`, {}, one.scores ? "scored" : one.status),
    one.kind.replace("_", " "),
    one.averaged ? `${one.averaged} averaged` : String(one.members.length),
    isBetter ? el("b", {}, percent(one.scores.error)) : percent(one.scores?.error),
    percent(one.single?.error),
    figure(one.scores?.negative_log_likelihood),
    one.owner,
    time(one.created_at),
  ];
}

$("more").addEventListener("click", () => more().catch((error) => live(false, error.message)));
document.addEventListener("visibilitychange", refresh);
await refresh();
setInterval(refresh, POLL_MS);
