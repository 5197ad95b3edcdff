// fovea doctor: what can be used here, what cannot, why, and how to mend it.

import { defineCommand } from "citty";
import { explain } from "../attention.js";
import { devices, type Device, type DeviceInfo } from "../device.js";
import type { FloatDType } from "../dtype.js";
import type { Algorithm } from "../options.js";
import { bytes } from "../terminal/format.js";
import { textTable } from "../terminal/text-table.js";
import type { Command } from "./command.js";
import { chartPackages, encoderPackages, installation, missing } from "./peers.js";
import { version } from "./version.js";

/** A kernel, or why there is none. */
interface Choice {
  device: Device;
  work: "prefill" | "decode";
  dtype: FloatDType;
  algorithm: Algorithm;
  kernel?: string;
  reason?: string;
}

interface Report {
  fovea: string;
  node: string;
  platform: string;
  /** The native module's file, once it is loaded. */
  module: string | undefined;
  /** Variables of the environment that fovea reads. */
  environment: Record<string, string>;
  devices: readonly DeviceInfo[];
  kernels: Choice[];
  /** What other commands need, and the packages among it that are not installed. */
  missing: { maps: string[]; chart: string[] };
  /** Whether attention can be computed at all. */
  usable: boolean;
}

const variables = ["FOVEA_NUM_THREADS", "FOVEA_CPU_ISA", "FOVEA_CUDA_DRIVER"];
const dtypes = ["float32", "float16", "bfloat16"] as const;
const algorithms = ["auto", "standard", "tiled"] as const;

function report(): Report {
  const list = devices();
  const available = list.filter((device) => device.available).map(({ device }) => device);
  const environment = variables.flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return {
    fovea: version,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    module: nativeModule(),
    environment: Object.fromEntries(environment),
    devices: list,
    kernels: available.flatMap(choices),
    missing: { maps: missing(encoderPackages), chart: missing(chartPackages) },
    usable: list[0].available,
  };
}

function nativeModule(): string | undefined {
  const { sharedObjects } = process.report.getReport() as { sharedObjects: string[] };
  return sharedObjects.find((file) => /fovea[^/\\]*\.node$/.test(file));
}

/** What the planner takes for ordinary sizes: many queries, and one query on many keys. */
function choices(device: Device): Choice[] {
  const list: Choice[] = [];
  for (const work of ["prefill", "decode"] as const) {
    for (const dtype of dtypes) {
      for (const algorithm of algorithms) {
        const query = { shape: [1, 8, work === "prefill" ? 2048 : 1, 64], dtype };
        const key = { shape: [1, 8, 2048, 64], dtype };
        try {
          list.push({ device, work, dtype, algorithm, kernel: explain(query, key, key, { device, algorithm }).kernel });
        } catch (error) {
          list.push({ device, work, dtype, algorithm, reason: (error as Error).message });
        }
      }
    }
  }
  return list;
}

function print(found: Report): void {
  console.log(`fovea ${found.fovea}, Node ${found.node}, ${found.platform}`);
  console.log(`native module: ${found.module ?? "not loaded"}`);
  for (const [name, value] of Object.entries(found.environment)) console.log(`${name}=${value}`);
  for (const device of found.devices) {
    console.log(`\n${describe(device).join("\n  ")}`);
    const kernels = found.kernels.filter((choice) => choice.device === device.device);
    if (kernels.length > 0) console.log(kernelTable(kernels));
  }
  console.log("");
  printPackages("fovea maps TEXT", found.missing.maps);
  printPackages("fovea bench --out FOLDER", found.missing.chart);
}

function describe(device: DeviceInfo): string[] {
  if (!device.available) return [`${device.device}: cannot be used`, ...device.reason.split("\n")];
  if (device.device === "cpu") {
    const { name, cores, threads, instructionSet, instructionSets } = device;
    const lines = [
      `cpu: ${name}`,
      `${threads} threads on ${cores} processors (FOVEA_NUM_THREADS or setThreads changes it)`,
      `instruction set ${instructionSet}, of ${instructionSets.join(", ")}`,
    ];
    if (instructionSet === "baseline" && process.arch === "x64") {
      lines.push(
        "slow: the fast kernels need a processor with AVX2, FMA and F16C, and FOVEA_CPU_ISA not to say baseline",
      );
    }
    return lines;
  }
  const { name, computeCapability, multiprocessors, memoryBytes, driver, cudaVersion } = device;
  return [
    `${device.device}: ${name}`,
    `compute capability ${computeCapability}, ${multiprocessors} multiprocessors, ${bytes(memoryBytes)}`,
    `driver ${driver}, CUDA ${cudaVersion}`,
  ];
}

/** Kernels by dtype and algorithm; what there is no kernel for is told below. */
function kernelTable(kernels: readonly Choice[]): string {
  const table = textTable([
    ["", "left"],
    ["dtype", "left"],
    ...algorithms.map((algorithm) => [algorithm, "left"] as const),
  ]);
  for (const work of ["prefill", "decode"] as const) {
    for (const dtype of dtypes) {
      const row = kernels.filter((choice) => choice.work === work && choice.dtype === dtype);
      table.push([work, dtype, ...row.map(({ kernel }) => kernel ?? "none")]);
    }
  }
  const reasons = new Set(
    kernels.flatMap(({ algorithm, dtype, reason }) => (reason ? [`${algorithm}, ${dtype}: ${reason}`] : [])),
  );
  return [table.toString(), ...reasons].join("\n");
}

function printPackages(what: string, absent: readonly string[]): void {
  console.log(`${what}: ${absent.length === 0 ? "ready" : `not installed; run: ${installation(absent)}`}`);
}

export const doctor: Command = defineCommand({
  meta: {
    name: "doctor",
    description: "What can be used here, what cannot and why, and how to mend it. Fails where nothing can compute",
  },
  args: { json: { type: "boolean", default: false, description: "print JSON" } },
  run({ args }) {
    const found = report();
    if (args.json) console.log(JSON.stringify(found, null, 2));
    else print(found);
    if (!found.usable) process.exitCode = 1;
  },
});
