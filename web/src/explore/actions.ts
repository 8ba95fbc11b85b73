// What can be done with a picture: keep it as PNG, copy its link, choose it.
import { Priority, type Wanted } from "../drawing/drawer.ts";
import { written, type Picture } from "../mixture.ts";
import { h, icon } from "../ui/elements.ts";
import type { View } from "./address.ts";
import { keep, png, sheet } from "./png.ts";
import { fileName, imprint, title, wanted, type Scene } from "./scene.ts";

/** Lets the visitor keep a picture as a PNG of the generator's own size, with its link inside. */
export async function savePicture(scene: Scene, wanted: Wanted): Promise<void> {
  const { picture, label } = wanted;
  const pixels = await scene.drawer.drawn(wanted);
  const link = scene.link({ picture, label: label === null ? null : scene.page.classes[label], walk: null, story: false });
  keep(await png(pixels, scene.page.channels, imprint(scene, title(picture), link)), fileName(scene, picture));
  scene.say(`${title(picture)} saved`);
}

/** Lets the visitor keep several pictures as one sheet. */
export async function saveSheet(scene: Scene, pictures: readonly Picture[], columns: number): Promise<void> {
  if (pictures.length === 0) return;
  const drawn = await Promise.all(pictures.map((picture) => scene.drawer.drawn(wanted(scene, picture), Priority.Seen)));
  const all = sheet(drawn, columns, scene.page.channels);
  const names = pictures.map(written).join(", ");
  const about = { ...imprint(scene, `${pictures.length} pictures`, scene.link({})), Comment: `Row by row: ${names}` };
  keep(await png(all, scene.page.channels, about), `${fileName(scene, pictures[0]).replace(/\.png$/, "")}-sheet.png`);
  scene.say(`A sheet of ${pictures.length} pictures saved`);
}

/** Copies a link; where the browser refuses that, it is shown to be copied by hand. */
export async function copyLink(scene: Scene, change: Partial<View>): Promise<void> {
  const link = scene.link(change);
  try {
    await navigator.clipboard.writeText(link);
    scene.say("Link copied");
  } catch {
    prompt("The link of this very picture:", link);
  }
}

/** Save, copy and choose, as buttons. */
export function actions(
  scene: Scene,
  current: () => Wanted | null,
  change: () => Partial<View>,
  first = "primary",
): { element: HTMLElement; update: () => void } {
  const say = (error: unknown): void => scene.say(error instanceof Error ? error.message : String(error));
  const choose = h("button", {
    type: "button",
    class: "button",
    onclick: () => {
      const wanted = current();
      if (wanted) scene.chosen.toggle(wanted.picture);
    },
  });
  const save = (): void => {
    const wanted = current();
    if (wanted) savePicture(scene, wanted).catch(say);
  };
  const update = (): void => {
    const wanted = current();
    const has = wanted !== null && scene.chosen.has(wanted.picture);
    choose.replaceChildren(icon(has ? "check" : "pin"), has ? "Chosen" : "Choose");
    choose.setAttribute("aria-pressed", String(has));
  };
  scene.chosen.watch(update);
  const element = h(
    "div",
    { class: "actions" },
    h("button", { type: "button", class: `button ${first}`, onclick: save }, icon("download"), "Save PNG"),
    h("button", { type: "button", class: "button", onclick: () => void copyLink(scene, change()) }, icon("link"), "Copy link"),
    choose,
  );
  return { element, update };
}
