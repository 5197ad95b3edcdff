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

const completions = ["early", "late", "random"] as const;

/** When asynchronous work happens, and in which order: each seed sets `caseNumber` too. */
export interface Schedule {
  readonly seed: number;
  readonly completion: (typeof completions)[number];
}

function draw(name: string): Schedule {
  const seed = seedOf(1, name);
  return { seed, completion: completions[(seed >>> 8) % completions.length]! };
}

export function setSchedule({ seed, completion }: Schedule): void {
  number = seed;
  simulate({ SEED: seed, COMPLETION: completion });
}

export function drawSchedule(name: string): void {
  setSchedule(draw(name));
}

/** The schedule that a name draws; in a sweep on a GPU every completion mode, with an even and an odd seed each. */
export function schedules(name: string): Schedule[] {
  const drawn = draw(name);
  if (process.env["FOVEA_SWEEP_RUNS"] === undefined || process.env["FOVEA_TEST_DEVICE"] !== "cuda") return [drawn];
  return completions.flatMap((completion) => [0, 1].map((step) => ({ seed: drawn.seed + step, completion })));
}
