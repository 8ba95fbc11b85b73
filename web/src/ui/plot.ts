// A curve with its interval over the images seen: uPlot in this page's colours.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { count, short } from "./words.ts";

export interface CurvePoint {
  x: number;
  value: number;
  low: number | null;
  high: number | null;
}

export interface Curve {
  /** Puts the mark at a place. */
  mark(x: number): void;
  destroy(): void;
}

/** A colour of the theme, as a canvas takes it: the canvas knows no `light-dark()`. */
export function themeColour(element: Element, name: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  element.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

/**
 * A curve that fills its place, follows its width and the theme, and tells where it is clicked.
 *
 * @param place where; its height is the curve's
 * @param points in order of `x`
 * @param label what the values are
 * @param chosen told the `x` of the point nearest to a click
 */
export function curve(
  place: HTMLElement,
  points: readonly CurvePoint[],
  label: string,
  chosen: (x: number) => void,
): Curve {
  let at = points.length ? points[points.length - 1].x : 0;
  let plot: uPlot | null = null;
  const xs = points.map((point) => point.x);
  const data: uPlot.AlignedData = [
    xs,
    points.map((point) => point.low),
    points.map((point) => point.high),
    points.map((point) => point.value), // last, so that it lies on its interval
  ];
  const shortCount = (value: number): string =>
    value >= 1e6 ? `${value / 1e6} M` : value >= 1000 ? `${value / 1000} k` : count(value);

  const build = (): void => {
    plot?.destroy();
    const colour = (name: string): string => themeColour(place, name);
    const [ink, line, accent, soft] = ["--ink-2", "--line", "--accent", "--accent-soft"].map(colour);
    const axis: uPlot.Axis = {
      stroke: ink,
      grid: { stroke: line, width: 1 },
      ticks: { stroke: line, width: 1 },
      font: "12px system-ui, sans-serif",
    };
    const options: uPlot.Options = {
      width: Math.max(120, place.clientWidth),
      height: Math.max(120, place.clientHeight),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: { x: { time: false } },
      axes: [
        { ...axis, values: (_, splits) => splits.map(shortCount) },
        { ...axis, size: 56, values: (_, splits) => splits.map((value) => short(value)) },
      ],
      series: [
        {},
        { stroke: "transparent", width: 0, points: { show: false } },
        { stroke: "transparent", width: 0, points: { show: false } },
        { label, stroke: accent, width: 2, points: { show: points.length < 40, size: 5, fill: accent } },
      ],
      bands: [{ series: [2, 1], fill: soft }],
      hooks: { draw: [(self) => drawMark(self, accent)] },
    };
    plot = new uPlot(options, data, place);
    plot.over.addEventListener("click", () => {
      const index = plot?.cursor.idx;
      if (index !== null && index !== undefined) chosen(xs[index]);
    });
  };
  const drawMark = (self: uPlot, colour: string): void => {
    const x = Math.round(self.valToPos(at, "x", true));
    const { ctx, bbox } = self;
    ctx.save();
    ctx.strokeStyle = colour;
    ctx.lineWidth = 1.5;
    ctx.setLineDash([4, 4]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  };
  const resized = new ResizeObserver(() => {
    if (place.clientWidth && plot && plot.width !== place.clientWidth) {
      plot.setSize({ width: place.clientWidth, height: Math.max(120, place.clientHeight) });
    }
  });
  const themes = new MutationObserver(build);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  build();
  resized.observe(place);
  themes.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  scheme.addEventListener("change", build);
  return {
    mark: (x) => {
      at = x;
      plot?.redraw(false);
    },
    destroy: () => {
      resized.disconnect();
      themes.disconnect();
      scheme.removeEventListener("change", build);
      plot?.destroy();
    },
  };
}
