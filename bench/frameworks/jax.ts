import "../lib/iterator-helpers.js";
import { nn, numpy as np } from "@jax-js/jax";
import { dotProductAttention } from "../../lib/jax.js";
import { Tensor } from "../../lib/index.js";
import type { Pair, Point } from "./points.js";

/** jax-js on its WebAssembly backend, arrays to numbers. */
export function jaxPairs({ heads, length, headDim, causal: isCausal }: Point): Pair[] {
  const shape = [1, length, heads, headDim];
  const [q, k, v] = [1, 2, 3].map((seed) =>
    np.array(Tensor.random(shape, { seed }).data as Float32Array<ArrayBuffer>, { shape }),
  );
  const theirs = {
    name: "jax-js dotProductAttention",
    call: async () => (await nn.dotProductAttention(q!.ref, k!.ref, v!.ref, { isCausal }).data()) as Float32Array,
  };
  const ours = {
    name: "fovea/jax",
    call: async () => (await (await dotProductAttention(q!.ref, k!.ref, v!.ref, { isCausal })).data()) as Float32Array,
  };
  return [{ theirs, ours }];
}
