// What the parts of the explorer share: the page's document, the drawer, what is looked at, and which pictures are chosen.
import type { PageDocument } from "../contract.ts";
import type { Drawer, Wanted } from "../drawing/drawer.ts";
import { written, type Picture } from "../mixture.ts";
import { count } from "../ui/words.ts";
import { MOST_KEYS, type View } from "./address.ts";

/** Pictures that a visitor has put aside, in their order. */
export class Chosen {
  readonly list: Picture[] = [];
  private readonly watchers = new Set<() => void>();

  has(picture: Picture): boolean {
    const key = written(picture);
    return this.list.some((one) => written(one) === key);
  }

  /** Takes a picture in, or out where it is in; returns whether it is in then. */
  toggle(picture: Picture): boolean {
    const key = written(picture);
    const place = this.list.findIndex((one) => written(one) === key);
    if (place >= 0) this.list.splice(place, 1);
    else if (this.list.length < MOST_KEYS) this.list.push(picture);
    this.told();
    return this.has(picture);
  }

  clear(): void {
    this.list.length = 0;
    this.told();
  }

  watch(watcher: () => void): void {
    this.watchers.add(watcher);
  }

  private told(): void {
    for (const watcher of this.watchers) watcher();
  }
}

export interface Scene {
  readonly page: PageDocument;
  /** The document's own address; others are relative to it. */
  readonly base: URL;
  readonly drawer: Drawer;
  readonly chosen: Chosen;
  readonly view: View;
  /** Changes what is looked at; with a step of its own that 'back' returns from. */
  go(change: Partial<View>, step?: boolean): void;
  /** The link of a view like this one but for some changes. */
  link(change: Partial<View>): string;
  /** Says something to those who listen to the page, and shows it for a moment. */
  say(text: string): void;
}

/** The chosen class's number; `null` for each picture's own. */
export function chosenLabel(scene: Scene): number | null {
  const place = scene.view.label === null ? -1 : scene.page.classes.indexOf(scene.view.label);
  return place < 0 ? null : place;
}

/** A picture as it is to be drawn now; in another class than the chosen one if need be. */
export function wanted(scene: Scene, picture: Picture, label: number | null = chosenLabel(scene)): Wanted {
  return { picture, truncation: scene.view.truncation, label };
}

/** The name of the class that a picture shows; empty without classes. */
export function className(scene: Scene, picture: Picture): string {
  const label = scene.drawer.label(wanted(scene, picture));
  return label === null ? "" : scene.page.classes[label];
}

/** What a picture is called. */
export function title(picture: Picture): string {
  if ("seed" in picture) return `Seed ${picture.seed}`;
  const end = (part: Picture): string => ("seed" in part ? String(part.seed) : "a mixture");
  const share = Math.round(picture.share * 1000) / 10;
  return `${share} % from ${end(picture.from)} to ${end(picture.to)}`;
}

/** What those hear who cannot see it. */
export function spoken(scene: Scene, picture: Picture): string {
  const name = className(scene, picture);
  return name ? `${title(picture)}, ${name}` : title(picture);
}

/** A name for a picture's file. */
export function fileName(scene: Scene, picture: Picture): string {
  const plain = scene.page.name.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60) || "picture";
  const place = "seed" in picture ? `seed-${picture.seed}` : `mixture-${written(picture).replace(/[^0-9.]+/g, "-")}`;
  return `${plain}-${place.slice(0, 80)}.png`;
}

/** What a saved file says about itself. */
export function imprint(scene: Scene, what: string, link: string): Record<string, string> {
  const about: Record<string, string> = {
    Title: `${scene.page.name}: ${what}`,
    Software: `Limner ${scene.page.limner}`,
    Source: link,
    Description: `Drawn by a generator that was trained on ${count(scene.page.images)} images seen`,
  };
  if (scene.page.licence) about.Copyright = scene.page.licence;
  return about;
}
