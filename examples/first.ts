// A first program: causal attention of 2 texts, 8 heads, 1024 tokens and 64 elements per head, and the plan that ran.
//   npx tsx examples/first.ts
// In a project of your own, import from "fovea".

import { attention, Tensor } from "../lib/index.js";

const shape = [2, 8, 1024, 64]; // batch, heads, length, headDim
const query = Tensor.random(shape, { seed: 1 });
const key = Tensor.random(shape, { seed: 2 });
const value = Tensor.random(shape, { seed: 3 });

const { output, lse, plan } = await attention(query, key, value, { causal: true, returnLse: true });

console.log("output", output.shape, output.dtype, output.data.slice(0, 4));
console.log("lse", lse.shape, lse.data.slice(0, 4));
console.log("plan", plan);
