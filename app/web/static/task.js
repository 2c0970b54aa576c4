// A job that trains nothing, as it goes, and the files that it was asked for.

import { $, atMostEvery, bytes, call, el, follow, live, notice, table } from "./api.js";
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
  if (job.status === "succeeded") showFiles();
}

async function showFiles() {
  try {
    const { items } = await call(job.links.files);
    const heads = [["Name", ""], ["Kind", ""], ["Size", "number"]];
    const rows = items.map((file) => [el("a", { href: file.url, download: file.name }, file.name), file.media_type, bytes(file.size)]);
    $("files-card").hidden = !rows.length;
    table($("files"), heads, rows, { caption: "Files" });
  } catch (error) {
    notice(error.message, "error");
  }
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
