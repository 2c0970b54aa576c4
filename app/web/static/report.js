// What scoring has found, a card for each kind of figure. `report` is `Report` in the API's schema.

import { csv, el, figure, percent, points, save, short, table, whole } from "./api.js";
import { Clock } from "./charts.js";
import { Picture, bars, css, saveMenu, scale, widest } from "./picture.js";

const MOST_IN_A_MATRIX = 30;
const MOST_PAIRS = 40;

const share = (value, digits) => `${figure(100 * value, digits)}%`;

function card(title, told, ...parts) {
  return el("section.card", { "aria-label": title }, el("div.card-head", {}, el("h2", {}, title), told ? el("span.faint", {}, told) : ""), ...parts);
}

/** A card with `menu` at its head. */
function withSave(made, menu) {
  made.querySelector(".card-head").append(el("div.tools", {}, menu));
  return made;
}

function scrolled(title, inside) {
  return el("div.scroll", { tabindex: 0, role: "region", "aria-label": `${title}, as a table` }, inside);
}

function asTable(title, heads, rows) {
  const made = el("table");
  table(made, heads, rows, { caption: title });
  return el("details.table-alternative", {}, el("summary", {}, "As a table"), scrolled(title, made));
}

/** A chart in a card, with its numbers as a table and as files. */
function chart(title, told, name, options, heads, rows, show) {
  const host = el("div.charts.small");
  let clock = null;
  const made = card(title, told, host, asTable(title, heads.map((head) => [head, "number"]), rows.map((row) => row.map(show))));
  withSave(made, saveMenu(() => clock, name, () => [heads, rows]));
  // A chart is as wide as its place, which it must be in for that.
  queueMicrotask(() => {
    clock = new Clock(host, { name, ...options });
    clock.set(options.data, options.extent);
  });
  return made;
}

/** Error by the number of members. */
function growth({ growth: found, members }) {
  const sizes = found.map((one) => one.members);
  const together = found.map((one) => one.error);
  const alone = found.map((one) => members[one.added].error);
  const series = [
    { label: "together", color: "--c4", width: 2, points: true },
    { label: "the added one alone", color: "--c2", width: 1.5, dash: [5, 4], points: true },
  ];
  const options = {
    x: String,
    panels: [{ title: "Error", height: 180, format: share, series }],
    data: [[sizes, together, alone]],
    extent: [1, Math.max(2, sizes.at(-1))],
  };
  const rows = sizes.map((size, index) => [size, together[index], alone[index]]);
  return chart("Error by number of members", "", "members", options, ["Members", "Error together", "The added one alone"], rows, (value, column) => (column ? percent(value) : String(value)));
}

/** How true the probabilities are: a bar for each bin, beside what it would be were they true. */
function reliability({ calibration }) {
  const { bins } = calibration;
  const middles = bins.map((bin) => (bin.lower + bin.upper) / 2);
  const total = bins.reduce((sum, bin) => sum + bin.count, 0);
  const panels = [
    {
      title: "Accuracy", height: 190, format: share, range: () => [0, 1.02],
      series: [
        { label: "accuracy", color: "--c1", kind: "bars", fill: true },
        { label: "as sure as it says", color: "--c2", dash: [5, 4], width: 2, points: true },
      ],
    },
    { title: "Images", height: 80, format: share, series: [{ label: "share of all", color: "--c3", kind: "bars", fill: true }] },
  ];
  const data = [
    [middles, bins.map((bin) => bin.accuracy), bins.map((bin) => bin.confidence)],
    [middles, bins.map((bin) => bin.count / total)],
  ];
  const options = { x: (value) => share(value, 3), whole: false, panels, data, extent: [0, 1] };
  const rows = bins.map((bin) => [bin.lower, bin.upper, bin.count, bin.confidence, bin.accuracy]);
  const show = (value, column) => (column === 2 ? whole(value) : percent(value));
  const told = `expected calibration error ${percent(calibration.expected_calibration_error)}`;
  return chart("Calibration", told, "calibration", options, ["Above", "Up to", "Images", "Confidence", "Accuracy"], rows, show);
}

/** A table whose cells are shaded; `shadeOf(row, column)` is from 0 to 1. */
function matrix(title, names, cell, shadeOf, corner) {
  const heads = [[corner, ""], ...names.map((name) => [el("span", { title: name }, name), "number"])];
  const rows = names.map((name, row) => [name, ...names.map((_, column) => cell(row, column))]);
  const made = el("table.matrix");
  table(made, heads, rows, { caption: title });
  made.querySelectorAll("tbody tr").forEach((line, row) => {
    line.querySelectorAll("td").forEach((place, column) => place.style.setProperty("--share", shadeOf(row, column)));
  });
  return scrolled(title, made);
}

/** The same as a picture to save. */
function matrixPicture(names, cell, shadeOf, corner) {
  const texts = names.map((_, row) => names.map((_, column) => cell(row, column)));
  const wide = widest(["000", ...texts.flat()]) + 14;
  const left = widest([corner, ...names]) + 10;
  const [high, half] = [24, 16];
  const made = new Picture(left + names.length * wide, (names.length + 1) * high);
  const shade = scale(css("--card"), css("--heat-high"));
  const most = parseFloat(css("--heat-most")) / 100;
  made.word(0, half, corner);
  names.forEach((name, row) => {
    const [across, down] = [left + row * wide, (row + 1) * high];
    made.word(across + wide / 2, half, fitted(name, wide), "middle");
    made.word(0, down + half, name);
    texts[row].forEach((text, column) => {
      const place = left + column * wide;
      made.cell(place, down, wide - 1, high - 1, shade(shadeOf(row, column) * most));
      made.word(place + wide / 2, down + half, text, "middle", css("--ink"));
    });
  });
  return made;
}

