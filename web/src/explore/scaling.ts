// How a large picture is enlarged: smoothly, or with sharp pixels. Sprites want these, photographs do not.
import { h } from "../ui/elements.ts";
import { SPRITE } from "./frame.ts";

const KEY = "limner-scaling";

/** Enlarges pictures as their size suggests, or as the visitor chose before. */
export function startScaling(width: number, height: number): void {
  let chosen: string | null = null;
  try {
    chosen = localStorage.getItem(KEY);
  } catch {
    // Nothing is remembered in some private windows.
  }
  const usual = Math.max(width, height) <= SPRITE ? "crisp" : "smooth";
  document.documentElement.dataset.scaling = chosen === "crisp" || chosen === "smooth" ? chosen : usual;
}

/** A button that changes it for all large pictures. */
export function scalingButton(): HTMLButtonElement {
  const button = h("button", {
    type: "button",
    class: "button scaling",
    onclick: () => {
      const next = document.documentElement.dataset.scaling === "crisp" ? "smooth" : "crisp";
      document.documentElement.dataset.scaling = next;
      try {
        localStorage.setItem(KEY, next);
      } catch {
        // It holds until the page is closed.
      }
      show();
    },
  });
  const show = (): void => {
    const crisp = document.documentElement.dataset.scaling === "crisp";
    button.textContent = "Sharp pixels";
    button.setAttribute("aria-pressed", String(crisp));
  };
  show();
  return button;
}
