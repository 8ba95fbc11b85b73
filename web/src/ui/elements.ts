// Elements made in one call. Text is always text, never markup: what comes from a run may say anything.

export type Child = Node | string | number | null | undefined | false;

/** Properties of these names are others', or cannot be set. */
const ATTRIBUTES = new Set(["class", "for", "form", "list", "role"]);

type Listeners = { [K in keyof HTMLElementEventMap as `on${K}`]?: (event: HTMLElementEventMap[K]) => void };

/** Properties of an element by their own names, attributes such as `class`, `role` and `aria-label`, and listeners. */
export type Props = Listeners & Record<string, unknown>;

/**
 * An element.
 *
 * @param tag its name
 * @param props `onclick` and the like listen; `false`, `null` and `undefined` are left out; all else is a property where the
 *   element has one of that name, and an attribute otherwise
 * @param children nodes and texts; `false`, `null` and `undefined` are left out
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") {
      element.addEventListener(name.slice(2), value as EventListener);
    } else if (name.includes("-") || ATTRIBUTES.has(name) || !(name in element)) {
      element.setAttribute(name, value === true ? "" : String(value));
    } else {
      (element as unknown as Record<string, unknown>)[name] = value;
    }
  }
  append(element, children);
  return element;
}

/** Adds children, leaving out what is none. */
export function append(element: Element, children: readonly Child[]): void {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Puts children in the place of those that are there. */
export function fill(element: Element, ...children: readonly Child[]): void {
  element.replaceChildren();
  append(element, children);
}

// Drawn on a grid of 24, in strokes of 1.75.
const ICONS = {
  back: "M15 5l-7 7 7 7",
  check: "M5 13l4.5 4.5L19 7.5",
  close: "M6 6l12 12M18 6L6 18",
  dice: "M6 4h12a2 2 0 0 1 2 2v12a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2V6a2 2 0 0 1 2-2zM8.5 8.5h.01M15.5 8.5h.01M12 12h.01M8.5 15.5h.01M15.5 15.5h.01",
  download: "M12 4v11M7 10.5l5 5 5-5M5 20h14",
  link: "M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.7l-1 1M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.7l1-1",
  moon: "M20 14.5A8 8 0 0 1 9.5 4a8 8 0 1 0 10.5 10.5z",
  next: "M9 5l7 7-7 7",
  pause: "M8.5 5.5v13M15.5 5.5v13",
  pin: "M12 5v14M5 12h14",
  play: "M8 5.5v13l11-6.5z",
  sheet: "M4 4h6.5v6.5H4zM13.5 4H20v6.5h-6.5zM4 13.5h6.5V20H4zM13.5 13.5H20V20h-6.5z",
  stop: "M6.5 6.5h11v11h-11z",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5V5M12 19v2.5M2.5 12H5M19 12h2.5M5.3 5.3L7 7M17 17l1.7 1.7M18.7 5.3L17 7M7 17l-1.7 1.7",
} as const;

export type IconName = keyof typeof ICONS;

/** A small drawing that says nothing by itself: its button has a label. */
export function icon(name: IconName): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Keeps text in step with what happens, for those who listen to the page: a polite live region. */
export function announcer(): { element: HTMLElement; say: (text: string) => void } {
  const element = h("p", { class: "visually-hidden", role: "status", "aria-live": "polite" });
  return { element, say: (text) => void (element.textContent = text) };
}
