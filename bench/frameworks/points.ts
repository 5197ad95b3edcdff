import type { Contestant } from "./rounds.js";

/** Batch 1, as many keys as queries, float32. */
export interface Point {
  heads: number;
  length: number;
  headDim: number;
  causal: boolean;
}

/** A framework's own way and fovea's, on the same inputs. */
export interface Pair {
  theirs: Contestant;
  ours: Contestant;
}

export const points: Point[] = [
  { heads: 8, length: 128, headDim: 64, causal: false },
  { heads: 8, length: 512, headDim: 64, causal: false },
  { heads: 8, length: 512, headDim: 64, causal: true },
  { heads: 8, length: 1024, headDim: 64, causal: false },
];
