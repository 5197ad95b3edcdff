// Prints how much memory each length takes beside inputs and output: what the process grew by at most, in bytes.
import { readFileSync, writeFileSync } from "node:fs";
import { attentionSync, setThreads, Tensor, type Algorithm, type Plan } from "../../lib/index.js";

const [algorithm, dtype, ...lengths] = process.argv.slice(2) as [Algorithm, "float32" | "bfloat16", ...string[]];

/** Linux: the most memory the process had since it was last asked to forget that. */
const peak = () => Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))![1]) * 1024;
const forgetPeak = () => writeFileSync("/proc/self/clear_refs", "5");

setThreads(2);
const grown: { length: number; bytes: number; plan: Plan }[] = [];
const warm = Tensor.random([1, 2, 512, 64], { seed: 1, dtype });
for (let i = 0; i < 3; i++) attentionSync(warm, warm, warm, { algorithm, causal: true });
for (const length of lengths.map(Number)) {
  // A window keeps long calls short; it changes nothing about the memory that tiles need.
  const tensor = Tensor.random([1, 2, length, 64], { seed: 1, dtype });
  const out = Tensor.zeros([1, 2, length, 64], { dtype });
  out.data.fill(1); // its pages are there before the call
  globalThis.gc!();
  forgetPeak();
  const before = process.memoryUsage.rss();
  const { plan } = attentionSync(tensor, tensor, tensor, { algorithm, window: { left: 256, right: 0 }, out });
  grown.push({ length, bytes: Math.max(0, peak() - before), plan });
}
console.log(JSON.stringify(grown));
