// What can be done with a run: pause, stop, resume, explore.
import { fill, h, icon } from "../ui/elements.ts";
import { count } from "../ui/words.ts";
import { StudioError, type Api, type RunDetail } from "./api.ts";
import type { Place } from "./index.ts";

const NOTES = {
  training: "Pause suspends its process: it keeps its memory, and goes on exactly where it was. Stop ends it as Ctrl-C does: everything is saved, and Resume goes on from there.",
  paused: "Its process is suspended. In a terminal it shows as stopped, and goes on in the background.",
  minutes: " Its length is counted in minutes, and a pause counts.",
} as const;

/** The buttons of a run. */
export class Controls {
  readonly element = h("div", { class: "run-controls" });
  readonly #buttons = h("div", { class: "buttons" });
  readonly #note = h("p", { class: "muted small" });
  readonly #trouble = h("p", { class: "error-text", role: "alert" });
  readonly #longer = h("form", { class: "longer card", hidden: true });
  #shown = "";
  #timer = 0;

  constructor(
    private readonly api: Api,
    private readonly name: string,
    private readonly place: Place,
    private readonly changed: () => void,
  ) {
    this.element.append(this.#buttons, this.#longer, this.#note, this.#trouble);
  }

  /** Shows what can be done now. */
  show(run: RunDetail): void {
    const now = JSON.stringify([run.state, run.elsewhere, run.snapshots_at.length > 0, run.has_best, run.report, run.minutes_count, run.grids > 0]);
    if (now === this.#shown) return;
    this.#shown = now;
    const mine = !run.elsewhere;
    const can = run.snapshots_at.length > 0;
    const address = encodeURIComponent(this.name);
    fill(
      this.#buttons,
      run.state === "training" && mine ? this.#action("pause", "Pause", "pause") : null,
      run.state === "paused" && mine ? this.#action("continue", "Go on", "play", "primary") : null,
      (run.state === "training" || run.state === "paused") && mine ? this.#action("stop", "Stop and save", "stop") : null,
      run.state === "waiting" ? this.#action("stop", "Call off", "close") : null,
      run.state === "interrupted" || (run.state === "failed" && can) ? this.#action("resume", "Resume", "play", "primary") : null,
      run.state === "finished" ? this.#button("Train longer", "play", () => this.#askLonger(run)) : null,
      can || run.has_best ? h("a", { class: "button", href: `?run=${address}&explore=newest` }, icon("dice"), "Explore") : null,
      run.report ? h("a", { class: "button quiet", href: this.api.url(this.api.run(this.name, "/report")), target: "_blank", rel: "noopener" }, icon("sheet"), "Report") : null,
      h("a", { class: "button quiet", href: `?train&recipe=${encodeURIComponent(`run:${this.name}`)}` }, icon("pin"), "Train another like it"),
      run.state === "failed" && !can && run.grids === 0 ? this.#button("Forget it", "close", () => this.#forget()) : null,
    );
    this.#note.textContent = run.state === "training" || run.state === "paused" ? NOTES[run.state] + (run.minutes_count ? NOTES.minutes : "") : "";
    this.#longer.hidden = true;
  }

  destroy(): void {
    clearTimeout(this.#timer);
  }

  #button(words: string, sign: Parameters<typeof icon>[0], act: () => void, kind = ""): HTMLButtonElement {
    return h("button", { type: "button", class: `button ${kind}`, onclick: act }, icon(sign), words);
  }

  #action(action: string, words: string, sign: Parameters<typeof icon>[0], kind = ""): HTMLButtonElement {
    return this.#button(words, sign, () => void this.#do(action, action === "resume" ? {} : undefined), kind);
  }

  async #do(action: string, body?: unknown): Promise<void> {
    this.#trouble.textContent = "";
    for (const button of this.#buttons.querySelectorAll("button")) button.disabled = true;
    try {
      await this.api.send("POST", this.api.run(this.name, `/${action}`), body);
      if (action === "stop") this.#note.textContent = "It was asked to stop, and saves now.";
      if (action === "resume") this.#note.textContent = "It is being resumed: pictures are read, then it goes on.";
    } catch (error) {
      this.#trouble.textContent = error instanceof StudioError ? error.message : String(error);
    }
    this.#shown = "";
    this.changed();
    this.#timer = window.setTimeout(() => {
      for (const button of this.#buttons.querySelectorAll("button")) button.disabled = false;
      this.changed();
    }, 1200);
  }

  async #forget(): Promise<void> {
    try {
      await this.api.send("DELETE", this.api.run(this.name, "/start"));
      this.place.go("./");
    } catch (error) {
      this.#trouble.textContent = error instanceof StudioError ? error.message : String(error);
    }
  }

  #askLonger(run: RunDetail): void {
    const images = h("input", { class: "input numeric", type: "number", min: String(run.images + 1), step: "1", value: String(2 * run.images), required: true, id: "longer-images" });
    this.#longer.hidden = false;
    fill(
      this.#longer,
      h("div", { class: "field" }, h("label", { for: "longer-images" }, `Images in all (it has seen ${count(run.images)})`), images),
      h("button", { type: "submit", class: "button primary" }, icon("play"), "Go on"),
    );
    this.#longer.onsubmit = (event) => {
      event.preventDefault();
      this.#longer.hidden = true;
      void this.#do("resume", { images: Math.round(Number(images.value)) });
    };
    images.focus();
  }
}
