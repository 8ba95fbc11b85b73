// The page's side of drawing: what is wanted most is drawn first, in batches, and nothing is drawn twice while it is kept.
import type { PageDocument } from "../contract.ts";
import { latentOf, mainSeed, written, type Picture } from "../mixture.ts";
import type { FromWorker, Provider, ToWorker } from "./protocol.ts";

/** A picture, and how it is to be drawn. */
export interface Wanted {
  picture: Picture;
  /** What its latents are multiplied by. */
  truncation: number;
  /** The class's number; `null` gives the class of its seed, or none. */
  label: number | null;
}

/** RGBA, row by row. */
export interface Pixels {
  width: number;
  height: number;
  data: Uint8ClampedArray<ArrayBuffer>;
}

/** What is looked at large comes first, then what can be seen, then what may soon be. */
export const Priority = { Large: 0, Seen: 1, Soon: 2 } as const;
export type Priority = (typeof Priority)[keyof typeof Priority];

export type State =
  | { kind: "loading"; loaded: number; total: number }
  | { kind: "ready"; provider: Provider; threads: number; milliseconds: number; note: string }
  | { kind: "failed"; message: string };

interface Job {
  wanted: Wanted;
  key: string;
  priority: Priority;
  tellers: Set<(pixels: Pixels) => void>;
}

export interface DrawerOptions {
  provider?: Provider | "auto";
  threads?: number;
}

/** A batch should take about this long: what was asked for meanwhile is drawn soon. */
const BATCH_MILLISECONDS = 110;
const LARGEST_BATCH = 32;
const BATCH_PIXELS = 2 ** 21;
const KEPT_BYTES = 96 * 2 ** 20;

declare const __RUNTIME__: string;

export class Drawer {
  state: State;
  private readonly worker: Worker;
  private readonly waiting = new Map<string, Job>();
  private readonly kept = new Map<string, Pixels>();
  private readonly watchers = new Set<(state: State) => void>();
  private readonly fits: number;
  private flying: { id: number; jobs: Job[] } | null = null;
  private keptBytes = 0;
  private milliseconds = BATCH_MILLISECONDS;
  private count = 0;
  /** Pictures drawn, and the time it took, for those who measure. */
  readonly measured: { count: number; milliseconds: number }[] = [];

  constructor(
    private readonly page: PageDocument,
    documentUrl: URL,
    options: DrawerOptions = {},
  ) {
    this.fits = Math.max(1, Math.min(LARGEST_BATCH, Math.floor(BATCH_PIXELS / (page.width * page.height))));
    this.state = { kind: "loading", loaded: 0, total: page.model.bytes };
    this.worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    this.worker.onmessage = (event: MessageEvent<FromWorker>) => this.hear(event.data);
    this.worker.onerror = (event) => this.change({ kind: "failed", message: event.message || "the worker did not start" });
    this.tell({
      kind: "open",
      model: new URL(page.model.url, documentUrl).href,
      sha256: page.model.sha256,
      modelBytes: page.model.bytes,
      runtime: new URL(__RUNTIME__, document.baseURI).href,
      provider: options.provider ?? (page.webgpu === false ? "wasm" : "auto"),
      threads: options.threads ?? 0,
      channels: page.channels,
      width: page.width,
      height: page.height,
      latent: page.latent,
      labelled: page.classes.length > 0,
    });
  }

  /** Tells of every change of state, and of the state as it is; returns how to end that. */
  watch(watcher: (state: State) => void): () => void {
    this.watchers.add(watcher);
    watcher(this.state);
    return () => this.watchers.delete(watcher);
  }

  /**
   * Draws a picture.
   *
   * @param wanted which
   * @param priority how soon
   * @param done told the pixels, at once where they are kept
   * @returns how to give it up
   */
  draw(wanted: Wanted, priority: Priority, done: (pixels: Pixels) => void): () => void {
    const key = this.key(wanted);
    const known = this.kept.get(key);
    if (known) {
      this.kept.delete(key); // the last used goes last
      this.kept.set(key, known);
      done(known);
      return () => undefined;
    }
    let job = this.waiting.get(key) ?? this.flying?.jobs.find((flying) => flying.key === key);
    if (!job) {
      job = { wanted, key, priority, tellers: new Set() };
      this.waiting.set(key, job);
    }
    if (priority < job.priority) job.priority = priority;
    job.tellers.add(done);
    const mine = job;
    queueMicrotask(() => this.next());
    return () => {
      mine.tellers.delete(done);
      if (mine.tellers.size === 0 && this.waiting.get(key) === mine) this.waiting.delete(key);
    };
  }

