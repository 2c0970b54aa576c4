// Pictures of cells and bars: what a canvas or a table shows of them, drawn again to be saved.

import { csv, el, save, svg } from "./api.js";

const HEAD = 34;
const MARGIN = 12;
const LETTER = 7;
const BAR = { width: 240, height: 12, line: 22 };
const FONT = "system-ui, sans-serif";

export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** How wide the longest of some words may be; letters are not measured. */
export const widest = (words) => LETTER * Math.max(0, ...words.map((word) => word.length));

const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

/** Of two colours #rrggbb a scale: the colour, as [red, green, blue], at a share of the way from one to the other. */
export function scale(from, to) {
  const [start, end] = [channels(from), channels(to)];
  return (share) => start.map((channel, index) => Math.round(channel + share * (end[index] - channel)));
}

/** Cells and words at their places, which are counted in pixels from below the title. Saved as `Clock` is. */
export class Picture {
  constructor(width, height) {
    Object.assign(this, { width: width + 2 * MARGIN, height: height + HEAD + MARGIN, cells: [], words: [] });
  }

  cell(left, top, width, height, [red, green, blue]) {
    this.cells.push({ left: left + MARGIN, top: top + HEAD, width, height, color: `rgb(${red} ${green} ${blue})` });
  }

  /** `anchor` is start, middle or end, of which `left` is the place; `top` is of the line the letters stand on. */
  word(left, top, text, anchor = "start", color = css("--faint")) {
    this.words.push({ left: left + MARGIN, top: top + HEAD, text: String(text), anchor, color, size: 11, weight: 400 });
  }

  titled(title) {
    return [{ left: MARGIN, top: 20, text: title, anchor: "start", color: css("--ink"), size: 14, weight: 600 }, ...this.words];
  }

  png(title) {
    const ratio = Math.max(2, devicePixelRatio);
    const sheet = document.createElement("canvas");
    [sheet.width, sheet.height] = [this.width * ratio, this.height * ratio];
    const ink = sheet.getContext("2d");
    ink.scale(ratio, ratio);
    ink.fillStyle = css("--card");
    ink.fillRect(0, 0, this.width, this.height);
    for (const { left, top, width, height, color } of this.cells) {
      ink.fillStyle = color;
      ink.fillRect(left, top, width, height);
    }
    for (const { left, top, text, anchor, color, size, weight } of this.titled(title)) {
      ink.fillStyle = color;
      ink.font = `${weight} ${size}px ${FONT}`;
      ink.textAlign = anchor === "middle" ? "center" : anchor;
      ink.fillText(text, left, top);
    }
    return new Promise((resolve) => sheet.toBlob(resolve, "image/png"));
  }

  svg(title) {
    const cells = this.cells.map(({ left, top, width, height, color }) => svg("rect", { x: left, y: top, width, height, fill: color }));
    const words = this.titled(title).map(({ left, top, text, anchor, color, size, weight }) => {
      const made = svg("text", { x: left, y: top, "text-anchor": anchor, fill: color, "font-size": size, "font-weight": weight });
      made.textContent = text;
      return made;
    });
    const root = svg(
      "svg",
      { width: this.width, height: this.height, viewBox: `0 0 ${this.width} ${this.height}`, "font-family": FONT },
      svg("rect", { width: "100%", height: "100%", fill: css("--card") }),
      svg("g", { "shape-rendering": "crispEdges" }, ...cells),
      ...words,
    );
    return new Blob([new XMLSerializer().serializeToString(root)], { type: "image/svg+xml" });
  }
}

/**
 * A bar a line, between its name and its figure.
 *
 * `lines`: `{name, share, text, color, marks}`; a share is of the longest that a bar can be, `color` a custom property,
 * `marks` are shares that others have.
 */
export function bars(lines) {
  const left = widest(lines.map(({ name }) => name)) + 10;
  const right = left + BAR.width + 10;
  const made = new Picture(right + widest(lines.map(({ text }) => text)), lines.length * BAR.line);
  lines.forEach(({ name, share, text, color, marks = [] }, line) => {
    const top = line * BAR.line;
    const base = top + BAR.height - 2;
    made.word(0, base, name, "start", css("--ink"));
    made.cell(left, top, BAR.width * share, BAR.height, channels(css(color)));
    for (const mark of marks) made.cell(left + BAR.width * mark - 1, top - 2, 2, BAR.height + 4, channels(css("--ink")));
    made.word(right, base, text);
  });
  return made;
}

/** A menu that saves a `Clock` or `Picture`, and its numbers as `table()` gives them: `[heads, rows]`. */
export function saveMenu(picture, name, table) {
  const button = (text, work) => el("button", { type: "button", onclick: work }, text);
  return el(
    "details.menu",
    {},
    el("summary", {}, "Save"),
    el(
      "div",
      {},
      button("PNG", async () => save(await picture().png(name), `${name}.png`)),
      button("SVG", () => save(picture().svg(name), `${name}.svg`)),
      button("CSV", () => save(csv(...table()), `${name}.csv`)),
    ),
  );
}
