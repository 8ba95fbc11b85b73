// The explorer of any snapshot: exported when it is asked for, then drawn in the browser as a published page does.
import type { Explorer } from "../explore/index.ts";
import { fill, h } from "../ui/elements.ts";
import { count } from "../ui/words.ts";
import type { Api, Job, RunDetail } from "./api.ts";
import type { Place, View } from "./index.ts";
import { progressBar } from "./runs.ts";

/** The explorer of a run's snapshot. `at` is `newest`, `best`, or a number of images. */
export function exploreView(api: Api, place: Place, name: string, at: string): View {
  place.title(`${name}, explored`);
  const ending = new AbortController();
  const said = h("div", { class: "export-state", role: "status" });
  const host = h("div", { class: "explore-host" });
  const choice = h("select", { class: "select", "aria-label": "Snapshot" });
  const address = `?run=${encodeURIComponent(name)}`;
  choice.addEventListener("change", () => place.go(`${address}&explore=${choice.value}`));
  let explorer: Explorer | null = null;
  let job: Job<{ bytes: number }> | null = null;

  const open = async (): Promise<void> => {
    const run = await api.get<RunDetail>(api.run(name), ending.signal);
    const known = run.snapshots_at;
    const newest = known.at(-1);
    const wanted = at === "newest" ? (newest === undefined ? "best" : String(newest)) : at;
    fill(
      choice,
      ...known.toReversed().map((images) => h("option", { value: String(images), selected: String(images) === wanted }, `${count(images)} images${images === newest ? ", the newest" : ""}`)),
      run.has_best ? h("option", { value: "best", selected: wanted === "best" }, "the best one") : null,
    );
    if (wanted !== "best" && !known.includes(Number(wanted))) choice.prepend(h("option", { value: wanted, selected: true }, `${wanted} images`));
    const snapshot = api.run(name, `/snapshots/${wanted}`);
    job = await api.send<Job<{ bytes: number }>>("POST", `${snapshot}/export`);
    await api.follow(job, (now) => {
      const [done, total, what] = now.progress ?? [0, 3, "waiting for its turn"];
      fill(said, h("p", {}, `Getting the generator ready for your browser: ${what} …`), progressBar(total ? done / total : 0));
    }, ending.signal);
    job = null;
    fill(said);
    said.hidden = true;
    const { mountExplorer } = await import("../explore/index.ts");
    explorer = await mountExplorer(host, api.url(`${snapshot}/limner.json`));
    if (ending.signal.aborted) explorer.unmount();
  };
  open().catch((error: unknown) => {
    if (ending.signal.aborted) return;
    said.hidden = false;
    fill(said, h("p", { class: "notice bad", role: "alert" }, error instanceof Error ? error.message : String(error)), h("p", {}, h("a", { href: address }, `Back to ${name}`)));
  });

  const element = h(
    "div",
    { class: "view explore-view" },
    h("div", { class: "view-head" }, h("p", { class: "crumb" }, h("a", { href: "./" }, "Runs"), " / ", h("a", { href: address }, name)), h("label", { class: "field inline" }, h("span", { class: "label" }, "Snapshot"), choice)),
    said,
    host,
  );
  return {
    element,
    destroy: () => {
      ending.abort();
      explorer?.unmount();
      if (job) void api.send("DELETE", `jobs/${job.id}`).catch(() => undefined);
    },
  };
}
