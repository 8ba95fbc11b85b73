// How the generator came to be: the grids of its training with a time slider, the figures beside them, and what is known of it.
import type { Figure, Grid, PageDocument } from "../contract.ts";
import { h, icon } from "../ui/elements.ts";
import type { Curve } from "../ui/plot.ts";
import { bytes, count, duration, short } from "../ui/words.ts";
import { SMALL } from "./frame.ts";
import type { Scene } from "./scene.ts";

const FRAME_MILLISECONDS = 160;

export class Story {
  readonly element: HTMLElement;
  private readonly image = h("img", { class: "story-grid", decoding: "async" });
  private readonly said = h("p", { class: "numeric story-when", "aria-live": "polite" });
  private readonly figure = h("p", { class: "muted small numeric" });
  private readonly slider: HTMLInputElement;
  private readonly play: HTMLButtonElement;
  private readonly grids: Grid[];
  private readonly curveRoom = h("div", { class: "curve" });
  private readonly picker: HTMLSelectElement;
  private curve: Curve | null = null;
  private running = 0;
  private begun = false;
  private shown = 0;

  constructor(private readonly scene: Scene) {
    const { page } = scene;
    this.grids = page.story?.grids ?? [];
    const last = Math.max(0, this.grids.length - 1);
    this.slider = h("input", {
      id: "story-when",
      type: "range",
      min: "0",
      max: String(last),
      value: String(last),
      step: "1",
      oninput: () => {
        this.stop();
        this.show(Number(this.slider.value));
      },
    });
    this.play = h("button", { type: "button", class: "button only-icon", onclick: () => this.toggle() });
    this.picker = h("select", { class: "select", id: "story-figure", onchange: () => void this.draw() });
    for (const name of this.names()) {
      this.picker.append(h("option", { value: name }, page.story?.kinds?.[name]?.label ?? name.replaceAll("_", " ")));
    }
    if (Math.max(page.width, page.height) <= SMALL) this.image.classList.add("crisp");
    if (page.channels === 4) this.image.classList.add("ground");
    this.element = h(
      "section",
      { class: "story", "aria-label": "Story", hidden: true },
      this.grids.length > 0 &&
        h(
          "div",
          { class: "story-time" },
          h("figure", { class: "story-figure" }, this.image),
          h(
            "div",
            { class: "story-side" },
            h("h2", {}, "How it learned"),
            h("p", { class: "muted" }, "The same latents all along: watch one place to see one picture come to be."),
            this.said,
            h("div", { class: "story-slide" }, this.play, h("label", { class: "visually-hidden", for: "story-when" }, "Images seen"), this.slider),
            this.names().length > 0 &&
              h(
                "div",
                { class: "story-curve" },
                h("div", { class: "field" }, h("label", { for: "story-figure" }, "Measured on the way"), this.picker),
                this.curveRoom,
                this.figure,
              ),
          ),
        ),
      facts(page),
    );
    this.showPlay();
  }

  /** It is looked at now. */
  enter(): void {
    this.element.hidden = false;
    if (this.begun) return;
    this.begun = true;
    if (this.grids.length) this.show(this.grids.length - 1);
    void this.draw();
    // The grids are small and come in the order of time, so that the slider finds them there.
    for (const grid of this.grids) new Image().src = this.url(grid);
  }

  leave(): void {
    this.stop();
    this.element.hidden = true;
  }

  destroy(): void {
    this.stop();
    this.curve?.destroy();
  }

  private url(grid: Grid): string {
    return new URL(grid.url, this.scene.base).href;
  }

  /** The kinds of figures that were measured at two moments or more. */
  private names(): string[] {
    const times = new Map<string, number>();
    for (const { figures } of this.measured()) {
      for (const name of Object.keys(figures ?? {})) times.set(name, (times.get(name) ?? 0) + 1);
    }
    return [...times].filter(([, number]) => number > 1).map(([name]) => name);
  }

  private measured(): { images: number; figures?: Record<string, Figure> }[] {
    return this.scene.page.story?.measured ?? this.grids;
  }

