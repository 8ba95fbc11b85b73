// What the studio's server answers, and how it is asked: each address again and again, but only what has changed is told.

export type State = "training" | "paused" | "waiting" | "finished" | "interrupted" | "failed";

export interface FigureNow {
  name: string;
  value: number | null;
  low: number | null;
  high: number | null;
  real: number;
  generated: number;
}

export interface RunSummary {
  name: string;
  state: State;
  reason: string;
  elsewhere: string;
  images: number;
  total: number | null;
  share: number | null;
  epoch: number | null;
  seconds: number | null;
  remaining: number | null;
  rate: number | null;
  recipe: string;
  family: string;
  data: string;
  count: number | null;
  width: number | null;
  height: number | null;
  channels: number | null;
  classes: string[];
  figure: FigureNow | null;
  best: number | null;
  grid: number | null;
  grids: number;
  snapshots: number;
  report: boolean;
  changed: number;
}

export interface RunEvent {
  event: string;
  time: string;
  images: number;
  severity: string;
  text: string;
}

export interface RunDetail extends RunSummary {
  verdict: { headline: string; tone: string; remarks: { topic: string; text: string }[] } | null;
  events: RunEvent[];
  started: string;
  grids_at: number[];
  snapshots_at: number[];
  has_best: boolean;
  grid_shape: [number, number, number] | null;
  changes: {
    recipe: string;
    summary: string;
    differences: { field: string; shipped: string; here: string; why: string }[];
  } | null;
  settings: Record<string, unknown>;
  location: string;
  skipped: number;
  environment: Record<string, string>;
  output: string;
  command: string[];
  minutes_count: boolean;
}

export type Numbers = (number | null)[];

export interface Column {
  label: string;
  value: Numbers;
  low?: Numbers;
  high?: Numbers;
}

export interface FigureCurve {
  name: string;
  label: string;
  better: "lower" | "higher" | "one";
  help: string;
  images: number[];
  value: Numbers;
  low: Numbers;
  high: Numbers;
}

export interface Curves {
  log: { images: number[]; lines: number; columns: Record<string, Column> };
  figures: FigureCurve[];
}

export interface Comparison {
  runs: string[];
  differences: { field: string; values: (string | null)[] }[];
  same: number;
}

export interface About {
  limner: string;
  runs: string;
  data: string[];
  drawn: string[];
  can_pause: boolean;
  cores: number;
}

export interface Folder {
  path: string;
  parent: string | null;
  folders: string[];
  files: string[];
  pictures: number;
}

export interface Job<Result> {
  id: string;
  kind: string;
  state: "waiting" | "working" | "done" | "failed" | "cancelled";
  progress: [number, number, string] | null;
  error: string;
  result: Result | null;
}

export interface Problem {
  field: string;
  message: string;
}

/** What went wrong, in words for people, field by field where fields are wrong. */
export class StudioError extends Error {
  constructor(
    message: string,
    readonly problems: Problem[] = [],
    readonly status = 0,
  ) {
    super(message);
  }
}

/** The server's answers below one address. */
export class Api {
  constructor(readonly base: string) {}

  url(path: string): string {
    return this.base + path;
  }

  run(name: string, rest = ""): string {
    return `runs/${encodeURIComponent(name)}${rest}`;
  }

  async get<T>(path: string, signal?: AbortSignal): Promise<T> {
    return (await this.#ask(path, { cache: "no-cache", signal })).json() as Promise<T>;
  }

  async send<T>(method: "POST" | "DELETE", path: string, body?: unknown): Promise<T> {
    const init: RequestInit = { method };
    if (body !== undefined) {
      init.body = JSON.stringify(body);
      init.headers = { "content-type": "application/json" };
    }
    return (await this.#ask(path, init)).json() as Promise<T>;
  }

  /**
   * Asks an address at intervals and tells what has changed. While nobody sees the page, nothing is asked.
   *
   * @param path what to ask
   * @param told called with each new answer
   * @param seconds between two questions, as a function of the newest answer
   * @param failed called when there is no answer; it is asked again
   * @returns a function that ends it, with one on it that asks at once
   */
  watch<T>(path: string, told: (found: T) => void, seconds: (found: T | null) => number, failed: (error: StudioError) => void): Watching {
    const ending = new AbortController();
    let tag: string | null = null;
    let newest: T | null = null;
    let timer = 0;
    const ask = async (): Promise<void> => {
      clearTimeout(timer);
      try {
        const answer = await this.#ask(path, { cache: "no-cache", signal: ending.signal });
        const now = answer.headers.get("etag");
        if (tag === null || now !== tag) {
          tag = now;
          newest = (await answer.json()) as T;
          if (!ending.signal.aborted) told(newest);
        }
      } catch (error) {
        if (ending.signal.aborted) return;
        tag = null;
        failed(error instanceof StudioError ? error : new StudioError(String(error)));
      }
      if (!ending.signal.aborted) timer = window.setTimeout(again, 1000 * seconds(newest));
    };
    const again = (): void => {
      if (!document.hidden) void ask();
    };
    document.addEventListener("visibilitychange", again, { signal: ending.signal });
    void ask();
    const end = (): void => {
      ending.abort();
      clearTimeout(timer);
    };
    return Object.assign(end, { now: again });
  }

  /** Follows a job to its end. @throws StudioError when it fails or is cancelled */
  async follow<R>(job: Job<R>, told: (job: Job<R>) => void, signal: AbortSignal): Promise<R> {
    let now = job;
    for (;;) {
      told(now);
      if (now.state === "done" && now.result !== null) return now.result;
      if (now.state === "failed") throw new StudioError(now.error);
      if (now.state === "cancelled") throw new StudioError("It was cancelled.");
      await new Promise((resolve) => setTimeout(resolve, 400));
      signal.throwIfAborted();
      now = await this.get<Job<R>>(`jobs/${now.id}`, signal);
    }
  }

  async #ask(path: string, init: RequestInit): Promise<Response> {
    let answer: Response;
    try {
      answer = await fetch(this.url(path), init);
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new StudioError("The studio does not answer. Is 'limner studio' still running?");
    }
    if (answer.ok) return answer;
    const words = (await answer.json().catch(() => null)) as { detail?: string; problems?: Problem[] } | null;
    throw new StudioError(words?.detail ?? `The studio refused (status ${answer.status}).`, words?.problems ?? [], answer.status);
  }
}

export interface Watching {
  (): void;
  now: () => void;
}
