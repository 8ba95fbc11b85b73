// One picture, large, with others near it.
import { Priority } from "../drawing/drawer.ts";
import { between, mainSeed, written, type Picture } from "../mixture.ts";
import { LAST_SEED, seedOfWord } from "../seeds.ts";
import { h, icon } from "../ui/elements.ts";
import { actions } from "./actions.ts";
import { Frame } from "./frame.ts";
import { Overlay } from "./overlay.ts";
import { scalingButton } from "./scaling.ts";
import { className, spoken, title, wanted, type Scene } from "./scene.ts";

const VARIATIONS = 12;
const NEAR = { least: 0.05, usual: 0.18, most: 0.5, step: 0.01 };
/** Variations go towards seeds of at most six digits, so that links stay short. */
const TOWARDS = 1_000_000n;

export class PictureView {
  readonly overlay: Overlay;
  private readonly frame: Frame;
  private readonly facts = h("p", { class: "muted" });
  private readonly near: { button: HTMLButtonElement; frame: Frame; picture: Picture | null }[] = [];
  private readonly share: HTMLInputElement;
  private readonly before: HTMLButtonElement;
  private readonly after: HTMLButtonElement;
  private readonly actions: { element: HTMLElement; update: () => void };
  private picture: Picture | null = null;
  private round = 0;

  constructor(private readonly scene: Scene) {
    this.overlay = new Overlay("picture", () => scene.go({ picture: null }, true));
    this.frame = new Frame(scene, "large");
    this.frame.element.removeAttribute("aria-hidden");
    this.frame.element.setAttribute("role", "img");
    this.before = this.turner("back", "Seed before", -1n);
    this.after = this.turner("next", "Next seed", 1n);
    this.overlay.main.append(h("div", { class: "stage" }, this.frame.element, scalingButton()), h("div", { class: "turners" }, this.before, this.after));
    this.share = h("input", {
      id: "near-share",
      type: "range",
      min: String(NEAR.least),
      max: String(NEAR.most),
      step: String(NEAR.step),
      value: String(NEAR.usual),
      oninput: () => this.showNear(false),
    });
    const grid = h("div", { class: "near-grid", role: "group", "aria-label": "Pictures near this one" });
    for (let place = 0; place < VARIATIONS; place++) grid.append(this.variation());
    this.actions = actions(
      scene,
      () => this.picture && wanted(scene, this.picture),
      () => ({ picture: this.picture, walk: null, story: false }),
    );
    this.overlay.side.append(
      this.facts,
      this.actions.element,
      h(
        "section",
        { class: "near" },
        h(
          "div",
          { class: "near-head" },
          h("h3", {}, "Near it"),
          h("button", { type: "button", class: "button quiet", onclick: () => this.others() }, icon("dice"), "Others"),
        ),
        grid,
        h("div", { class: "field near-share" }, h("label", { for: "near-share" }, "How near"), this.share),
      ),
    );
    this.overlay.element.addEventListener("keydown", (event) => this.key(event));
  }

  show(picture: Picture): void {
    const same = this.picture !== null && written(this.picture) === written(picture);
    if (!same) this.round = 0;
    this.picture = picture;
    const name = className(this.scene, picture);
    this.overlay.heading.textContent = title(picture);
    const { truncation } = this.scene.view;
    const said = [name, truncation === 1 ? "" : `truncation ${truncation}`].filter(Boolean).join(", ");
    this.facts.textContent = said;
    this.facts.hidden = said === "";
    this.frame.element.setAttribute("aria-label", spoken(this.scene, picture));
    this.frame.element.dataset.picture = written(picture);
    this.frame.show(wanted(this.scene, picture), Priority.Large, !same);
    this.before.hidden = this.after.hidden = !("seed" in picture);
    if ("seed" in picture) {
      this.before.disabled = picture.seed === 0n;
      this.after.disabled = picture.seed === LAST_SEED;
    }
    this.actions.update();
    this.showNear(!same);
    this.overlay.open();
  }

  hide(): void {
    this.overlay.close();
    this.frame.leave();
    for (const place of this.near) place.frame.leave();
  }

  private turner(drawing: "back" | "next", label: string, step: bigint): HTMLButtonElement {
    return h(
      "button",
      { type: "button", class: "button quiet only-icon", "aria-label": label, onclick: () => this.turn(step) },
      icon(drawing),
    );
  }

  private turn(step: bigint): void {
    if (!this.picture || !("seed" in this.picture)) return;
    const seed = this.picture.seed + step;
    if (seed >= 0n && seed <= LAST_SEED) this.scene.go({ picture: { seed } });
  }

  private variation(): HTMLButtonElement {
    const frame = new Frame(this.scene, "near-frame");
    const button = h("button", { type: "button", class: "near-open", onclick: () => this.closer(place.picture) });
    button.append(frame.element);
    const place: { button: HTMLButtonElement; frame: Frame; picture: Picture | null } = { button, frame, picture: null };
    this.near.push(place);
    return button;
  }

  /** Opens a variation; the view goes back to its top, where it is. */
  private closer(picture: Picture | null): void {
    if (!picture) return;
    this.scene.go({ picture }, true);
    this.overlay.element.scrollTo({ top: 0 });
    this.overlay.heading.focus({ preventScroll: true });
  }

  private others(): void {
    this.round++;
    this.showNear(true);
  }

  /** Variations lie a share of the way towards other seeds, which follow from the picture: the same ones every time. */
  private showNear(blank: boolean): void {
    const picture = this.picture;
    if (!picture) return;
    const share = Number(this.share.value);
    const from = written(picture);
    this.near.forEach((place, number) => {
      const seed = seedOfWord(`${from} ${this.round * VARIATIONS + number}`) % TOWARDS;
      if (seed === mainSeed(picture)) return;
      place.picture = between(picture, { seed }, share);
      place.button.setAttribute("aria-label", `Towards seed ${seed}`);
      place.button.dataset.picture = written(place.picture);
      place.frame.show(wanted(this.scene, place.picture), Priority.Seen, blank);
    });
  }

  private key(event: KeyboardEvent): void {
    if (event.target instanceof HTMLInputElement || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowLeft") this.turn(-1n);
    else if (event.key === "ArrowRight") this.turn(1n);
    else return;
    event.preventDefault();
  }
}
