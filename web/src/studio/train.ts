// A training begun from a form: a collection, a recipe, a few fields, and all others for whoever wants them.
import { fill, h, icon } from "../ui/elements.ts";
import { count, duration } from "../ui/words.ts";
import { StudioError, type Api, type Job, type Problem } from "./api.ts";
import { fieldInput, sections, type FieldInput, type Schema, type Value } from "./fields.ts";
import { Collection } from "./folders.ts";
import type { Place, View } from "./index.ts";
import { progressBar } from "./runs.ts";

interface Described {
  summary: string;
  source: string;
  cost: string;
  values: Record<string, Value>;
  unused: string[];
}

interface Shipped {
  usual: string;
  recipes: Record<string, Described>;
  schema: Schema;
  choices: Record<string, Record<string, string>>;
}

interface Estimate {
  words: string;
  seconds: number;
  images_per_second: number;
  peak_memory_bytes: number;
  disk_bytes: number;
  images: number | null;
}

const LENGTHS = ["training.epochs", "training.images", "training.minutes"];
const MAIN = ["image.width", "image.height", "training.batch_size", "image.flip", "training.seed"];
const PATIENCE_MS = 250;
const COSTS: Record<string, string> = { seconds: "seconds", minutes: "minutes", hours: "hours", days: "days" };

/** The page that begins a training. */
export function trainView(api: Api, place: Place): View {
  place.title("New training");
  const element = h("div", { class: "view" });
  const ending = new AbortController();
  let form: Form | null = null;
  api.get<Shipped>("recipes", ending.signal).then(
    (shipped) => {
      form = new Form(api, place, shipped, ending.signal);
      fill(element, form.element);
    },
    (error: Error) => void (ending.signal.aborted || fill(element, h("p", { class: "notice bad", role: "alert" }, error.message))),
  );
  return {
    element,
    destroy: () => {
      ending.abort();
      form?.destroy();
    },
  };
}

class Form {
  readonly element: HTMLElement;
  readonly #settings = new Map<string, Value>();
  readonly #fields = new Map<string, FieldInput>();
  readonly #errors = new Map<string, HTMLElement>();
  readonly #collection: Collection;
  readonly #classes = h("input", { type: "checkbox", id: "classes", onchange: () => this.#changed() });
  readonly #name = h("input", { class: "input", id: "run-name", autocomplete: "off", spellcheck: false, placeholder: "the collection's", "aria-describedby": "error-name", oninput: () => this.#changed() });
  readonly #length = h("input", { class: "input numeric", id: "length", inputmode: "decimal", "aria-describedby": "error-length", oninput: () => this.#setLength() });
  readonly #unit = h("select", { class: "select", "aria-label": "Counted in", onchange: () => this.#setLength() }, h("option", { value: "training.epochs" }, "epochs"), h("option", { value: "training.images" }, "images"), h("option", { value: "training.minutes" }, "minutes"));
  readonly #summary = h("p", { class: "muted small" });
  readonly #estimate = h("div", { class: "estimate", role: "status" });
  readonly #trouble = h("div", { role: "alert" });
  readonly #start = h("button", { type: "submit", class: "button primary" }, icon("play"), "Start training");
  readonly #measure = h("button", { type: "button", class: "button", onclick: () => void this.#measured() }, "Estimate time and memory");
  readonly #parts = new Map<string, HTMLDetailsElement>();
  #recipe: string;
  #described: Described;
  #timer = 0;
  #asked = 0;
  #job: Job<Estimate> | null = null;

