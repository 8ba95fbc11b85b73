// What the page is told: home.json says where it is, limner.json what it can draw.

export interface SiteHome {
  home: "site";
  document: string;
}
export interface StudioHome {
  home: "studio";
  api: string;
}
export type Home = SiteHome | StudioHome;

/** A measured value with its 95 % interval, where it has one. */
export type Figure = [value: number, low: number | null, high: number | null];

/** What a kind of figure is called and says. */
export interface Kind {
  label: string;
  better: "lower" | "higher" | "one";
  help: string;
}

export interface Grid {
  images: number;
  url: string;
  figures?: Record<string, Figure>;
}

export interface PageDocument {
  format: "limner-page-1";
  limner: string;
  name: string;
  width: number;
  height: number;
  channels: 1 | 3 | 4;
  latent: number;
  classes: string[];
  images: number;
  half: boolean;
  /** False where the runtime for WebGPU was left out. */
  webgpu?: boolean;
  licence: string;
  model: { url: string; bytes: number; sha256: string };
  parity: Record<string, unknown> | null;
  /** Steps of 255 by which a picture may differ from the one that was drawn where the generator was trained. */
  tolerance: number;
  truncation: { kind: "scale" };
  about: Record<string, string | number | null>;
  story?: {
    grids: Grid[];
    columns: number;
    rows: number;
    /** All evaluations: not each of them has a grid. */
    measured?: { images: number; figures: Record<string, Figure> }[];
    kinds?: Record<string, Kind>;
  } | null;
  samples: { seed: number | string; url: string }[];
}

export class PageError extends Error {}

/** Reads a JSON file. @throws PageError with words for people */
export async function readJson<T>(url: string): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(url, { cache: "no-cache" });
  } catch {
    throw new PageError(`${url} could not be read. Is the machine that serves this page still there?`);
  }
  if (!answer.ok) throw new PageError(`${url} could not be read (status ${answer.status}).`);
  try {
    return (await answer.json()) as T;
  } catch {
    throw new PageError(`${url} is damaged: it is no JSON.`);
  }
}

/** Reads limner.json. @throws PageError when it is missing, damaged, or of another format */
export async function readDocument(url: string): Promise<PageDocument> {
  const found = await readJson<PageDocument>(url);
  if (found?.format !== "limner-page-1") {
    throw new PageError(`${url} is not of this page's format (limner-page-1), but ${String(found?.format)}.`);
  }
  return found;
}
