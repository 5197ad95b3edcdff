// The same numbers in both memory orders, so that each library is given the one it likes.
import { Tensor } from "../../lib/index.js";
import type { Point } from "./points.js";

/** bhsd: [batch, heads, length, headDim]; bshd: [batch, length, heads, headDim]. */
export type Layout = "bhsd" | "bshd";

export interface Inputs {
  query: Float32Array<ArrayBuffer>;
  key: Float32Array<ArrayBuffer>;
  value: Float32Array<ArrayBuffer>;
}

/** In huge pages, where the system has them, for both libraries. */
const memory = (length: number) => Tensor.empty([length]).data as Float32Array<ArrayBuffer>;

/** Numbers of mean 0 and variance 1, the same for every run (xorshift; a sum of four bytes comes close to a normal). */
function random(length: number, seed: number): Float32Array<ArrayBuffer> {
  const numbers = memory(length);
  const scale = 1 / Math.sqrt((4 * (256 * 256 - 1)) / 12);
  let state = seed;
  for (let i = 0; i < length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const sum = (state & 255) + ((state >>> 8) & 255) + ((state >>> 16) & 255) + (state >>> 24);
    numbers[i] = (sum - 510) * scale;
  }
  return numbers;
}

export function makeInputs({ batch, heads, kvHeads, queryLength, keyLength, headDim }: Point): Inputs {
  const keys = batch * kvHeads * keyLength * headDim;
  return {
    query: random(batch * heads * queryLength * headDim, 0x2545f491),
    key: random(keys, 0x1d872b41),
    value: random(keys, 0x6c078965),
  };
}

/** Swaps the two middle axes of [outer, first, second, inner]. */
export function swapMiddle(
  source: Float32Array,
  [outer, first, second, inner]: readonly [number, number, number, number],
): Float32Array<ArrayBuffer> {
  const result = memory(source.length);
  for (let o = 0; o < outer; o++) {
    for (let f = 0; f < first; f++) {
      for (let s = 0; s < second; s++) {
        const from = ((o * first + f) * second + s) * inner;
        result.set(source.subarray(from, from + inner), ((o * second + s) * first + f) * inner);
      }
    }
  }
  return result;
}

/** The inputs of `makeInputs` (bhsd) in bshd order. */
export function toBshd(inputs: Inputs, { batch, heads, kvHeads, queryLength, keyLength, headDim }: Point): Inputs {
  return {
    query: swapMiddle(inputs.query, [batch, heads, queryLength, headDim]),
    key: swapMiddle(inputs.key, [batch, kvHeads, keyLength, headDim]),
    value: swapMiddle(inputs.value, [batch, kvHeads, keyLength, headDim]),
  };
}

/** ||a - b|| / ||b||; NaN when either holds one. */
export function relativeError(a: Float32Array, b: Float32Array): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}
