// Prints how much memory each call takes beside inputs and output: what the process grew by at most, in bytes.
import { readFileSync, writeFileSync } from "node:fs";
import { attentionSync, setThreads, Tensor, type Algorithm, type Plan } from "../../lib/index.js";

/** The calls to measure, one per length of the keys, one after the other. */
export interface MemoryTask {
  algorithm: Exclude<Algorithm, "auto">;
  dtype: "float32" | "bfloat16";
  heads: number;
  /** 64 where left out. The calls before the measured ones have 64, so that what more dims take is measured too. */
  headDim?: number;
  /** As many as keys where left out. */
  queries?: number;
  /** How many keys before its own each query sees, which keeps long calls short; left out: it sees all keys. */
  window?: number;
  lengths: number[];
}

export interface Grown {
  length: number;
  bytes: number;
  /** Of the process after the call. */
  rss: number;
  plan: Plan;
}

const { algorithm, dtype, heads, headDim = 64, queries, window, lengths } = JSON.parse(process.argv[2]!) as MemoryTask;

/** Linux: the most memory the process had since it was last asked to forget that. */
const peak = () => Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))![1]) * 1024;
const forgetPeak = () => writeFileSync("/proc/self/clear_refs", "5");

function measure(length: number, headDim: number): Grown {
  const query = Tensor.random([1, heads, queries ?? length, headDim], { seed: 1, dtype });
  // One head's keys for all of them: how many there are matters, not what they hold.
  const { data } = Tensor.random([length, headDim], { seed: 2, dtype });
  const key = { data, dtype, shape: [1, heads, length, headDim], strides: [0, 0, headDim, 1] };
  const out = Tensor.zeros(query.shape, { dtype });
  out.data.fill(1); // its pages are there before the call
  const seen = window === undefined ? undefined : { left: window, right: 0 };
  globalThis.gc!();
  forgetPeak();
  const before = process.memoryUsage.rss();
  const { plan } = attentionSync(query, key, key, { algorithm, window: seen, out });
  return { length, bytes: Math.max(0, peak() - before), rss: process.memoryUsage.rss(), plan };
}

setThreads(2);
for (let i = 0; i < 3; i++) measure(512, 64); // threads and their scratch, which stay
console.log(JSON.stringify(lengths.map((length) => measure(length, headDim))));
