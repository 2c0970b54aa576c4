// What each further member is worth: all snapshots of a job as an ensemble, scored by its size.

import { call, el, figure, notice, percent, table } from "./api.js";
import { Clock } from "./charts.js";

const POLL_MS = 1000;

/** Offer in `host` to have the `snapshots` of a finished job scored, the newest first. */
export function offerGrowth(host, job, snapshots) {
  const newest = snapshots.toReversed();
  const draw = async () => {
    button.disabled = true;
    button.textContent = "Scoring …";
    try {
      show(host, await scored(job, newest), () => offerGrowth(host, job, snapshots));
    } catch (error) {
      notice(error.message, "error");
      offerGrowth(host, job, snapshots);
    }
  };
  const button = el("button", { type: "button", onclick: draw }, "Score by number of members");
  const told = "A worker scores all snapshots together, the newest first. The job is kept as long as that ensemble is.";
  host.replaceChildren(button, el("p.faint", {}, told));
}

/** The ensemble once it is scored. Asked for twice, it is made once. */
async function scored(job, newest) {
  const body = {
    name: `sizes, ${job.id}`,
    members: { kind: "snapshots", ids: newest.map((one) => one.id) },
    select: { kind: "all" },
  };
  const headers = { "Content-Type": "application/json", "Idempotency-Key": `sizes-${newest[0].id}-${newest.length}` };
  let found = await call("/v1/ensembles", { method: "POST", headers, body: JSON.stringify(body) });
  while (!found.report) {
    if (["failed", "cancelled"].includes(found.status)) throw new Error(`The scoring ${found.status}.`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    found = await call(found.links.self);
  }
  return found;
}

function show(host, found, again) {
  const { growth, members } = found.report;
  const sizes = growth.map((point) => point.members);
  const together = growth.map((point) => point.error);
  const alone = growth.map((point) => members[point.added].error);
  const chart = el("div.charts.growth");
  const numbers = el("table");
  const forget = async () => {
    try {
      await call(found.links.self, { method: "DELETE" });
      again();
    } catch (error) {
      notice(error.message, "error");
    }
  };
  table(
    numbers,
    [["Members", "number"], ["Error together", "number"], ["The added one alone", "number"]],
    growth.map((point, index) => [String(point.members), percent(point.error), percent(alone[index])]),
    { caption: "Error by number of members" },
  );
  host.replaceChildren(
    el("h3", {}, "Error by number of members"),
    chart,
    el("details.table-alternative", {}, el("summary", {}, "As a table"), numbers),
    el("button.quiet", { type: "button", onclick: forget }, "Delete this ensemble"),
  );
  const format = (value, digits) => `${figure(100 * value, digits)}%`;
  const series = [
    { label: "together", color: "--c4", width: 2, points: true },
    { label: "the added one alone", color: "--c2", width: 1.5, dash: [5, 4], points: true },
  ];
  const clock = new Clock(chart, { name: "members", x: String, panels: [{ title: "Error", height: 150, format, series }] });
  clock.set([[sizes, together, alone]], [1, sizes.at(-1)]);
}
