// The explorer of one generator: its wall, its pictures, its story.
import "./explore.css";
import { readDocument } from "../contract.ts";
import { Drawer, type DrawerOptions } from "../drawing/drawer.ts";
import { append, announcer, h } from "../ui/elements.ts";
import { themeButton } from "../ui/theme.ts";
import { count } from "../ui/words.ts";
import { saveSheet } from "./actions.ts";
import { hashAddress, readView, startView, writeView, type Address, type View } from "./address.ts";
import { compare, loadSamples, type Sample } from "./check.ts";
import { controls } from "./controls.ts";
import { PictureView } from "./picture.ts";
import { Chosen, type Scene } from "./scene.ts";
import { startScaling } from "./scaling.ts";
import { status } from "./status.ts";
import { Story } from "./story.ts";
import { Tray } from "./tray.ts";
import { Wall } from "./wall.ts";
import { WalkView } from "./walk.ts";

export interface Explorer {
  unmount(): void;
}

/** How the page's own address wants it drawn, for those who measure: ?device=wasm&threads=1. */
function askedFor(): DrawerOptions {
  const asked = new URLSearchParams(location.search);
  const device = asked.get("device");
  const threads = Number(asked.get("threads"));
  return {
    provider: device === "wasm" || device === "webgpu" ? device : "auto",
    threads: Number.isInteger(threads) && threads > 0 && threads <= 64 ? threads : 0,
  };
}

/**
 * Shows a generator, to be explored.
 *
 * @param root an element to fill
 * @param documentUrl of its limner.json
 * @param address where what is looked at is kept; the page's own address after '#' by default
 * @throws PageError when the document cannot be read
 */
export async function mountExplorer(
  root: HTMLElement,
  documentUrl: string,
  address: Address = hashAddress(),
): Promise<Explorer> {
  const base = new URL(documentUrl, document.baseURI);
  const page = await readDocument(base.href);
  const drawer = new Drawer(page, base, askedFor());
  const { element: ear, say } = announcer();
  const toast = h("div", { class: "toast", "aria-hidden": "true" });
  let toasting = 0;
  const view: View = startView();
  const scene: Scene = {
    page,
    base,
    drawer,
    view,
    chosen: new Chosen(),
    go: (change, step = false) => {
      const before = { ...view };
      Object.assign(view, change);
      address.write(writeView(view), step);
      render(before);
    },
    link: (change) => address.link(writeView({ ...view, ...change })),
    say: (text) => {
      say(text);
      toast.textContent = text;
      toast.classList.add("shown");
      clearTimeout(toasting);
      toasting = window.setTimeout(() => toast.classList.remove("shown"), 2600);
    },
  };

  const first = readView(address.read());
  Object.assign(view, first.view);
  const known = (): void => {
    if (view.label === null || page.classes.includes(view.label)) return;
    scene.say(`There is no class ${view.label} here.`);
    view.label = null;
  };

  startScaling(page.width, page.height);
  const wall = new Wall(scene);
  const story = new Story(scene);
  const picture = new PictureView(scene);
  const walk = new WalkView(scene);
  const tray = new Tray(scene);
  const bar = status(scene);
  const sheet = (): void => {
    const { seeds, columns } = wall.seen();
    void saveSheet(scene, seeds.map((seed) => ({ seed })), columns);
  };
  const panel = controls(scene, sheet, (seed) => wall.start(seed));
  const tabs = [
    h("button", { type: "button", class: "tab", onclick: () => scene.go({ story: false }, true) }, "Explore"),
    h("button", { type: "button", class: "tab", onclick: () => scene.go({ story: true }, true) }, "Story"),
  ];
  const box = h("div", { class: "explorer" });
  box.style.setProperty("--ratio", String(page.width / page.height));
  const learned = Number(page.about.count) || 0;
  append(box, [
    h(
      "header",
      { class: "explorer-head" },
      h(
        "div",
        { class: "explorer-title" },
        h("h1", {}, page.name),
        h(
          "p",
          { class: "muted" },
          learned
            ? `Pictures that nobody drew, from a generator that learned from ${count(learned)} images.`
            : "Pictures that nobody drew, from a generator that learned from images.",
        ),
      ),
      h("div", { class: "explorer-nav" }, h("nav", { "aria-label": "Views" }, ...tabs), themeButton()),
      bar.element,
    ),
    bar.bar,
    panel.element,
    h("main", { id: "explorer-main" }, wall.element, story.element),
    tray.element,
    picture.overlay.element,
    walk.overlay.element,
    toast,
    ear,
  ]);
  root.replaceChildren(box);

  /** Shows what is looked at, and no more than what has changed. */
  const render = (before: View | null): void => {
    known();
    const redrawn = before && (before.truncation !== view.truncation || before.label !== view.label);
    panel.update();
    tabs[0].setAttribute("aria-current", view.story ? "false" : "page");
    tabs[1].setAttribute("aria-current", view.story ? "page" : "false");
    panel.element.hidden = wall.element.hidden = view.story;
    if (view.story) story.enter();
    else story.leave();
    if (redrawn) {
      wall.redraw();
      tray.redraw();
    }
    if (view.walk) {
      picture.hide();
      walk.show(view.walk.keys, view.walk.at);
    } else if (view.picture) {
      walk.hide();
      picture.show(view.picture);
    } else {
      picture.hide();
      walk.hide();
      if (before?.picture && "seed" in before.picture) wall.focus(before.picture.seed);
    }
    if (before && before.story && !view.story) wall.attach();
  };
  const returned = (): void => {
    const before = { ...view };
    const { view: now, problems } = readView(address.read());
    Object.assign(view, now);
    problems.forEach(scene.say);
    if (now.seed !== before.seed && !now.picture && !now.walk && !now.story && !before.picture && !before.walk) {
      wall.start(now.seed);
    }
    render(before);
  };

  history.scrollRestoration = "manual";
  wall.attach();
  render(null);
  first.problems.forEach(scene.say);
  const quiet = address.listen(returned);
  void live(scene, wall, bar);
  return {
    unmount: () => {
      quiet();
      clearTimeout(toasting);
      wall.detach();
      story.destroy();
      picture.hide();
      walk.hide();
      drawer.close();
      box.remove();
    },
  };
}

/** First what was drawn beforehand; once the generator draws, some of it is compared. */
async function live(scene: Scene, wall: Wall, bar: ReturnType<typeof status>): Promise<void> {
  const samples: Sample[] = await loadSamples(scene, ({ seed, image }) => wall.sample(seed, image));
  await new Promise<void>((resolve) => {
    scene.drawer.watch((state) => {
      if (state.kind === "ready") resolve();
    });
  });
  await compare(scene, samples, bar);
}
