// The endless wall: seed after seed, row by row. Only what can be seen has elements; they are used again while it scrolls.
import { Priority, type Pixels } from "../drawing/drawer.ts";
import { LAST_SEED } from "../seeds.ts";
import { h, icon } from "../ui/elements.ts";
import { Frame, SMALL } from "./frame.ts";
import { chosenLabel, spoken, wanted, type Scene } from "./scene.ts";

/** Browsers give up on higher elements; the wall goes on from there by a button. */
const HIGHEST = 8_000_000;
/** A wall that begins before this seed begins at 0, so that one can scroll back. */
const NEAR = 20_000n;
const MARGIN_ROWS = 2;
/** Pixels that the controls above and the tray below may cover. */
const BARS = 150;

interface Tile {
  element: HTMLElement;
  button: HTMLButtonElement;
  pin: HTMLButtonElement;
  caption: HTMLElement;
  frame: Frame;
  seed: bigint;
}

interface Layout {
  columns: number;
  width: number;
  height: number;
  gap: number;
  left: number;
}

/** How tiles are laid out: whole multiples of device pixels for small pictures, so that they stay sharp. */
export function layOut(room: number, width: number, height: number, ratio: number): Layout {
  const narrow = room < 600;
  const small = Math.max(width, height) <= SMALL;
  const gap = narrow ? 6 : 10;
  // About so wide, for a square picture; wider ones have about the same area.
  const target = (small ? (narrow ? 112 : 138) : narrow ? 170 : 232) * Math.sqrt(width / height);
  const columns = Math.max(1, Math.round((room + gap) / (target + gap)));
  let tile = (room - (columns - 1) * gap) / columns;
  if (small) tile = (width * Math.max(1, Math.floor((tile / width) * ratio + 0.01))) / ratio;
  const between = columns > 1 ? Math.min((room - columns * tile) / (columns - 1), 2.4 * gap) : gap;
  const left = Math.max(0, (room - columns * tile - (columns - 1) * between) / 2);
  return { columns, width: tile, height: (tile * height) / width, gap: between, left };
}

export class Wall {
  readonly element: HTMLElement;
  private readonly ground: HTMLElement;
  private readonly further: HTMLButtonElement;
  private readonly earlier: HTMLButtonElement;
  private readonly tiles = new Map<bigint, Tile>();
  private readonly spare: Tile[] = [];
  private readonly samples = new Map<bigint, ImageBitmap>();
  private readonly resized: ResizeObserver;
  private readonly moved = (): void => this.soon();
  private layout: Layout = { columns: 1, width: 1, height: 1, gap: 0, left: 0 };
  private first: bigint;
  private current: bigint;
  private rows = 0;
  private asked = 0;
  private settled = 0;

  constructor(private readonly scene: Scene) {
    this.current = scene.view.seed;
    this.first = this.current < NEAR ? 0n : this.current;
    this.ground = h("div", {
      class: "wall-ground",
      role: "group",
      "aria-label": "Wall of pictures by seed. Arrow keys move, Enter opens, C chooses.",
      onkeydown: (event) => this.key(event),
    });
    this.earlier = h("button", { type: "button", class: "button quiet wall-more", onclick: () => this.start(this.before()) });
    this.further = h("button", { type: "button", class: "button wall-more", onclick: () => this.start(this.end()) });
    this.element = h("section", { class: "wall", "aria-label": "Wall" }, this.earlier, this.ground, this.further);
    this.resized = new ResizeObserver(() => this.measure());
    scene.chosen.watch(() => this.tiles.forEach((tile) => this.mark(tile)));
  }

  /** Begins to live: it is in the page now. */
  attach(): void {
    this.resized.observe(this.element);
    addEventListener("scroll", this.moved, { passive: true });
    this.measure();
    this.show(this.scene.view.seed);
  }

  detach(): void {
    this.resized.disconnect();
    removeEventListener("scroll", this.moved);
    cancelAnimationFrame(this.asked);
    clearTimeout(this.settled);
    this.tiles.forEach((tile) => tile.frame.leave());
  }

  /** Goes to another seed. */
  start(seed: bigint): void {
    if (seed < this.first || seed >= this.end() || seed >= NEAR) {
      this.first = seed < NEAR ? 0n : seed;
      for (const tile of [...this.tiles.values()]) this.free(tile);
      this.measure();
    }
    this.current = seed;
    this.show(seed);
    this.scene.go({ seed });
  }

  /** All is drawn anew: another truncation or class. */
  redraw(): void {
    this.tiles.forEach((tile) => this.draw(tile, false));
  }

