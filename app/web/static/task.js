// A job that trains nothing, an import or a scoring, as it goes.

import { $, atMostEvery, follow, live } from "./api.js";
import { bindActions, drawHead } from "./jobhead.js";
import { drawEvents, output } from "./story.js";

const here = `/v1/jobs/${$("job").dataset.id}`;
const events = [];
let job = null;

const refreshLog = output(here);
const drawEventsSoon = atMostEvery(200, () => drawEvents(events));

function show(changed) {
  job = changed;
  drawHead(job, show);
  refreshLog();
}

function hear({ kind, data }) {
  if (kind === "job") {
    show(data);
    return !!job.finished_at;
  }
  if (!(events.at(-1)?.number >= data.number)) events.push(data);
  drawEventsSoon();
  return false;
}

const stream = follow(`${here}/events?job=true`, { told: hear, state: (is, error) => live(is, error?.message) });
bindActions(
  () => job,
  (answer) => {
    show(answer);
    stream.again();
  },
);
document.addEventListener("visibilitychange", () => !document.hidden && job && stream.again());
