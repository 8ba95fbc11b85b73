// What the studio says of runs: states, times and figures in words.
import { h } from "../ui/elements.ts";
import { count, duration, short } from "../ui/words.ts";
import type { FigureNow, RunSummary, State } from "./api.ts";

export const STATES: Record<State, string> = {
  training: "training",
  paused: "paused",
  waiting: "getting ready",
  finished: "finished",
  interrupted: "interrupted",
  failed: "failed",
};

export const isBusy = (run: RunSummary): boolean =>
  run.state === "training" || run.state === "paused" || run.state === "waiting";

/** A run's state as a small sign. */
export function stateChip(run: RunSummary): HTMLElement {
  const where = run.elsewhere ? ` on ${run.elsewhere}` : "";
  return h("span", { class: `chip state state-${run.state}` }, h("span", { class: "dot", "aria-hidden": "true" }), STATES[run.state] + where);
}

/** How far a run is, such as "12,800 of 120,000 images". */
export function howFar(run: RunSummary): string {
  if (run.state === "waiting" && !run.images) return "reading its pictures";
  const of = run.total && run.total !== run.images ? ` of ${count(run.total)}` : "";
  return `${count(run.images)}${of} images`;
}

/** What is left, in words; empty where that is not known. */
export function left(run: RunSummary): string {
  return run.remaining === null ? "" : `about ${duration(run.remaining)} left`;
}

export function sizeOf(run: RunSummary): string {
  if (!run.width || !run.height) return "";
  const kind = { 1: "grey", 3: "RGB", 4: "RGB with transparency" }[run.channels ?? 0];
  return `${run.width} × ${run.height}${kind ? ` ${kind}` : ""}`;
}

const NAMES: Record<string, string> = { kernel_distance: "kernel distance" };

/** A figure with its interval, such as "0.031 (0.028 to 0.034)". */
export function interval(value: number | null, low: number | null, high: number | null): string {
  if (value === null) return "–";
  return low === null || high === null ? short(value) : `${short(value)} (${short(low)} to ${short(high)})`;
}

export function figureWords(figure: FigureNow): string {
  return `${NAMES[figure.name] ?? figure.name} ${interval(figure.value, figure.low, figure.high)}`;
}

/** A time as "today 14:05" or "22 Nov 2026, 14:05"; what is none stays as it is. */
export function when(text: string | number): string {
  const date = typeof text === "number" ? new Date(1000 * text) : new Date(text.replace(/([+-]\d\d)(\d\d)$/, "$1:$2"));
  if (Number.isNaN(date.getTime())) return String(text);
  const time = date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  if (date.toDateString() === new Date().toDateString()) return `today ${time}`;
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" })}, ${time}`;
}

/** Whether pictures of that size should be enlarged without blur. */
export const isSmall = (run: { width: number | null; height: number | null }): boolean =>
  Math.max(run.width ?? 0, run.height ?? 0) <= 128;
