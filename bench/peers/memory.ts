// Runs in a process of its own per measurement: what the first call and later ones add to the resident set.
import { readFileSync, writeFileSync } from "node:fs";
import * as fovea from "./fovea.js";
import { inputsOf, timed } from "./measure.js";
import * as onnx from "./onnxruntime.js";
import type { Point } from "./points.js";

export interface MemoryJob {
  library: "fovea" | "onnxruntime";
  form: string;
  point: Point;
  threads: number;
}

export interface MemoryResult extends MemoryJob {
  firstCallMs: number;
  /** The fastest of the calls after it. */
  laterCallMs: number;
  /**
   * Growth of the resident peak over inputs, session and the output given, in bytes: by the first call of the process (with
   * the code, threads and scratch that come with it), and by all.
   */
  firstCallBytes: number;
  allCallsBytes: number;
}

const laterCalls = 4;

/** Of this process, from /proc: "VmRSS" now, "VmHWM" the peak. */
function resident(field: "VmRSS" | "VmHWM"): number {
  const line = readFileSync("/proc/self/status", "utf8").match(new RegExp(`^${field}:\\s+(\\d+) kB`, "m"));
  return Number(line![1]) * 1024;
}

export async function measureMemory(job: MemoryJob): Promise<MemoryResult> {
  const { library, form, point, threads } = job;
  const inputs = inputsOf(point);
  const named = <Form extends { name: string }>(forms: Form[]): Form => forms.find(({ name }) => name === form)!;
  const contestant =
    library === "fovea"
      ? fovea.fovea(named(fovea.forms), point, inputs)
      : await onnx.onnxruntime(named(onnx.forms), point, inputs, threads);
  globalThis.gc!(); // what is no longer needed must not make room during the call
  writeFileSync("/proc/self/clear_refs", "5"); // the peak starts again from what is resident now
  const before = resident("VmRSS");
  const firstCallMs = await timed(contestant);
  const firstCallBytes = resident("VmHWM") - before;
  const later: number[] = [];
  for (let i = 0; i < laterCalls; i++) later.push(await timed(contestant));
  return {
    ...job,
    firstCallMs,
    laterCallMs: Math.min(...later),
    firstCallBytes,
    allCallsBytes: resident("VmHWM") - before,
  };
}
