// Between chosen pictures: blend two, or walk from one to the next, by hand or by itself.
import { Priority, type Wanted } from "../drawing/drawer.ts";
import { between, written, type Picture } from "../mixture.ts";
import { h, icon } from "../ui/elements.ts";
import { actions } from "./actions.ts";
import { Frame } from "./frame.ts";
import { scalingButton } from "./scaling.ts";
import { Overlay } from "./overlay.ts";
import { chosenLabel, title, wanted, type Scene } from "./scene.ts";

/** Pictures on the way from one to the next while it walks by itself. */
const STEPS = 40;
const AHEAD = 6;
const SPEEDS = { slow: 5, normal: 2.5, fast: 1.2 };

/** The picture at a place of a walk: whole numbers are its keys, and a loop goes from the last to the first. */
export function onTheWay(keys: readonly Picture[], at: number): Picture {
  const from = Math.floor(at) % keys.length;
  return between(keys[from], keys[(from + 1) % keys.length], at - Math.floor(at));
}

export class WalkView {
  readonly overlay: Overlay;
  private readonly frame: Frame;
  private readonly slider: HTMLInputElement;
  private readonly keysRow = h("div", { class: "walk-keys", role: "group", "aria-label": "Pictures to walk between" });
  private readonly play: HTMLButtonElement;
  private readonly speed: HTMLSelectElement;
  private readonly saying = h("p", { class: "muted numeric walk-place" });
  private readonly hint = h("p", { class: "muted small" });
  private readonly actions: { element: HTMLElement; update: () => void };
  private keys: Picture[] = [];
  private frames: Frame[] = [];
  private at = 0;
  private running = 0;

  constructor(private readonly scene: Scene) {
    this.overlay = new Overlay("walk", () => scene.go({ walk: null }, true));
    this.frame = new Frame(scene, "large");
    this.frame.element.removeAttribute("aria-hidden");
    this.frame.element.setAttribute("role", "img");
    this.slider = h("input", {
      type: "range",
      min: "0",
      step: "0.01",
      "aria-label": "Place between the pictures",
      oninput: () => {
        this.stop();
        this.go(Number(this.slider.value));
      },
      onchange: () => this.keep(),
    });
    this.play = h("button", { type: "button", class: "button primary", onclick: () => this.toggle() });
    this.speed = h(
      "select",
      { class: "select walk-speed", "aria-label": "Speed" },
      ...Object.keys(SPEEDS).map((name) => h("option", { value: name, selected: name === "normal" }, name)),
    );
    this.overlay.main.append(h("div", { class: "stage" }, this.frame.element, scalingButton()));
    const open = (): void => {
      const label = this.wanted().label;
      scene.go({ picture: this.picture(), label: label === null ? null : scene.page.classes[label], walk: null }, true);
    };
    this.actions = actions(
      scene,
      () => (this.keys.length ? this.wanted() : null),
      () => ({ walk: { keys: this.keys, at: this.at }, picture: null, story: false }),
      "",
    );
    this.overlay.side.append(
      this.hint,
      h("div", { class: "walk-way" }, this.keysRow, this.slider),
      this.saying,
      h(
        "div",
        { class: "actions" },
        this.play,
        this.speed,
        h("button", { type: "button", class: "button", onclick: open }, "Look closer"),
      ),
      this.actions.element,
    );
    this.showPlay();
  }

  show(keys: Picture[], at: number): void {
    const same = keys.map(written).join() === this.keys.map(written).join();
    if (!same) this.lay(keys);
    else this.frames.forEach((frame, place) => frame.show(this.wanted(this.keys[place]), Priority.Seen));
    if (!this.running) this.go(at);
    this.overlay.open();
  }

  hide(): void {
    this.stop();
    this.overlay.close();
    this.frame.leave();
  }

