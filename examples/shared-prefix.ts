// Texts that begin alike: the keys of their common prefix are read once for all of them, each text's own keys by itself, and
// both results are merged. Exactly attention over all keys.
//   npx tsx examples/shared-prefix.ts

import { attention, mergeAttention, Tensor } from "../lib/index.js";

const [texts, heads, kvHeads, headDim] = [8, 16, 4, 128];
const [prefixLength, ownLength] = [2000, 50]; // tokens, the new one included

const random = (shape: number[], seed: number) => Tensor.random(shape, { seed, dtype: "bfloat16" });
const query = random([texts, heads, 1, headDim], 1);
const prefix = {
  key: random([1, kvHeads, prefixLength, headDim], 2),
  value: random([1, kvHeads, prefixLength, headDim], 3),
};
const own = {
  key: random([texts, kvHeads, ownLength, headDim], 4),
  value: random([texts, kvHeads, ownLength, headDim], 5),
};

// For the prefix the queries of all texts are those of one: [1, heads, texts, headDim]. They come after it, so none is masked.
const all = query.transpose(0, 2);
const first = await attention(all, prefix.key, prefix.value, { returnLse: true });
const second = await attention(query, own.key, own.value, { returnLse: true, causal: true });
const { output } = await mergeAttention([
  { output: first.output.transpose(0, 2), lse: first.lse.transpose(0, 2) },
  second,
]);

console.log("output", output.shape, output.dtype);
console.log("bytes read and written:", first.plan.bytes + second.plan.bytes);
console.log("without sharing:", texts * first.plan.bytes + second.plan.bytes);
