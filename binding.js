// Loads the native module: build/Release when it was compiled here, else the prebuilt one for this platform.
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);

export default require("node-gyp-build")(fileURLToPath(new URL(".", import.meta.url)));
