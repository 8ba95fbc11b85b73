// Light or dark: as the system has it, until a visitor chooses.
import { h, icon } from "./elements.ts";

const KEY = "limner-theme";

/** Applies what was chosen before. Storage may be refused (private windows); then nothing is remembered. */
export function restoreTheme(): void {
  try {
    const chosen = localStorage.getItem(KEY);
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // As the system has it.
  }
}

function isDark(): boolean {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** A button that goes from light to dark and back. */
export function themeButton(): HTMLButtonElement {
  const button = h("button", {
    type: "button",
    class: "button quiet only-icon",
    onclick: () => {
      const next = isDark() ? "light" : "dark";
      document.documentElement.dataset.theme = next;
      try {
        localStorage.setItem(KEY, next);
      } catch {
        // It holds until the page is closed.
      }
      show();
    },
  });
  const show = (): void => {
    button.replaceChildren(icon(isDark() ? "sun" : "moon"));
    button.setAttribute("aria-label", isDark() ? "Light colours" : "Dark colours");
  };
  show();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  return button;
}
