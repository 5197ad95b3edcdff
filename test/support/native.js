// The native module itself, for tests below lib/. Plain JavaScript: workers and child processes run it as it is.
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const find = createRequire(import.meta.url)("node-gyp-build");

export default find(fileURLToPath(new URL("../..", import.meta.url)));