  private lay(keys: Picture[]): void {
    this.stop();
    this.keys = keys;
    const two = keys.length === 2;
    this.overlay.heading.textContent = two ? "Blend" : `Walk of ${keys.length}`;
    this.hint.textContent = two
      ? "Every place of the slider is a picture between the two."
      : "Every place of the slider is a picture on the way, and the way comes back to its beginning.";
    // Two pictures are blended from one to the other; a walk returns to its first.
    const end = two ? 1 : keys.length;
    this.slider.max = String(end);
    this.frames = [];
    const marks = two ? [0, 1] : [...keys.keys(), 0];
    this.keysRow.replaceChildren(
      ...marks.map((key, place) => {
        const frame = new Frame(this.scene, "key-frame");
        frame.show(this.wanted(keys[key]), Priority.Seen, true);
        if (this.frames.length < keys.length) this.frames.push(frame);
        const label = `Go to ${title(keys[key])}`;
        const act = (): void => {
          this.stop();
          this.go(place);
          this.keep();
        };
        return h("button", { type: "button", class: "key", "aria-label": label, onclick: act }, frame.element);
      }),
    );
  }

  private picture(): Picture {
    return onTheWay(this.keys, this.at);
  }

  /** A picture of this walk, all of which shows one class: the chosen one, or that of its first picture. */
  private wanted(picture = this.picture()): Wanted {
    const own = chosenLabel(this.scene) ?? this.scene.drawer.label(wanted(this.scene, this.keys[0]));
    return wanted(this.scene, picture, own);
  }

  private get end(): number {
    return Number(this.slider.max);
  }

  private go(at: number): void {
    this.at = Math.min(Math.max(0, at), this.end);
    this.slider.value = String(this.at);
    const picture = this.picture();
    const words = title(picture);
    this.saying.textContent = words;
    this.slider.setAttribute("aria-valuetext", words);
    this.frame.element.setAttribute("aria-label", words);
    this.frame.element.dataset.picture = written(picture);
    this.frame.show(this.wanted(picture), Priority.Large);
    this.actions.update();
  }

  /** The address follows once the slider rests. */
  private keep(): void {
    this.scene.go({ walk: { keys: this.keys, at: this.at } });
  }

  private toggle(): void {
    if (this.running) {
      this.stop();
      this.keep();
      return;
    }
    // Steps are at fixed places, so that another time around draws nothing anew.
    let step = Math.round(this.at * STEPS);
    const total = this.end * STEPS;
    let direction = 1;
    let waiting = false;
    let due = 0;
    const next = (now: number): void => {
      this.running = requestAnimationFrame(next);
      const pace = (1000 * SPEEDS[this.speed.value as keyof typeof SPEEDS]) / STEPS;
      if (waiting || now < due) return;
      if (this.keys.length === 2) {
        if (step >= total) direction = -1;
        if (step <= 0) direction = 1;
        step += direction;
      } else {
        step = (step + 1) % total;
      }
      due = Math.max(due + pace, now);
      this.at = step / STEPS;
      this.slider.value = String(this.at);
      const picture = this.picture();
      this.frame.element.dataset.picture = written(picture);
      waiting = true; // a slow machine shows every step, later
      this.frame.show(this.wanted(picture), Priority.Large, false, () => (waiting = false));
      for (let ahead = 1; ahead <= AHEAD; ahead++) this.prepare(step + direction * ahead, total);
    };
    this.running = requestAnimationFrame(next);
    this.showPlay();
  }

  private prepare(step: number, total: number): void {
    if (step < 0 || step > total) return;
    this.scene.drawer.draw(this.wanted(onTheWay(this.keys, step / STEPS)), Priority.Large, () => undefined);
  }

  private stop(): void {
    if (!this.running) return;
    cancelAnimationFrame(this.running);
    this.running = 0;
    this.showPlay();
    this.go(this.at);
  }

  private showPlay(): void {
    this.play.replaceChildren(icon(this.running ? "pause" : "play"), this.running ? "Pause" : "Play");
  }
}
