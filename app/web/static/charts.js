// Panels of curves that share one clock: what one is pointed at or zoomed to, all are. Built on uPlot.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { el, short, svg } from "./api.js";
import { css, widest } from "./picture.js";

const AXIS_PIXELS = 60;
const FONT = "12px system-ui, sans-serif";
const KEY = { line: 16, sign: 22, gap: 6, margin: 14 };

const WHOLE = Array.from({ length: 10 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();

/** The index of the last of rising `steps` that is not after `step`; -1 before the first. */
export function indexAt(steps, step) {
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= step) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** An exponential moving average that starts unbiased, as if there had always been the first values. */
export function smooth(values, weight) {
  let sum = 0;
  let share = 0;
  return values.map((value) => {
    sum = weight * sum + (1 - weight) * value;
    share = weight * share + 1 - weight;
    return sum / share;
  });
}

export const join = (tables) => uPlot.join(tables.filter((table) => table[0].length));

/**
 * Several panels, one above the other, over the same steps.
 *
 * `panels`: `{title, unit, height, log, format, range, bands, series: [{label, color, width, alpha, dash, points, kind}]}`;
 * colours are names of custom properties, a series is a line unless its kind is "bars" or "dots", and a band fills what is
 * between the two series that it numbers. The axis has whole numbers unless `whole` is false. `marks()` gives `[{at, kind}]`, drawn as lines through all panels. `hovered(step)` hears what is
 * pointed at, null for nothing; `zoomed([from, to])` what is dragged over, null for all of it.
 */
export class Clock {
  constructor(host, { panels, marks = () => [], hovered = () => {}, zoomed = () => {}, x = short, name = "step", whole = true }) {
    Object.assign(this, { host, panels, marks, hovered, zoomed, x, name, whole });
    this.range = null;
    this.extent = [0, 1];
    this.data = panels.map(() => [[]]);
    this.build();
    new ResizeObserver(() => this.fit()).observe(host);
    document.addEventListener("theme", () => this.build());
  }

  build() {
    this.plots?.forEach((plot) => plot.destroy());
    const sync = uPlot.sync(`clock-${this.name}`);
    this.host.replaceChildren();
    this.plots = this.panels.map((panel, index) => {
      const box = el("figure.panel", { "aria-label": `${panel.title}; the numbers are in the table below` });
      const keys = panel.series.filter((one) => one.label).map((one) => {
        const drawn = svg("svg", { viewBox: `0 0 ${KEY.sign} 10`, width: KEY.sign, height: 10, "aria-hidden": "true" }, sign(one, 0, 5));
        return el("span.key", {}, drawn, one.label);
      });
      if (this.panels.length > 1 || keys.length) box.append(el("figcaption", {}, el("b", {}, panel.title), panel.unit ? el("span.faint", {}, panel.unit) : "", ...keys));
      this.host.append(box);
      const plot = new uPlot(this.options(panel, index, sync), this.data[index], box);
      plot.root.querySelector("canvas").setAttribute("role", "img");
      plot.root.querySelector("canvas").setAttribute("aria-label", panel.title);
      return plot;
    });
  }

  options(panel, index, sync) {
    const [ink, grid] = [css("--faint"), css("--grid")];
    const axis = { stroke: ink, font: FONT, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1, size: 4 } };
    const isLast = index === this.panels.length - 1;
    return {
      width: this.width(),
      height: panel.height + (isLast ? 28 : 6),
      padding: [8, 12, isLast ? 0 : 6, 0],
      legend: { show: false },
      cursor: {
        sync: { key: sync.key, scales: ["x", null] },
        drag: { x: true, y: false, setScale: false },
        y: false,
        focus: { prox: -1 },
        points: { size: 7 },
      },
      scales: {
        x: { time: false, range: () => this.range ?? this.extent },
        y: panel.log ? { distr: 3 } : { range: panel.range ?? ((_, low, high) => padded(low, high)) },
      },
      axes: [
        {
          ...axis,
          show: isLast,
          size: 28,
          space: 70,
          ...(this.whole ? { incrs: WHOLE } : {}),
          values: (_, values) => values.map((value) => this.x(value)),
        },
        {
          ...axis,
          size: AXIS_PIXELS,
          space: 34,
          values: (_, values) => values.map((value) => (value === null ? "" : panel.format(value, digits(values)))),
        },
      ],
      series: [
        {},
        ...panel.series.map((one) => ({
          label: one.label ?? "raw",
          stroke: alpha(css(one.color), one.alpha ?? 1),
          width: one.width ?? 1.75,
          dash: one.dash,
          fill: one.fill ? alpha(css(one.color), 0.12) : undefined,
          spanGaps: true,
          ...shape(one, css(one.color)),
        })),
      ],
      bands: panel.bands?.map(({ series, color }) => ({ series, fill: alpha(css(color), 0.16) })),
      hooks: {
        drawClear: [(plot) => this.drawMarks(plot)],
        setCursor: [(plot) => this.point(plot)],
        setSelect: [(plot) => this.drag(plot)],
        ready: [(plot) => plot.over.addEventListener("dblclick", () => this.zoom(null))],
      },
    };
  }

  drawMarks(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    for (const { at, kind } of this.marks()) {
      const left = Math.round(plot.valToPos(at, "x", true)) + 0.5;
      if (left < bbox.left || left > bbox.left + bbox.width + 1) continue;
      ctx.strokeStyle = ctx.fillStyle = css(`--mark-${kind}`);
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash(kind === "snapshot" ? [4 * devicePixelRatio, 4 * devicePixelRatio] : []);
      ctx.beginPath();
      ctx.moveTo(left, bbox.top);
      ctx.lineTo(left, bbox.top + bbox.height);
      ctx.stroke();
      if (kind === "epoch") continue;
      const size = 5 * devicePixelRatio;
      ctx.beginPath();
      ctx.moveTo(left - size, bbox.top);
      ctx.lineTo(left + size, bbox.top);
      ctx.lineTo(left, bbox.top + size * 1.4);
      ctx.fill();
    }
    ctx.restore();
  }

  point(plot) {
    // Panels that only follow hear of it too; the one under the pointer speaks.
    if (!plot.over.matches(":hover")) return;
    const left = plot.cursor.left;
    this.hovered(left >= 0 ? plot.posToVal(left, "x") : null);
  }

  drag(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    const range = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.zoom(range);
  }

  /** Show `[from, to]`, or all. */
  zoom(range) {
    if (range) {
      const [low, high] = this.extent;
      range = [Math.max(low, range[0]), Math.min(high, range[1])];
      const isTooFine = this.whole && range[1] - range[0] < 2;
      if (isTooFine || (range[0] <= low && range[1] >= high)) range = isTooFine ? this.range : null;
    }
    this.range = range;
    this.redraw();
    this.zoomed(range);
  }

  /** Show a part `factor` as wide, moved by `shift` of its width. */
  scale(factor, shift = 0) {
    const [low, high] = this.range ?? this.extent;
    const width = high - low;
    const middle = (low + high) / 2 + shift * width;
    this.zoom([middle - (width * factor) / 2, middle + (width * factor) / 2]);
  }

  set(data, extent) {
    this.data = data;
    this.extent = extent;
    this.redraw();
  }

  redraw() {
    this.plots.forEach((plot, index) => plot.setData(this.data[index]));
  }

  width() {
    return Math.max(240, Math.floor(this.host.clientWidth));
  }

  fit() {
    for (const plot of this.plots) if (plot.width !== this.width()) plot.setSize({ width: this.width(), height: plot.height });
  }

  /** Everything as one picture. */
  png(title) {
    const [ratio, width, head] = [devicePixelRatio, this.width(), 26];
    const canvases = this.plots.map((plot) => plot.ctx.canvas);
    const legends = this.panels.map((panel) => legend(panel, width - 24));
    const heights = canvases.map((canvas, index) => head + legends[index].height + canvas.height / ratio);
    const sheet = document.createElement("canvas");
    [sheet.width, sheet.height] = [width * ratio, (head + heights.reduce((sum, height) => sum + height, 0)) * ratio];
    const ink = sheet.getContext("2d");
    ink.scale(ratio, ratio);
    ink.fillStyle = css("--card");
    ink.fillRect(0, 0, sheet.width, sheet.height);
    ink.fillStyle = css("--ink");
    ink.font = "600 14px system-ui, sans-serif";
    ink.fillText(title, 12, 18);
    ink.font = FONT;
    let top = head;
    canvases.forEach((canvas, index) => {
      ink.fillText(this.panels[index].title, 12, top + 16);
      for (const { one, left, line } of legends[index].keys) drawKey(ink, one, 12 + left, top + 16 + line * KEY.line);
      ink.drawImage(canvas, 0, top + head + legends[index].height, canvas.width / ratio, canvas.height / ratio);
      top += heights[index];
    });
    return new Promise((resolve) => sheet.toBlob(resolve, "image/png"));
  }

  /** The same in lines and text. */
  svg(title) {
    const width = this.width();
    const parts = [];
    let top = 30;
    this.plots.forEach((plot, index) => {
      const panel = this.panels[index];
      const over = { left: plot.bbox.left / devicePixelRatio, top: plot.bbox.top / devicePixelRatio };
      const size = { width: plot.bbox.width / devicePixelRatio, height: plot.bbox.height / devicePixelRatio };
      const { keys, height } = legend(panel, size.width);
      top += height;
      const group = svg("g", { transform: `translate(${over.left} ${top + over.top + 12})` });
      const words = (x, y, text, anchor = "start") => {
        const made = svg("text", { x, y, "text-anchor": anchor, fill: css("--faint"), "font-size": 11 });
        made.textContent = text;
        return made;
      };
      group.append(words(0, -8 - height, panel.title));
      for (const { one, left, line } of keys) {
        const y = -8 - height + line * KEY.line;
        group.append(sign(one, left, y - 4), words(left + KEY.sign + KEY.gap, y, one.label));
      }
      group.append(svg("rect", { width: size.width, height: size.height, fill: "none", stroke: css("--grid") }));
      const [, yAxis] = plot.axes;
      (yAxis._splits ?? []).forEach((value, place) => {
        const y = plot.valToPos(value, "y");
        if (!(yAxis._values?.[place] && y >= 0 && y <= size.height)) return;
        group.append(svg("line", { x1: 0, x2: size.width, y1: y, y2: y, stroke: css("--grid") }));
        group.append(words(-6, y + 4, yAxis._values[place], "end"));
      });
      if (index === this.plots.length - 1) {
        const [xAxis] = plot.axes;
        (xAxis._splits ?? []).forEach((value, place) => {
          group.append(words(plot.valToPos(value, "x"), size.height + 16, xAxis._values?.[place] ?? "", "middle"));
        });
      }
      for (const { at, kind } of this.marks()) {
        const x = plot.valToPos(at, "x");
        if (x >= 0 && x <= size.width + 1) {
          group.append(svg("line", { x1: x, x2: x, y1: 0, y2: size.height, stroke: css(`--mark-${kind}`), "stroke-dasharray": "4 4" }));
        }
      }
      const clip = `panel-${index}`;
      group.append(svg("clipPath", { id: clip }, svg("rect", { width: size.width, height: size.height })));
      panel.series.forEach((one, place) => {
        const points = [];
        const [steps, values] = [plot.data[0], plot.data[place + 1] ?? []];
        for (let i = 0; i < steps.length; i += 1) {
          if (values[i] === null || values[i] === undefined) continue;
          points.push([steps[i], values[i]].map((value, axis) => plot.valToPos(value, "xy"[axis]).toFixed(1)));
        }
        group.append(svg("g", { "clip-path": `url(#${clip})` }, ...strokes(one, points, size.height)));
      });
      parts.push(group);
      top += plot.height + 22;
    });
    const root = svg("svg", { width, height: top + 8, viewBox: `0 0 ${width} ${top + 8}`, "font-family": "system-ui, sans-serif" });
    const heading = svg("text", { x: 12, y: 20, "font-size": 14, "font-weight": 600, fill: css("--ink") });
    heading.textContent = title;
    root.append(svg("rect", { width: "100%", height: "100%", fill: css("--card") }), heading, ...parts);
    return new Blob([new XMLSerializer().serializeToString(root)], { type: "image/svg+xml" });
  }
}

/** As many significant digits as neighbouring ticks need to be told apart. */
function digits(ticks) {
  const known = ticks.filter((tick) => tick !== null);
  const apart = Math.abs(known[1] - known[0]);
  const largest = Math.max(...known.map(Math.abs));
  return apart > 0 && largest > 0 ? Math.min(8, Math.max(3, 2 + Math.ceil(Math.log10(largest / apart)))) : 3;
}

/** The range of an axis of shares: as `padded`, but never far beyond what a share can be. */
export function shareRange(low, high) {
  if (low === null) return [0, 1];
  const margin = 0.08 * (high - low) + 0.005;
  return [Math.max(0, low - margin), Math.min(1.002, high + margin)];
}

function padded(low, high) {
  if (low === null || high === null) return [0, 1];
  const spread = high - low || Math.abs(high) || 1;
  return [low >= 0 && low < 0.3 * high ? 0 : low - 0.05 * spread, high + 0.05 * spread];
}

/** A colour of the style sheet, #rrggbb, let through. */
function alpha(color, share) {
  return share >= 1 ? color : color + Math.round(255 * share).toString(16).padStart(2, "0");
}

/** How uPlot draws a series. */
function shape({ kind, points }, color) {
  if (kind === "bars") return { paths: uPlot.paths.bars({ size: [0.86, 60] }), points: { show: false } };
  if (kind === "dots") return { paths: () => null, points: { show: true, size: 9, fill: color } };
  const few = (plot, series) => plot.data[series].filter((value) => value !== null && value !== undefined).length < 60;
  return { points: { show: points ? few : false, size: 5 } };
}

/** A series as marks of SVG, its points given in pixels. */
function strokes({ kind, color, width = 1.75, alpha: share = 1, dash }, points, height) {
  const stroke = css(color);
  if (kind === "dots") return points.map(([cx, cy]) => svg("circle", { cx, cy, r: 4.5, fill: stroke }));
  if (kind === "bars") return points.map(([x, y]) => svg("line", { x1: x, x2: x, y1: height, y2: y, stroke, "stroke-width": 12 }));
  const line = { points: points.join(" "), fill: "none", stroke, "stroke-width": width, "stroke-opacity": share };
  return [svg("polyline", dash ? { ...line, "stroke-dasharray": dash.join(" ") } : line)];
}

/** Where the keys of a panel's series stand behind its title, from which `left` and `line` are counted; `height` is of further lines. */
function legend({ title, series }, width) {
  let [left, line] = [widest([title]) + KEY.margin, 0];
  const keys = series.filter((one) => one.label).map((one) => {
    const wide = KEY.sign + KEY.gap + widest([one.label]);
    if (left && left + wide > width) [left, line] = [0, line + 1];
    const key = { one, left, line };
    left += wide + KEY.margin;
    return key;
  });
  return { keys, height: line * KEY.line };
}

/** The line that stands for a series. */
function sign({ color, dash }, x, y) {
  const line = { x1: x + 1, x2: x + KEY.sign - 1, y1: y, y2: y, "stroke-width": 2.5, stroke: css(color) };
  return svg("line", dash ? { ...line, "stroke-dasharray": dash.join(" ") } : line);
}

function drawKey(ink, { label, color, dash = [] }, x, y) {
  ink.strokeStyle = css(color);
  ink.lineWidth = 2.5;
  ink.setLineDash(dash);
  ink.beginPath();
  ink.moveTo(x + 1, y - 4);
  ink.lineTo(x + KEY.sign - 1, y - 4);
  ink.stroke();
  ink.fillText(label, x + KEY.sign + KEY.gap, y);
}
