// A spec as a form: made of the JSON Schema of specs, over a document that somebody else keeps.

import { el } from "./api.js";

/** Which parts of a spec stand together; what is new in the schema stands in the last. */
const GROUPS = [
  ["Name and data", ["name", "dataset", "labels", "seed", "preprocessing", "augmentation"]],
  ["Network", ["network"]],
  ["Training", ["epochs", "batch_size", "last_batch", "schedule", "optimizer", "loss", "regularization"]],
  ["Ensemble", ["ensemble", "pruning"]],
  ["Where and how it runs", ["device", "devices", "priority", "max_runtime", "max_attempts", "execution", "inspection"]],
];
const OPEN_AT_FIRST = ["Name and data", "Network", "Training"];
const SCALARS = ["string", "number", "integer"];

const words = (name) => name.replaceAll("_", " ");
const pointerOf = (path) => path.map((part) => `/${String(part).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");

/**
 * `edit` is the document: `get(path)`, `has(path)`, `set(path, value)`, `remove(path)`, and `done()` once all is changed.
 * A path is a list of names and places.
 */
export class SpecForm {
  constructor(host, schema, edit) {
    Object.assign(this, { host, schema, edit });
    this.open = new Set(OPEN_AT_FIRST);
    this.number = 0;
  }

  /** Show a spec as far as it is one. */
  show(spec) {
    const named = new Set(GROUPS.flatMap(([, names]) => names));
    const others = Object.keys(this.schema.properties).filter((name) => !named.has(name));
    const ensure = () => {};
    const groups = GROUPS.map(([title, names], index) => {
      const all = (index === GROUPS.length - 1 ? [...names, ...others] : names).filter((name) => name in this.schema.properties);
      return this.details(title, title, ...this.fields(this.schema, all, spec, [], ensure));
    });
    this.host.replaceChildren(...groups);
    this.complain(this.places ?? []);
  }

  /** Mark the fields that `places`, with pointers, are about; what has no field of its own stands at its parent's. */
  complain(places) {
    this.places = places;
    for (const old of this.host.querySelectorAll(".field-mistake")) old.remove();
    for (const field of this.host.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
    for (const { pointer, detail } of places) {
      const field = this.nearest(pointer ?? "");
      if (!field) continue;
      field.querySelector("[data-at]")?.setAttribute("aria-invalid", "true");
      field.append(el("p.field-mistake", {}, detail));
      for (let part = field.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
    }
  }

  nearest(pointer) {
    for (let part = pointer; part; part = part.slice(0, part.lastIndexOf("/"))) {
      const found = this.host.querySelector(`[data-pointer="${CSS.escape(part)}"]`);
      if (found) return found;
    }
    return null;
  }

  /** What the schema says, references followed; a value that may be null is one that may be left out. */
  resolved(schema) {
    const { $ref, anyOf, ...own } = schema;
    if ($ref) return { ...this.resolved(this.schema.$defs[$ref.split("/").at(-1)]), ...own };
    if (!anyOf) return schema;
    return { ...this.resolved(anyOf.find((one) => one.type !== "null")), ...own, nullable: true };
  }

  details(key, title, ...children) {
    const made = el("details", { open: this.open.has(key) }, el("summary", {}, title), el("div.spec-fields", {}, ...children));
    made.addEventListener("toggle", () => (made.open ? this.open.add(key) : this.open.delete(key)));
    return made;
  }

  fields(schema, names, value, path, ensure) {
    const isWanted = (name) => schema.required?.includes(name) ?? false;
    const ordered = [...names.filter(isWanted), ...names.filter((name) => !isWanted(name))];
    return ordered.map((name) => this.field(name, this.resolved(schema.properties[name]), value?.[name], [...path, name], ensure));
  }

  /** A labelled field. `ensure` makes sure that what it lies in is there. */
  field(name, schema, value, path, ensure) {
    const made = this.control(schema, value, path, ensure);
    const id = `field-${++this.number}`;
    const help = schema.description ? el("p.help", { id: `${id}-help` }, schema.description) : "";
    const control = made.control;
    if (control) {
      control.id = id;
      control.dataset.at = pointerOf(path);
      if (help) control.setAttribute("aria-describedby", help.id);
    }
    const label = control ? el("label", { for: id }, words(name)) : el("span.label", {}, words(name));
    return el("div.field", { "data-pointer": pointerOf(path) }, label, control ?? "", made.button ?? "", help, made.inside ?? "");
  }

  control(schema, value, path, ensure) {
    if (schema.oneOf) return this.variant(schema, value, path, ensure);
    if (schema.enum) return this.choice(schema, value, path, ensure);
    if (schema.type === "boolean") return this.tick(schema, value, path, ensure);
    if (schema.type === "array") return this.isOfScalars(schema) ? this.list(schema, value, path, ensure) : this.items(schema, value, path, ensure);
    if (schema.properties) return this.group(schema, value, path, ensure);
    if (schema.patternProperties) return this.pairs(value, path, ensure);
    return this.line(schema, value, path, ensure);
  }

  isOfScalars({ items }) {
    return SCALARS.includes(this.resolved(items).type);
  }

  /** Change a value. The fields stay as they are: whoever goes on to the next one must find it. */
  write(path, value, ensure) {
    if (value === undefined) {
      if (this.edit.has(path)) this.edit.remove(path);
    } else {
      ensure();
      this.edit.set(path, value);
    }
    this.edit.done();
  }

  /** Change what fields there are. */
  rebuild(path, value, ensure) {
    const active = this.host.querySelector(":focus");
    // Whatever is half written in it is taken first.
    active?.blur();
    this.write(path, value, ensure);
    this.show(this.edit.get([]));
    if (active) this.host.querySelector(`[data-at="${CSS.escape(active.dataset.at)}"]`)?.focus();
  }

  /** A text or a number; empty is left out. */
  line(schema, value, path, ensure) {
    const isNumber = schema.type !== "string";
    const read = (text) => (text === "" ? undefined : isNumber && Number.isFinite(Number(text)) ? Number(text) : text);
    const control = el("input", {
      type: "text",
      inputmode: isNumber ? "decimal" : null,
      list: pointerOf(path) === "/dataset" ? "dataset-names" : null,
      autocomplete: "off",
      spellcheck: "false",
      placeholder: shown(schema.default),
      ".value": shown(value),
      onchange: ({ target }) => this.write(path, read(target.value.trim()), ensure),
    });
    return { control };
  }

  choice(schema, value, path, ensure) {
    const rest = "default" in schema ? [el("option", { value: "" }, schema.default === null ? "–" : `${schema.default} (default)`)] : [];
    const known = schema.enum.filter((one) => one !== schema.default || one === value);
    const control = el("select", { onchange: ({ target }) => this.write(path, target.value || undefined, ensure) }, ...rest, ...known.map((one) => el("option", { value: one }, one)));
    control.value = schema.enum.includes(value) ? value : "";
    return { control };
  }

  tick(schema, value, path, ensure) {
    const control = el("input", { type: "checkbox", ".checked": value ?? schema.default ?? false, onchange: ({ target }) => this.write(path, target.checked, ensure) });
    return { control };
  }

  /** Numbers or words in a line. */
  list(schema, value, path, ensure) {
    const isNumber = this.resolved(schema.items).type !== "string";
    const read = (text) => {
      const parts = text.split(/[\s,]+/).filter(Boolean);
      return parts.length ? parts.map((part) => (isNumber && Number.isFinite(Number(part)) ? Number(part) : part)) : undefined;
    };
    const control = el("input", {
      type: "text",
      autocomplete: "off",
      placeholder: shown(schema.default) || "several, with commas",
      ".value": shown(value),
      onchange: ({ target }) => this.write(path, read(target.value), ensure),
    });
    return { control };
  }

  /** `key: value` lines. */
  pairs(value, path, ensure) {
    const text = Object.entries(value ?? {}).map(([key, one]) => `${key}: ${one}`);
    const read = (lines) => {
      const found = lines.split("\n").map((line) => line.split(/:(.*)/s).map((part) => part.trim())).filter(([key]) => key);
      return found.length ? Object.fromEntries(found.map(([key, one]) => [key, one ?? ""])) : undefined;
    };
    const control = el("textarea", { rows: 2, placeholder: "key: value, a line each", ".value": text.join("\n"), onchange: ({ target }) => this.write(path, read(target.value), ensure) });
    return { control };
  }

  /** A part of the spec that is there or not. */
  group(schema, value, path, ensure) {
    const names = Object.keys(schema.properties);
    const own = () => {
      ensure();
      if (!this.edit.has(path)) this.edit.set(path, {});
    };
    const isThere = !schema.nullable || (value !== undefined && value !== null);
    const given = value ?? schema.default ?? undefined;
    const fields = isThere ? this.fields(this.defaulted(schema, value), names, value, path, own) : [];
    const inside = fields.length ? el("div.spec-fields.nested", {}, ...fields) : "";
    if (!schema.nullable) return { inside: this.details(pointerOf(path), summary(given), ...fields) };
    const control = el("input", { type: "checkbox", ".checked": isThere, onchange: ({ target }) => this.rebuild(path, target.checked ? {} : undefined, ensure) });
    return { control, inside };
  }

  /** One of several kinds, with what that kind has. */
  variant(schema, value, path, ensure) {
    const { mapping, propertyName } = schema.discriminator;
    const standard = schema.default?.[propertyName];
    const kind = value?.[propertyName] ?? (value === undefined ? standard : undefined);
    const none = schema.nullable ? [el("option", { value: "" }, "–")] : kind === undefined ? [el("option", { value: "" }, "choose …")] : [];
    const kinds = Object.keys(mapping);
    const control = el("select", { onchange: ({ target }) => this.turn(schema, target.value, path, ensure) }, ...none, ...kinds.map((one) => el("option", { value: one }, one === standard ? `${one} (default)` : one)));
    control.value = kinds.includes(kind) ? kind : "";
    if (!kinds.includes(kind)) return { control };
    const own = () => {
      ensure();
      if (!this.edit.has(path)) this.edit.set(path, { [propertyName]: kind });
    };
    return { control, inside: this.kindly(mapping[kind], schema, value, propertyName, path, own) };
  }

  kindly(reference, schema, value, propertyName, path, own) {
    const found = this.resolved({ $ref: reference });
    const names = Object.keys(found.properties).filter((name) => name !== propertyName);
    const base = value === undefined && schema.default ? this.defaulted(found, schema.default) : found;
    return names.length ? el("div.spec-fields.nested", {}, ...this.fields(base, names, value, path, own)) : "";
  }

  /** The schema with what a default of the whole says of its parts. */
  defaulted(schema, given) {
    const whole = schema.default ?? given;
    if (!whole || typeof whole !== "object") return schema;
    const known = Object.entries(schema.properties).map(([name, one]) => [name, name in whole ? { ...one, default: whole[name] } : one]);
    return { ...schema, properties: Object.fromEntries(known) };
  }

  /** Another kind: what both have stays. */
  turn(schema, kind, path, ensure) {
    if (!kind) return this.rebuild(path, undefined, ensure);
    const { mapping, propertyName } = schema.discriminator;
    const { properties } = this.resolved({ $ref: mapping[kind] });
    const kept = Object.entries(this.edit.get(path) ?? {}).filter(([name]) => name !== propertyName && name in properties);
    this.rebuild(path, { [propertyName]: kind, ...Object.fromEntries(kept) }, ensure);
  }

  /** A list of parts, to add to, to take from, and to put into another order. */
  items(schema, value, path, ensure) {
    const list = Array.isArray(value) ? value : [];
    const one = this.resolved(schema.items);
    const own = () => {
      ensure();
      if (!this.edit.has(path)) this.edit.set(path, []);
    };
    const lines = list.map((item, place) => this.item(one, item, { place, path, count: list.length }, own));
    return { inside: el("div.spec-items", {}, ...lines, this.adder(one, path, own)) };
  }

  item(schema, item, { place, path, count }, own) {
    const here = [...path, place];
    const move = (to) => {
      const list = this.edit.get(path);
      this.rebuild(path, list.toSpliced(place, 1).toSpliced(to, 0, list[place]), own);
    };
    const button = (sign, told, work, isOff) => el("button.quiet", { type: "button", "aria-label": `${told} ${words(String(path.at(-1)))} ${place + 1}`, disabled: isOff, onclick: work }, sign);
    const drop = () => this.rebuild(path, count > 1 ? this.edit.get(path).toSpliced(place, 1) : undefined, own);
    const made = this.control(schema, item, here, own);
    if (made.control) {
      made.control.dataset.at = pointerOf(here);
      made.control.setAttribute("aria-label", `${words(String(path.at(-1)))} ${place + 1}`);
    }
    const head = el("div.spec-item-head", {}, made.control ?? el("span.faint", {}, String(place + 1)), button("↑", "Move up", () => move(place - 1), place === 0), button("↓", "Move down", () => move(place + 1), place === count - 1), button("×", "Remove", drop, false));
    return el("div.spec-item", { "data-pointer": pointerOf(here) }, head, made.inside ?? "");
  }

  adder(schema, path, own) {
    const add = (kind) => {
      const next = this.edit.get(path)?.length ?? 0;
      this.rebuild([...path, next], kind ? { [schema.discriminator.propertyName]: kind } : {}, own);
    };
    const named = words(String(path.at(-1)));
    if (!schema.discriminator) return el("button.adder", { type: "button", onclick: () => add(null) }, "Add");
    const kinds = Object.keys(schema.discriminator.mapping);
    return el(
      "select.adder",
      { "aria-label": `Add to ${named}`, "data-at": `${pointerOf(path)}+`, onchange: ({ target }) => target.value && add(target.value) },
      el("option", { value: "" }, "Add …"),
      ...kinds.map((kind) => el("option", { value: kind }, words(kind))),
    );
  }
}

/** A value in a line, as it is typed. */
function shown(value) {
  if (value === undefined || value === null) return "";
  return Array.isArray(value) ? value.join(", ") : typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** The parts of a closed group that say something. */
function summary(value) {
  const said = Object.entries(value ?? {}).filter(([, one]) => one !== null && one !== false && one !== 0 && typeof one !== "object");
  return said.length ? said.map(([name, one]) => (one === true ? words(name) : `${words(name)} ${one}`)).join(", ") : "as usual";
}
