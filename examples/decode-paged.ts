// One step of text generation: a new token of each text attends to all before it, whose keys and values lie in pages.
//   npx tsx examples/decode-paged.ts [--device cuda] [--tokens 9000]

import { parseArgs } from "node:util";
import { attention, Tensor, type Device } from "../lib/index.js";

const { values: options } = parseArgs({
  options: { device: { type: "string", default: "cpu" }, tokens: { type: "string", default: "9000" } },
});
const device = options.device as Device;
const [heads, kvHeads, headDim, pageSize] = [16, 4, 128, 16];
const lengths = Int32Array.of(Number(options.tokens), 37); // tokens so far, per text
const maxPages = Math.ceil(Math.max(...lengths) / pageSize);
const pages = lengths.length * maxPages; // in the pool

// Pages of one text lie anywhere in the pool: here text 0 has the even ones and text 1 the odd ones.
const pageTable = new Int32Array(lengths.length * maxPages);
for (let text = 0; text < lengths.length; text++) {
  for (let page = 0; page < maxPages; page++) pageTable[text * maxPages + page] = 2 * page + text;
}

const query = Tensor.random([lengths.length, heads, 1, headDim], { seed: 1, dtype: "float16" });
// A cache stays where it is used. (The page table stays on the host: it says what to read there.)
const key = await Tensor.random([pages, kvHeads, pageSize, headDim], { seed: 2, dtype: "float16" }).to(device);
const value = await Tensor.random([pages, kvHeads, pageSize, headDim], { seed: 3, dtype: "float16" }).to(device);

const { output, plan } = await attention(await query.to(device), key, value, {
  pageTable: Tensor.from(pageTable, [lengths.length, maxPages]),
  keyLengths: lengths,
  causal: true,
});

console.log("output", output.shape, output.dtype, "on", output.device);
console.log("kernel", plan.kernel, "in", plan.splits, "splits, workspace", plan.workspaceBytes, "bytes");
console.log("first numbers", (await output.to("cpu")).toNumbers().slice(0, 3));
