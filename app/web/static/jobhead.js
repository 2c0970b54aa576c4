// What stands above every job, whatever it does: status, progress, what may be asked of it, and why it failed.

import { $, actions, ask, doing, duration, el, figure, moveInLine, notice, percent, sure, time, whole } from "./api.js";

/** Draw `job`. `told(job)` hears of a job that has been given another priority. */
export function drawHead(job, told) {
  const { fraction } = job.progress;
  document.title = `${job.status === "running" ? `${Math.floor(100 * fraction)}% ` : ""}${job.name} · Annealer`;
  $("name").textContent = job.name;
  $("status").textContent = doing(job);
  $("status").className = `badge ${job.status}`;
  $("meter").setAttribute("aria-valuenow", Math.round(100 * fraction));
  $("meter").setAttribute("aria-valuetext", `${doing(job)}, ${percent(fraction)}`);
  $("meter").firstElementChild.style.width = `${100 * fraction}%`;
  $("meter").className = `meter ${job.status}`;
  const labels = Object.entries(job.labels).map(([key, value]) =>
    el("a.tag", { href: `/?label=${encodeURIComponent(`${key}:${value}`)}` }, `${key}: ${value}`),
  );
  $("labels").replaceChildren(...labels);
  const facts = [...(job.kind === "training" ? ofTraining(job) : ofTask(job)), ...ofAny(job, told)].filter(Boolean);
  $("facts").replaceChildren(...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  for (const button of document.querySelectorAll("#actions [data-action]")) {
    button.hidden = !actions(job).includes(button.dataset.action);
  }
  drawFailure(job.error);
  $("spec").textContent = JSON.stringify(job.spec, null, 2);
}

function ofTraining(job) {
  const { epoch, epochs, step, steps, images_per_second: speed, expected_end: end } = job.progress;
  return [
    ["Epoch", `${epoch} of ${epochs}`],
    ["Step", `${whole(step)} of ${whole(steps)}`],
    ["Validation accuracy", percent(job.latest?.validation_accuracy)],
    ["Validation loss", figure(job.latest?.validation_loss)],
    job.status === "running" && ["Speed", speed ? `${whole(speed)} images/s` : "–"],
    end && ["Left", duration((new Date(end) - Date.now()) / 1000)],
  ];
}

const ofTask = ({ progress: { step, steps } }) => [["Done", steps ? `${whole(step)} of ${whole(steps)} pieces` : "–"]];

function ofAny(job, told) {
  return [
    job.status === "queued" && ["In line", job.queue_position === 1 ? "next" : whole(job.queue_position)],
    ["Attempt", `${job.attempt} of ${job.max_attempts}`],
    ["Data set", job.dataset ? el("a", { href: `/datasets/${job.dataset}` }, job.dataset) : "–"],
    ["Owner", job.owner],
    job.finished_at ? job.priority !== 0 && ["Priority", String(job.priority)] : ["Priority", priority(job, told)],
    ["Submitted", time(job.created_at)],
    job.started_at && !job.finished_at && ["Started", time(job.started_at)],
    job.finished_at && ["Finished", time(job.finished_at)],
    job.finished_at && job.started_at && ["Took", duration((new Date(job.finished_at) - new Date(job.started_at)) / 1000)],
  ];
}

/** The priority, with a step down and a step up. */
function priority(job, told) {
  const step = (by, sign, label) => el("button.quiet.step", { type: "button", "aria-label": label, onclick: () => change(by) }, sign);
  const change = async (by) => {
    try {
      told(await moveInLine(job, by));
    } catch (error) {
      notice(error.message, "error");
    }
  };
  return el("span.steps", {}, step(-1, "−", "Lower the priority"), String(job.priority), step(1, "+", "Raise the priority"));
}

function drawFailure(error) {
  $("failure").hidden = !error;
  if (!error) return;
  const hint = error.hint ? el("p", {}, error.hint) : "";
  $("failure").replaceChildren(el("b", {}, error.message), hint, el("p.faint", {}, `${error.code}, ${error.class.replaceAll("_", " ")}`));
}

/** Let the buttons do what they say; `told(job)` hears of the job as it is then. `job()` is the one that is shown. */
export function bindActions(job, told) {
  $("actions").addEventListener("click", async ({ target }) => {
    const { action } = target.dataset;
    if (!action) return;
    const { id, name } = job();
    if (action === "cancel" && !(await sure(`Cancel “${name}”?`, "Cancel the job"))) return;
    if (action === "delete" && !(await sure(`Delete “${name}” with all that it has made?`, "Delete"))) return;
    target.disabled = true;
    try {
      const answer = await ask(id, action);
      if (action === "delete") return location.assign("/");
      told(answer);
    } catch (error) {
      notice(`${action[0].toUpperCase() + action.slice(1)}: ${error.message}`, "error");
    } finally {
      target.disabled = false;
    }
  });
}
