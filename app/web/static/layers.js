// What the layers of a training do, over its epochs: figures of one epoch, and how values spread over all of them.

import { $, el, figure, percent, table, whole } from "./api.js";
import { Picture, css, saveMenu, scale } from "./picture.js";

const CELL = { width: 8, height: 4 };
const GAP = 26;
const AXES = "over time to the right: from −1000 below through 0 in the middle to 1000, half a decade a line";
const SIDES = [["outputs", "activations"], ["gradients", "gradients"]];

const HEADS = [["Layer", ""], ["Kind", ""], ["Outputs, mean", "number"], ["std", "number"], ["Gradients, std", "number"], ["Dead", "number"], ["Saturated", "number"], ["Weights, norm", "number"], ["Update / weight", "number"]];

/** `LayerStatisticsList` of the API's schema, once there is one. */
let found = null;

/** Show what is known by now; the newest epoch, unless another one is chosen. */
export function showLayers(news) {
  found = news;
  $("layers-card").hidden = !found.items.length;
  if (!found.items.length) return;
  const known = [...new Set(found.items.map((one) => one.epoch))];
  const select = $("layer-epoch");
  const wasNewest = select.selectedIndex === select.options.length - 1;
  const before = select.value;
  select.replaceChildren(...known.map((epoch) => el("option", { value: epoch }, epoch === 0 ? "initialisation" : String(epoch))));
  select.value = wasNewest || !before ? String(known.at(-1)) : before;
  draw();
}

function draw() {
  const chosen = found.items.filter((one) => one.epoch === Number($("layer-epoch").value));
  table($("layers"), HEADS, chosen.map(figures), { caption: "Layers" });
  drawSpreads();
  drawCounts(chosen);
}

function figures(one) {
  const rounded = (value, digits) => (value === null ? null : figure(value, digits));
  const share = (value) => (value === null ? null : value > 0.5 ? el("b.warn", {}, percent(value)) : percent(value));
  const { activations, gradients } = one;
  return [
    one.name, one.kind, figure(activations.mean, 3), figure(activations.std, 3), figure(gradients.std, 3),
    share(one.dead), share(one.saturated), rounded(one.weight_norm, 3), rounded(one.update_ratio, 2),
  ];
}

/** The layers in their order, each as it was at one epoch after the other. */
function histories() {
  const made = new Map();
  for (const one of found.items) made.set(one.index, [...(made.get(one.index) ?? []), one]);
  return [...made.values()];
}

const title = (name, told, history) => `${name}: ${told} over ${history.length} epochs`;

function drawSpreads() {
  const shown = histories().map((history) => {
    const [{ name, kind }] = history;
    const sides = SIDES.map(([told, of]) => canvas(history.map((one) => one[of].histogram), title(name, told, history)));
    return el("figure", {}, el("figcaption", { title: kind }, name), ...sides);
  });
  $("spreads").replaceChildren(el("p.faint", {}, `How outputs (left) and gradients (right) spread, ${AXES}.`), ...shown);
}

/** How each bin of a histogram is coloured, as the theme has it: darker where there are more. */
function coloring() {
  const shade = scale(css("--heat-low"), css("--heat-high"));
  return (histogram) => {
    const most = Math.max(1, ...histogram);
    return histogram.map((count) => shade(count ? 0.08 + 0.92 * Math.sqrt(count / most) : 0));
  };
}

/** Histograms over time: a column a moment, a row a bin. */
function canvas(histograms, label) {
  const rows = histograms[0].length;
  const made = el("canvas", { width: histograms.length, height: rows, role: "img", "aria-label": label });
  const ink = made.getContext("2d");
  const image = ink.createImageData(histograms.length, rows);
  histograms.map(coloring()).forEach((column, x) => {
    column.forEach((color, bin) => image.data.set([...color, 255], 4 * ((rows - 1 - bin) * histograms.length + x)));
  });
  ink.putImageData(image, 0, 0);
  return made;
}

/** All of them, a few layers a line. */
function picture() {
  const [all, colors] = [histories(), coloring()];
  const bins = found.histogram_edges.length + 1;
  const across = Math.ceil(Math.sqrt(all.length / 2));
  const [width, height] = [CELL.width * Math.max(12, ...all.map((history) => history.length)), CELL.height * bins];
  const [wide, high] = [2 * (width + GAP), height + GAP];
  const made = new Picture(across * wide - GAP, GAP + Math.ceil(all.length / across) * high);
  made.word(0, 10, AXES);
  all.forEach((history, place) => {
    SIDES.forEach(([told, of], side) => {
      const left = (place % across) * wide + side * (width + GAP);
      const top = GAP + Math.floor(place / across) * high + 18;
      made.word(left, top - 5, `${history[0].name}, ${told}`);
      history.forEach((one, moment) => {
        colors(one[of].histogram).forEach((color, bin) => {
          made.cell(left + moment * CELL.width, top + (bins - 1 - bin) * CELL.height, CELL.width, CELL.height, color);
        });
      });
    });
  });
  return made;
}

/** The bins in words, the lowest first. */
function binNames() {
  const edges = found.histogram_edges.map((edge) => figure(edge, 2));
  return [`below ${edges[0]}`, ...edges.slice(1).map((edge, index) => `from ${edges[index]} to ${edge}`), `above ${edges.at(-1)}`];
}

function drawCounts(chosen) {
  const columns = chosen.flatMap((one) => SIDES.map(([told, of]) => [`${one.name}, ${told}`, one[of].histogram]));
  const rows = binNames().map((name, bin) => [name, ...columns.map(([, histogram]) => whole(histogram[bin]))]);
  table($("counts"), [["Values", ""], ...columns.map(([name]) => [name, "number"])], rows.toReversed(), { caption: "Values in each bin, after the chosen epoch" });
}

/** Every figure of every epoch: a row for the outputs of a layer and one for their gradients. */
function everything() {
  const heads = ["epoch", "layer", "kind", "dead", "saturated", "weight norm", "update / weight", "of", "mean", "std", ...binNames()];
  const rows = found.items.flatMap((one) =>
    SIDES.map(([told, of]) => {
      const { mean, std, histogram } = one[of];
      return [one.epoch, one.name, one.kind, one.dead, one.saturated, one.weight_norm, one.update_ratio, told, mean, std, ...histogram];
    }),
  );
  return [heads, rows];
}

$("save-layers").replaceWith(saveMenu(picture, "layers", everything));
$("layer-epoch").addEventListener("change", draw);
document.addEventListener("theme", () => found?.items.length && draw());
