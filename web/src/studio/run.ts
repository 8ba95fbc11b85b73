// One run: its newest samples, its curves, what happened to it, and what can be done with it.
import { fill, h } from "../ui/elements.ts";
import { count, duration } from "../ui/words.ts";
import type { Api, Curves, RunDetail } from "./api.ts";
import { StudioError } from "./api.ts";
import { Chart, smoothed, type Line } from "./charts.ts";
import { Controls } from "./controls.ts";
import { TimeSlider } from "./grids.ts";
import type { Place, View } from "./index.ts";
import { progressBar } from "./runs.ts";
import { howFar, interval, isBusy, left, sizeOf, stateChip, when } from "./words.ts";

const MAIN_FIGURES = ["kernel_distance", "frechet_distance", "precision", "recall", "diversity"];

/** The page of a run. */
export function runView(api: Api, place: Place, name: string): View {
  place.title(name);
  const trouble = h("p", { class: "notice bad", role: "alert", hidden: true });
  const head = h("div", { class: "run-head" });
  const verdict = h("p", { class: "headline", hidden: true });
  const progress = h("div", { class: "run-progress" });
  const facts = h("dl", { class: "known" });
  const figures = h("div", { class: "figures" });
  const more = h("div", { class: "more" });
  const charts = new RunCharts();
  const controls = new Controls(api, name, place, () => {
    details.now();
    curves.now();
  });
  const samples = h("section", { class: "run-samples", "aria-label": "Samples" });
  let slider: TimeSlider | null = null;
  let busy = true;

  const show = (run: RunDetail): void => {
    trouble.hidden = true;
    busy = isBusy(run);
    fill(head, h("div", {}, h("p", { class: "crumb" }, h("a", { href: "./" }, "Runs")), h("h1", {}, run.name)), stateChip(run));
    verdict.hidden = !run.verdict;
    verdict.textContent = run.verdict?.headline ?? "";
    verdict.dataset.tone = run.verdict?.tone ?? "";
    showProgress(progress, run);
    controls.show(run);
    if (run.grids_at.length) {
      if (!slider) {
        slider = new TimeSlider(api, name, run);
        fill(samples, slider.element);
      }
      slider.update(run.grids_at);
    } else if (!slider) {
      fill(samples, h("div", { class: "grid-frame waiting" }, h("p", { class: "muted" }, run.state === "failed" ? "It ended before its first samples." : "The first samples will appear here.")));
    }
    showFacts(facts, run);
    showMore(more, run);
  };

  const details = api.watch<RunDetail>(api.run(name), show, () => (busy ? 2 : 6), (error) => {
    trouble.hidden = false;
    trouble.textContent = error.status === 404 ? `There is no run ${name}.` : error.message;
  });
  const curves = api.watch<Curves>(api.run(name, "/curves"), (found) => {
    charts.show(found);
    showFigures(figures, found);
  }, () => (busy ? 2 : 6), (error: StudioError) => void (error.status === 404 || (trouble.textContent = error.message)));

  const element = h(
    "div",
    { class: "view" },
    head,
    trouble,
    progress,
    controls.element,
    verdict,
    h("div", { class: "run-columns" }, samples, h("aside", { class: "run-side" }, figures, facts)),
    h("section", { "aria-label": "Curves" }, charts.element),
    more,
  );
  return {
    element,
    destroy: () => {
      details();
      curves();
      charts.destroy();
      controls.destroy();
      slider?.destroy();
    },
  };
}

function showProgress(element: HTMLElement, run: RunDetail): void {
  const words = [howFar(run)];
  if (run.epoch !== null && run.epoch > 0) words.push(`epoch ${run.epoch < 10 ? run.epoch.toFixed(1) : count(Math.round(run.epoch))}`);
  if (run.state === "training" && run.rate) words.push(`${count(Math.round(run.rate))} images/s`);
  if (run.state === "training") words.push(left(run));
  if (run.seconds !== null && !isBusy(run)) words.push(`trained for ${duration(run.seconds)}`);
  fill(
    element,
    isBusy(run) && run.share !== null ? progressBar(run.share) : null,
    h("p", { class: "numeric" }, words.filter(Boolean).join(" · ")),
    run.reason ? h("p", { class: run.state === "failed" ? "notice bad" : "notice" }, run.reason) : null,
  );
}

