import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import type { Binding, How } from "../binding.js";
import { FoveaError, type FoveaErrorCode } from "./errors.js";

let loaded: Binding | undefined;

/** The native module, loaded when first needed. Throws ERR_FOVEA_LOAD with what can be done about it. */
export function native(): Binding {
  return (loaded ??= load());
}

/** Asks for huge pages for new memory. Where the native module does not load, whoever computes is told so; this is a wish. */
export function preferHugePages(memory: ArrayBufferView): void {
  try {
    native().preferHugePages(memory);
  } catch (error) {
    if (!(error instanceof FoveaError)) throw error;
  }
}

/**
 * The addon in build/Release when it was compiled here, else the prebuilt one for this platform. `require`, because an import
 * could not wait until it is needed without making callers wait too.
 */
function load(): Binding {
  try {
    const require = createRequire(import.meta.url);
    const find = require("node-gyp-build") as (packageRoot: string) => Binding;
    return find(fileURLToPath(new URL("..", import.meta.url)));
  } catch (cause) {
    throw loadError(cause);
  }
}

/** Says why the native module may not have loaded here, and how to get one that does. */
export function loadError(cause: unknown): FoveaError {
  const reason = cause instanceof Error ? cause.message.split("\n", 1)[0]! : String(cause);
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
  const glibc = report?.header?.glibcVersionRuntime;
  const libc = process.platform === "linux" ? (glibc ? ` (glibc ${glibc})` : " (musl)") : "";
  const lines = [
    `cannot load the native module on ${process.platform}-${process.arch}${libc}, Node ${process.version}: ${reason}`,
    "",
    "Possible causes and what helps:",
    "- No prebuilt binary for this platform. Prebuilt are: linux-x64 and linux-arm64 with glibc. Elsewhere it is compiled at install time;",
    "  with CMake >= 3.21 and a C++20 compiler (g++ >= 11 or clang >= 14) run: npm rebuild fovea",
    "- The C library is older than, or another than, the one the binary was built for (GLIBC_... not found, musl). Build it",
    "  here: npm_config_build_from_source=true npm rebuild fovea",
    "- Install scripts were switched off where a build was needed (--ignore-scripts). Run: npm rebuild fovea",
    "- node_modules was copied from another platform. Delete it and install here.",
    "- Node was told to load no addons: leave out --no-addons, or beside --permission say --allow-addons.",
    "- A bundler took in fovea's code, but not its native module. Leave fovea out of bundles (esbuild: --external:fovea).",
    "- In a checkout of the repository, it has not been built yet. Run: npm run build",
  ];
  return new FoveaError("ERR_FOVEA_LOAD", lines.join("\n"), { cause });
}

/** An error out of native code (it carries a code) as the error that users see. */
export function nativeError(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof FoveaError) return error;
  const { code } = error as { code?: unknown };
  if (typeof code !== "string" || !code.startsWith("ERR_FOVEA_")) return error;
  return new FoveaError(code as FoveaErrorCode, error.message, { cause: error });
}

/** How an asynchronous call of native code failed, as the error that users see. */
export function outcomeError(how: How, message: string): FoveaError {
  const codes = { 2: "ERR_FOVEA_OUT_OF_MEMORY", 3: "ERR_FOVEA_DEVICE_LOST" } as const;
  const code = how === 2 || how === 3 ? codes[how] : "ERR_FOVEA_DEVICE";
  return new FoveaError(code, message);
}
