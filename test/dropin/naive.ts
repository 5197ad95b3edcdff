// Attention written out, for what a framework's words mean: one score at a time, in float64, on plain arrays.
import { randomNumbers } from "../../lib/random.js";

/** A dense array of [batch, heads, length, dim]. */
export interface Values {
  readonly data: Float32Array<ArrayBuffer>;
  readonly shape: readonly [number, number, number, number];
}

let seed = 1;

export function random(...shape: [number, number, number, number]): Values {
  return { data: numbers(shape.reduce((a, b) => a * b, 1)), shape };
}

export const numbers = (length: number): Float32Array<ArrayBuffer> =>
  Float32Array.from(randomNumbers(length, seed++, "normal"));

/** -Infinity: may not be seen. */
export type Score = (score: number, b: number, h: number, i: number, j: number) => number;

export interface Naive {
  /** [batch, heads, queryLength, valueDim] */
  readonly output: Float64Array;
  /** [batch, heads, queryLength] */
  readonly lse: Float64Array;
  /** [batch, heads, queryLength, keyLength]: after `score`, and after the softmax. */
  readonly scores: Float64Array;
  readonly weights: Float64Array;
}

/** `score` gets the scaled dot product and gives what the softmax is of. A row that sees nothing is zeros. */
export function naive(q: Values, k: Values, v: Values, scale: number, score: Score = (s) => s): Naive {
  const [B, H, L, D] = q.shape;
  const [, kvHeads, S] = k.shape;
  const E = v.shape[3];
  const result = {
    output: new Float64Array(B * H * L * E),
    lse: new Float64Array(B * H * L),
    scores: new Float64Array(B * H * L * S),
    weights: new Float64Array(B * H * L * S),
  };
  let row = 0;
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      const kv = b * kvHeads + Math.floor(h / (H / kvHeads));
      for (let i = 0; i < L; i++, row++) {
        const scores = Array.from({ length: S }, (_, j) => {
          let dot = 0;
          for (let d = 0; d < D; d++) dot += q.data[row * D + d]! * k.data[(kv * S + j) * D + d]!;
          return score(scale * dot, b, h, i, j);
        });
        const most = Math.max(...scores);
        const exps = scores.map((s) => (most === -Infinity ? 0 : Math.exp(s - most)));
        const sum = exps.reduce((a, b) => a + b, 0);
        result.lse[row] = sum === 0 ? -Infinity : most + Math.log(sum);
        result.scores.set(scores, row * S);
        for (const [j, exp] of exps.entries()) {
          if (exp === 0) continue;
          result.weights[row * S + j] = exp / sum;
          for (let e = 0; e < E; e++) result.output[row * E + e]! += (exp / sum) * v.data[(kv * S + j) * E + e]!;
        }
      }
    }
  }
  return result;
}

/** [a, b, c, d] as [a, c, b, d]. */
export function swapMiddle<T extends Float32Array | Float64Array>(
  data: T,
  [a, b, c, d]: readonly [number, number, number, number],
): T {
  const result = data.slice() as T;
  let to = 0;
  for (let i = 0; i < a; i++)
    for (let k = 0; k < c; k++)
      for (let j = 0; j < b; j++, to += d) {
        const from = ((i * b + j) * c + k) * d;
        result.set(data.subarray(from, from + d), to);
      }
  return result;
}

/** [batch, heads, length, dim] in the order of flash-attn and jax: [batch, length, heads, dim]. */
export function bshd({ data, shape }: Values): { data: Float32Array<ArrayBuffer>; shape: number[] } {
  const [b, h, s, d] = shape;
  return { data: swapMiddle(data, shape), shape: [b, s, h, d] };
}

/** The largest difference; infinite where the lengths differ or one has what is no number. */
export function farthest(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Infinity;
  let most = 0;
  for (let i = 0; i < actual.length; i++) {
    if (actual[i] === expected[i]) continue;
    const difference = Math.abs(actual[i]! - expected[i]!);
    if (!(difference <= most)) most = Number.isNaN(difference) ? Infinity : difference;
  }
  return most;
}
