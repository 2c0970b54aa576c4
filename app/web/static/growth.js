// What each further member is worth: all snapshots of a job as an ensemble, scored by its size.

import { call, el, notice, post } from "./api.js";
import * as report from "./report.js";

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
  const told = "A worker scores all snapshots together, the newest first: what each further one is worth, which classes are confused, how true the probabilities are. The job is kept as long as that ensemble is.";
  host.replaceChildren(button, el("p.faint", {}, told));
}

/** The ensemble once it is scored. Asked for twice, it is made once. */
async function scored(job, newest) {
  const body = {
    name: `sizes, ${job.id}`,
    members: { kind: "snapshots", ids: newest.map((one) => one.id) },
    select: { kind: "all" },
  };
  let found = await post("/v1/ensembles", body, `sizes-${newest[0].id}-${newest.length}`);
  while (!found.report) {
    if (["failed", "cancelled"].includes(found.status)) throw new Error(`The scoring ${found.status}.`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    found = await call(found.links.self);
  }
  return found;
}

function show(host, found, again) {
  const forget = async () => {
    try {
      await call(found.links.self, { method: "DELETE" });
      again();
    } catch (error) {
      notice(error.message, "error");
    }
  };
  host.replaceChildren(
    report.growth(found.report),
    report.confusion(found.report),
    report.classes(found.report),
    el("p.actions", {}, el("a.button", { href: `/ensembles/${found.id}` }, "Its page"), el("button.quiet", { type: "button", onclick: forget }, "Delete this ensemble")),
  );
}