  private show(place: number): void {
    const grid = this.grids[place];
    this.shown = place;
    this.slider.value = String(place);
    const words = grid.images === 0 ? "before it had seen an image" : `after ${count(grid.images)} images`;
    this.said.textContent = words;
    this.slider.setAttribute("aria-valuetext", words);
    this.image.src = this.url(grid);
    this.image.alt = `A sheet of generated pictures ${words}`;
    this.curve?.mark(grid.images);
    const before = this.measured().filter((moment) => moment.images <= grid.images && moment.figures?.[this.picker.value]);
    const figure = before.at(-1)?.figures?.[this.picker.value];
    this.figure.textContent = figure ? said(figure) : "";
  }

  /** The grid that was drawn nearest to so many images. */
  private nearest(images: number): number {
    const far = this.grids.map((grid) => Math.abs(grid.images - images));
    return far.indexOf(Math.min(...far));
  }

  private async draw(): Promise<void> {
    const name = this.picker.value;
    if (!name) return;
    const points = this.measured().flatMap((moment) => {
      const figure = moment.figures?.[name];
      return figure ? [{ x: moment.images, value: figure[0], low: figure[1], high: figure[2] }] : [];
    });
    const { curve } = await import("../ui/plot.ts");
    this.curve?.destroy();
    this.curve = curve(this.curveRoom, points, this.picker.selectedOptions[0]?.text ?? name, (images) => {
      this.stop();
      this.show(this.nearest(images));
    });
    const kind = this.scene.page.story?.kinds?.[name];
    const first = points[0];
    const last = points[points.length - 1];
    this.curveRoom.setAttribute("role", "img");
    this.curveRoom.setAttribute(
      "aria-label",
      `${kind?.label ?? name}: from ${short(first.value)} to ${short(last.value)}. ${kind?.help ?? ""}`,
    );
    this.curveRoom.title = kind?.help ?? "";
    this.show(this.shown);
  }

  private toggle(): void {
    if (this.running) {
      this.stop();
      return;
    }
    if (this.shown >= this.grids.length - 1) this.show(0);
    this.running = window.setInterval(() => {
      if (this.shown >= this.grids.length - 1) this.stop();
      else this.show(this.shown + 1);
    }, FRAME_MILLISECONDS);
    this.showPlay();
  }

  private stop(): void {
    if (!this.running) return;
    clearInterval(this.running);
    this.running = 0;
    this.showPlay();
  }

  private showPlay(): void {
    this.play.replaceChildren(icon(this.running ? "pause" : "play"));
    this.play.setAttribute("aria-label", this.running ? "Pause" : "Play the training");
  }
}

function said([value, low, high]: Figure): string {
  return low === null || high === null ? short(value) : `${short(value)} (95 %: ${short(low)} to ${short(high)})`;
}

/** What is known of the generator. */
function facts(page: PageDocument): HTMLElement {
  const { about } = page;
  const text = (name: string): string => (about[name] === null || about[name] === undefined ? "" : String(about[name]));
  const seconds = Number(about.seconds);
  const rows: [string, string][] = [
    ["Learned from", [text("data"), text("count") && `${count(Number(about.count))} images`].filter(Boolean).join(", ")],
    ["Pictures", `${page.width} × ${page.height}, ${{ 1: "grey", 3: "colour", 4: "colour with transparency" }[page.channels]}`],
    ["Images seen", count(page.images)],
    ["Training", Number.isFinite(seconds) && seconds > 0 ? duration(seconds) : ""],
    ["Recipe", text("recipe")],
    ["Trained", text("trained")],
    ["Licence", page.licence],
    ["Generator", `${bytes(page.model.bytes)}, ${page.half ? "half" : "full"} precision`],
    ["Made with", `Limner ${page.limner}`],
  ];
  const list = h("dl", { class: "facts" });
  for (const [name, value] of rows) if (value) list.append(h("div", {}, h("dt", {}, name), h("dd", {}, value)));
  const verdict = text("verdict");
  return h(
    "div",
    { class: "story-facts" },
    h("h2", {}, "What it is"),
    verdict && h("p", { class: "verdict" }, verdict),
    list,
    h(
      "p",
      { class: "muted small" },
      "Every picture is drawn on this machine, by your browser. What you type, choose and look at is sent to nobody.",
    ),
  );
}
