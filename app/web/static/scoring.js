// What a job's snapshots predict in detail: all of them as an ensemble, scored by its size and by class.

import { call, el, notice, post } from "./api.js";
import * as report from "./report.js";

const POLL_MS = 1000;

/** Offer in `host` to have the `snapshots` of a finished job scored, the newest first; `cards` is where that is shown. */
export function offerScoring(host, cards, job, snapshots) {
  const newest = snapshots.toReversed();
  const again = () => offerScoring(host, cards, job, snapshots);
  const draw = async () => {
    button.disabled = true;
    button.textContent = "Scoring …";
    try {
      show(host, cards, await scored(job, newest), again);
    } catch (error) {
      notice(error.message, "error");
      again();
    }
  };
  const isAlone = newest.length === 1;
  const button = el("button", { type: "button", onclick: draw }, isAlone ? "Score by class" : "Score by number of members");
  const what = isAlone ? "A worker scores the snapshot: " : "A worker scores all snapshots together, the newest first: what each further one is worth, ";
  const told = `${what}which classes are confused, how true the probabilities are. The job is kept as long as that ensemble is.`;
  host.replaceChildren(button, el("p.faint", {}, told));
  cards.replaceChildren();
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

function show(host, cards, found, again) {
  const forget = async () => {
    try {
      await call(found.links.self, { method: "DELETE" });
      again();
    } catch (error) {
      notice(error.message, "error");
    }
  };
  const names = found.members.map((member) => `snapshot ${member.number}`);
  host.replaceChildren(
    el("p.actions", {}, el("a.button", { href: `/ensembles/${found.id}` }, "The scored ensemble"), el("button.quiet", { type: "button", onclick: forget }, "Delete this ensemble")),
  );
  cards.replaceChildren(...report.all(found.report, names));
}