function showFacts(element: HTMLElement, run: RunDetail): void {
  const rows: [string, string | Node][] = [];
  const add = (name: string, value: string | Node | null | undefined): void => void (value && rows.push([name, value]));
  add("Recipe", run.recipe ? `${run.recipe}${run.changes?.differences.some((one) => one.why !== "measured") ? ", changed" : ""}` : run.family);
  add("Data", run.count ? `${run.data}, ${count(run.count)} pictures` : run.data);
  add("Pictures", sizeOf(run));
  add("Classes", run.classes.length ? `${run.classes.length}: ${run.classes.slice(0, 8).join(", ")}${run.classes.length > 8 ? " …" : ""}` : null);
  add("Best so far", run.best !== null && run.best > 0 ? `at ${count(run.best)} images` : null);
  add("Started", run.started ? when(run.started) : null);
  add("Device", run.environment.device_name ? `${run.environment.device_name}, ${run.environment.precision ?? ""}` : null);
  fill(element, ...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function showFigures(element: HTMLElement, found: Curves): void {
  const rows = MAIN_FIGURES.flatMap((name) => {
    const figure = found.figures.find((one) => one.name === name);
    const at = figure ? figure.value.length - 1 : -1;
    const value = figure?.value[at] ?? null;
    return figure && value !== null ? [{ figure, at, value }] : [];
  });
  element.hidden = rows.length === 0;
  fill(
    element,
    h("h2", { class: "small-head" }, "Newest evaluation"),
    h(
      "table",
      { class: "figure-table numeric" },
      ...rows.map(({ figure, at, value }) =>
        h("tr", {}, h("th", { scope: "row", title: figure.help }, figure.label), h("td", {}, interval(value, figure.low[at] ?? null, figure.high[at] ?? null))),
      ),
    ),
    h("p", { class: "muted small" }, "In brackets: 95 % intervals."),
  );
}

function showMore(element: HTMLElement, run: RunDetail): void {
  const open = new Set([...element.querySelectorAll("details[open]")].map((one) => one.getAttribute("data-part")));
  const part = (name: string, title: string, ...children: (Node | null)[]): HTMLElement =>
    h("details", { class: "card part", "data-part": name, open: open.has(name) }, h("summary", {}, title), ...children);
  const changed = run.changes?.differences ?? [];
  const now = JSON.stringify([run.events, run.output, changed, run.settings, run.command]);
  if (element.dataset.shown === now) return;
  element.dataset.shown = now;
  fill(
    element,
    run.events.length
      ? h(
          "section",
          { class: "card events", "aria-label": "What happened" },
          h("h2", { class: "small-head" }, "What happened"),
          h("ol", {}, ...run.events.slice(0, 40).map((event) =>
            h("li", { "data-severity": event.severity },
              h("span", { class: "event-name" }, event.event.replaceAll("-", " ")),
              h("span", { class: "muted small numeric" }, `${count(event.images)} images · ${when(event.time)}`),
              event.text ? h("p", { class: "small" }, event.text) : null),
          )),
        )
      : null,
    run.output ? part("output", "What its process said", h("pre", { class: "output", tabindex: "0" }, run.output)) : null,
    changed.length && run.changes
      ? part("changes", `Recipe: ${changed.length} fields other than in ${run.changes.recipe}`,
          h("div", { class: "scroll" }, h("table", { class: "table" },
            h("thead", {}, h("tr", {}, h("th", {}, "field"), h("th", {}, run.changes.recipe), h("th", {}, "here"), h("th", {}, ""))),
            h("tbody", {}, ...changed.map((row) => h("tr", {}, h("th", { scope: "row" }, row.field), h("td", {}, row.shipped), h("td", {}, row.here), h("td", { class: "muted" }, row.why)))))))
      : null,
    Object.keys(run.settings).length
      ? part("settings", "The whole recipe",
          h("div", { class: "scroll" }, h("table", { class: "table" }, h("tbody", {}, ...Object.entries(run.settings).filter(([field]) => !field.startsWith("about.")).map(([field, value]) => h("tr", {}, h("th", { scope: "row" }, field), h("td", {}, Array.isArray(value) ? value.join(", ") : String(value))))))))
      : null,
    run.command.length ? part("command", "How it was started", h("pre", { class: "output", tabindex: "0" }, run.command.join(" "))) : null,
  );
}

/** A run's curves; which figure is drawn can be chosen. */
class RunCharts {
  readonly element: HTMLElement;
  readonly #figure = new Chart("Distance from the real images", { note: "The band is the 95 % interval." });
  readonly #losses = new Chart("Losses", { note: "They say how even the game is, not how good the samples are." });
  readonly #logits = new Chart("Logits of the discriminator");
  readonly #rate = new Chart("Images per second");
  readonly #gradients = new Chart("Length of the gradients", { logarithmic: true });
  readonly #shares = new Chart("Precision and recall", { note: "How many samples lie among the real images, and the other way round." });
  readonly #all = [this.#figure, this.#shares, this.#losses, this.#logits, this.#rate, this.#gradients];

  constructor() {
    this.element = h("div", { class: "charts" }, ...this.#all.map((chart) => chart.element));
  }

  show(found: Curves): void {
    const { images, columns } = found.log;
    const line = (name: string, label: string, colour: number): Line[] => {
      const column = columns[name];
      if (!column) return [];
      if (column.low && column.high) return [{ label, images, colour, value: column.value, low: column.low, high: column.high }];
      return [{ label, images, colour, value: smoothed(column.value) }];
    };
    const figure = (name: string, colour: number): Line[] => {
      const curve = found.figures.find((one) => one.name === name);
      return curve ? [{ label: curve.label, images: curve.images, value: curve.value, low: curve.low, high: curve.high, colour, points: true }] : [];
    };
    this.#figure.show(figure("kernel_distance", 0));
    this.#shares.show([...figure("precision", 0), ...figure("recall", 1)]);
    this.#losses.show([...line("discriminator_loss", "discriminator", 0), ...line("generator_loss", "generator", 1)]);
    this.#logits.show([...line("real_logit", "real images", 0), ...line("fake_logit", "samples", 1)]);
    this.#rate.show(line("images_per_second", "images per second", 0));
    this.#gradients.show([...line("discriminator_gradient", "discriminator", 0), ...line("generator_gradient", "generator", 1)]);
  }

  destroy(): void {
    for (const chart of this.#all) chart.destroy();
  }
}
