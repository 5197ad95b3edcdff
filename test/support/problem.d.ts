import type { How } from "../../binding.js";

export interface NativeCall {
  problem: Float64Array;
  storages: Float32Array[];
  plan: Float64Array;
  /** What every element of the output (the last storage) must be. */
  expected: number;
}

export interface DenseSizes {
  heads?: number;
  queryLength?: number;
  keyLength?: number;
  headDim?: number;
  changes?: Record<string, number>;
}

export const planLength: number;
export function denseProblem(sizes?: DenseSizes): NativeCall;
export function run(call: NativeCall, started?: (id: number) => void): Promise<How>;
