// Build gate for the CUDA kernels: reads what ptxas told of them when they were built (cmake/RunNvcc.cmake keeps it) and
// fails if registers were spilled, a stack is needed or there was something to say (the C75xx notes: asynchronous products
// serialised, register hints ignored), or if registers and static shared memory differ from
// native/cuda/kernels/resources.json, which holds for the nvcc version that it names.
//
//   npx tsx scripts/check-kernels.ts [--write]      after npm run build; NVCC: the compiler that built (nvcc)
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
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
const logs = fileURLToPath(new URL("../build/native/cuda/", import.meta.url));

/** What `ptxas -v` says about each entry function of one file. */
function readLog(log: string, table: Table, faults: string[]): void {
  let kernel = "";
  let architecture = "";
  for (const line of log.split("\n")) {
    const entry = /Compiling entry function '(\w+)' for '(\w+)'/.exec(line);
    if (entry) [, kernel, architecture] = entry;
    const spills = /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line);
    if (spills && spills.slice(1).some((bytes) => bytes !== "0")) {
      faults.push(`${kernel} (${architecture}): ${line.trim()}`);
    }
    if (/\bC7\d{3}\b|warning/i.test(line)) faults.push(`${kernel} (${architecture}): ${line.trim()}`);
    const used = /Used (\d+) registers/.exec(line);
    if (!used) continue;
    const shared = /(\d+) bytes smem/.exec(line);
    const resources = (table[kernel] ??= {});
    resources[architecture] = { registers: Number(used[1]), sharedBytes: Number(shared?.[1] ?? 0) };
  }
}

function compareTables(expected: Table, found: Table): string[] {
  const faults: string[] = [];
  const text = (resources: Resources | undefined) =>
    resources ? `${resources.registers} registers, ${resources.sharedBytes} bytes shared` : "absent";
  for (const kernel of new Set([...Object.keys(expected), ...Object.keys(found)])) {
    const architectures = [expected, found].flatMap((table) => Object.keys(table[kernel] ?? {}));
    for (const architecture of new Set(architectures)) {
      const [want, got] = [text(expected[kernel]?.[architecture]), text(found[kernel]?.[architecture])];
      if (want !== got) faults.push(`${kernel} (${architecture}): ${got}; the table says ${want}`);
    }
  }
  return faults;
}

function main(): number {
  const said = spawnSync(nvcc, ["--version"], { encoding: "utf8" }).stdout as string | null;
  const version = /V(\d+\.\d+\.\d+)/.exec(said ?? "")?.[1];
  if (version === undefined) {
    console.log(`${nvcc} was not found: the kernels are not checked`);
    return 0;
  }
  const table: Table = {};
  const faults: string[] = [];
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".cu"))) {
    const log = join(logs, file.replace(/\.cu$/, ".fatbin.log"));
    if (existsSync(log)) readLog(readFileSync(log, "utf8"), table, faults);
    else faults.push(`${file}: not built yet (npm run build)`);
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
