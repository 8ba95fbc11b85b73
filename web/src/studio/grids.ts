// A run's grids of samples through time: a slider, and a button that plays them.
import { h, icon } from "../ui/elements.ts";
import { count } from "../ui/words.ts";
import type { Api } from "./api.ts";
import { isSmall } from "./words.ts";

const FRAME_MS = 350;
const SLOW_MS = 1500;

/** The address of a grid. */
export function gridUrl(api: Api, name: string, images: number): string {
  return api.url(api.run(name, `/samples/${images}.png`));
}

/** The newest of some grids that is not after so many images; the first where all are. */
export function nearest(at: readonly number[], images: number): number | null {
  return at.findLast((one) => one <= images) ?? at[0] ?? null;
}

/** A picture that is changed only when the new one is there, so that nothing flickers. */
export class Frame {
  readonly element = h("img", { class: "grid-picture", alt: "" });
  #wanted = "";

  constructor(small: boolean) {
    this.element.classList.toggle("crisp", small);
    this.element.decoding = "async";
  }

  show(url: string, alt: string): void {
    if (url === this.#wanted) return;
    this.#wanted = url;
    const loading = new Image();
    loading.onload = () => {
      if (this.#wanted !== url) return;
      this.element.src = url;
      this.element.alt = alt;
    };
    loading.src = url;
  }
}

/** The grids of one run, newest first; while the slider is at its end, it follows the training. */
export class TimeSlider {
  readonly element: HTMLElement;
  readonly #frame: Frame;
  readonly #range = h("input", { type: "range", min: "0", step: "1", "aria-label": "Images seen" });
  readonly #play: HTMLButtonElement;
  readonly #words = h("output", { class: "numeric" });
  readonly #controls: HTMLElement;
  #at: number[] = [];
  #timer = 0;

  constructor(
    private readonly api: Api,
    private readonly name: string,
    size: { width: number | null; height: number | null },
    private readonly moved: (images: number) => void = () => undefined,
  ) {
    this.#frame = new Frame(isSmall(size));
    this.#play = h("button", { type: "button", class: "button quiet only-icon", onclick: () => this.#toggle() });
    this.#range.addEventListener("input", () => {
      this.#halt();
      this.#show();
    });
    this.#controls = h("div", { class: "time" }, this.#play, this.#range);
    this.element = h("div", { class: "grids" }, h("div", { class: "grid-frame ground" }, this.#frame.element), this.#controls, h("p", { class: "muted small" }, this.#words));
    this.#halt();
  }

  /** Takes the grids that there are now. */
  update(at: number[]): void {
    const atEnd = this.#at.length === 0 || Number(this.#range.value) === this.#at.length - 1;
    if (at.length === this.#at.length && at.at(-1) === this.#at.at(-1)) return;
    this.#at = at;
    this.#range.max = String(Math.max(0, at.length - 1));
    if (atEnd && !this.#timer) this.#range.value = this.#range.max;
    this.#controls.hidden = at.length < 2;
    this.#show();
  }

  destroy(): void {
    clearInterval(this.#timer);
  }

  #show(): void {
    const images = this.#at[Number(this.#range.value)];
    if (images === undefined) return;
    const newest = images === this.#at.at(-1);
    const words = `${count(images)} images${newest ? ", the newest grid" : ""}`;
    this.#words.textContent = `After ${words}`;
    this.#range.setAttribute("aria-valuetext", words);
    this.#frame.show(gridUrl(this.api, this.name, images), `Grid of samples after ${words}`);
    this.moved(images);
  }

  #toggle(): void {
    if (this.#timer) {
      this.#halt();
      return;
    }
    if (Number(this.#range.value) >= this.#at.length - 1) this.#range.value = "0";
    this.#play.replaceChildren(icon("pause"));
    this.#play.setAttribute("aria-label", "Stop playing");
    const slow = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const step = Math.max(1, Math.ceil(this.#at.length / 120));
    this.#show();
    this.#timer = window.setInterval(() => {
      this.#range.value = String(Math.min(this.#at.length - 1, Number(this.#range.value) + step));
      this.#show();
      if (Number(this.#range.value) >= this.#at.length - 1) this.#halt();
    }, slow ? SLOW_MS : FRAME_MS);
  }

  #halt(): void {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#play.replaceChildren(icon("play"));
    this.#play.setAttribute("aria-label", "Play the training");
  }
}
