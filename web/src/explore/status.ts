// Who draws, how far the loading is, and whether the pictures are those that were drawn where the generator was trained.
import type { State } from "../drawing/drawer.ts";
import { h } from "../ui/elements.ts";
import { bytes } from "../ui/words.ts";
import type { Scene } from "./scene.ts";

export interface Status {
  element: HTMLElement;
  bar: HTMLElement;
  /** What the comparison with the pictures drawn beforehand found. */
  compared(words: string): void;
}

export function status(scene: Scene): Status {
  const words = h("p", { class: "status-text small muted", role: "status" });
  const fill = h("span");
  const bar = h("div", { class: "bar loading", role: "progressbar", "aria-label": "Loading the generator" }, fill);
  let found = "";
  const show = (state: State): void => {
    bar.hidden = state.kind !== "loading";
    words.classList.toggle("error-text", state.kind === "failed");
    if (state.kind === "loading") {
      const share = state.total ? Math.min(1, state.loaded / state.total) : 0;
      fill.style.transform = `scaleX(${share})`;
      bar.setAttribute("aria-valuenow", String(Math.round(100 * share)));
      words.textContent = state.loaded ? `Loading: ${bytes(state.loaded)} of ${bytes(state.total)}` : "Loading the generator";
    } else if (state.kind === "failed") {
      words.textContent = `It cannot draw here: ${state.message}`;
    } else {
      const threads = state.threads === 1 ? "1 thread" : `${state.threads} threads`;
      const by = state.provider === "webgpu" ? "WebGPU" : `WebAssembly, ${threads}`;
      words.textContent = `Drawn in your browser by ${by}${found}`;
      words.title = state.note;
      words.dataset.provider = state.provider;
      words.dataset.threads = String(state.threads);
    }
  };
  scene.drawer.watch(show);
  return {
    element: words,
    bar,
    compared: (text) => {
      found = text ? `. ${text}` : "";
      show(scene.drawer.state);
    },
  };
}