  constructor(
    private readonly api: Api,
    private readonly place: Place,
    private readonly shipped: Shipped,
    private readonly signal: AbortSignal,
  ) {
    this.#recipe = place.query.get("recipe") ?? shipped.usual;
    const usual = shipped.recipes[this.#recipe] ?? shipped.recipes[shipped.usual];
    if (!usual) throw new StudioError("This Limner has no recipes.");
    this.#described = usual;
    this.#collection = new Collection(api, place.query.get("data") ?? "", () => this.#changed());
    const known = sections(shipped.schema);
    const main = h("div", { class: "main-fields" });
    for (const [section, { about, fields }] of known) {
      const inside = h("div", { class: "field-grid" });
      for (const [field, schema] of fields) {
        if (LENGTHS.includes(field)) continue;
        const input = fieldInput(field, schema, shipped.choices[field], (value) => this.#set(field, value));
        this.#fields.set(field, input);
        if (!MAIN.includes(field)) inside.append(input.element);
      }
      const part = h("details", { class: "part card", "data-section": section }, h("summary", {}, h("strong", {}, section.replaceAll("_", " ")), h("span", { class: "muted small" }, about)), inside);
      this.#parts.set(section, part);
    }
    for (const field of MAIN) {
      const input = this.#fields.get(field);
      if (input) main.append(input.element);
    }
    this.element = this.#layout(main);
    this.#takeRecipe(this.#recipe);
  }

  destroy(): void {
    clearTimeout(this.#timer);
    if (this.#job) void this.api.send("DELETE", `jobs/${this.#job.id}`).catch(() => undefined);
  }

  #layout(main: HTMLElement): HTMLElement {
    const names = Object.keys(this.shipped.recipes);
    const offered = names.includes(this.#recipe) ? names : [this.#recipe, ...names];
    const order = [...offered].sort((a, b) => Number(b === this.shipped.usual) - Number(a === this.shipped.usual));
    const recipes = order.map((name) => {
      const about = this.shipped.recipes[name];
      const radio = h("input", { type: "radio", name: "recipe", value: name, checked: name === this.#recipe, onchange: () => this.#takeRecipe(name) });
      const cost = about?.cost ? h("span", { class: "chip" }, COSTS[about.cost] ?? about.cost) : null;
      return h("label", { class: "recipe-choice" }, radio, h("span", {}, h("strong", {}, name.replace(/^run:/, "as in ")), cost, h("span", { class: "muted small" }, about?.summary ?? "the recipe of that run, resolved")));
    });
    const length = h("div", { class: "field recipe-field" }, h("label", { for: "length" }, "length"), h("div", { class: "pair" }, this.#length, this.#unit), h("p", { class: "help muted small" }, "When the training ends. It can be resumed for longer."), this.#error("length"));
    const classes = h("div", { class: "field recipe-field" }, h("label", { for: "classes" }, "classes"), h("div", { class: "check" }, this.#classes), h("p", { class: "help muted small" }, "Learn sub-folders or labels as classes, to ask for pictures by name."));
    const name = h("div", { class: "field recipe-field" }, h("label", { for: "run-name" }, "name of the run"), this.#name, h("p", { class: "help muted small" }, "What its directory is called."), this.#error("name"));
    main.children[1]?.after(length);
    main.append(classes, name);
    return h(
      "form",
      { class: "train-form", novalidate: true, onsubmit: (event: Event) => {
        event.preventDefault();
        void this.#begin();
      } },
      h("div", { class: "view-head" }, h("h1", {}, "New training")),
      h("div", { class: "train-columns" },
        h("div", { class: "train-main" },
          h("section", { class: "card" }, h("h2", {}, "1. Pictures"), this.#collection.element, this.#error("data")),
          h("section", { class: "card" }, h("h2", {}, "2. Recipe"), h("div", { class: "recipe-choices", role: "radiogroup", "aria-label": "Recipe" }, ...recipes), this.#error("recipe")),
          h("section", { class: "card" }, h("h2", {}, "3. The everyday fields"), main),
          h("section", { class: "all-fields" }, h("h2", {}, "Everything else"), h("p", { class: "muted small" }, "Each field as the recipe has it. What you change is marked."), ...this.#parts.values()),
        ),
        h("aside", { class: "train-side card" }, h("h2", {}, "Ready?"), this.#summary, this.#trouble, h("div", { class: "buttons" }, this.#start, this.#measure), this.#estimate,
          h("p", { class: "muted small" }, "It runs in a process of its own, and goes on when this page or the studio is closed.")),
      ),
    );
  }

  #error(field: string): HTMLElement {
    const element = h("p", { class: "error-text", id: `error-${field}`, role: "alert" });
    this.#errors.set(field, element);
    return element;
  }

  #takeRecipe(name: string): void {
    this.#recipe = name;
    this.#settings.clear();
    const described = this.shipped.recipes[name];
    if (described) this.#show(described);
    this.#changed(true);
  }

  /** Shows what the recipe comes to with what was changed of it. */
  #show(described: Described): void {
    this.#described = described;
    const unused = new Set(described.unused);
    for (const [field, input] of this.#fields) {
      input.show(this.#settings.has(field) ? (this.#settings.get(field) ?? undefined) : described.values[field]);
      input.mark(this.#settings.has(field), !unused.has(field));
    }
    for (const [section, part] of this.#parts) {
      part.hidden = ![...part.querySelectorAll<HTMLElement>(".recipe-field")].some((field) => !field.hidden);
      part.classList.toggle("changed", [...this.#settings.keys()].some((field) => field.startsWith(`${section}.`) && !MAIN.includes(field)));
    }
    const unit = LENGTHS.find((one) => described.values[one] !== undefined);
    if (unit && document.activeElement !== this.#length) {
      this.#unit.value = unit;
      this.#length.value = String(described.values[unit]);
    }
  }

  #set(field: string, value: Value): void {
    this.#settings.set(field, value);
    this.#changed();
  }

  #setLength(): void {
    for (const field of LENGTHS) this.#settings.delete(field);
    const number = Number(this.#length.value.replaceAll(",", ""));
    this.#settings.set(this.#unit.value, this.#length.value.trim() !== "" && Number.isFinite(number) ? number : this.#length.value);
    this.#changed();
  }

  #body(): Record<string, unknown> {
    return { data: this.#collection.location || " ", recipe: this.#recipe, settings: Object.fromEntries(this.#settings), classes: this.#classes.checked, name: this.#name.value.trim() };
  }

  #changed(atOnce = false): void {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => void this.#check(), atOnce ? 0 : PATIENCE_MS);
  }

  async #check(): Promise<void> {
    const mine = ++this.#asked;
    try {
      const found = await this.api.send<{ problems: Problem[]; recipe: Described | null }>("POST", "check", this.#body());
      if (mine !== this.#asked || this.signal.aborted) return;
      const quiet = this.#collection.location === "";
      this.#complain(found.problems.filter((problem) => !(quiet && problem.field === "data")));
      if (found.recipe) this.#show(found.recipe);
      this.#summarise(found.recipe, quiet);
    } catch (error) {
      if (!this.signal.aborted) this.#fail(error);
    }
  }

  #summarise(recipe: Described | null, noData: boolean): void {
    const { values } = recipe ?? this.#described;
    const width = values["image.width"];
    const size = width ? `${String(width)} × ${String(values["image.height"])}` : `at most ${String(values["image.max_side"])} px a side`;
    const changed = this.#settings.size;
    const own = changed ? ` with ${changed === 1 ? "one field" : `${changed} fields`} changed` : "";
    this.#summary.textContent = noData ? "Choose a collection first." : `${this.#recipe.replace(/^run:/, "The recipe of ")}${own}, pictures of ${size}.`;
  }

  /** Each problem at its field; those without one above the button. */
  #complain(problems: Problem[]): void {
    const rest: Problem[] = [];
    for (const input of this.#fields.values()) input.complain("");
    for (const element of this.#errors.values()) element.textContent = "";
    for (const problem of problems) {
      const own = LENGTHS.includes(problem.field) || problem.field === "training" ? "length" : problem.field;
      const input = this.#fields.get(own);
      const error = this.#errors.get(own);
      if (input) {
        input.complain(problem.message);
        input.mark(this.#settings.has(own), true);
        const part = input.element.closest("details");
        if (part) part.open = true;
      } else if (error) error.textContent = problem.message;
      else rest.push(problem);
    }
    fill(this.#trouble, ...rest.map((problem) => h("p", { class: "error-text" }, `${problem.field}: ${problem.message}`)));
    this.#start.disabled = problems.length > 0;
    this.#measure.disabled = problems.length > 0 || this.#job !== null;
  }

  #fail(error: unknown): void {
    if (error instanceof StudioError && error.problems.length) this.#complain(error.problems);
    else fill(this.#trouble, h("p", { class: "error-text" }, error instanceof Error ? error.message : String(error)));
  }

  async #begin(): Promise<void> {
    if (!this.#collection.location) {
      this.#complain([{ field: "data", message: "choose a collection" }]);
      this.#collection.input.focus();
      this.#start.disabled = false;
      return;
    }
    this.#start.disabled = true;
    try {
      const started = await this.api.send<{ name: string }>("POST", "trainings", this.#body());
      this.place.go(`?run=${encodeURIComponent(started.name)}`);
    } catch (error) {
      this.#start.disabled = false;
      this.#fail(error);
    }
  }

  async #measured(): Promise<void> {
    this.#measure.disabled = true;
    try {
      this.#job = await this.api.send<Job<Estimate>>("POST", "estimates", this.#body());
      const found = await this.api.follow(this.#job, (now) => {
        const [done, total, what] = now.progress ?? [0, 0, "waiting"];
        fill(this.#estimate, h("p", { class: "muted small numeric" }, total ? `${count(done)} of ${count(total)} ${what}` : `${what} …`), progressBar(total ? done / total : 0));
      }, this.signal);
      const rows: [string, string][] = [
        ["Time", `about ${duration(found.seconds)}`],
        ["Rate", `${count(Math.round(found.images_per_second))} images/s`],
        ["Memory", `${(found.peak_memory_bytes / 1e9).toFixed(2)} GB at its peak`],
        ["Disk", `at most ${count(Math.max(1, Math.round(found.disk_bytes / 1e6)))} MB`],
      ];
      fill(this.#estimate, h("dl", { class: "known" }, ...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", { class: "numeric" }, value)])), h("details", {}, h("summary", { class: "small" }, "all that was measured"), h("pre", { class: "output", tabindex: "0" }, found.words)));
    } catch (error) {
      if (this.signal.aborted) return;
      fill(this.#estimate);
      this.#fail(error);
    } finally {
      this.#job = null;
      this.#measure.disabled = false;
    }
  }
}
