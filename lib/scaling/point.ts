// One measurement in a process of its own, so that memory is that of this call alone and a call that runs out of it takes
// nothing else along. Started by measure.ts with a PointTask as its argument; sends a Point.

import { readFileSync, writeFileSync } from "node:fs";
import { attentionSync, Tensor, type Algorithm } from "../index.js";

export interface PointTask {
  algorithm: Exclude<Algorithm, "auto">;
  tokens: number;
  heads: number;
  headDim: number;
  causal: boolean;
  /** Time for all calls of this point, in seconds. The first call is made in any case. */
  budget: number;
  /** One more is, too, if the first took no longer than this, in seconds. */
  patience: number;
}

export interface Point {
  algorithm: PointTask["algorithm"];
  tokens: number;
  /** Median time of a call, in seconds. */
  seconds: number;
  /** The calls that this is the median of. */
  calls: number;
  /** 2 (headDim + valueDim) operations per pair of a query and a key it may see. */
  flops: number;
  kernel: string;
  /** What the plan says the call takes beside its inputs and output, without the threads' scratch. */
  plannedBytes: number;
  /** How much the resident memory of the process rose above what it was before the first call; where Linux tells. */
  measuredBytes?: number;
}

const mostCalls = 9;

/** The largest resident memory since the last `resetPeak`, in bytes. */
function peakMemory(): number {
  const kilobytes = /VmHWM:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return Number(kilobytes) * 1024;
}

/** Whether that can be done: sandboxes and some kernels do not have the file. */
function resetPeak(): boolean {
  if (process.platform !== "linux") return false;
  try {
    writeFileSync("/proc/self/clear_refs", "5");
    return true;
  } catch {
    return false;
  }
}

function measure({ algorithm, tokens, heads, headDim, causal, budget, patience }: PointTask): Point {
  // Filled in place, the output too: resident before the call, and no garbage whose collection would hide the call's memory.
  const noise = (): Tensor<"float32"> => {
    const data = new Float32Array(heads * tokens * headDim);
    for (let i = 0; i < data.length; i++) data[i] = (Math.random() - 0.5) * Math.sqrt(12); // variance 1
    return Tensor.from(data, [1, heads, tokens, headDim]);
  };
  const [query, key, value, out] = [noise(), noise(), noise(), noise()];
  const options = { algorithm, causal, out };

  const before = resetPeak() ? peakMemory() : undefined;

  const timed = (): number => {
    const begin = performance.now();
    attentionSync(query, key, value, options);
    return (performance.now() - begin) / 1000;
  };
  const begin = performance.now();
  const { plan } = attentionSync(query, key, value, options);
  const first = (performance.now() - begin) / 1000;
  const measuredBytes = before === undefined ? undefined : peakMemory() - before;

  // The first call also pays for fresh memory and cold caches: it counts only where there is no time for another.
  const calls = Math.min(mostCalls, Math.max(Math.floor((budget - first) / first), first <= patience ? 1 : 0));
  const times = calls < 1 ? [first] : Array.from({ length: calls }, timed).sort((a, b) => a - b);
  return {
    algorithm,
    tokens,
    seconds: times[times.length >> 1]!,
    calls: times.length,
    flops: plan.usefulFlops,
    kernel: plan.kernel,
    plannedBytes: plan.workspaceBytes,
    ...(measuredBytes === undefined ? {} : { measuredBytes }),
  };
}

process.send!(measure(JSON.parse(process.argv[2]!) as PointTask));
