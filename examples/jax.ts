// jax.nn.dot_product_attention on jax-js's arrays, computed by fovea: local, causal attention with grouped heads.
//   npx tsx examples/jax.ts
// In a project of your own, import from "fovea/jax".

import { numpy as np } from "@jax-js/jax";
import { dotProductAttention } from "../lib/jax.js";

const [batch, length, heads, kvHeads, dim] = [2, 512, 8, 2, 64];
const waves = (...shape: number[]) => {
  const size = shape.reduce((a, b) => a * b);
  return np.array(
    Float32Array.from({ length: size }, (_, i) => Math.sin(i * i)),
    { shape },
  );
};

// Arrays are consumed, as by jax-js's own functions; `.ref` keeps one.
const key = waves(batch, length, kvHeads, dim);
const output = await dotProductAttention(waves(batch, length, heads, dim), key.ref, key, {
  isCausal: true,
  localWindowSize: [128, 0],
  keyValueSeqLengths: np.array([512, 300], { dtype: np.int32 }),
});
console.log(output.shape, output.dtype, `on ${output.device}`);
console.log("mean of the output:", await np.mean(output).jsAsync());
