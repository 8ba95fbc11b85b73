// Builds the page into src/limner/web, where the Python package finds it. All addresses are relative: it works in any folder.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

const require = createRequire(import.meta.url);
const runtime = dirname(require.resolve("onnxruntime-web/wasm"));
const version = (JSON.parse(readFileSync(join(runtime, "../package.json"), "utf8")) as { version: string }).version;

/**
 * ONNX Runtime's WebAssembly modules lie in the page under a name with their version; LICENSES.txt says whose. They are packed,
 * because few static hosts compress on the way, and a visitor waits for a quarter of the bytes.
 */
function runtimeFiles(): Plugin {
  return {
    name: "runtime-files",
    apply: "build",
    generateBundle() {
      for (const kind of ["", ".jspi"]) {
        for (const end of ["mjs", "wasm"]) {
          const name = `ort-wasm-simd-threaded${kind}.${end}`;
          const content = readFileSync(join(runtime, name));
          // Some servers know no type for .mjs, and browsers run no script without its type.
          const fileName = `runtime/${version}/${name.replace(/\.mjs$/, ".js").replace(/\.wasm$/, ".wasm.gz")}`;
          this.emitFile({ type: "asset", fileName, source: end === "wasm" ? gzipSync(content, { level: 9 }) : content });
        }
      }
      this.emitFile({ type: "asset", fileName: "LICENSES.txt", source: readFileSync("LICENSES.txt") });
    },
  };
}

/** The runtime's own scripts go by its name, the studio's by the studio's: a published page leaves the studio out. */
function chunkName(modules: readonly string[]): string {
  if (modules.some((name) => name.includes("/onnxruntime-web/"))) return "assets/runtime-[name]-[hash].js";
  if (modules.some((name) => name.includes("/src/studio/"))) return "assets/studio-[name]-[hash].js";
  return "assets/[name]-[hash].js";
}

const output = {
  chunkFileNames: (chunk: { moduleIds: readonly string[] }) => chunkName(chunk.moduleIds),
  entryFileNames: (chunk: { moduleIds: readonly string[] }) => chunkName(chunk.moduleIds),
};

export default defineConfig({
  base: "./",
  define: { __RUNTIME__: JSON.stringify(`runtime/${version}/`) },
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", "module", "browser", "production"] },
  plugins: [runtimeFiles()],
  build: {
    outDir: "../src/limner/web",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rolldownOptions: { output },
  },
  worker: { format: "es", rolldownOptions: { output } },
});
