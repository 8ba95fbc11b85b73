"""How long a browser takes to draw, and what a visitor downloads.

    python benchmarks/browser.py SITE [--count 16] [--repeats 20] [--threads 1] [--json]

SITE is a folder that ``limner publish`` wrote. It is served on this machine, opened in headless Chromium with WebAssembly, and
so many pictures of seeds that were not drawn before are drawn in one batch, again and again. What is timed is the worker's
answer: latents to RGBA pixels. The bytes are those of the files that the browser asked for until then.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from threading import Thread
from typing import Any

from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser_support import chromium
from limner.sharing.serving import serve

READY = 120_000
"""Milliseconds until the generator has to be there: machines under load are slow."""
# A worker of the measurement's own, told what the page tells its own: so nothing but drawing is in the figures.
DRAW = """async ([count, repeats, threads, script, runtime]) => {
  const page = await (await fetch("limner.json")).json();
  const worker = new Worker(script, { type: "module" });
  const answer = (message) => new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => {
      if (data.kind === "failed") reject(new Error(data.message));
      else if (data.kind !== "progress") resolve(data);
    };
    worker.postMessage(message);
  });
  const { channels, width, height, latent } = page;
  const ready = await answer({ kind: "open", model: new URL(page.model.url, location.href).href, sha256: page.model.sha256,
    modelBytes: page.model.bytes, runtime, provider: "wasm", threads, channels, width, height, latent,
    labelled: page.classes.length > 0 });
  const times = [];
  for (let turn = 0; turn < repeats + 3; turn++) {
    const latents = Float32Array.from({ length: count * latent }, () => Math.sqrt(-2 * Math.log(1 - Math.random())) *
      Math.cos(2 * Math.PI * Math.random()));
    const labels = page.classes.length ? Array.from({ length: count }, (_, place) => place % page.classes.length) : null;
    const began = performance.now();
    await answer({ kind: "draw", id: turn, count, latents, labels });
    times.push(performance.now() - began);
  }
  worker.terminate();
  return { threads: ready.threads, start: ready.milliseconds, times: times.slice(3) };
}"""


def measure(browser: Browser, site: Path, address: str, count: int, repeats: int, threads: int) -> dict[str, Any]:
    """Open a page as a visitor would; say what came over the line, when there was something to see, and how fast it draws."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    asked: set[str] = set()  # by the page and its worker
    page.on("request", lambda request: asked.add(request.url.partition("?")[0]))
    page.goto(f"{address}?device=wasm&threads={threads}")
    page.wait_for_selector("[data-provider]", timeout=READY)
    page.wait_for_function("document.querySelectorAll('.tile-frame[data-drawn=yes]').length > 8", timeout=READY)
    names = {url.removeprefix(address) or "index.html" for url in asked}
    bytes_of = {name: (site / name).stat().st_size for name in names}
    script = next(name for name in names if name.startswith("assets/worker-"))
    runtime = next(name for name in names if name.endswith(".wasm.gz")).rpartition("/")[0]
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null")
    page.evaluate("document.querySelector('.explorer').remove()")
    drawn = page.evaluate(DRAW, [count, repeats, threads, address + script, f"{address}{runtime}/"])
    page.context.close()
    own = [name for name in bytes_of if name.endswith((".js", ".css", ".html", ".svg")) and "runtime" not in name]
    return {
        "pictures": count,
        "threads": drawn["threads"],
        "milliseconds": [round(time, 1) for time in drawn["times"]],
        "median_milliseconds": round(statistics.median(drawn["times"]), 1),
        "best_milliseconds": round(min(drawn["times"]), 1),
        "start_milliseconds": round(drawn["start"]),
        "first_contentful_paint_milliseconds": paint and round(paint),
        "downloaded_bytes": sum(bytes_of.values()),
        "own_code_bytes": sum(bytes_of[name] for name in own),
        "files": dict(sorted(bytes_of.items())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("site", type=Path)
    parser.add_argument("--count", type=int, default=16, help="pictures in a batch")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    told: list[str] = []
    Thread(target=serve, args=(given.site, 0), kwargs={"told": told.append}, daemon=True).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(playwright.chromium.executable_path), args=["--no-sandbox"]
        )
        found = measure(browser, given.site, told[0], given.count, given.repeats, given.threads)
        version = browser.version
        browser.close()
    if given.json:
        print(json.dumps({"chromium": version, **found}, indent=2))
        return
    print(
        f"{found['pictures']} pictures by WebAssembly on {found['threads']} thread(s) in Chromium {version}: median"
        f" {found['median_milliseconds']} ms of {given.repeats}, best {found['best_milliseconds']} ms\n"
        f"first paint after {found['first_contentful_paint_milliseconds']} ms, generator there after"
        f" {found['start_milliseconds']} ms\n"
        f"downloaded: {found['downloaded_bytes'] / 1e6:.1f} MB, of which {found['own_code_bytes'] / 1e3:.0f} KB are the"
        " page's own code"
    )


if __name__ == "__main__":
    main()
