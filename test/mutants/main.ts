// Mutants: does the CUDA test suite notice known bugs? Plants each one of the lists in a copy of the kernel sources,
// compiles the one image that it is in to PTX, and runs a few tests on the simulator, which takes the PTX instead of
// what is embedded in the test program (FOVEA_SIM_REPLACE). The unchanged sources must pass the same tests.
//
//   npm run mutants [-- part of a name...]       NVCC: the compiler to use (nvcc)
//
// Needs the test programs (npm run build:cuda). Ends with "N passed, N failed": caught and survived.
import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { textTable } from "../../lib/terminal/text-table.js";
import { copyMutants } from "./copies.js";
import { decodeMutants } from "./decode.js";
import { decodeSm90Mutants } from "./decode-sm90.js";
import { farMutants } from "./far.js";
import { hopperMutants } from "./hopper.js";
import { float32Mutants } from "./float32.js";
import { leftKeysMutants } from "./left-keys.js";
import type { Mutant } from "./mutant.js";
import { outputMutants } from "./output.js";
import { pagesMutants } from "./pages.js";
import { scoresMutants } from "./scores.js";
import { softmaxMutants } from "./softmax.js";
import { tileMapMutants } from "./tile-maps.js";
import { tileMutants } from "./tiles.js";
import { tiledMutants } from "./tiled.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const nvcc = process.env["NVCC"] ?? "nvcc";
const atOnce = 2;
/** As in cmake/EmbedFatbin.cmake. */
const flags = ["-ptx", "-std=c++20", "-O3", "--expt-relaxed-constexpr", "-lineinfo"];
/** Images of kernels for Hopper need its instructions, and a simulator that has them. */
const isForHopper = (image: string) => image.includes("_sm90");
/** What an image is compiled for: one that all GPUs have may have more on newer ones. */
const architecture = ({ image, capability }: Image) =>
  isForHopper(image) ? "90a" : capability === "9.0" ? "90" : "80";

type Image = Pick<Mutant, "image" | "kernels" | "capability">;

interface Outcome {
  name: string;
  tests: number;
  /** What the tests noticed: kinds of reports, "numbers", or nothing. */
  noticed: readonly string[];
  /** Why this counts as a failure of the suite; absent when all is as it should be. */
  fault?: string;
}

interface Finished {
  status: number | null;
  output: string;
}

function run(command: string, args: readonly string[], env: Record<string, string> = {}): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env: { ...process.env, ...env }, timeout: 120_000 });
    let output = "";
    child.stdout.on("data", (data: Buffer) => (output += data.toString()));
    child.stderr.on("data", (data: Buffer) => (output += data.toString()));
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, output }));
  });
}

/** How often its text stands in its file: it should once. */
function timesFound({ file, find }: Mutant): number {
  const path = join(root, "native/cuda/kernels", file);
  return existsSync(path) ? readFileSync(path, "utf8").split(find).length - 1 : 0;
}

/** Of the many instances of Hopper's kernel those that its mutants' tests run, a line each. */
function keepInstances(path: string): void {
  const source = readFileSync(path, "utf8");
  const end = source.indexOf("#define FOVEA_TILED_SM90_SHAPES");
  if (end < 0) throw new Error(`${path} has no instances of many shapes`);
  const instances = [", false, 64, 64", ", false, 96, 96", ", false, 192, 128", "_ruled, true, 64, 64"].map(
    (shape) => `FOVEA_TILED_SM90(float16, Half, ${shape})\n`,
  );
  writeFileSync(path, `${source.slice(0, end)}${instances.join("")}}\n`);
}

/** Of an image's kernels, which macros define, only those whose line has a text. */
function keepKernels(path: string, text: string): void {
  const lines = readFileSync(path, "utf8").split("\n");
  const isKernel = (line: string) => /^FOVEA_\w+\(.*\)$/.test(line);
  if (!lines.some((line) => isKernel(line) && line.includes(text))) throw new Error(`${path} has no kernel ${text}`);
  writeFileSync(path, lines.filter((line) => !isKernel(line) || line.includes(text)).join("\n"));
}

/** Compiles one image, of one mutant or unchanged, from a copy of the sources, and gives the path of its PTX. */
async function compile(folder: string, of: Image, mutant?: Mutant): Promise<string> {
  const { image, kernels: wanted } = of;
  const kernels = join(folder, "cuda/kernels");
  for (const part of ["cuda", "attention"]) cpSync(join(root, "native", part), join(folder, part), { recursive: true });
  if (mutant) {
    const path = join(kernels, mutant.file);
    const parts = readFileSync(path, "utf8").split(mutant.find);
    if (parts.length !== 2) throw new Error(`its text is found ${parts.length - 1} times in ${mutant.file}`);
    writeFileSync(path, parts.join(mutant.replace));
  }
  if (image === "tiled_sm90") keepInstances(join(kernels, `${image}.cu`));
  if (wanted !== undefined) keepKernels(join(kernels, `${image}.cu`), wanted);
  const ptx = join(folder, "image.ptx");
  const { status, output } = await run(nvcc, [
    ...flags,
    `-arch=compute_${architecture(of)}`,
    "-o",
    ptx,
    join(kernels, `${image}.cu`),
  ]);
  if (status !== 0) throw new Error(`it does not compile: ${output}`);
  return ptx;
}

