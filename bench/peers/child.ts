// One measuring process: main.ts tells it what to do, it answers with the results.
import { devices } from "../../dist/index.js";
import type { CpuDevice } from "../../lib/index.js";
import * as fovea from "./fovea.js";
import { measurePoint, type PointResult } from "./measure.js";
import { measureMemory, type MemoryJob, type MemoryResult } from "./memory.js";
import { measureOverhead, type Overhead } from "./overhead.js";
import type { Point } from "./points.js";

export type Job =
  | { kind: "speed"; points: Point[]; threads: number; rounds: number; quick: boolean; overhead: boolean }
  | ({ kind: "memory" } & MemoryJob);

export type Answer =
  | { kind: "cpu"; result: CpuDevice }
  | { kind: "point"; result: PointResult }
  | { kind: "overhead"; result: Record<string, Overhead> }
  | { kind: "memory"; result: MemoryResult };

const answer = (message: Answer): Promise<void> =>
  new Promise((resolve, reject) =>
    process.send!(message, (error: Error | null) => (error ? reject(error) : resolve())),
  );

/** What fovea computes on; throws unless that is the wanted number of threads. */
function checkedCpu(threads: number): CpuDevice {
  const [cpu] = devices();
  if (!cpu.available) throw new Error(`fovea: ${cpu.reason}`);
  if (cpu.threads !== threads) throw new Error(`fovea: expected ${threads} threads, got ${cpu.threads}`);
  return cpu;
}

process.once("message", async (job: Job) => {
  await answer({ kind: "cpu", result: checkedCpu(job.threads) });
  if (job.kind === "memory") {
    const { kind, ...rest } = job;
    await answer({ kind, result: await measureMemory(rest) });
    return;
  }
  const { threads, rounds, quick } = job;
  const foveaForms = quick ? fovea.quickForms : fovea.forms;
  for (const point of job.points) {
    await answer({ kind: "point", result: await measurePoint(point, { threads, rounds, foveaForms }) });
  }
  if (job.overhead) await answer({ kind: "overhead", result: await measureOverhead(threads, rounds) });
});
