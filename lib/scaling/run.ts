// The long-context measurement from beginning to end: progress bar, table, JSON and chart.

import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { SingleBar } from "cli-progress";
import { devices } from "../index.js";
import { scalingChart } from "./chart.js";
import { lengths, measureScaling, type Measurements, type ScalingOptions } from "./measure.js";
import { scalingTable } from "./table.js";

/** Measures, prints, and writes scaling.json and scaling.svg to `folder`. */
export async function runScaling(options: ScalingOptions, folder: string): Promise<Measurements> {
  const bar = new SingleBar({
    format: "{bar} {value}/{total}  {next}",
    barsize: 30,
    hideCursor: true,
    clearOnComplete: true,
    noTTYOutput: true,
    notTTYSchedule: 5000,
  });
  bar.start(2 * lengths(options).length, 0, { next: "" });
  const measurements = await measureScaling(options, (done, next) => bar.update(done, { next })).finally(() =>
    bar.stop(),
  );

  console.log(scalingTable(measurements));
  for (const { algorithm, tokens, reason } of measurements.omitted) {
    console.log(`left out: ${algorithm} at ${tokens} tokens ${reason}`);
  }

  const [machine] = devices();
  if (!machine.available) throw new Error(machine.reason);
  await mkdir(folder, { recursive: true });
  const files = {
    "scaling.json": `${JSON.stringify({ date: new Date().toISOString(), machine, options, ...measurements }, null, 2)}\n`,
    "scaling.svg": scalingChart(measurements, options, `${machine.name}, ${machine.threads} threads`),
  };
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(folder, name);
    await writeFile(file, content);
    console.log(`wrote ${path.relative(process.cwd(), file)}`);
  }
  return measurements;
}
