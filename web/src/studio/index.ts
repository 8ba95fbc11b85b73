// The studio: runs as they train, compared and explored, collections looked at, and trainings started. Where one is stands in the
// address behind the question mark; what is behind its # belongs to the explorer.
import "./studio.css";
import { fill, h } from "../ui/elements.ts";
import { themeButton } from "../ui/theme.ts";
import { Api } from "./api.ts";
import { compareView } from "./compare.ts";
import { dataView } from "./data.ts";
import { exploreView } from "./explore.ts";
import { runView } from "./run.ts";
import { runsView } from "./runs.ts";
import { trainView } from "./train.ts";

/** What is shown at an address. */
export interface View {
  element: HTMLElement;
  destroy: () => void;
}

/** Where a view is, and how it goes elsewhere. */
export interface Place {
  query: URLSearchParams;
  go: (address: string) => void;
  title: (words: string) => void;
}

const LINKS = [
  ["./", "Runs", "runs"],
  ["?train", "Train", "train"],
  ["?data", "Data", "data"],
] as const;

function viewOf(api: Api, place: Place): [name: string, View] {
  const { query } = place;
  const run = query.get("run");
  if (run !== null && query.has("explore")) return ["runs", exploreView(api, place, run, query.get("explore") || "newest")];
  if (run !== null) return ["runs", runView(api, place, run)];
  if (query.has("compare")) return ["runs", compareView(api, place, query.getAll("compare"))];
  if (query.has("train")) return ["train", trainView(api, place)];
  if (query.has("data")) return ["data", dataView(api, place)];
  return ["runs", runsView(api, place)];
}

/** Shows the studio. It stays until the page is left. */
export async function mountStudio(root: HTMLElement, address: string): Promise<void> {
  const api = new Api(address);
  const main = h("div", { id: "main", tabindex: "-1" });
  const links = LINKS.map(([href, words, name]) => h("a", { href, "data-name": name }, words));
  let shown: View | null = null;
  let search: string | null = null;

  const show = (): void => {
    if (location.search === search) return; // only the explorer's part has changed
    search = location.search;
    shown?.destroy();
    const place: Place = {
      query: new URLSearchParams(location.search),
      go,
      title: (words) => void (document.title = `${words} – Limner studio`),
    };
    const [name, view] = viewOf(api, place);
    shown = view;
    // The explorer brings a main part of its own.
    main.toggleAttribute("role", !place.query.has("explore"));
    if (main.hasAttribute("role")) main.setAttribute("role", "main");
    fill(main, view.element);
    for (const link of links) link.toggleAttribute("aria-current", link.dataset.name === name);
    for (const link of links) if (link.hasAttribute("aria-current")) link.setAttribute("aria-current", "page");
    scrollTo(0, 0);
  };
  const go = (where: string): void => {
    history.pushState(null, "", where === "./" ? location.pathname : where);
    show();
    main.focus({ preventScroll: true });
  };

  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    const href = link?.getAttribute("href");
    const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    if (!href || !plain || event.defaultPrevented || !(href.startsWith("?") || href === "./")) return;
    event.preventDefault();
    go(href);
  });
  addEventListener("popstate", show);

  fill(
    root,
    h("a", { class: "skip", href: "#main" }, "To the content"),
    h(
      "header",
      { class: "studio-head" },
      h("a", { class: "wordmark", href: "./", "aria-label": "Limner studio, all runs" }, "Limner", h("span", {}, "studio")),
      h("nav", { "aria-label": "Studio" }, ...links),
      themeButton(),
    ),
    main,
  );
  show();
}