  /** A picture that was drawn beforehand. */
  sample(seed: bigint, image: ImageBitmap): void {
    this.samples.set(seed, image);
    const tile = this.tiles.get(seed);
    if (tile && this.plain()) tile.frame.putSample(image);
  }

  /** Puts the keyboard's focus on a picture, if it can be seen. */
  focus(seed: bigint): void {
    this.tiles.get(seed)?.button.focus();
  }

  /** The pictures that can be seen whole, in their order, and how many there are in a row. */
  seen(): { seeds: bigint[]; pixels: (Pixels | null)[]; columns: number } {
    const shown = [...this.tiles.values()]
      .filter((tile) => {
        const box = tile.element.getBoundingClientRect();
        return box.bottom > box.height / 2 && box.top < innerHeight - box.height / 2;
      })
      .sort((a, b) => (a.seed < b.seed ? -1 : 1));
    return {
      seeds: shown.map((tile) => tile.seed),
      pixels: shown.map((tile) => tile.frame.pixels),
      columns: Math.min(this.layout.columns, shown.length),
    };
  }

  private plain(): boolean {
    return this.scene.view.truncation === 1 && chosenLabel(this.scene) === null;
  }

  private end(): bigint {
    return this.first + BigInt(this.rows) * BigInt(this.layout.columns);
  }

  /** Scrolls to a seed's row. */
  private show(seed: bigint): void {
    if (!this.element.isConnected || this.element.hidden) return;
    const row = Math.floor(Number(seed - this.first) / this.layout.columns);
    const top = this.ground.getBoundingClientRect().top + row * (this.layout.height + this.layout.gap);
    if (row > 0 || top < 0) scrollBy({ top: top - BARS, behavior: "instant" });
    this.place();
  }

  private before(): bigint {
    const back = BigInt(20 * this.layout.columns);
    return this.first > back ? this.first - back : 0n;
  }

  private measure(): void {
    const room = this.element.clientWidth;
    if (room === 0) return;
    const { width, height } = this.scene.page;
    this.layout = layOut(room, width, height, devicePixelRatio || 1);
    const { columns, gap } = this.layout;
    const left = (LAST_SEED - this.first) / BigInt(columns) + 1n;
    const fitting = Math.floor(HIGHEST / (this.layout.height + gap));
    this.rows = left < BigInt(fitting) ? Number(left) : fitting;
    this.ground.style.height = `${this.rows * (this.layout.height + gap) - gap}px`;
    this.earlier.hidden = this.first === 0n;
    this.earlier.textContent = "Earlier seeds";
    this.further.hidden = this.end() > LAST_SEED;
    this.further.textContent = `Go on from seed ${this.end()}`;
    this.tiles.forEach((tile) => this.put(tile));
    this.place();
  }

