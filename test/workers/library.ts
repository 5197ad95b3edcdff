// A worker that uses lib/ as a program would, and tells how that went.
import { parentPort } from "node:worker_threads";
import { attention, referenceAttention, Tensor } from "../../lib/index.js";

const [query, key, value] = [1, 2, 3].map((seed) => Tensor.random([2, 3, 50, 16], { seed })) as [
  Tensor,
  Tensor,
  Tensor,
];
const expected = referenceAttention(query, key, value, { causal: true }).output.data;
const abort = new AbortController();
const calls = [
  attention(query, key, value, { causal: true }),
  attention(query, key, value, { causal: true, signal: abort.signal }),
];
abort.abort();
const settled = await Promise.allSettled(calls);
const outcomes = settled.map((one) => (one.status === "rejected" ? (one.reason as Error).name : one.status));
const { output } = await calls[0]!;
let difference = 0;
for (const [i, x] of output.data.entries()) difference = Math.max(difference, Math.abs(x - expected[i]!));
parentPort!.postMessage({ difference, outcomes });
