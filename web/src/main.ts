// Where am I? home.json says it: a published folder, or the studio.
import "./ui/theme.css";
import { PageError, readJson, type Home } from "./contract.ts";
import { h } from "./ui/elements.ts";
import { restoreTheme } from "./ui/theme.ts";

async function start(root: HTMLElement): Promise<void> {
  restoreTheme();
  const home = await readJson<Home>("home.json");
  if (home.home === "studio") {
    const { mountStudio } = await import("./studio/index.ts");
    await mountStudio(root, home.api);
  } else {
    const { mountExplorer } = await import("./explore/index.ts");
    await mountExplorer(root, home.document);
  }
}

const root = document.getElementById("page");
if (root) {
  start(root).catch((error: unknown) => {
    console.error(error);
    const words = error instanceof PageError ? error.message : "The page could not start. Its console says why.";
    root.replaceChildren(h("p", { class: "page-error", role: "alert" }, words));
  });
}