const fitted = (name, width) => (widest([name]) <= width ? name : `${name.slice(0, Math.max(1, Math.floor(width / widest(["0"])) - 1))}…`);

/** Which classes are taken for which. */
function confusion({ confusion: counts, classes }) {
  const names = classes.map((one) => one.name);
  const pairs = counts
    .flatMap((row, truth) => row.map((count, seen) => ({ truth, seen, count })))
    .filter(({ truth, seen, count }) => truth !== seen && count > 0)
    .sort((a, b) => b.count - a.count);
  const most = pairs[0]?.count ?? 1;
  const frequent = el("table");
  const lines = pairs.slice(0, MOST_PAIRS).map(({ truth, seen, count }) => [names[truth], names[seen], whole(count), percent(count / classes[truth].count)]);
  table(frequent, [["It is", ""], ["Seen as", ""], ["Images", "number"], ["Of the class", "number"]], lines, { caption: "Most often confused" });
  const isSmall = names.length <= MOST_IN_A_MATRIX;
  const drawn = [names, (row, column) => whole(counts[row][column]), (row, column) => (row === column ? 0 : Math.sqrt(counts[row][column] / most)), "It is ↓ seen as →"];
  const parts = isSmall ? [matrix("Confusion", ...drawn)] : [];
  const list = scrolled("Most often confused", pairs.length ? frequent : el("p.faint", {}, "Nothing is confused."));
  parts.push(isSmall ? el("details.table-alternative", {}, el("summary", {}, "Most often confused"), list) : list);
  const made = card("Confusion", isSmall ? "darker where more images go wrong" : "the pairs that are confused most often", ...parts);
  const numbers = () => [["it is / seen as", ...names], counts.map((row, index) => [names[index], ...row])];
  const onlyNumbers = () => el("button", { type: "button", onclick: () => save(csv(...numbers()), "confusion.csv") }, "CSV");
  return withSave(made, isSmall ? saveMenu(() => matrixPicture(...drawn), "confusion", numbers) : onlyNumbers());
}

/** How well each class is told from the others. */
function classes({ classes: found }) {
  const rows = found.map((one) => [one.name, one.count, one.precision, one.recall, one.f1]);
  const shown = rows.map(([name, count, ...shares]) => [name, whole(count), bar(shares[1]), ...shares.map(percent)]);
  const made = el("table");
  table(made, [["Class", ""], ["Images", "number"], [el("span.unseen", {}, "Recall as a bar"), "bar"], ["Precision", "number"], ["Recall", "number"], ["F1", "number"]], shown, { caption: "Classes" });
  const numbers = () => [["class", "images", "precision", "recall", "f1"], rows];
  const picture = () => bars(rows.map(([name, , , recall]) => ({ name, share: recall ?? 0, text: percent(recall), color: "--c1" })));
  return withSave(card("Classes", "", scrolled("Classes", made)), saveMenu(picture, "recall", numbers));
}

function bar(value) {
  const made = el("span.error-bar.share");
  made.style.width = `${100 * (value ?? 0)}%`;
  return made;
}

/** How differently the members see the images. */
function diversity({ diversity: found }, names) {
  const chosen = found.chosen.map((place) => names[place]);
  const most = Math.max(...found.disagreement.flat(), 1e-9);
  const cell = (row, column) => (row === column ? "–" : share(found.disagreement[row][column], 2));
  const drawn = [chosen, cell, (row, column) => found.disagreement[row][column] / most, "Member"];
  const told = `${percent(found.mean_disagreement)} on average, Q ${figure(found.mean_q_statistic, 2)}`;
  const made = card("Disagreement", told, matrix("Disagreement", ...drawn));
  const numbers = () => [["member", ...chosen], found.disagreement.map((row, index) => [chosen[index], ...row])];
  return withSave(made, saveMenu(() => matrixPicture(...drawn), "disagreement", numbers));
}

/** All cards that there is something for. */
export function all(report, names) {
  return [
    report.growth.length > 1 && growth(report),
    report.calibration && reliability(report),
    confusion(report),
    classes(report),
    report.diversity.chosen.length > 1 && diversity(report, names),
  ].filter(Boolean);
}

/** The figures of the whole, in a line. */
export function facts(report) {
  const { temperature, selection } = report;
  const top = report.top_k.filter((one) => one.k > 1).map((one) => [`Among the ${one.k} likeliest`, percent(one.accuracy)]);
  return [
    ["Accuracy", percent(report.accuracy)],
    ["Error", percent(report.error)],
    ["Negative log-likelihood", figure(report.negative_log_likelihood)],
    ["Brier score", figure(report.brier)],
    ["Calibration error", percent(report.calibration?.expected_calibration_error)],
    ...top,
    temperature && ["Temperature", figure(temperature.value, 3)],
    selection && ["Chosen by", `${selection.by.replaceAll("_", " ")} on ${selection.on}`],
    ["Scored on", `${short(report.images)} images of ${report.split}`],
  ].filter(Boolean);
}

/** What the ensemble gains over its best member, in words. */
export function gain({ gain: found, members }) {
  const { estimate, low, high } = found.error;
  const number = (value) => figure(100 * value, 2).replace("-", "−");
  const sure = low > 0 ? "it is better" : high < 0 ? "it is worse" : "no clear difference";
  return {
    isGood: low > 0,
    text: `${points(Math.abs(estimate))} ${estimate < 0 ? "more" : "less"} error than the best member alone (${percent(members[found.best_member].error)}); gain ${number(low)} to ${number(high)} with ${Math.round(100 * found.confidence)}% confidence: ${sure}.`,
  };
}