/** Runs tests with an image replaced. Throws what says nothing about the kernels. */
async function test(of: Image, ptx: string, tests: readonly string[]): Promise<Omit<Outcome, "name">> {
  const { status, output } = await run(join(root, "build/native/cuda/test/fovea_cuda_test"), tests, {
    FOVEA_CUDA_DRIVER: join(root, "build/libfovea-cudasim.so"),
    FOVEA_SIM_REPLACE: ptx,
    FOVEA_SIM_COMPUTE_CAPABILITY: of.capability ?? (isForHopper(of.image) ? "9.0" : "8.0"),
    FOVEA_SIM_THREADS: "1",
    FOVEA_SIM_INSTRUCTION_LIMIT: "20000000",
  });
  const counts = /^(\d+) passed, (\d+) failed/m.exec(output);
  if (!counts || status === null || status > 1) throw new Error(`the test program ended with ${status}:\n${output}`);
  const [passed, failed] = [Number(counts[1]), Number(counts[2])];
  if (passed + failed === 0) throw new Error(`no test is called ${tests.join(" or ")}`);
  if (!output.includes("fovea simulator: replaced")) throw new Error("no test loaded the changed image");
  if (/CUDA_ERROR_NOT_FOUND/.test(output)) throw new Error(`the image has not all kernels of these tests:\n${output}`);
  if (/CUDA_ERROR_INVALID_PTX/.test(output)) throw new Error(`the simulator cannot run it:\n${output}`);
  const reports = [...output.matchAll(/^fovea simulator: ([a-z-]+): /gm)].map((match) => match[1]!);
  const noticed = reports.length > 0 ? [...new Set(reports)] : failed > 0 ? ["numbers"] : [];
  return { tests: passed + failed, noticed };
}

async function inFolder<Result>(work: (folder: string) => Promise<Result>): Promise<Result> {
  const folder = mkdtempSync(join(tmpdir(), "fovea-mutants-"));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function tryMutant(mutant: Mutant): Promise<Outcome> {
  const { name, tests, caughtBy } = mutant;
  try {
    const result = await inFolder(async (folder) => test(mutant, await compile(folder, mutant, mutant), tests));
    if (result.noticed.some((kind) => caughtBy.includes(kind))) return { name, ...result };
    const seen = result.noticed.join(", ") || "nothing";
    return { name, ...result, fault: `SURVIVED: expected ${caughtBy.join(" or ")}, noticed ${seen}` };
  } catch (error) {
    return { name, tests: 0, noticed: [], fault: (error as Error).message };
  }
}

/** The sources as they are must pass every test that a mutant of this image must fail. */
async function tryUnchanged(of: Image, tests: readonly string[]): Promise<Outcome> {
  const name = `(unchanged ${[of.image, of.kernels, of.capability].filter((part) => part !== undefined).join(", ")})`;
  try {
    const result = await inFolder(async (folder) => test(of, await compile(folder, of), tests));
    return result.noticed.length === 0 ? { name, ...result } : { name, ...result, fault: "it should pass" };
  } catch (error) {
    return { name, tests: 0, noticed: [], fault: (error as Error).message };
  }
}

/** Runs everything, a few at a time, and gives the outcomes in order. */
async function runAll(work: readonly (() => Promise<Outcome>)[]): Promise<Outcome[]> {
  const outcomes = new Array<Outcome>(work.length);
  let next = 0;
  const worker = async () => {
    while (next < work.length) {
      const index = next++;
      outcomes[index] = await work[index]!();
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return outcomes;
}

const all: readonly Mutant[] = [
  ...scoresMutants,
  ...outputMutants,
  ...tileMutants,
  ...tileMapMutants,
  ...leftKeysMutants,
  ...copyMutants,
  ...decodeMutants,
  ...tiledMutants,
  ...softmaxMutants,
  ...float32Mutants,
  ...pagesMutants,
  ...farMutants,
  ...hopperMutants,
  ...decodeSm90Mutants,
];
const parts = process.argv.slice(2);
const mutants = all.filter(({ name }) => parts.length === 0 || parts.some((part) => name.includes(part)));
const images = new Map<string, { of: Image; tests: string[] }>();
for (const mutant of mutants) {
  const key = `${mutant.image} ${mutant.kernels} ${mutant.capability}`;
  images.set(key, { of: mutant, tests: [...(images.get(key)?.tests ?? []), ...mutant.tests] });
}
const outcomes = await runAll([
  ...[...images.values()].map(
    ({ of, tests }) =>
      () =>
        tryUnchanged(of, tests),
  ),
  ...mutants.map((mutant) => () => tryMutant(mutant)),
  // The others' texts age when kernels change.
  ...all
    .filter((mutant) => !mutants.includes(mutant) && timesFound(mutant) !== 1)
    .map((mutant) => () => tryMutant(mutant)),
]);

const table = textTable([
  ["bug", "left"],
  ["tests", "right"],
  ["noticed by", "left"],
]);
for (const { name, tests, noticed, fault } of outcomes) {
  table.push([name, tests, fault === undefined ? noticed.join(", ") || "nothing, rightly" : "FAILED"]);
}
console.log(table.toString());
const faults = outcomes.filter(({ fault }) => fault !== undefined);
for (const { name, fault } of faults) console.log(`FAILED ${name}\n  ${fault}`);
console.log(`${outcomes.length - faults.length} passed, ${faults.length} failed`);
process.exitCode = faults.length === 0 && mutants.length > 0 ? 0 : 1;
