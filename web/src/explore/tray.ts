// The chosen pictures, at the foot of the page: to blend, to walk between, to keep on one sheet.
import { Priority } from "../drawing/drawer.ts";
import { written, type Picture } from "../mixture.ts";
import { h, icon } from "../ui/elements.ts";
import { saveSheet } from "./actions.ts";
import { Frame } from "./frame.ts";
import { title, wanted, type Scene } from "./scene.ts";

export class Tray {
  readonly element: HTMLElement;
  private readonly row = h("ul", { class: "tray-row" });
  private readonly way: HTMLButtonElement;
  private readonly frames = new Map<string, { item: HTMLElement; frame: Frame; picture: Picture }>();

  constructor(private readonly scene: Scene) {
    const { chosen } = scene;
    this.way = h("button", {
      type: "button",
      class: "button primary",
      onclick: () => scene.go({ walk: { keys: [...chosen.list], at: chosen.list.length === 2 ? 0.5 : 0 }, picture: null }, true),
    });
    const sheet = (): void => void saveSheet(scene, [...chosen.list], Math.ceil(Math.sqrt(chosen.list.length)));
    this.element = h(
      "section",
      { class: "tray", "aria-label": "Chosen pictures", hidden: true },
      this.row,
      h(
        "div",
        { class: "tray-buttons" },
        this.way,
        h("button", { type: "button", class: "button", onclick: sheet }, icon("sheet"), "Sheet"),
        h(
          "button",
          { type: "button", class: "button quiet only-icon", "aria-label": "Choose none", onclick: () => chosen.clear() },
          icon("close"),
        ),
      ),
    );
    chosen.watch(() => this.update());
  }

  /** All is drawn anew: another truncation or class. */
  redraw(): void {
    for (const { frame, picture } of this.frames.values()) frame.show(wanted(this.scene, picture), Priority.Seen);
  }

  private update(): void {
    const { list } = this.scene.chosen;
    const keys = new Set(list.map(written));
    for (const [key, { item, frame }] of this.frames) {
      if (keys.has(key)) continue;
      frame.leave();
      item.remove();
      this.frames.delete(key);
    }
    for (const picture of list) {
      const key = written(picture);
      if (this.frames.has(key)) continue;
      const frame = new Frame(this.scene, "tray-frame");
      frame.show(wanted(this.scene, picture), Priority.Seen);
      const open = (): void => this.scene.go({ picture }, true);
      const button = h("button", { type: "button", class: "tray-open", "aria-label": title(picture), onclick: open });
      button.append(frame.element);
      const item = h("li", {}, button);
      this.row.append(item);
      this.frames.set(key, { item, frame, picture });
    }
    this.element.hidden = list.length === 0;
    this.way.disabled = list.length < 2;
    this.way.textContent = list.length < 2 ? "Choose another" : list.length === 2 ? "Blend" : `Walk between ${list.length}`;
  }
}
