// Two or more runs side by side: their samples at equal images seen, a figure over one another, and what their recipes change.
import { fill, h } from "../ui/elements.ts";
import { count } from "../ui/words.ts";
import type { Api, Comparison, Curves, RunDetail } from "./api.ts";
import { Chart, smoothed, type Line } from "./charts.ts";
import { Frame, gridUrl, nearest } from "./grids.ts";
import type { Place, View } from "./index.ts";
import { howFar, isBusy, isSmall, sizeOf, stateChip } from "./words.ts";

interface Side {
  name: string;
  run: RunDetail | null;
  curves: Curves | null;
  head: HTMLElement;
  frame: Frame | null;
  frameHost: HTMLElement;
  said: HTMLElement;
}

const LOGGED = ["generator_loss", "discriminator_loss", "real_logit", "fake_logit", "images_per_second"];

/** The page that compares runs. */
export function compareView(api: Api, place: Place, names: string[]): View {
  place.title(names.join(", "));
  const trouble = h("p", { class: "notice bad", role: "alert", hidden: true });
  const fail = (error: Error): void => {
    trouble.hidden = false;
    trouble.textContent = error.message;
  };
  const sides: Side[] = names.map((name) => ({ name, run: null, curves: null, head: h("div", { class: "side-head" }), frame: null, frameHost: h("div", { class: "grid-frame ground" }), said: h("p", { class: "muted small numeric" }) }));
  const range = h("input", { type: "range", min: "0", max: "0", value: "0", step: "1", "aria-label": "Images seen" });
  const words = h("output", { class: "numeric" });
  const chart = new Chart("Over images seen", { note: "Where there is a band, it is the 95 % interval, or the middle 80 % of the log's lines." });
  const metric = h("select", { class: "select", "aria-label": "What is drawn", onchange: () => draw() });
  const table = h("div", { class: "scroll" });
  let stops: number[] = [];
  let chosen = "";

  const showGrids = (): void => {
    const images = stops[Number(range.value)] ?? 0;
    words.textContent = `At ${count(images)} images`;
    range.setAttribute("aria-valuetext", `${count(images)} images`);
    for (const side of sides) {
      const at = side.run ? nearest(side.run.grids_at, images) : null;
      if (at === null || !side.frame) continue;
      const behind = side.run && side.run.images < images;
      side.frame.show(gridUrl(api, side.name, at), `Samples of ${side.name} after ${count(at)} images`);
      side.said.textContent = behind ? `after ${count(at)} images, as far as it has come` : `after ${count(at)} images`;
    }
  };
  range.addEventListener("input", showGrids);

  const showSide = (side: Side, run: RunDetail): void => {
    side.run = run;
    fill(side.head, h("h2", {}, h("a", { href: `?run=${encodeURIComponent(side.name)}` }, side.name)), stateChip(run), h("p", { class: "muted small numeric" }, [howFar(run), sizeOf(run)].filter(Boolean).join(" · ")));
    if (!side.frame && run.grids_at.length) {
      side.frame = new Frame(isSmall(run));
      side.frameHost.replaceChildren(side.frame.element);
    }
    const atEnd = Number(range.value) === stops.length - 1 || stops.length === 0;
    stops = [...new Set(sides.flatMap((one) => one.run?.grids_at ?? []))].sort((a, b) => a - b);
    range.max = String(Math.max(0, stops.length - 1));
    if (atEnd) range.value = range.max;
    showGrids();
  };

  const choices = (): [string, string][] => {
    const found = new Map<string, string>();
    for (const side of sides) for (const figure of side.curves?.figures ?? []) found.set(figure.name, figure.label);
    for (const name of LOGGED) {
      const column = sides.map((side) => side.curves?.log.columns[name]).find(Boolean);
      if (column) found.set(name, column.label);
    }
    return [...found];
  };
  const draw = (): void => {
    const offered = choices();
    chosen = metric.value || offered[0]?.[0] || "";
    if (metric.options.length !== offered.length) fill(metric, ...offered.map(([name, label]) => h("option", { value: name, selected: name === chosen }, label)));
    const lines = sides.flatMap((side, colour): Line[] => {
      const figure = side.curves?.figures.find((one) => one.name === chosen);
      if (figure) return [{ label: side.name, images: figure.images, value: figure.value, low: figure.low, high: figure.high, colour, points: true }];
      const column = side.curves?.log.columns[chosen];
      if (!side.curves || !column) return [];
      return [{ label: side.name, images: side.curves.log.images, value: column.low ? column.value : smoothed(column.value), low: column.low, high: column.high, colour }];
    });
    chart.show(lines);
  };

  const watches = sides.flatMap((side) => [
    api.watch<RunDetail>(api.run(side.name), (run) => showSide(side, run), (run) => (run && isBusy(run) ? 3 : 10), fail),
    api.watch<Curves>(api.run(side.name, "/curves"), (found) => {
      side.curves = found;
      draw();
    }, () => (side.run && isBusy(side.run) ? 3 : 10), fail),
  ]);
  const query = new URLSearchParams(names.map((name) => ["run", name]));
  const ending = new AbortController();
  api.get<Comparison>(`compare?${query}`, ending.signal).then((found) => showDifferences(table, found), (error: Error) => void (ending.signal.aborted || fail(error)));

  const element = h(
    "div",
    { class: "view wide" },
    h("div", { class: "view-head" }, h("div", {}, h("p", { class: "crumb" }, h("a", { href: "./" }, "Runs")), h("h1", {}, "Side by side"))),
    trouble,
    h("div", { class: "time sticky" }, range, words),
    h("div", { class: "sides", "data-count": String(names.length) }, ...sides.map((side, colour) => h("section", { class: "side", "aria-label": side.name, "data-colour": String(colour) }, side.head, side.frameHost, side.said))),
    h("section", { class: "compare-chart", "aria-label": "Curves" }, h("div", { class: "field inline" }, h("span", { class: "label" }, "Draw"), metric), chart.element),
    h("section", { "aria-label": "Recipes" }, h("h2", {}, "Where their recipes differ"), table),
  );
  return {
    element,
    destroy: () => {
      ending.abort();
      for (const end of watches) end();
      chart.destroy();
    },
  };
}

function showDifferences(element: HTMLElement, found: Comparison): void {
  if (!found.differences.length) {
    fill(element, h("p", { class: "muted" }, `Nowhere: all ${found.same} fields are the same.`));
    return;
  }
  fill(
    element,
    h(
      "table",
      { class: "table differences" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "field"), ...found.runs.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, ...found.differences.map((row) => h("tr", {}, h("th", { scope: "row" }, row.field), ...row.values.map((value) => h("td", { class: value === null ? "muted" : "" }, value ?? "not used"))))),
    ),
    h("p", { class: "muted small" }, `${found.same} more fields are the same.`),
  );
}
