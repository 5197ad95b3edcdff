// Build gate for the CUDA kernels: assembles every native/cuda/kernels/*.cu and fails if ptxas spills registers, needs a stack
// or has something to say (the C75xx notes: asynchronous products serialised, register hints ignored), or if registers and
// static shared memory differ from native/cuda/kernels/resources.json, which holds for the nvcc version that it names.
//
//   npx tsx scripts/check-kernels.ts [--write]      NVCC: the compiler to use (nvcc)
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

interface Resources {
  registers: number;
  sharedBytes: number;
}

/** By kernel, then by architecture. */
type Table = Record<string, Record<string, Resources>>;

const folder = fileURLToPath(new URL("../native/cuda/kernels/", import.meta.url));
const tablePath = join(folder, "resources.json");
const nvcc = process.env["NVCC"] ?? "nvcc";
/** As in cmake/EmbedFatbin.cmake. */
const flags = ["-std=c++20", "-O3", "--expt-relaxed-constexpr", "-lineinfo"];
const architectures = ["80", "90", "90a"];
/** What a file is compiled for: kernels for one GPU's own instructions say so in their name. */
const targetsOf = (file: string) => (file.includes("_sm90") ? ["90a"] : ["80", "90"]);

function run(args: readonly string[]): string | undefined {
  const { status, stdout, stderr, error } = spawnSync(nvcc, args, { encoding: "utf8" });
  if (error) return undefined;
  if (status !== 0) throw new Error(`${nvcc} ${args.join(" ")}\n${stderr}`);
  return stdout + stderr;
}

/** What `ptxas -v` says about each entry function of one file. */
function readLog(log: string, architecture: string, table: Table, faults: string[]): void {
  let kernel = "";
  for (const line of log.split("\n")) {
    const entry = /Compiling entry function '(\w+)'/.exec(line);
    if (entry) kernel = entry[1]!;
    const spills = /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line);
    if (spills && spills.slice(1).some((bytes) => bytes !== "0")) {
      faults.push(`${kernel} (sm_${architecture}): ${line.trim()}`);
    }
    if (/\bC7\d{3}\b|warning/i.test(line)) faults.push(`${kernel} (sm_${architecture}): ${line.trim()}`);
    const used = /Used (\d+) registers/.exec(line);
    if (!used) continue;
    const shared = /(\d+) bytes smem/.exec(line);
    const resources = (table[kernel] ??= {});
    resources[`sm_${architecture}`] = { registers: Number(used[1]), sharedBytes: Number(shared?.[1] ?? 0) };
  }
}

function compareTables(expected: Table, found: Table): string[] {
  const faults: string[] = [];
  const text = (resources: Resources | undefined) =>
    resources ? `${resources.registers} registers, ${resources.sharedBytes} bytes shared` : "absent";
  for (const kernel of new Set([...Object.keys(expected), ...Object.keys(found)])) {
    for (const architecture of architectures.map((number) => `sm_${number}`)) {
      const [want, got] = [text(expected[kernel]?.[architecture]), text(found[kernel]?.[architecture])];
      if (want !== got) faults.push(`${kernel} (${architecture}): ${got}; the table says ${want}`);
    }
  }
  return faults;
}

function main(): number {
  const version = /V(\d+\.\d+\.\d+)/.exec(run(["--version"]) ?? "")?.[1];
  if (version === undefined) {
    console.log(`${nvcc} was not found: the kernels are not checked`);
    return 0;
  }
  const table: Table = {};
  const faults: string[] = [];
  const scratch = mkdtempSync(join(tmpdir(), "fovea-kernels-"));
  try {
    for (const file of readdirSync(folder).filter((name) => name.endsWith(".cu"))) {
      for (const architecture of targetsOf(file)) {
        const target = ["-gencode", `arch=compute_${architecture},code=sm_${architecture}`];
        const output = ["-cubin", "-o", join(scratch, "kernel.cubin")];
        const log = run([...flags, "-Xptxas", "-v", ...target, ...output, join(folder, file)]);
        readLog(log ?? "", architecture, table, faults);
      }
    }
  } finally {
    rmSync(scratch, { recursive: true });
  }
  const sorted = Object.fromEntries(Object.entries(table).sort(([a], [b]) => (a < b ? -1 : 1)));
  if (process.argv.includes("--write")) {
    writeFileSync(tablePath, JSON.stringify({ nvcc: version, kernels: sorted }, undefined, 2) + "\n");
  } else {
    const committed = JSON.parse(readFileSync(tablePath, "utf8")) as { nvcc: string; kernels: Table };
    if (committed.nvcc === version) faults.push(...compareTables(committed.kernels, sorted));
    else console.log(`resources.json is of nvcc ${committed.nvcc}, this is ${version}: registers are not compared`);
  }
  for (const fault of faults) console.error(fault);
  console.log(
    `${Object.keys(table).length} kernels, nvcc ${version}: ${faults.length === 0 ? "as they should be" : `${faults.length} faults`}`,
  );
  return faults.length === 0 ? 0 : 1;
}

process.exitCode = main();
