// A model written for PyTorch and flash-attn, ported by its names: a prompt, then tokens one by one with a cache that is
// written in place.
//   npx tsx examples/torch.ts
// In a project of your own, import from "fovea" and "fovea/torch".

import { Tensor } from "../lib/index.js";
import { flashAttentionWithKvCache, scaledDotProductAttention } from "../lib/torch.js";

const [batch, heads, kvHeads, headDim, room, prompt] = [2, 8, 2, 64, 256, 100];
const options = { dtype: "bfloat16" } as const;
const random = (shape: number[], seed: number) => Tensor.random(shape, { seed, ...options });

// [batch, heads, length, dim], as in torch.nn.functional.
const attended = await scaledDotProductAttention(
  random([batch, heads, prompt, headDim], 1),
  random([batch, kvHeads, prompt, headDim], 2),
  random([batch, kvHeads, prompt, headDim], 3),
  { isCausal: true, enableGqa: true },
);
console.log("scaledDotProductAttention", attended);

// [batch, length, heads, dim], as in flash-attn.
const kCache = Tensor.zeros([batch, room, kvHeads, headDim], options);
const vCache = Tensor.zeros([batch, room, kvHeads, headDim], options);
let cached = 0;
for (const length of [prompt, 1, 1, 1]) {
  const output = await flashAttentionWithKvCache(random([batch, length, heads, headDim], 4), kCache, vCache, {
    k: random([batch, length, kvHeads, headDim], 5),
    v: random([batch, length, kvHeads, headDim], 6),
    cacheSeqlens: cached,
    causal: true,
  });
  cached += length;
  console.log(`flashAttentionWithKvCache, ${cached} tokens in the cache`, output);
}
