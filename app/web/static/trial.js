// Images that are drawn or dropped, and what an ensemble and each of its members say of them.

import { call, complaints, dropped, el, percent, table } from "./api.js";
import { bars, saveMenu } from "./picture.js";

const PAD = 280;
const PEN = 20;
const PAUSE_MS = 250;
const MOST_IMAGES = 32;
const TOP = 5;
const THUMB = 112;
/** Of the side, as in MNIST: digits of 20 pixels in images of 28. */
const INKED = 20 / 28;

/**
 * Offer to try what answers at `address` in `host`: a pad to draw on where images are grey, a place for files.
 *
 * `shape` is (channels, height, width); `names` are those of the members, by the ids of their snapshots.
 */
export function offerTrial(host, { address, shape, names }) {
  const answers = el("div.answers", { "aria-live": "polite" });
  const trial = new Trial(address, names, answers);
  const ways = [shape[0] === 1 && pad(shape, trial), files(trial)].filter(Boolean);
  trial.forget();
  host.replaceChildren(el("div.trial", {}, el("div.ways", {}, ...ways), answers));
}

class Trial {
  constructor(address, names, answers) {
    Object.assign(this, { address, names, answers });
    this.asking = null;
  }

  /** Ask for images, each `{blob, picture, name}`, and show what is said. */
  async ask(images) {
    this.asking?.abort();
    const own = (this.asking = new AbortController());
    const form = new FormData();
    for (const { blob, name } of images) form.append("images", blob, name);
    try {
      const found = await call(`${this.address}?members=true&top_k=${TOP}`, { method: "POST", body: form, signal: own.signal });
      this.answers.replaceChildren(...found.items.map((item) => this.answer(item, images[item.index], found.classes)));
    } catch (error) {
      if (error.name === "AbortError") return;
      const where = ({ pointer }) => images[Number(pointer?.match(/^\/images\/(\d+)$/)?.[1])]?.name;
      this.answers.replaceChildren(el("ol.mistakes", {}, ...complaints(error, where)));
    }
  }

  forget() {
    this.say("p.faint", "What is seen in it, by all together and by each member, will stand here.");
  }

  refuse(reason) {
    this.say("p.mistake", reason);
  }

  say(kind, text) {
    this.asking?.abort();
    this.answers.replaceChildren(el(kind, {}, text));
  }

  answer(item, { picture, name }, classes) {
    const lines = likely(item, classes);
    const menu = saveMenu(() => bars(lines), "prediction", () => this.numbers(item, classes));
    return el(
      "article.answer",
      { "aria-label": `${name}: ${item.label}` },
      picture,
      el(
        "div",
        {},
        el("div.card-head", {}, el("h3", {}, item.label, item.top.length ? el("span.faint", {}, ` ${lines[0].text}`) : ""), el("div.tools", {}, menu)),
        el("div.likely", {}, ...lines.map(line)),
        el("p.faint", {}, this.agreement(item)),
        this.everything(item, classes),
      ),
    );
  }

  agreement({ members, label }) {
    if (members.length < 2) return "";
    const agreed = members.filter((member) => member.label === label).length;
    return agreed === members.length ? `All ${agreed} members see it so.` : `${agreed} of ${members.length} members see it so.`;
  }

  /** `{name, label, probabilities}` of all members together, unless they voted, and of each. */
  voices({ label, probabilities, members }) {
    const together = probabilities && members.length > 1 ? [{ name: "together", label, probabilities }] : [];
    return [...together, ...members.map((member) => ({ ...member, name: this.names.get(member.snapshot_id) ?? member.snapshot_id }))];
  }

  everything(item, classes) {
    const voices = this.voices(item);
    const heads = [["Member", ""], ["Sees", ""], ...classes.map((name) => [el("span", { title: name }, name), "number"])];
    const rows = voices.map(({ name, label, probabilities }) => [name, label, ...probabilities.map(percent)]);
    const made = el("table.matrix");
    table(made, heads, rows, { caption: "What each member says" });
    made.querySelectorAll("tbody tr").forEach((line, row) => {
      [...line.querySelectorAll("td")].slice(1).forEach((cell, column) => cell.style.setProperty("--share", voices[row].probabilities[column]));
    });
    return el("details.table-alternative", {}, el("summary", {}, "As a table"), el("div.scroll", { tabindex: 0, role: "region", "aria-label": "Members, as a table" }, made));
  }

  numbers(item, classes) {
    return [["member", "sees", ...classes], this.voices(item).map(({ name, label, probabilities }) => [name, label, ...probabilities])];
  }
}

/** The likeliest classes as `bars` has them, with a mark where each of several members stands. */
function likely({ label: seen, top, members }, classes) {
  if (!top.length) return [{ name: seen, share: 1, text: "", color: "--c4" }];
  return top.map(({ label, probability }) => {
    const place = classes.indexOf(label);
    const marks = members.length > 1 ? members.map((member) => member.probabilities[place]) : [];
    return { name: label, share: probability, text: percent(probability), color: "--c4", marks };
  });
}

function line({ name, share, text, marks = [] }) {
  const bar = el("span.likelihood", { "aria-hidden": "true" }, el("i"));
  bar.firstChild.style.width = `${100 * share}%`;
  for (const mark of marks) {
    const made = el("s");
    made.style.left = `${100 * mark}%`;
    bar.append(made);
  }
  return el("div", {}, el("span.label", { title: name }, name), bar, el("span.number", {}, text));
}

