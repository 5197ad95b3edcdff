// fovea beside onnxruntime-node on this machine's CPU: `npm start -- --help`.
import { fork } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, release, totalmem } from "node:os";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { CpuDevice } from "../../lib/index.js";
import type { Answer, Job } from "./child.js";
import type { MemoryResult } from "./memory.js";
import { points as allPoints, quickPoints } from "./points.js";
import { geometricMeans, memoryReport, speedReport, type ThreadsResult } from "./report.js";

const usage = `npm start -- [options]
  --points a,b    what to measure: ${allPoints.map(({ name }) => name).join(", ")}, tiny, memory (default: all)
  --threads 1,2   thread counts, each in a process of its own (default: 1 and all cores)
  --rounds N      turns of every contestant at every point (default: 9, with --quick 5)
  --quick         the key points and forms, in about two minutes
  --json PATH     where to write the results (default: bench/results/DATE-cpu-peers.json, for a whole run only)`;

const { values: options } = parseArgs({
  options: {
    points: { type: "string" },
    threads: { type: "string" },
    rounds: { type: "string" },
    quick: { type: "boolean", default: false },
    json: { type: "string" },
    help: { type: "boolean", default: false },
  },
});
if (options.help) {
  console.log(usage);
  process.exit();
}

const fail = (message: string): never => {
  console.error(`${message}\n\n${usage}`);
  process.exit(2);
};
const count = (option: string, text: string): number => {
  const number = Number(text);
  return Number.isInteger(number) && number >= 1 ? number : fail(`--${option}: expected a whole number, got ${text}`);
};

const known = [...allPoints.map(({ name }) => name), "tiny", "memory"];
const names = options.points?.split(",") ?? (options.quick ? [...quickPoints, "tiny", "memory"] : known);
for (const name of names) if (!known.includes(name)) fail(`--points: no point "${name}"`);
const threadCounts = options.threads
  ? options.threads.split(",").map((text) => count("threads", text))
  : [...new Set([1, availableParallelism()])];
const rounds = options.rounds ? count("rounds", options.rounds) : options.quick ? 5 : 9;
const points = allPoints.filter(({ name }) => names.includes(name));

/** Runs a job in a process of its own. */
function inChild(threads: number, job: Job, onAnswer: (answer: Answer) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL("./child.ts", import.meta.url)), {
      execArgv: [...process.execArgv, "--expose-gc"],
      env: { ...process.env, FOVEA_NUM_THREADS: String(threads) },
    });
    child.on("message", onAnswer);
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`the measuring process ended with ${signal ?? `status ${code}`}`));
    });
    child.send(job);
  });
}

const started = new Date();
const progress = (text: string): void => void process.stderr.write(`${text}\n`);

let cpu: CpuDevice | undefined;
const results: ThreadsResult[] = [];
const overhead = names.includes("tiny");
for (const threads of points.length || overhead ? threadCounts : []) {
  const result: ThreadsResult = { threads, points: [], overhead: {} };
  const job: Job = { kind: "speed", points, threads, rounds, quick: options.quick, overhead };
  await inChild(threads, job, (answer) => {
    if (answer.kind === "point") {
      result.points.push(answer.result);
      const seconds = ((Date.now() - started.getTime()) / 1000).toFixed(0);
      progress(`${seconds.padStart(5)} s  ${threads} thread(s)  ${answer.result.point.name}`);
    } else if (answer.kind === "overhead") result.overhead = answer.result;
    else if (answer.kind === "cpu") cpu = answer.result;
  });
  results.push(result);
}

const memory: MemoryResult[] = [];
if (names.includes("memory")) {
  const threads = Math.max(...threadCounts);
  for (const name of options.quick ? ["s2048", "s2048-causal"] : ["s2048", "s2048-causal", "s8192", "s8192-causal"]) {
    const point = allPoints.find((point) => point.name === name)!;
    for (const [library, form] of [
      ["onnxruntime", point.causal ? "gqa-inner" : "mha"],
      ["fovea", "sync"],
      ["fovea", "sync out"],
    ] as const) {
      await inChild(threads, { kind: "memory", library, form, point, threads }, (answer) => {
        if (answer.kind === "memory") memory.push(answer.result);
      });
    }
    progress(`memory ${name}`);
  }
}

for (const result of results) console.log(speedReport(result));
if (memory.length) console.log(memoryReport(memory));

const wholeRun = !options.points && !options.quick;
const date = started.toISOString().slice(0, 10);
const path =
  options.json ?? (wholeRun ? fileURLToPath(new URL(`../results/${date}-cpu-peers.json`, import.meta.url)) : undefined);
if (path) {
  const version = (file: string): string =>
    (JSON.parse(readFileSync(new URL(file, import.meta.url), "utf8")) as { version: string }).version;
  const document = {
    date: started.toISOString(),
    seconds: Math.round((Date.now() - started.getTime()) / 1000),
    machine: {
      cpu: cpu?.name,
      cores: cpu?.cores,
      instructionSet: cpu?.instructionSet,
      memoryBytes: totalmem(),
      system: `${process.platform} ${release()} ${process.arch}`,
    },
    versions: {
      node: process.versions.node,
      fovea: version("../../package.json"),
      "onnxruntime-node": version("./node_modules/onnxruntime-node/package.json"),
    },
    options: { rounds, quick: options.quick, points: names },
    threads: results.map((result) => ({ ...result, geometricMeans: geometricMeans(result.points) })),
    memory,
  };
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(
    path,
    `${JSON.stringify(document, (_, value) => (typeof value === "number" ? Number(value.toPrecision(5)) : value), 1)}\n`,
  );
  progress(`wrote ${path}`);
}
