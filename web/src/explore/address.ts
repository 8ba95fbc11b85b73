// What is looked at, as the part of the address after '#': a link reproduces the very picture.
import { MixtureError, readPicture, written, type Picture } from "../mixture.ts";
import { readSeed } from "../seeds.ts";

export interface View {
  /** The wall's first seed. */
  seed: bigint;
  truncation: number;
  /** A class's name; `null` for each picture's own. */
  label: string | null;
  picture: Picture | null;
  /** Pictures to walk between, and where: 1.5 is halfway from the second to the third. */
  walk: { keys: Picture[]; at: number } | null;
  story: boolean;
}

export const MOST_KEYS = 24;
export const TRUNCATION = { least: 0, most: 1.5, step: 0.05 };

export function startView(): View {
  return { seed: 0n, truncation: 1, label: null, picture: null, walk: null, story: false };
}

const digits = (value: number): string => String(Math.round(value * 10_000) / 10_000);

/** A view as text; what is usual is left out. */
export function writeView(view: View): string {
  const parts: string[] = [];
  if (view.walk) {
    parts.push(`walk=${view.walk.keys.map(written).join(",")}`, `at=${digits(view.walk.at)}`);
  } else if (view.picture) {
    parts.push(`picture=${written(view.picture)}`);
  } else if (view.story) {
    parts.push("story");
  }
  if (view.seed !== 0n) parts.push(`seed=${view.seed}`);
  if (view.truncation !== 1) parts.push(`truncation=${digits(view.truncation)}`);
  if (view.label !== null) {
    const safe = (letter: string): string => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`;
    parts.push(`class=${encodeURIComponent(view.label).replace(/[!'()*]/g, safe)}`);
  }
  return parts.join("&");
}

/** Reads a view. What is wrong in it is told, and left as it is usually. */
export function readView(text: string): { view: View; problems: string[] } {
  const view = startView();
  const problems: string[] = [];
  let at = 0;
  for (const part of text.split("&")) {
    if (part === "") continue;
    const cut = part.includes("=") ? part.indexOf("=") : part.length;
    const name = part.slice(0, cut);
    try {
      // Messengers and mail programs like to write letters otherwise.
      const value = decodeURIComponent(part.slice(cut + 1));
      if (name === "story") view.story = true;
      else if (name === "picture") view.picture = readPicture(value);
      else if (name === "walk") view.walk = { keys: value.split(",").map(readPicture), at: 0 };
      else if (name === "at") at = number(value, 0, MOST_KEYS);
      else if (name === "seed") view.seed = seed(value);
      else if (name === "truncation") view.truncation = number(value, TRUNCATION.least, TRUNCATION.most);
      else if (name === "class") view.label = value;
    } catch (error) {
      const why = error instanceof MixtureError ? error.message : "it cannot be read";
      problems.push(`The link's ${name || "text"} is not understood: ${why}.`);
    }
  }
  if (view.walk && (view.walk.keys.length < 2 || view.walk.keys.length > MOST_KEYS)) {
    problems.push(`The link's walk is not understood: it needs 2 to ${MOST_KEYS} pictures.`);
    view.walk = null;
  }
  if (view.walk) view.walk.at = Math.min(at, view.walk.keys.length);
  return { view, problems };
}

function number(text: string, least: number, most: number): number {
  const value = /^[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : NaN;
  if (!(value >= least && value <= most)) throw new MixtureError(`${text} is no number from ${least} to ${most}`);
  return value;
}

function seed(text: string): bigint {
  const read = readSeed(text);
  if (!read || read.word) throw new MixtureError(`${text} is no seed`);
  return read.seed;
}

/** Where a view's text is kept. */
export interface Address {
  read(): string;
  /** Keeps a text; as a step of its own that 'back' returns from, or in the place of the one before. */
  write(text: string, step: boolean): void;
  /** The whole link of a text. */
  link(text: string): string;
  /** Tells when the visitor went back or forth, or wrote another address; returns how to end that. */
  listen(changed: () => void): () => void;
}

/**
 * The page's own address, after '#'.
 *
 * @param prefix what comes first after '#', where the page has more to say than the view (the studio does)
 */
export function hashAddress(prefix = ""): Address {
  const bare = (): string => location.href.split("#")[0];
  const link = (text: string): string => (prefix || text ? `${bare()}#${prefix}${text}` : bare());
  return {
    read: () => {
      const hash = location.hash.slice(1);
      return hash.startsWith(prefix) ? hash.slice(prefix.length) : "";
    },
    write: (text, step) => {
      if (link(text) !== location.href) history[step ? "pushState" : "replaceState"](null, "", link(text));
    },
    link,
    listen: (changed) => {
      const told = (): void => {
        if (location.hash.slice(1).startsWith(prefix)) changed();
      };
      addEventListener("popstate", told);
      return () => removeEventListener("popstate", told);
    },
  };
}
