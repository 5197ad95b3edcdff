// The long-context measurement from beginning to end: progress bar, table, JSON and chart.

import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { SingleBar } from "cli-progress";
import { devices } from "../index.js";
import { scalingChart } from "./chart.js";
import { lengths, measureScaling, type Measurements, type ScalingOptions } from "./measure.js";
import { scalingTable } from "./table.js";

export interface ScalingOutput {
  /** Where to write scaling.json and scaling.svg; nowhere by default. */
  folder?: string | undefined;
  /** Print JSON instead of a table. */
  json?: boolean | undefined;
}

/** Measures, prints to stdout (progress to stderr), and writes what `output` asks for. */
export async function runScaling(options: ScalingOptions, output: ScalingOutput): Promise<Measurements> {
  const [machine] = devices();
  if (!machine.available) throw new Error(machine.reason);
  if (output.folder !== undefined) await mkdir(output.folder, { recursive: true }); // before minutes are spent
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

  const json = JSON.stringify({ date: new Date().toISOString(), machine, options, ...measurements }, null, 2);
  if (output.json) console.log(json);
  else print(measurements);
  if (output.folder !== undefined) {
    const chart = scalingChart(measurements, options, `${machine.name}, ${machine.threads} threads`);
    for (const [name, content] of [
      ["scaling.json", `${json}\n`],
      ["scaling.svg", chart],
    ] as const) {
      const file = path.join(output.folder, name);
      await writeFile(file, content);
      console.error(`wrote ${path.relative(process.cwd(), file)}`);
    }
  }
  return measurements;
}

function print(measurements: Measurements): void {
  console.log(scalingTable(measurements));
  for (const { algorithm, tokens, reason } of measurements.omitted) {
    console.log(`left out: ${algorithm} at ${tokens} tokens ${reason}`);
  }
}
