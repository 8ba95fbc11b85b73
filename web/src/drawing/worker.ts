// Draws, apart from the page, which never waits for it: ONNX Runtime with WebGPU where there is one, else WebAssembly.
import type { InferenceSession, Tensor } from "onnxruntime-web/wasm";
import { hex, sha256 } from "../sha256.ts";
import { download, unpacked } from "./download.ts";
import { toPixels } from "./pixels.ts";
import type { Draw, FromWorker, Open, Provider, ToWorker } from "./protocol.ts";

type Runtime = typeof import("onnxruntime-web/wasm");

interface Opened {
  provider: Provider;
  runtime: Runtime;
  session: InferenceSession;
  threads: number;
}

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
  postMessage: (message: FromWorker, transfer?: Transferable[]) => void;
  crossOriginIsolated?: boolean;
};
/** Threads beyond these make small pictures no faster. */
const MOST_THREADS = 8;

let order: Open | null = null;
let opened: Opened | null = null;
let weights: Promise<Uint8Array> | null = null;
/** Messages are obeyed one after the other. */
let turn: Promise<void> = Promise.resolve();

scope.onmessage = (event) => {
  turn = turn.then(() => obey(event.data));
};

async function obey(message: ToWorker): Promise<void> {
  try {
    if (message.kind === "open") await open(message);
    else if (message.kind === "distrust") await fallBack("WebGPU drew other pictures than it should");
    else await draw(message);
  } catch (error) {
    const id = message.kind === "draw" ? message.id : null;
    scope.postMessage({ kind: "failed", id, message: words(error) });
  }
}

const words = (error: unknown): string => (error instanceof Error ? error.message : String(error));

async function open(message: Open): Promise<void> {
  const began = performance.now();
  order = message;
  let note = "";
  const provider = message.provider === "auto" ? await best() : message.provider;
  if (provider === "webgpu") {
    try {
      opened = await start(message, "webgpu");
    } catch (error) {
      note = `WebGPU could not be used (${words(error)})`;
    }
  }
  opened ??= await start(message, "wasm");
  announce(began, note);
}

/** Goes on with WebAssembly. */
async function fallBack(note: string): Promise<void> {
  if (!order || opened?.provider !== "webgpu") return;
  const began = performance.now();
  void opened.session.release();
  opened = await start(order, "wasm");
  announce(began, note);
}

function announce(began: number, note: string): void {
  if (!opened) return;
  const { provider, threads } = opened;
  scope.postMessage({ kind: "ready", provider, threads, milliseconds: performance.now() - began, note });
}

/** WebGPU where the browser has it with an adapter, and can wait inside WebAssembly (JSPI), which keeps its runtime small. */
async function best(): Promise<Provider> {
  const gpu = (navigator as { gpu?: { requestAdapter: () => Promise<unknown> } }).gpu;
  if (!gpu || !("Suspending" in WebAssembly)) return "wasm";
  try {
    return (await gpu.requestAdapter()) ? "webgpu" : "wasm";
  } catch {
    return "wasm";
  }
}

async function start(message: Open, provider: Provider): Promise<Opened> {
  const name = `ort-wasm-simd-threaded${provider === "webgpu" ? ".jspi" : ""}`;
  const said = new Map<string, [number, number]>();
  const progress = (what: string) => (loaded: number, total: number) => {
    said.set(what, [loaded, total]);
    const all = [...said.values()];
    const sum = (place: 0 | 1): number => all.reduce((before, pair) => before + pair[place], 0);
    scope.postMessage({ kind: "progress", loaded: sum(0), total: Math.max(sum(1), message.modelBytes) });
  };
  weights ??= verified(message, progress("model"));
  const [runtime, binary, model] = await Promise.all([
    provider === "webgpu" ? import("onnxruntime-web/jspi") : import("onnxruntime-web/wasm"),
    download(`${message.runtime}${name}.wasm.gz`, progress("runtime")).then(unpacked),
    weights,
  ]);
  const settings = runtime.env.wasm;
  const shared = scope.crossOriginIsolated === true;
  const cores = Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1);
  settings.numThreads = shared && provider === "wasm" ? message.threads || cores : 1;
  settings.wasmPaths = { mjs: `${message.runtime}${name}.js` };
  settings.wasmBinary = binary;
  runtime.env.logLevel = "error";
  const session = await runtime.InferenceSession.create(model, {
    executionProviders: [provider],
    graphOptimizationLevel: "all",
  });
  const made = { provider, runtime, session, threads: settings.numThreads ?? 1 };
  if (provider === "webgpu") await run(made, new Float32Array(message.latent), 1, message.labelled ? [0] : null);
  return made;
}

async function verified(message: Open, progress: (loaded: number, total: number) => void): Promise<Uint8Array> {
  const model = await download(message.model, progress, message.modelBytes);
  const digest = crypto.subtle
    ? new Uint8Array(await crypto.subtle.digest("SHA-256", model))
    : sha256(model);
  if (hex(digest) !== message.sha256) {
    throw new Error("The generator's file is not the one that this page was made with. Reload the page, or publish it again.");
  }
  return model;
}

async function run(made: Opened, latents: Float32Array, count: number, labels: number[] | null): Promise<Tensor> {
  const { Tensor } = made.runtime;
  const feeds: Record<string, Tensor> = { z: new Tensor("float32", latents, [count, latents.length / count]) };
  if (labels) feeds.labels = new Tensor("int64", BigInt64Array.from(labels, BigInt), [count]);
  const found = await made.session.run(feeds);
  return found.images;
}

async function draw(message: Draw): Promise<void> {
  if (!order || !opened) throw new Error("nothing was opened");
  const began = performance.now();
  let images: Tensor;
  try {
    images = await run(opened, message.latents, message.count, message.labels);
  } catch (error) {
    if (opened.provider !== "webgpu") throw error;
    await fallBack(`WebGPU failed (${words(error)})`);
    images = await run(opened, message.latents, message.count, message.labels);
  }
  const { channels, height, width } = order;
  const numbers = images.data as Float32Array;
  if (numbers.length !== message.count * channels * height * width) {
    throw new Error(`the generator gave pictures of shape ${images.dims.join(" x ")}, not what its page says`);
  }
  const pixels = toPixels(numbers, message.count, channels, height * width);
  images.dispose();
  scope.postMessage(
    { kind: "drawn", id: message.id, pixels, milliseconds: performance.now() - began },
    [pixels.buffer],
  );
}
