// Attention to look at: the weights of a call as a page that opens in any browser, and what each head does on average.
//   npx tsx examples/maps.ts

import { mkdir, writeFile } from "node:fs/promises";
import { attention, Tensor } from "../lib/index.js";
import { attentionStatistics, renderAttention } from "../lib/maps.js";

const tokens = ["A", "head", "reads", "what", "its", "query", "is", "like", "."];
const shape = [1, 4, tokens.length, 32]; // batch, heads, length, headDim
const query = Tensor.random(shape, { seed: 1 });
const key = Tensor.random(shape, { seed: 2 });
const { weights } = await attention(query, key, key, { causal: true, scale: 0.5, returnWeights: true });

for (const [head, { entropy, confidence, distance }] of attentionStatistics(weights).entries()) {
  const numbers = `entropy ${entropy.toFixed(2)}, confidence ${confidence.toFixed(2)}, distance ${distance!.toFixed(1)}`;
  console.log(`head ${head + 1}: ${numbers}`);
}

await mkdir("out", { recursive: true });
const title = "Random queries and keys";
await writeFile("out/maps.html", renderAttention({ tokens, layers: [{ name: "Layer 1", weights }], title }));
console.log("wrote out/maps.html");
