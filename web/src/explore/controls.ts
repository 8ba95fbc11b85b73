// What decides about all pictures: where the wall is, truncation, class; and a word that becomes a seed.
import { anySeed, LAST_SEED, readSeed } from "../seeds.ts";
import { h, icon } from "../ui/elements.ts";
import { TRUNCATION } from "./address.ts";
import type { Scene } from "./scene.ts";

export interface Controls {
  element: HTMLElement;
  /** Shows what is looked at. */
  update(): void;
}

/**
 * The controls above the wall.
 *
 * @param scene what is looked at
 * @param sheet lets the visitor keep what can be seen
 * @param roam takes the wall to a seed
 */
export function controls(scene: Scene, sheet: () => void, roam: (seed: bigint) => void): Controls {
  const told = h("p", { class: "seed-told small", id: "seed-told", role: "status" });
  const input = h("input", {
    class: "input",
    id: "seed-input",
    name: "seed",
    autocomplete: "off",
    spellcheck: false,
    maxLength: 200,
    placeholder: "your name, or a number",
    "aria-describedby": "seed-told",
    oninput: () => tell(),
  });
  const tell = (): void => {
    const read = readSeed(input.value);
    const wrong = !read && input.value.trim() !== "";
    input.setAttribute("aria-invalid", String(wrong));
    told.classList.toggle("error-text", wrong);
    if (wrong) told.textContent = `A seed is a whole number from 0 to ${LAST_SEED}, or a word.`;
    else told.textContent = read?.word ? `is seed ${read.seed}` : "";
  };
  const form = h(
    "form",
    {
      class: "field seed-field",
      onsubmit: (event) => {
        event.preventDefault();
        const read = readSeed(input.value);
        if (read) scene.go({ picture: { seed: read.seed } }, true);
        else input.focus();
      },
    },
    h("label", { for: "seed-input" }, "A word or a number is a picture"),
    h("div", { class: "seed-row" }, input, h("button", { type: "submit", class: "button primary" }, "Draw it")),
    told,
  );

  const shown = h("output", { class: "numeric", for: "truncation" });
  const range = h("input", {
    id: "truncation",
    type: "range",
    min: String(TRUNCATION.least),
    max: String(TRUNCATION.most),
    step: String(TRUNCATION.step),
    list: "truncation-marks",
    oninput: () => scene.go({ truncation: Math.round(Number(range.value) * 100) / 100 }),
  });
  const truncation = h(
    "div",
    { class: "field truncation-field" },
    h("label", { for: "truncation" }, "Truncation ", shown),
    range,
    h("datalist", { id: "truncation-marks" }, h("option", { value: "1" })),
    h("p", { class: "range-ends small muted", "aria-hidden": "true" }, h("span", {}, "usual"), h("span", {}, "bold")),
  );

  const own = scene.page.classes.length > 0;
  const select = h(
    "select",
    {
      class: "select",
      id: "class-select",
      onchange: () => scene.go({ label: select.value === "" ? null : scene.page.classes[Number(select.value)] }),
    },
    h("option", { value: "" }, "each its own"),
    ...scene.page.classes.map((name, place) => h("option", { value: String(place) }, name)),
  );
  const classes = own ? h("div", { class: "field class-field" }, h("label", { for: "class-select" }, "Class"), select) : null;

  const element = h(
    "div",
    { class: "controls" },
    form,
    classes,
    truncation,
    h(
      "div",
      { class: "control-buttons" },
      h("button", { type: "button", class: "button", title: "Another part of the wall", onclick: () => roam(anySeed()) }, icon("dice"), "Elsewhere"),
      h("button", { type: "button", class: "button", onclick: sheet }, icon("sheet"), "Save sheet"),
    ),
  );
  return {
    element,
    update: () => {
      range.value = String(scene.view.truncation);
      shown.textContent = scene.view.truncation.toFixed(2);
      const place = scene.view.label === null ? -1 : scene.page.classes.indexOf(scene.view.label);
      select.value = place < 0 ? "" : String(place);
    },
  };
}
