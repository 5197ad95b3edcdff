// A ragged batch: texts of different lengths one after another, without padding. Each attends to itself alone.
//   npx tsx examples/ragged-batch.ts

import { attention, Tensor } from "../lib/index.js";

const [heads, headDim] = [8, 64];
const lengths = [700, 12, 300];

// Where each text begins, and where the last one ends: 0, 700, 712, 1012.
const cuSeqlens = new Int32Array(lengths.length + 1);
for (const [text, length] of lengths.entries()) cuSeqlens[text + 1] = cuSeqlens[text]! + length;

const shape = [cuSeqlens.at(-1)!, heads, headDim]; // tokens of all texts, heads, headDim
const query = Tensor.random(shape, { seed: 1 });
const key = Tensor.random(shape, { seed: 2 });
const value = Tensor.random(shape, { seed: 3 });

const { output } = await attention(query, key, value, {
  layout: "thd",
  cuSeqlensQuery: cuSeqlens,
  cuSeqlensKey: cuSeqlens,
  causal: true,
});

for (const [text, length] of lengths.entries()) {
  const own = output.slice(0, cuSeqlens[text]!, cuSeqlens[text + 1]);
  console.log(`text ${text}: ${length} tokens, output`, own.shape);
}