  private soon(): void {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => {
      this.asked = 0;
      this.place();
    });
  }

  /** Sees to it that the tiles are those that can be seen. */
  private place(): void {
    if (!this.element.isConnected || this.element.hidden) return;
    const top = -this.ground.getBoundingClientRect().top;
    const { columns, height, gap } = this.layout;
    const step = height + gap;
    const from = Math.max(0, Math.floor(top / step) - MARGIN_ROWS);
    const to = Math.min(this.rows, Math.ceil((top + innerHeight) / step) + MARGIN_ROWS);
    const low = this.first + BigInt(from * columns);
    let high = this.first + BigInt(Math.max(0, to * columns));
    if (high > LAST_SEED + 1n) high = LAST_SEED + 1n;
    for (const tile of this.tiles.values()) {
      if (tile.seed < low || tile.seed >= high) this.free(tile);
    }
    for (let seed = low; seed < high; seed++) if (!this.tiles.has(seed)) this.take(seed);
    this.tab();
    this.remember(Math.max(0, Math.round(top / step)));
  }

  /** The address follows what can be seen, once it stands still. */
  private remember(row: number): void {
    clearTimeout(this.settled);
    this.settled = window.setTimeout(() => {
      const seed = this.first + BigInt(row * this.layout.columns);
      if (!this.element.hidden && seed !== this.scene.view.seed) this.scene.go({ seed });
    }, 400);
  }

  private take(seed: bigint): void {
    const tile = this.spare.pop() ?? this.make();
    tile.seed = seed;
    this.tiles.set(seed, tile);
    this.put(tile);
    this.draw(tile, true);
    this.mark(tile);
    tile.element.hidden = false;
    if (!tile.element.isConnected) this.ground.append(tile.element);
  }

  private free(tile: Tile): void {
    tile.frame.leave();
    this.tiles.delete(tile.seed);
    // A focused element that is used again would take the focus to another seed.
    if (tile.element.contains(document.activeElement)) tile.element.remove();
    else {
      tile.element.hidden = true;
      this.spare.push(tile);
    }
  }

  private make(): Tile {
    const frame = new Frame(this.scene, "tile-frame");
    const caption = h("span", { class: "tile-caption numeric", "aria-hidden": "true" });
    const button = h("button", {
      type: "button",
      class: "tile-open",
      tabIndex: -1,
      onclick: () => this.scene.go({ picture: { seed: tile.seed } }, true),
      onfocus: () => {
        this.current = tile.seed;
        this.tab();
      },
    });
    button.append(frame.element, caption);
    const pin = h(
      "button",
      {
        type: "button",
        class: "tile-pin",
        tabIndex: -1,
        onclick: () => this.choose(tile),
      },
      icon("pin"),
    );
    const tile: Tile = { element: h("div", { class: "tile" }, button, pin), button, pin, caption, frame, seed: 0n };
    return tile;
  }

  private put(tile: Tile): void {
    const place = Number(tile.seed - this.first);
    const { columns, width, height, gap, left } = this.layout;
    const x = left + (place % columns) * (width + gap);
    const y = Math.floor(place / columns) * (height + gap);
    tile.element.style.width = `${width}px`;
    tile.element.style.height = `${height}px`;
    tile.element.style.transform = `translate(${x}px, ${y}px)`;
  }

  private draw(tile: Tile, blank: boolean): void {
    const picture = { seed: tile.seed };
    tile.caption.textContent = String(tile.seed);
    tile.button.setAttribute("aria-label", spoken(this.scene, picture));
    tile.button.dataset.seed = String(tile.seed);
    tile.frame.show(wanted(this.scene, picture), Priority.Seen, blank);
    const sample = this.samples.get(tile.seed);
    if (sample && this.plain()) tile.frame.putSample(sample);
  }

  private choose(tile: Tile): void {
    const chosen = this.scene.chosen.toggle({ seed: tile.seed });
    this.scene.say(chosen ? `Seed ${tile.seed} chosen` : `Seed ${tile.seed} no longer chosen`);
  }

  private mark(tile: Tile): void {
    const chosen = this.scene.chosen.has({ seed: tile.seed });
    tile.element.classList.toggle("chosen", chosen);
    tile.pin.setAttribute("aria-label", `${chosen ? "Do not choose" : "Choose"} seed ${tile.seed}`);
    tile.pin.setAttribute("aria-pressed", String(chosen));
    tile.pin.replaceChildren(icon(chosen ? "check" : "pin"));
  }

  /** One tile can be reached by the tab key: the current one, or the first that is there. */
  private tab(): void {
    if (!this.tiles.has(this.current)) {
      const seen = this.seen().seeds;
      if (seen.length) this.current = seen[0];
    }
    this.tiles.forEach((tile) => (tile.button.tabIndex = tile.seed === this.current ? 0 : -1));
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const tile = this.tiles.get(this.current);
    if (!tile?.element.contains(document.activeElement)) return;
    const columns = BigInt(this.layout.columns);
    const page = columns * BigInt(Math.max(1, Math.floor(innerHeight / (this.layout.height + this.layout.gap)) - 1));
    const column = (this.current - this.first) % columns;
    const steps: Record<string, bigint> = {
      ArrowLeft: -1n,
      ArrowRight: 1n,
      ArrowUp: -columns,
      ArrowDown: columns,
      PageUp: -page,
      PageDown: page,
      Home: -column,
      End: columns - 1n - column,
    };
    if (event.key === "c" || event.key === "C") {
      this.choose(tile);
    } else if (event.key in steps) {
      const next = this.current + steps[event.key];
      if (next < this.first || next >= this.end() || next > LAST_SEED) return;
      this.reach(next);
    } else {
      return;
    }
    event.preventDefault();
  }

  /** Brings a seed of this wall into sight and focuses it. */
  private reach(seed: bigint): void {
    this.current = seed;
    const row = Math.floor(Number(seed - this.first) / this.layout.columns);
    const step = this.layout.height + this.layout.gap;
    const top = this.ground.getBoundingClientRect().top + row * step;
    if (top < BARS) scrollBy({ top: top - BARS, behavior: "instant" });
    else if (top + step > innerHeight - BARS) scrollBy({ top: top + step - innerHeight + BARS, behavior: "instant" });
    this.place();
    this.tiles.get(seed)?.button.focus({ preventScroll: true });
  }
}
