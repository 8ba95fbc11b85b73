// What the page and its drawing worker say to one another.

export type Provider = "webgpu" | "wasm";

export interface Open {
  kind: "open";
  /** Absolute addresses, as a worker's own is another. */
  model: string;
  sha256: string;
  modelBytes: number;
  runtime: string;
  provider: Provider | "auto";
  /** WebAssembly threads; 0 lets the worker choose. */
  threads: number;
  channels: number;
  width: number;
  height: number;
  latent: number;
  labelled: boolean;
}

export interface Draw {
  kind: "draw";
  id: number;
  count: number;
  /** `[count, latent]` */
  latents: Float32Array;
  /** `[count]`, for a generator with classes. */
  labels: number[] | null;
}

/** WebGPU has drawn wrongly: go on without it. */
export interface Distrust {
  kind: "distrust";
}

export type ToWorker = Open | Draw | Distrust;

export interface Ready {
  kind: "ready";
  provider: Provider;
  threads: number;
  /** From the order to the first picture that could be drawn. */
  milliseconds: number;
  /** Why it is not what was asked for. */
  note: string;
}

export interface Progress {
  kind: "progress";
  loaded: number;
  total: number;
}

export interface Drawn {
  kind: "drawn";
  id: number;
  /** RGBA, `[count, height, width, 4]` */
  pixels: Uint8ClampedArray<ArrayBuffer>;
  milliseconds: number;
}

export interface Failed {
  kind: "failed";
  /** Of the order that failed; `null` where nothing can be drawn at all. */
  id: number | null;
  message: string;
}

export type FromWorker = Ready | Progress | Drawn | Failed;
