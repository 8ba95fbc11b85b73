// What is in a collection: the same that `limner inspect` says, with its contact sheet.
import { fill, h } from "../ui/elements.ts";
import { count } from "../ui/words.ts";
import { StudioError, type Api, type Job } from "./api.ts";
import { Collection } from "./folders.ts";
import type { Place, View } from "./index.ts";
import { progressBar } from "./runs.ts";

interface Inspection {
  location: string;
  count: number;
  entries: number;
  looked_at: number;
  different: number;
  ignored: number;
  notes: string[];
  unreadable: { name: string; reason: string }[];
  unreadable_count: number;
  sizes: [number, number, number][];
  sizes_count: number;
  aspects: Record<string, number>;
  modes: Record<string, number>;
  coloured: number;
  transparent: number;
  exact_copies: string[][];
  exact_copies_count: number;
  near_copies: string[][];
  near_copies_count: number;
  turned_copies: { one: string; other: string; how: string }[];
  turned_copies_count: number;
  nearly_uniform: string[];
  nearly_uniform_count: number;
  outliers: string[];
  outliers_count: number;
  classes: Record<string, number>;
  classes_count: number;
  advice: { enough: string; basis: string; reasons: string[]; command: string };
  left_out: number;
}

/** The page that looks at collections. */
export function dataView(api: Api, place: Place): View {
  place.title("Data");
  const result = h("div", { class: "inspection" });
  const trouble = h("p", { class: "error-text", role: "alert", id: "error-data" });
  const state = h("div", { class: "job-state", role: "status" });
  const ending = new AbortController();
  let job: Job<Inspection> | null = null;
  const collection = new Collection(api, place.query.get("data") ?? "", () => (trouble.textContent = ""));
  const look = h("button", { type: "submit", class: "button primary" }, "Look at it");
  const cancel = h("button", { type: "button", class: "button quiet", hidden: true, onclick: () => job && void api.send("DELETE", `jobs/${job.id}`) }, "Cancel");

  const inspect = async (): Promise<void> => {
    trouble.textContent = "";
    fill(result);
    look.disabled = true;
    try {
      const location = collection.location;
      const begun = await api.send<Job<Inspection>>("POST", "inspections", { data: location });
      job = begun;
      cancel.hidden = false;
      const found = await api.follow(begun, (now) => {
        const [done, total, what] = now.progress ?? [0, 0, ""];
        fill(state, h("p", { class: "numeric" }, total ? `${count(done)} of ${count(total)} ${what}` : "reading …"), progressBar(total ? done / total : 0));
      }, ending.signal);
      show(result, found, api.url(`jobs/${begun.id}/sheet.png`), location);
    } catch (error) {
      if (ending.signal.aborted) return;
      trouble.textContent = error instanceof StudioError ? error.message : String(error);
    } finally {
      job = null;
      look.disabled = false;
      cancel.hidden = true;
      fill(state);
    }
  };

  const form = h("form", { class: "card data-form", onsubmit: (event: Event) => {
    event.preventDefault();
    void inspect();
  } }, collection.element, trouble, h("div", { class: "buttons" }, look, cancel), state);
  const element = h(
    "div",
    { class: "view" },
    h("div", { class: "view-head" }, h("div", {}, h("h1", {}, "Data"), h("p", { class: "muted" }, "What is in a collection, what is wrong with it, and what it is good for. Nothing of yours is changed."))),
    form,
    result,
  );
  return {
    element,
    destroy: () => {
      ending.abort();
      if (job) void api.send("DELETE", `jobs/${job.id}`).catch(() => undefined);
    },
  };
}

function show(element: HTMLElement, found: Inspection, sheet: string, location: string): void {
  const colours = found.coloured === found.count ? "all in colour" : found.coloured === 0 ? "all grey" : `${count(found.coloured)} in colour`;
  const sizes = found.sizes_count === 1 ? "all " : `${count(found.sizes_count)} different, most often `;
  const facts: [string, string][] = [
    ["Pictures", found.looked_at < found.entries ? `${count(found.entries)}, of which ${count(found.looked_at)} were looked at` : count(found.count)],
    ["Sizes", sizes + found.sizes.slice(0, 4).map(([w, h_, n]) => `${w} × ${h_}${found.sizes_count > 1 ? ` (${count(n)})` : ""}`).join(", ")],
    ["Shapes", Object.entries(found.aspects).slice(0, 5).map(([name, n]) => `${name} ${count(n)}`).join(", ")],
    ["Colours", found.transparent ? `${colours}, ${count(found.transparent)} with transparency` : colours],
  ];
  if (found.classes_count) facts.push(["Classes", `${count(found.classes_count)}: ${Object.entries(found.classes).slice(0, 12).map(([name, n]) => `${name} (${count(n)})`).join(", ")}${found.classes_count > 12 ? " …" : ""}`]);
  const problems = [
    part("cannot be read", found.unreadable_count, found.unreadable.map((one) => `${one.name}: ${one.reason}`)),
    part("groups of exact copies", found.exact_copies_count, found.exact_copies.map((group) => group.join(" = "))),
    part("groups of near-copies", found.near_copies_count, found.near_copies.map((group) => group.join(" = "))),
    part("pairs that are copies once turned or mirrored", found.turned_copies_count, found.turned_copies.map((one) => `${one.one} = ${one.other}, ${one.how}`)),
    part("nearly uniform", found.nearly_uniform_count, found.nearly_uniform),
    part("unlike all others", found.outliers_count, found.outliers),
  ].filter((one) => one !== null);
  fill(
    element,
    h(
      "div",
      { class: "inspection-top" },
      h("section", { class: "card" }, h("h2", {}, "What is there"), h("dl", { class: "known" }, ...facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])), ...found.notes.map((note) => h("p", { class: "small muted" }, note))),
      h("section", { class: "card" }, h("h2", {}, "What it is good for"), h("p", {}, found.advice.enough), ...found.advice.reasons.map((reason) => h("p", { class: "small muted" }, reason)),
        h("p", { class: "buttons" }, h("a", { class: "button primary", href: `?${new URLSearchParams([["train", ""], ["data", location]])}` }, "Train on it"))),
    ),
    h("section", { class: "card" }, h("h2", {}, "What is wrong with it"), ...(problems.length ? problems : [h("p", {}, "Nothing: all can be read, no copies, no empty ones, no outliers.")]),
      found.left_out ? h("p", { class: "small muted" }, `A cleaned list would leave ${count(found.left_out)} out: limner inspect … --prune list.json`) : null),
    h("section", { class: "sheet", "aria-label": "Contact sheet" }, h("img", { src: sheet, alt: "Contact sheet: pictures of the collection, and what was found, with their names" })),
  );
}

function part(what: string, many: number, items: string[]): HTMLElement | null {
  if (!many) return null;
  return h("details", { class: "finding" }, h("summary", {}, h("strong", { class: "numeric" }, count(many)), ` ${what}`), h("ul", { class: "small" }, ...items.slice(0, 60).map((item) => h("li", {}, item)), many > 60 ? h("li", { class: "muted" }, `and ${count(many - 60)} more`) : null));
}
