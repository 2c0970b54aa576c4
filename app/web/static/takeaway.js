// What can be had of a model beside its page: a file for other programs, and its predictions of a whole data set.

import { call, el, notice, post } from "./api.js";

/** Let people ask for both at `place`. `address` is the model's; `shape` is that of the images that it takes. */
export async function offerTakeaway(place, { address, shape }) {
  const { items } = await call("/v1/datasets");
  const fitting = items.filter((one) => one.status === "ready" && String(one.shape) === String(shape)).map((one) => one.name);
  place.replaceChildren(
    form("Export", "One file for other programs: images in, probabilities out.", [choice("Format", "format", ["onnx", "torch-export", "safetensors"])], (asked) =>
      post(`${address}/export`, asked),
    ),
    form(
      "Predict a data set",
      "A table with a row for each image.",
      [choice("Data set", "dataset", fitting), choice("Format", "format", ["csv", "parquet"])],
      (asked) => post(`${address}/batch-predict`, asked),
    ),
  );
}

function choice(told, name, values) {
  return el("label", {}, told, " ", el("select", { name }, ...values.map((value) => el("option", { value }, value))));
}

function form(title, told, choices, ask) {
  const made = el("form.takeaway", { "aria-label": title }, ...choices, el("button", { type: "submit" }, title), el("span.faint", {}, told));
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const job = await ask(Object.fromEntries(new FormData(made)));
      location.assign(`/jobs/${job.id}`);
    } catch (error) {
      notice(error.message, "error");
    }
  });
  return made;
}
