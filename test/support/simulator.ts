// What the simulated GPU does, for tests on it. Each test has a schedule and a completion mode of its own, drawn from its name.
import { writeFileSync } from "node:fs";
import { seedOf } from "./seed.js";

let number = 0;

/** A number that the name of the running test gives. */
export const caseNumber = (): number => number;

/** Settings of the simulator, from the next launch or allocation on. On a GPU they change nothing. */
export function simulate(settings: Readonly<Record<string, string | number>>): void {
  const file = process.env["FOVEA_SIM_SETTINGS"];
  if (file === undefined) return;
  const lines = Object.entries(settings).map(([name, value]) => `FOVEA_SIM_${name}=${value}\n`);
  writeFileSync(file, `# ${++writes}\n${lines.join("")}`);
}

let writes = 0;

const completions = ["early", "late", "random"] as const;

export function drawSchedule(name: string): void {
  number = seedOf(1, name);
  simulate({ SEED: number, COMPLETION: completions[(number >>> 8) % completions.length]! });
}
