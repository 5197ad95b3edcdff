// What the simulated GPUs do, for tests on them. Each test has a GPU, a schedule and a completion mode of its own, drawn from
// its name.
import { writeFileSync } from "node:fs";
import { seedOf } from "./seed.js";

let number = 0;

/** A number that the name of the running test gives. */
export const caseNumber = (): number => number;

let gpu = 0;

/** A number that says which of several GPUs is tested. */
export const gpuNumber = (): number => gpu;

export function drawGpu(name: string): void {
  gpu = seedOf(2, name);
}

/** Settings of the simulator, from the next launch or allocation on. On a GPU they change nothing. */
export function simulate(settings: Readonly<Record<string, string | number>>): void {
  const file = process.env["FOVEA_SIM_SETTINGS"];
  if (file === undefined) return;
  const lines = Object.entries(settings).map(([name, value]) => `FOVEA_SIM_${name}=${value}\n`);
  writeFileSync(file, `# ${++writes}\n${lines.join("")}`);
}

let writes = 0;

const completions = ["early", "late", "random"];

/** When asynchronous work happens, and in which order; and `caseNumber`. Projects of a sweep set what they vary. */
export function drawSchedule(name: string): void {
  const drawn = seedOf(1, name);
  number = drawn + Number(process.env["FOVEA_TEST_SEED"] ?? 0);
  const completion = process.env["FOVEA_TEST_COMPLETION"] ?? completions[(drawn >>> 8) % completions.length]!;
  simulate({ SEED: number, COMPLETION: completion });
}
