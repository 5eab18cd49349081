// Bundles the front end into the Python package: one ESM file, and the style sheet that anywidget takes beside it.
import { build, context } from "esbuild";

const options = {
  entryPoints: ["src/frame.ts", "src/frame.css"],
  outdir: "../nbcnnviz/static",
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  logLevel: "info",
};

if (process.argv.includes("--watch")) {
  await (await context(options)).watch();
} else {
  await build(options);
}
