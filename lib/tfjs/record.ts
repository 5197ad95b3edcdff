// The weights of attention that runs fused, whose graph has none.
import { AsyncLocalStorage } from "node:async_hooks";
import { FoveaError, show } from "../errors.js";
import type { Tensor } from "../tensor.js";

/** What a fused op weighed with, each time that it ran. */
export interface RecordedWeights {
  /** The op's node, as `FuseReport` calls it. */
  readonly node: string;
  /** [batch, heads, queries, keys] */
  readonly weights: Tensor<"float32">;
}

export interface Recorded<T> {
  readonly result: T;
  /** In the order in which ops ran. */
  readonly weights: RecordedWeights[];
}

const recorder = new AsyncLocalStorage<RecordedWeights[]>();

/**
 * Calls `run` and returns its result, with the weights of every fused op that it runs: for maps (`fovea/maps`), say. Weights cost
 * time and memory, [heads × queries × keys] per op; without this they never exist.
 */
export async function recordWeights<T>(run: () => T | Promise<T>): Promise<Recorded<T>> {
  if (typeof run !== "function") {
    throw new FoveaError("ERR_FOVEA_ARGUMENT", `run: expected a function that runs the model, got ${show(run)}`);
  }
  const weights: RecordedWeights[] = [];
  const result = await recorder.run(weights, run);
  return { result, weights };
}

/** Where weights go that are computed now; undefined where nobody asks for them. */
export const recordedWeights = (): RecordedWeights[] | undefined => recorder.getStore();
