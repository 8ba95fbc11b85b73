// A canvas with a picture of the generator's: its pixels as they are, enlarged by the browser.
import type { Pixels, Priority, Wanted } from "../drawing/drawer.ts";
import { h } from "../ui/elements.ts";
import type { Scene } from "./scene.ts";

/** Pictures of up to so many pixels are shown in whole multiples of their pixels on the wall. */
export const SMALL = 128;
/** Sprites of up to so many pixels are enlarged with sharp pixels, unless a visitor wants it otherwise. */
export const SPRITE = 48;

export class Frame {
  readonly element: HTMLCanvasElement;
  /** The pixels that are shown; `null` while they are being drawn. */
  pixels: Pixels | null = null;
  private giveUp: () => void = () => undefined;

  constructor(
    private readonly scene: Scene,
    kind: string,
  ) {
    const { width, height, channels } = scene.page;
    const crisp = kind === "tile-frame" && Math.max(width, height) <= SMALL ? "crisp" : "";
    this.element = h("canvas", { class: `frame ${kind} ${crisp} ${channels === 4 ? "ground" : ""}`, width, height });
    this.element.setAttribute("aria-hidden", "true");
  }

  /**
   * Shows a picture as soon as it is drawn; the one before stays until then.
   *
   * @param blank shows nothing until then: for a place that had another picture, and not another state of this one
   */
  show(wanted: Wanted, priority: Priority, blank = false, done?: (pixels: Pixels) => void): void {
    this.giveUp();
    this.pixels = null;
    this.element.dataset.drawn = "no";
    if (blank) this.element.getContext("2d")?.clearRect(0, 0, this.element.width, this.element.height);
    this.giveUp = this.scene.drawer.draw(wanted, priority, (pixels) => {
      this.put(pixels);
      done?.(pixels);
    });
  }

  /** Shows pixels. */
  put(pixels: Pixels): void {
    this.pixels = pixels;
    this.element.getContext("2d")?.putImageData(new ImageData(pixels.data, pixels.width, pixels.height), 0, 0);
    this.element.dataset.drawn = "yes";
  }

  /** Shows what was drawn beforehand, unless the generator was faster. */
  putSample(image: ImageBitmap): void {
    if (this.pixels) return;
    this.element.getContext("2d")?.drawImage(image, 0, 0, this.element.width, this.element.height);
    this.element.dataset.drawn = "sample";
  }

  /** Wants nothing any more. */
  leave(): void {
    this.giveUp();
    this.giveUp = () => undefined;
  }
}
