// All runs, each with its newest samples; some of them chosen to be compared.
import { fill, h, icon } from "../ui/elements.ts";
import { count } from "../ui/words.ts";
import type { Api, RunSummary } from "./api.ts";
import type { Place, View } from "./index.ts";
import { figureWords, howFar, isBusy, isSmall, left, stateChip, when } from "./words.ts";

const MOST_COMPARED = 8;

/** The list of runs. */
export function runsView(api: Api, place: Place): View {
  const list = h("ul", { class: "run-list" });
  const about = h("p", { class: "muted" });
  const chosen = new Set<string>();
  const bar = h("div", { class: "compare-bar", role: "region", "aria-label": "Chosen runs", hidden: true });
  const cards = new Map<string, Card>();
  const trouble = h("p", { class: "notice bad", role: "alert", hidden: true });

  const choose = (name: string, on: boolean): void => {
    if (on) chosen.add(name);
    else chosen.delete(name);
    bar.hidden = chosen.size === 0;
    const enough = chosen.size >= 2 && chosen.size <= MOST_COMPARED;
    const words = chosen.size < 2 ? "choose one more run to compare" : enough ? `${chosen.size} runs chosen` : `${chosen.size} chosen; at most ${MOST_COMPARED}`;
    const query = new URLSearchParams([...chosen].map((one) => ["compare", one]));
    fill(
      bar,
      h("span", {}, words),
      enough ? h("a", { class: "button primary", href: `?${query}` }, "Compare") : null,
      h("button", { type: "button", class: "button quiet", onclick: clear }, "Clear"),
    );
  };
  const clear = (): void => {
    for (const name of [...chosen]) {
      cards.get(name)?.uncheck();
      choose(name, false);
    }
  };

  const show = (runs: RunSummary[]): void => {
    const busy = runs.filter(isBusy).length;
    const many = runs.length === 1 ? "one run" : `${count(runs.length)} runs`;
    about.textContent = runs.length ? `${many}${busy ? `, ${busy} at work` : ""}` : "";
    const names = new Set(runs.map((run) => run.name));
    for (const [name, card] of cards) {
      if (!names.has(name)) {
        card.element.remove();
        cards.delete(name);
        choose(name, false);
      }
    }
    runs.forEach((run, at) => {
      let card = cards.get(run.name);
      if (!card) {
        card = new Card(api, run.name, (on) => choose(run.name, on));
        cards.set(run.name, card);
      }
      card.show(run);
      if (list.children[at] !== card.element) list.insertBefore(card.element, list.children[at] ?? null);
    });
    list.hidden = runs.length === 0;
    empty.hidden = runs.length > 0;
  };

  const empty = h(
    "div",
    { class: "empty", hidden: true },
    h("h2", {}, "No runs yet"),
    h("p", { class: "muted" }, "A run appears here when a training begins, whether you start it on this page or in a terminal."),
    h("p", {}, h("a", { class: "button primary", href: "?train" }, "Train a generator")),
  );
  const element = h(
    "div",
    { class: "view" },
    h("div", { class: "view-head" }, h("h1", {}, "Runs"), about, h("a", { class: "button primary", href: "?train" }, icon("pin"), "New training")),
    trouble,
    empty,
    list,
    bar,
  );
  const end = api.watch<{ runs: RunSummary[] }>(
    "runs",
    (found) => {
      trouble.hidden = true;
      show(found.runs);
    },
    (found) => (found?.runs.some(isBusy) ? 2 : 4),
    (error) => {
      trouble.hidden = false;
      trouble.textContent = error.message;
    },
  );
  place.title("Runs");
  return { element, destroy: end };
}

class Card {
  readonly element: HTMLLIElement;
  readonly #check: HTMLInputElement;
  readonly #picture = h("div", { class: "run-picture" });
  readonly #body = h("div", { class: "run-body" });
  #drawn = "";
  #shown = "";

  constructor(
    private readonly api: Api,
    private readonly name: string,
    chosen: (on: boolean) => void,
  ) {
    this.#check = h("input", { type: "checkbox", onchange: () => chosen(this.#check.checked) });
    const label = h("label", { class: "run-choose" }, this.#check, h("span", {}, "compare"));
    label.title = `Compare ${name}`;
    this.#check.setAttribute("aria-label", `Compare ${name}`);
    this.element = h("li", { class: "run-card card" }, this.#picture, this.#body, label);
  }

  uncheck(): void {
    this.#check.checked = false;
  }

  show(run: RunSummary): void {
    const picture = run.grid === null ? "" : this.api.url(this.api.run(run.name, `/thumbnails/${run.grid}.png`));
    if (picture !== this.#drawn || !this.#picture.hasChildNodes()) {
      this.#drawn = picture;
      const crisp = isSmall(run) ? "crisp" : "";
      fill(this.#picture, picture ? h("img", { src: picture, alt: `Samples of ${run.name}`, class: crisp, loading: "lazy" }) : h("span", { class: "muted small" }, "no samples yet"));
      this.#picture.classList.toggle("ground", run.channels === 4);
    }
    const now = JSON.stringify(run);
    if (now === this.#shown) return;
    this.#shown = now;
    const from = [run.data, run.recipe || run.family].filter(Boolean).join(" · ");
    const rest = run.state === "training" ? left(run) : "";
    fill(
      this.#body,
      h("div", { class: "run-top" }, stateChip(run), h("span", { class: "muted small" }, isBusy(run) ? rest : when(run.changed))),
      h("h2", {}, h("a", { href: `?run=${encodeURIComponent(run.name)}` }, run.name)),
      from ? h("p", { class: "muted small" }, from) : null,
      h("p", { class: "small numeric" }, howFar(run)),
      isBusy(run) && run.share !== null ? progressBar(run.share) : null,
      run.figure && !isBusy(run) ? h("p", { class: "small muted numeric" }, figureWords(run.figure)) : null,
      run.state === "failed" && run.reason ? h("p", { class: "small bad-text clamp" }, run.reason) : null,
    );
    this.#check.disabled = run.grid === null && run.images === 0;
    this.element.dataset.state = run.state;
    this.element.dataset.name = this.name;
  }
}

/** A bar for a share of 0 to 1. */
export function progressBar(share: number): HTMLElement {
  const inner = h("span");
  inner.style.width = `${Math.round(1000 * share) / 10}%`;
  const percent = Math.floor(100 * share);
  return h("div", { class: "bar", role: "progressbar", "aria-valuenow": percent, "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": "Share of the training that is done" }, inner);
}
