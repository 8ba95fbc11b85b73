// Choosing a collection: a path in the data folders, or one that is drawn by rule.
import { fill, h } from "../ui/elements.ts";
import { count } from "../ui/words.ts";
import type { About, Api, Folder } from "./api.ts";

/** A text field for a collection, with the folders below it to choose from. */
export class Collection {
  readonly element: HTMLElement;
  readonly input = h("input", { class: "input", id: "collection", autocomplete: "off", spellcheck: false, placeholder: "a folder of images, a .zip, .npz, .h5 …", "aria-describedby": "error-data" });
  readonly #inside = h("div", { class: "folder" });
  #asked = 0;

  constructor(
    private readonly api: Api,
    initial: string,
    private readonly changed: (location: string) => void,
  ) {
    this.input.value = initial;
    let timer = 0;
    this.input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = window.setTimeout(() => this.#chosen(), 350);
    });
    this.element = h("div", { class: "collection" }, h("div", { class: "field" }, h("label", { for: "collection" }, "Collection"), this.input), this.#inside);
    void this.#start(initial);
  }

  get location(): string {
    return this.input.value.trim();
  }

  async #start(initial: string): Promise<void> {
    const about = await this.api.get<About>("about");
    const roots = about.data.length > 1 ? about.data : [];
    const drawn = about.drawn.map((name) => this.#choice(name, () => this.#set(name)));
    this.element.append(h("p", { class: "choices small" }, h("span", { class: "muted" }, "Drawn by rule, to try things out:"), ...drawn, ...roots.map((root) => this.#choice(root, () => this.#set(root)))));
    await this.#look(initial && !initial.startsWith("procedural:") ? initial : (about.data[0] ?? ""));
  }

  #choice(words: string, act: () => void): HTMLElement {
    return h("button", { type: "button", class: "chip choice", onclick: act }, words);
  }

  #set(location: string): void {
    this.input.value = location;
    this.#chosen();
  }

  #chosen(): void {
    this.changed(this.location);
    if (this.location && !this.location.startsWith("procedural:")) void this.#look(this.location);
  }

  async #look(path: string): Promise<void> {
    const mine = ++this.#asked;
    let found: Folder;
    try {
      found = await this.api.get<Folder>(`folders?path=${encodeURIComponent(path)}`);
    } catch {
      return; // a file, or nothing: its own field says what is wrong
    }
    if (mine !== this.#asked) return;
    const join = (name: string): string => `${found.path.replace(/\/$/, "")}/${name}`;
    const said = found.pictures ? `${count(found.pictures)} pictures here` : "no pictures directly here";
    fill(
      this.#inside,
      h("p", { class: "small folder-head" }, h("code", {}, found.path), h("span", { class: "muted" }, said),
        found.pictures || found.folders.length ? this.#choice("take this folder", () => this.#set(found.path)) : null),
      h(
        "ul",
        { class: "folder-list" },
        found.parent !== null ? h("li", {}, h("button", { type: "button", onclick: () => void this.#look(found.parent ?? "") }, "..")) : null,
        ...found.folders.map((name) => h("li", { class: "is-folder" }, h("button", { type: "button", onclick: () => void this.#look(join(name)) }, `${name}/`))),
        ...found.files.map((name) => h("li", {}, h("button", { type: "button", "aria-pressed": String(this.location === join(name)), onclick: () => this.#set(join(name)) }, name))),
      ),
    );
  }
}