  /** As {@link draw}, for those who wait. */
  drawn(wanted: Wanted, priority: Priority = Priority.Large): Promise<Pixels> {
    return new Promise((resolve) => void this.draw(wanted, priority, resolve));
  }

  /** WebGPU has drawn wrongly. */
  distrust(): void {
    this.kept.clear();
    this.keptBytes = 0;
    this.tell({ kind: "distrust" });
  }

  close(): void {
    this.worker.terminate();
    this.waiting.clear();
    this.watchers.clear();
  }

  /** A picture's class: the one that was asked for, or its seed's own (seed modulo the number of classes). */
  label(wanted: Wanted): number | null {
    const classes = this.page.classes.length;
    if (classes === 0) return null;
    return wanted.label ?? Number(mainSeed(wanted.picture) % BigInt(classes));
  }

  private key(wanted: Wanted): string {
    return `${written(wanted.picture)} ${wanted.truncation} ${this.label(wanted) ?? ""}`;
  }

  private tell(message: ToWorker, transfer: Transferable[] = []): void {
    this.worker.postMessage(message, transfer);
  }

  private change(state: State): void {
    this.state = state;
    for (const watcher of this.watchers) watcher(state);
  }

  /** Sends what is wanted most, unless the worker is busy. */
  private next(): void {
    if (this.flying || this.state.kind !== "ready" || this.waiting.size === 0) return;
    const all = [...this.waiting.values()];
    const first = Math.min(...all.map((job) => job.priority));
    // Few sizes of batches: WebGPU prepares for each anew.
    let size = 1;
    while (2 * size <= this.fits && 2 * size * this.milliseconds <= BATCH_MILLISECONDS) size *= 2;
    const jobs = all.filter((job) => job.priority === first).slice(0, size);
    const { latent } = this.page;
    const latents = new Float32Array(jobs.length * latent);
    jobs.forEach((job, place) => {
      this.waiting.delete(job.key);
      latents.set(latentOf(job.wanted.picture, latent, job.wanted.truncation), place * latent);
    });
    const labels = this.page.classes.length ? jobs.map((job) => this.label(job.wanted) ?? 0) : null;
    const id = ++this.count;
    this.flying = { id, jobs };
    this.tell({ kind: "draw", id, count: jobs.length, latents, labels }, [latents.buffer as ArrayBuffer]);
  }

  private hear(message: FromWorker): void {
    if (message.kind === "progress") {
      if (this.state.kind === "loading") {
        this.change({ kind: "loading", loaded: message.loaded, total: message.total });
      }
    } else if (message.kind === "ready") {
      const { provider, threads, milliseconds, note } = message;
      this.change({ kind: "ready", provider, threads, milliseconds, note });
      this.next();
    } else if (message.kind === "failed") {
      this.flying = null;
      this.change({ kind: "failed", message: message.message });
    } else if (this.flying?.id === message.id) {
      this.landed(this.flying.jobs, message.pixels, message.milliseconds);
    }
  }

  private landed(jobs: readonly Job[], pixels: Uint8ClampedArray<ArrayBuffer>, milliseconds: number): void {
    this.flying = null;
    this.measured.push({ count: jobs.length, milliseconds });
    if (this.measured.length > 200) this.measured.shift();
    // The first batch also prepares; the mean moves on with each.
    const each = milliseconds / jobs.length;
    this.milliseconds = this.measured.length < 3 ? each : 0.7 * this.milliseconds + 0.3 * each;
    const { width, height } = this.page;
    const size = 4 * width * height;
    const told: [Job, Pixels][] = jobs.map((job, place) => [
      job,
      { width, height, data: pixels.slice(place * size, (place + 1) * size) },
    ]);
    for (const [job, picture] of told) this.keep(job.key, picture);
    this.next();
    for (const [job, picture] of told) for (const done of job.tellers) done(picture);
  }

  private keep(key: string, pixels: Pixels): void {
    this.keptBytes -= this.kept.get(key)?.data.length ?? 0;
    this.kept.set(key, pixels);
    this.keptBytes += pixels.data.length;
    for (const [oldest, gone] of this.kept) {
      if (this.keptBytes <= KEPT_BYTES || oldest === key) break;
      this.kept.delete(oldest);
      this.keptBytes -= gone.data.length;
    }
  }
}
