// What the suites run over. A process has one instruction set: FOVEA_CPU_ISA chooses it, and vitest.config.ts runs the suites
// once for each.
import { attention, devices, type AttentionOptions, type Device, type TensorInput } from "../../lib/index.js";

/** How exact a backend must be. */
export interface Bounds {
  /** Relative L2 error of float32 at scores of ordinary size. */
  readonly float32: number;
}

export interface Backend {
  readonly name: string;
  readonly device: Device;
  readonly bounds: Bounds;
}

/** Every device that can be used here. */
export const backends: readonly Backend[] = devices()
  .filter((info) => info.available)
  .map((info) => ({
    name: `${info.device} ${info.instructionSet}`,
    device: info.device,
    bounds: { float32: 2e-6 },
  }));

export const algorithms = ["standard", "tiled", "auto"] as const;

/** Calls `attention` on a backend. */
export function run(
  { device }: Backend,
  [query, key, value]: readonly [TensorInput, TensorInput, TensorInput],
  options: AttentionOptions,
) {
  return attention(query, key, value, { ...options, device });
}
