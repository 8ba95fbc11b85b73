// Curves over images seen: uPlot in the page's colours, with bands where a value is uncertain.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { h } from "../ui/elements.ts";
import { short } from "../ui/words.ts";
import type { Numbers } from "./api.ts";

export interface Line {
  label: string;
  images: number[];
  value: Numbers;
  low?: Numbers;
  high?: Numbers;
  /** A place in the row of colours. */
  colour: number;
  points?: boolean;
}

const COLOURS = ["--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6", "--series-7", "--series-8"];
const HEIGHT = 220;

/** A colour of the theme as a canvas takes it. */
function colour(name: string): string {
  const probe = h("span", { hidden: true });
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function faded(rgb: string, share: number): string {
  return `color-mix(in srgb, ${rgb} ${Math.round(100 * share)}%, transparent)`;
}

function compact(value: number): string {
  for (const [size, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]] as const) {
    if (Math.abs(value) >= size) return `${Number((value / size).toPrecision(3))}${letter}`;
  }
  return String(Number(value.toPrecision(4)));
}

/** A chart that can be given new lines; its size follows its place in the page. */
export class Chart {
  readonly element: HTMLElement;
  #plot: uPlot | null = null;
  #lines: Line[] = [];
  #made = "";
  readonly #host: HTMLElement;
  readonly #size: ResizeObserver;
  readonly #colours = matchMedia("(prefers-color-scheme: dark)");
  readonly #themes: MutationObserver;
  readonly #again = (): void => this.#draw(true);

  constructor(
    readonly title: string,
    private readonly options: { logarithmic?: boolean; unit?: string; note?: string } = {},
  ) {
    this.#host = h("div", { class: "chart-plot", role: "img" });
    this.element = h(
      "figure",
      { class: "chart card" },
      h("figcaption", {}, h("h3", {}, title), options.note ? h("p", { class: "muted small" }, options.note) : null),
      this.#host,
    );
    this.#size = new ResizeObserver(() => {
      const width = this.#host.clientWidth;
      if (this.#plot && width && width !== this.#plot.width) this.#plot.setSize({ width, height: HEIGHT });
      else if (!this.#plot && width) this.#draw(true);
    });
    this.#size.observe(this.#host);
    this.#colours.addEventListener("change", this.#again);
    this.#themes = new MutationObserver(this.#again);
    this.#themes.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  /** Shows these lines; those that are empty are left out. */
  show(lines: Line[]): void {
    this.#lines = lines.filter((line) => line.images.length > 0);
    this.#draw(false);
  }

  /** How many points the longest line has: for tests and for people who listen. */
  get points(): number {
    return Math.max(0, ...this.#lines.map((line) => line.images.length));
  }

  destroy(): void {
    this.#size.disconnect();
    this.#themes.disconnect();
    this.#colours.removeEventListener("change", this.#again);
    this.#plot?.destroy();
    this.#plot = null;
  }

  #draw(anew: boolean): void {
    this.element.hidden = this.#lines.length === 0;
    if (this.element.hidden || !this.#host.clientWidth) return;
    this.#host.setAttribute("aria-label", `${this.title}: ${this.#lines.map(said).join("; ")}`);
    this.#host.dataset.points = String(this.points);
    const made = JSON.stringify(this.#lines.map((line) => [line.label, line.colour, Boolean(line.low), line.points]));
    const data = this.#data();
    if (this.#plot && !anew && made === this.#made) {
      this.#plot.setData(data);
      this.#rest();
      return;
    }
    this.#plot?.destroy();
    this.#made = made;
    this.#plot = new uPlot(this.#settings(), data, this.#host);
    this.#rest();
  }

  /** Without a pointer the newest values are told. */
  #rest(): void {
    const plot = this.#plot;
    if (plot && plot.cursor.idx === null) plot.setLegend({ idx: plot.data[0].length - 1 });
  }

  #data(): uPlot.AlignedData {
    const tables = this.#lines.map((line): uPlot.AlignedData => {
      const kept = this.options.logarithmic ? positive : same;
      const band = line.low && line.high ? [kept(line.low), kept(line.high)] : [];
      return [line.images, kept(line.value), ...band] as uPlot.AlignedData;
    });
    return tables.length > 1 ? uPlot.join(tables) : (tables[0] ?? [[]]);
  }

  #settings(): uPlot.Options {
    const series: uPlot.Series[] = [{ label: "images", value: (_, value) => (value === null ? "–" : value.toLocaleString("en")) }];
    const bands: uPlot.Band[] = [];
    for (const line of this.#lines) {
      const stroke = colour(COLOURS[line.colour % COLOURS.length] ?? "--accent");
      // Where lines are of different lengths, the joined table has nothing at all.
      const value = (_: uPlot, one: number | null | undefined): string => (one === null || one === undefined ? "–" : short(one));
      series.push({ label: line.label, stroke, width: 1.75, spanGaps: true, value, points: { show: line.points ?? false, size: 5, fill: stroke } });
      if (line.low && line.high) {
        const place = series.length;
        const edge = { stroke: "transparent", width: 0, spanGaps: true, points: { show: false }, value };
        series.push({ ...edge, label: "from", class: "edge" }, { ...edge, label: "to", class: "edge" });
        bands.push({ series: [place + 1, place], fill: faded(stroke, 0.18) });
      }
    }
    const ink = colour("--ink-2");
    const grid = { stroke: colour("--line"), width: 1 };
    const axis = { stroke: ink, grid, ticks: { show: false }, font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif" };
    return {
      width: this.#host.clientWidth,
      height: HEIGHT,
      series,
      bands,
      padding: [8, 12, 0, 0],
      cursor: { points: { size: 7 }, drag: { x: false, y: false } },
      scales: { x: { time: false }, y: this.options.logarithmic ? { distr: 3 } : {} },
      axes: [
        { ...axis, size: 32, space: 70, values: (_, values) => values.map(compact) },
        { ...axis, size: 52, space: 34, values: (_, values) => values.map((one) => (one === null ? "" : compact(one))) },
      ],
      legend: { live: true },
      hooks: { setCursor: [() => this.#rest()] },
    };
  }
}

const same = (values: Numbers): Numbers => values;
/** A logarithm has no place for what is not over zero. */
const positive = (values: Numbers): Numbers => values.map((one) => (one !== null && one > 0 ? one : null));

function said(line: Line): string {
  const last = line.value.findLast((one) => one !== null);
  return `${line.label} ${last === undefined || last === null ? "not known" : short(last)} after ${(line.images.at(-1) ?? 0).toLocaleString("en")} images`;
}

/** A running median, for lines that jump. */
export function smoothed(values: Numbers): Numbers {
  const window = Math.max(1, Math.floor(values.length / 25));
  if (window < 3) return values;
  return values.map((one, place) => {
    if (one === null) return null;
    const start = Math.max(0, Math.min(place - (window >> 1), values.length - window));
    const near = values.slice(start, start + window).filter((near) => near !== null).sort((a, b) => a - b);
    return near[near.length >> 1] ?? null;
  });
}
