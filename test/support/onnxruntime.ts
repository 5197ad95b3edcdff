// onnxruntime-node, where bench/peers has it: on installing, it may fetch large libraries from elsewhere than the npm
// registry, so that package alone has it, with install scripts switched off.
import { createRequire } from "node:module";
import type { InferenceSessionFactory } from "onnxruntime-common";

interface OnnxRuntime {
  readonly InferenceSession: InferenceSessionFactory;
}

function load(): OnnxRuntime | undefined {
  try {
    return createRequire(new URL("../../bench/peers/package.json", import.meta.url))("onnxruntime-node") as OnnxRuntime;
  } catch {
    console.warn(
      "onnxruntime-node is not installed: nothing is compared with it. Install it by: npm ci --prefix bench/peers",
    );
    return undefined;
  }
}

export const onnxruntime = load();
