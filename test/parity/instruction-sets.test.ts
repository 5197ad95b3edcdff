// That the suites compute by the instruction set they were told to.
import { isMainThread } from "node:worker_threads";
import { expect, test } from "vitest";
import { devices } from "../../lib/index.js";

// Only a process's main thread hands its environment on to native code; all its threads share one instruction set.
test.skipIf(!isMainThread)("FOVEA_CPU_ISA is obeyed; without it the best is taken", () => {
  const [cpu] = devices();
  if (!cpu.available) throw new Error(cpu.reason);
  expect(cpu.instructionSet).toBe(process.env["FOVEA_CPU_ISA"] || cpu.instructionSets[0]);
});