/** A pad to draw a digit on, made into what the network was trained on. */
function pad([, height, width], trial) {
  const canvas = el("canvas.pad", { width: PAD, height: PAD, role: "img", "aria-label": "Draw here with the mouse, a finger or a pen" });
  const ink = canvas.getContext("2d", { willReadFrequently: true });
  Object.assign(ink, { lineWidth: PEN, lineCap: "round", lineJoin: "round", strokeStyle: "#fff" });
  const seen = el("canvas.seen", { width, height, role: "img", "aria-label": "The drawing as the network sees it" });
  let last = null;
  let timer = 0;
  let drawing = 0;

  const clear = () => {
    clearTimeout(timer);
    drawing += 1;
    ink.fillStyle = "#000";
    ink.fillRect(0, 0, PAD, PAD);
    seen.getContext("2d").clearRect(0, 0, width, height);
    trial.forget();
  };
  const recognise = () => {
    const image = centred(canvas, width, height);
    if (!image) return;
    seen.getContext("2d").drawImage(image, 0, 0);
    const drawn = drawing;
    image.toBlob((blob) => drawn === drawing && trial.ask([{ blob, name: "drawing.png", picture: "" }]), "image/png");
  };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * PAD) / box.width, ((event.clientY - box.top) * PAD) / box.height];
  };
  const draw = (event) => {
    const to = place(event);
    ink.beginPath();
    ink.moveTo(...(last ?? to));
    ink.lineTo(...to);
    ink.stroke();
    last = to;
  };
  canvas.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    clearTimeout(timer);
    draw(event);
  });
  canvas.addEventListener("pointermove", (event) => last && draw(event));
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
      if (!last) return;
      last = null;
      timer = setTimeout(recognise, PAUSE_MS);
    });
  }
  clear();
  return el(
    "div.way",
    {},
    el("h3", {}, "Draw"),
    el("div.pads", {}, canvas, el("div", {}, seen, el("p.faint", {}, "as the network sees it: scaled and centred as MNIST's digits are"), el("button", { type: "button", onclick: clear }, "Clear"))),
  );
}

/** The ink of `canvas`, fit into a box as MNIST has it and its centre of mass in the middle; null without ink. */
function centred(canvas, width, height) {
  const pixels = canvas.getContext("2d").getImageData(0, 0, PAD, PAD).data;
  const box = { left: PAD, top: PAD, right: -1, bottom: -1 };
  let [mass, massX, massY] = [0, 0, 0];
  for (let y = 0; y < PAD; y += 1) {
    for (let x = 0; x < PAD; x += 1) {
      const value = pixels[4 * (y * PAD + x)];
      if (!value) continue;
      mass += value;
      massX += value * x;
      massY += value * y;
      box.left = Math.min(box.left, x);
      box.right = Math.max(box.right, x + 1);
      box.top = Math.min(box.top, y);
      box.bottom = Math.max(box.bottom, y + 1);
    }
  }
  if (!mass) return null;
  const [wide, high] = [box.right - box.left, box.bottom - box.top];
  const scale = (INKED * Math.min(width, height)) / Math.max(wide, high);
  const made = el("canvas", { width, height });
  const ink = made.getContext("2d");
  ink.fillStyle = "#000";
  ink.fillRect(0, 0, width, height);
  ink.imageSmoothingQuality = "high";
  const left = width / 2 - scale * (massX / mass + 0.5 - box.left);
  const top = height / 2 - scale * (massY / mass + 0.5 - box.top);
  ink.drawImage(canvas, box.left, box.top, wide, high, left, top, scale * wide, scale * high);
  return made;
}

/** Image files, chosen or dropped. */
function files(trial) {
  const told = el("p.faint", {}, `PNG, JPEG and others, up to ${MOST_IMAGES} at once; they are resized and cropped to what the network takes.`);
  const input = el("input", { type: "file", accept: "image/*", multiple: true, id: "images" });
  const ask = async (list) => {
    const chosen = [...list];
    if (chosen.length > MOST_IMAGES) return trial.refuse(`Those are ${chosen.length} images; give ${MOST_IMAGES} at once at most, or have a whole data set predicted.`);
    if (chosen.length) await trial.ask(await Promise.all(chosen.map(async (file) => ({ blob: file, name: file.name, picture: await thumb(file) }))));
  };
  input.addEventListener("change", () => ask(input.files));
  const place = el("div.drop", {}, el("label", { for: "images" }, "Drop images here, or choose some"), input, told);
  dropped(place, ask);
  return el("div.way", {}, el("h3", {}, "Images"), place);
}

async function thumb(file) {
  const canvas = el("canvas.thumb", { width: THUMB, height: THUMB, role: "img", "aria-label": file.name });
  try {
    const image = await createImageBitmap(file);
    const scale = THUMB / Math.min(image.width, image.height);
    const [wide, high] = [image.width * scale, image.height * scale];
    const ink = canvas.getContext("2d");
    ink.imageSmoothingEnabled = scale < 1;
    ink.drawImage(image, (THUMB - wide) / 2, (THUMB - high) / 2, wide, high);
  } catch {
    // The server tells why it cannot be read.
  }
  return canvas;
}
