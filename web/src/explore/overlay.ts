// A view over the page: a modal dialog that Escape, 'back' and its button close.
import { h, icon } from "../ui/elements.ts";

export class Overlay {
  readonly element: HTMLDialogElement;
  readonly heading: HTMLHeadingElement;
  readonly main: HTMLElement;
  readonly side: HTMLElement;

  constructor(name: string, close: () => void) {
    this.heading = h("h2", { id: `${name}-title`, tabIndex: -1 });
    const closing = h(
      "button",
      { type: "button", class: "button quiet only-icon overlay-close", "aria-label": "Close", onclick: close },
      icon("close"),
    );
    this.main = h("div", { class: "overlay-main" });
    this.side = h("div", { class: "overlay-side" });
    this.element = h(
      "dialog",
      {
        class: `overlay ${name}`,
        "aria-labelledby": `${name}-title`,
        oncancel: (event) => {
          event.preventDefault();
          close();
        },
        onclick: (event) => {
          if (event.target === this.element) close();
        },
      },
      h("div", { class: "overlay-body" }, this.main, h("div", { class: "overlay-text" }, h("header", {}, this.heading, closing), this.side)),
    );
  }

  open(): void {
    if (this.element.open) return;
    this.element.showModal();
    this.heading.focus({ preventScroll: true });
    this.element.scrollTop = 0;
  }

  close(): void {
    if (this.element.open) this.element.close();
  }
}
