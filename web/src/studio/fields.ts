// Fields of a recipe as inputs, made from its JSON schema.
import { h } from "../ui/elements.ts";

export type Value = string | number | boolean | null | (string | number)[];

export interface Schema {
  type?: string;
  enum?: string[];
  const?: string;
  anyOf?: Schema[];
  items?: Schema;
  description?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  pattern?: string;
  $ref?: string;
  properties?: Record<string, Schema>;
  $defs?: Record<string, Schema>;
}

export interface FieldInput {
  element: HTMLElement;
  /** Shows a value without telling of it. */
  show(value: Value | undefined): void;
  /** Shows what is wrong; nothing with an empty text. */
  complain(words: string): void;
  /** Whether the field differs from the recipe, and whether it is of use. */
  mark(changed: boolean, used: boolean): void;
  focus(): void;
}

export interface Section {
  about: string;
  fields: Map<string, Schema>;
}

/** Each section of a recipe: what it is about, and the schemas of its fields by `section.name`. */
export function sections(schema: Schema): Map<string, Section> {
  const found = new Map<string, Section>();
  for (const [section, entry] of Object.entries(schema.properties ?? {})) {
    const inner = schema.$defs?.[(entry.$ref ?? "").replace("#/$defs/", "")];
    if (!inner?.properties || section === "about") continue;
    const fields = new Map(Object.entries(inner.properties).map(([name, field]) => [`${section}.${name}`, field]));
    found.set(section, { about: plainText(inner.description), fields });
  }
  return found;
}

const plainText = (text: string | undefined): string => (text ?? "").replaceAll("``", "").replaceAll(/\s+/g, " ").trim();
const named = (field: string): string => (field.split(".")[1] ?? field).replaceAll("_", " ");

function kinds(schema: Schema): Schema[] {
  return (schema.anyOf ?? [schema]).filter((one) => one.type !== "null");
}

/**
 * An input for a field.
 *
 * @param field `section.name`
 * @param choices names with a line of help each, where the field is chosen from a table
 * @param changed told of a new value; `null` takes the field out of the recipe
 */
export function fieldInput(field: string, schema: Schema, choices: Record<string, string> | undefined, changed: (value: Value) => void): FieldInput {
  const id = `field-${field.replace(".", "-")}`;
  const error = h("p", { class: "error-text", id: `error-${field}`, role: "alert" });
  const help = h("p", { class: "help muted small", id: `help-${id}` }, plainText(schema.description));
  const [first] = kinds(schema);
  const control = choices
    ? select(id, Object.keys(choices), changed, choices, help)
    : kinds(schema).length === 1 && first?.enum
      ? select(id, first.enum, changed)
      : first?.type === "boolean"
        ? check(id, changed)
        : first?.type === "array" && first.items?.enum
          ? checks(id, first.items.enum, changed)
          : text(id, schema, changed);
  control.input.setAttribute("aria-describedby", `help-${id} error-${field}`);
  const element = h("div", { class: "field recipe-field", "data-field": field }, h("label", { for: id }, named(field)), control.element, help, error);
  return {
    element,
    show: control.show,
    complain: (words) => {
      error.textContent = words;
      if (words) control.input.setAttribute("aria-invalid", "true");
      else control.input.removeAttribute("aria-invalid");
    },
    mark: (isChanged, used) => {
      element.classList.toggle("changed", isChanged);
      element.hidden = !used;
    },
    focus: () => control.input.focus(),
  };
}

interface Control {
  element: HTMLElement;
  input: HTMLElement;
  show: (value: Value | undefined) => void;
}

function select(id: string, names: string[], changed: (value: Value) => void, choices?: Record<string, string>, help?: HTMLElement): Control {
  const own = help?.textContent ?? "";
  const say = (): void => {
    if (choices && help) help.textContent = choices[input.value] ? `${choices[input.value]}.` : own;
  };
  const input = h("select", { class: "select", id, onchange: () => {
    say();
    changed(input.value);
  } }, ...names.map((name) => h("option", { value: name }, name)));
  return { element: input, input, show: (value) => {
    if (typeof value === "string") input.value = value;
    say();
  } };
}

function check(id: string, changed: (value: Value) => void): Control {
  const input = h("input", { type: "checkbox", id, onchange: () => changed(input.checked) });
  return { element: h("div", { class: "check" }, input), input, show: (value) => void (input.checked = value === true) };
}

function checks(id: string, names: string[], changed: (value: Value) => void): Control {
  const boxes = names.map((name) => h("input", { type: "checkbox", value: name, onchange: () => changed(boxes.filter((box) => box.checked).map((box) => box.value)) }));
  const input = h("div", { class: "checks", id, role: "group", tabindex: "-1" }, ...boxes.map((box) => h("label", {}, box, ` ${box.value}`)));
  return { element: input, input, show: (value) => {
    for (const box of boxes) box.checked = Array.isArray(value) && value.includes(box.value);
  } };
}

/** What a person wrote, as the recipe would have it: numbers as numbers, lists by commas, nothing as nothing. */
export function read(written: string, schema: Schema): Value {
  const given = written.trim();
  if (given === "") return null;
  const found = kinds(schema);
  const list = found.find((one) => one.type === "array");
  if (list) {
    const parts = given.split(",").map((part) => part.trim()).filter(Boolean);
    return list.items?.type === "integer" ? parts.map((part) => (Number.isFinite(Number(part)) ? Number(part) : part)) : parts;
  }
  const plain = given.replaceAll(/(?<=\d),(?=\d{3}\b)/g, "");
  const numeric = found.some((one) => one.type === "integer" || one.type === "number" || (one.enum ?? []).some((name) => typeof name === "number"));
  return numeric && Number.isFinite(Number(plain)) ? Number(plain) : given;
}

function text(id: string, schema: Schema, changed: (value: Value) => void): Control {
  const found = kinds(schema);
  const numeric = found.some((one) => one.type === "integer" || one.type === "number");
  const auto = found.some((one) => one.const === "auto");
  const optional = (schema.anyOf ?? []).some((one) => one.type === "null");
  const input = h("input", { class: "input numeric", id, autocomplete: "off", spellcheck: false, inputmode: numeric && !auto ? "decimal" : "text", placeholder: optional ? "by itself" : "", oninput: () => changed(read(input.value, schema)) });
  return { element: input, input, show: (value) => {
    const words = value === undefined || value === null ? "" : Array.isArray(value) ? value.join(", ") : String(value);
    if (document.activeElement !== input) input.value = words;
  } };
}
