// The native module against binding.d.ts: its surface, and what it refuses so that wrong numbers cannot corrupt memory.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import type { Binding } from "../binding.js";
import { devices } from "../lib/index.js";
import { mergeFields, mergeViewFields } from "../lib/merge.js";
import { planFields, planPartFields } from "../lib/plan.js";
import { problemFields, sequenceFields } from "../lib/problem.js";
import { runChild } from "./support/child.js";
import native from "./support/native.js";
import { denseProblem, planLength, run } from "./support/problem.js";

const binding = new URL("support/native.js", import.meta.url).href;

/** Runs an ES module in a process of its own. */
const runModule = (source: string, env: Record<string, string> = {}) =>
  promisify(execFile)(process.execPath, ["--input-type=module", "-e", source], {
    cwd: fileURLToPath(new URL("..", import.meta.url)),
    env: { ...process.env, ...env },
    timeout: 30_000,
  });

/** The device number of the processor. */
const cpu = -1;

const furthestFrom = (expected: number, output: Float32Array): number =>
  output.reduce((most, x) => Math.max(most, Math.abs(x - expected)), 0);

describe("surface", () => {
  it("is what binding.d.ts says", () => {
    const typed: Record<keyof Binding, string> = {
      version: "string",
      problemFields: "object",
      sequenceFields: "object",
      storeFields: "object",
      planFields: "object",
      planPartFields: "object",
      mergeFields: "object",
      mergeViewFields: "object",
      kernels: "object",
      cpu: "function",
      setThreads: "function",
      explain: "function",
      attentionSync: "function",
      attention: "function",
      mergeAttentionSync: "function",
      mergeAttention: "function",
      address: "function",
      preferHugePages: "function",
      cancel: "function",
      storeSync: "function",
      store: "function",
      cuda: "function",
      cudaMemory: "function",
      streamHandle: "function",
      synchronize: "function",
      allocate: "function",
      adopt: "function",
      release: "function",
      pointer: "function",
      clear: "function",
      writeNow: "function",
      write: "function",
      read: "function",
      copyElements: "function",
      leave: "function",
    };
    expect(Object.fromEntries(Object.entries(native).map(([name, value]) => [name, typeof value]))).toEqual(typed);
  });

  it("agrees with lib about the order of the numbers", () => {
    expect(native.problemFields).toEqual(problemFields);
    expect(native.sequenceFields).toEqual(sequenceFields);
    expect(native.planFields).toEqual(planFields);
    expect(native.planPartFields).toEqual(planPartFields);
    expect(native.mergeFields).toEqual(mergeFields);
    expect(native.mergeViewFields).toEqual(mergeViewFields);
  });

  it("has the package's version", () => {
    const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as Binding;
    expect(native.version).toBe(version);
  });

  it("tells about the processor", () => {
    const cpu = native.cpu();
    expect(cpu.cores).toBeGreaterThanOrEqual(1);
    expect(cpu.threads).toBeGreaterThanOrEqual(1);
    expect(cpu.instructionSets.at(-1)).toBe(process.arch === "arm64" ? "neon" : "baseline");
    expect(cpu.instructionSets).toContain(cpu.instructionSet);
  });
});

describe("calls", () => {
  it("computes before it returns", () => {
    const call = denseProblem({ heads: 3, queryLength: 5, keyLength: 9, headDim: 7 });
    native.attentionSync(cpu, call.problem, call.storages, call.plan);
    expect(furthestFrom(call.expected, call.storages[3]!)).toBeLessThan(1e-4);
    expect(call.plan[native.planFields.indexOf("flops")]).toBeGreaterThan(0);
    expect(call.plan[native.planFields.indexOf("parts")]).toBe(1);
  });

  it("writes the same plan for explain, sync and async", async () => {
    const call = denseProblem({ heads: 2, queryLength: 65, keyLength: 129 });
    const explained = new Float64Array(planLength);
    native.explain(cpu, call.problem, explained);
    native.attentionSync(cpu, call.problem, call.storages, call.plan);
    expect(call.plan).toEqual(explained);
    call.plan.fill(0);
    await run(call);
    expect(call.plan).toEqual(explained);
  });

  it("copies the problem and the list of storages", async () => {
    const calls = Array.from({ length: 20 }, () => denseProblem({ heads: 2, queryLength: 65, keyLength: 129 }));
    const outputs = calls.map(({ storages }) => storages[3]!);
    const settled = calls.map((call) => {
      const settling = run(call);
      call.problem.fill(-7);
      call.storages.length = 0;
      return settling;
    });
    expect(await Promise.all(settled)).toEqual(calls.map(() => 0));
    const furthest = Math.max(...outputs.map((output) => furthestFrom(calls[0]!.expected, output)));
    expect(furthest).toBeLessThan(1e-3);
  });

  it("takes shared memory and any view of the right alignment", async () => {
    const call = denseProblem({ queryLength: 4, keyLength: 4, headDim: 4 });
    const shared = new Float32Array(new SharedArrayBuffer(4 * 16));
    shared.set(call.storages[2]!);
    const output = new ArrayBuffer(4 * 20);
    const storages = [call.storages[0]!, new DataView(call.storages[1]!.buffer), shared, new Uint8Array(output, 8, 64)];
    native.attentionSync(cpu, call.problem, storages, call.plan);
    const values = new Float32Array(output);
    expect([...values]).toEqual([0, 0, ...Array<number>(16).fill(1.5), 0, 0]);
  });

  it("settles once, however often it is cancelled", async () => {
    let settled = 0;
    const call = denseProblem({ heads: 8, queryLength: 3000, keyLength: 3000 });
    const how = await new Promise<number>((resolve) => {
      const id = native.attention(cpu, call.problem, call.storages, call.plan, (outcome) => {
        settled += 1;
        resolve(outcome);
      });
      for (let i = 0; i < 5; i++) native.cancel(id);
      native.cancel(id + 1000);
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(how).toBe(1);
    expect(settled).toBe(1);
  });

  it("holds its memory until it settles, and no longer", async () => {
    setFlagsFromString("--expose-gc");
    const gc = runInNewContext("gc") as () => void;
    const begin = () => {
      const call = denseProblem({ heads: 8, queryLength: 2000, keyLength: 2000 });
      return { views: call.storages.map((view) => new WeakRef(view)), settled: run(call) };
    };
    const { views, settled } = begin();
    let isSettled = false; // this thread may get no time for as long as the call takes
    void settled.then(() => (isSettled = true));
    await new Promise((resolve) => setTimeout(resolve, 1));
    gc();
    if (!isSettled) expect(views.map((view) => view.deref() === undefined)).toEqual([false, false, false, false]);
    await settled;
    await new Promise((resolve) => setTimeout(resolve, 1));
    gc();
    expect(views.map((view) => view.deref() === undefined)).toEqual([true, true, true, true]);
  });
});

describe("bounds", () => {
  const cases: [name: string, changes: Record<string, number>, message: RegExp][] = [
    ["a view past its storage", { keyOffset: 1 }, /^key: touches elements 1.* of a storage of 1024/],
    ["a view before its storage", { queryRowStride: -64 }, /^query: touches elements -960/],
    ["a row too many", { queryRows: 17 }, /^output: touches/],
    ["a stride that overflows", { valueHeadStride: 2 ** 53, heads: 2, kvHeads: 2 }, /^query: touches/],
    ["a huge stride", { keyRowStride: 2 ** 53 }, /^key: touches/],
    ["a storage that is not there", { outputStorage: 4 }, /^output: storage 4 of 4/],
    ["no output", { outputStorage: -1 }, /^output: absent/],
    ["an lse too long", { lseStorage: 3, lseOffset: 1009 }, /^lse: touches/],
    ["scores too wide", { scoresStorage: 3, keyColumns: 100, scoresRowStride: 100 }, /^scores: touches/],
    ["a mask too small", { maskStorage: 3, maskOffset: 4090, maskRowStride: 1 }, /^mask: touches/],
    ["slopes too short", { alibiSlopesStorage: 0, alibiSlopesOffset: 1024 }, /^alibiSlopes: touches/],
    ["sinks before their storage", { sinksStorage: 0, sinksOffset: -1 }, /^sinksOffset: expected an integer from 0/],
    ["fewer rows than queries", { queryRows: 15 }, /^queryRows: expected an integer from 16/],
    ["fewer columns than keys", { keyColumns: 15 }, /^keyColumns: expected an integer from 16/],
    ["a negative length", { keyLength: -1 }, /^keyLength: /],
    ["a fraction", { queryOffset: 0.5 }, /^queryOffset: expected an integer/],
    ["NaN", { queryLength: NaN }, /^queryLength: expected an integer/],
    ["infinity", { keyLength: Infinity }, /^keyLength: expected an integer/],
    ["an offset that is no number", { valueOffset: NaN }, /^value: expected an integer/],
    ["a dtype that is none", { dtype: 3 }, /^dtype: /],
    ["no heads", { heads: 0 }, /^heads: /],
    ["heads that do not divide", { heads: 3, kvHeads: 2 }, /^kvHeads: /],
    ["a headDim too large", { headDim: 513 }, /^headDim: /],
    ["more sequences than fields", { sequences: 2 }, /^problem: too short/],
    ["pages without a table", { pageSize: 16, pages: 1 }, /^pageTable: absent/],
    ["a page outside", { pageSize: 8, pages: 3, keyPageStride: 512 }, /^key: touches/],
    [
      "a table too short",
      { pageSize: 1, pages: 1, pageTableStorage: 0, pageTableOffset: 1020 },
      /^pageTable: touches elements 1020/,
    ],
  ];

  it.each(cases)("refuses %s", (_, changes, message) => {
    const call = denseProblem({ changes });
    const compute = () => native.attentionSync(cpu, call.problem, call.storages, call.plan);
    expect(compute).toThrow(message);
    expect(compute).toThrow(expect.objectContaining({ code: "ERR_FOVEA_BOUNDS" }) as Error);
    expect(() => native.attention(cpu, call.problem, call.storages, call.plan, () => {})).toThrow(message);
  });

  it("refuses pages that do not exist", () => {
    const pages = { pageSize: 4, pages: 4, keyPageStride: 256, valuePageStride: 256, pageTableStorage: 4 };
    const call = denseProblem({ changes: pages });
    const compute = (...table: number[]) =>
      native.attentionSync(cpu, call.problem, [...call.storages, Int32Array.from(table)], call.plan);
    compute(3, 2, 1, 0);
    expect(furthestFrom(call.expected, call.storages[3]!)).toBeLessThan(1e-4);
    expect(() => compute(3, 2, 1, 4)).toThrow("pageTable: entry 3 is 4, but there are 4 pages");
    expect(() => compute(-1, 2, 1, 0)).toThrow("pageTable: entry 0 is -1");
    expect(() => compute(3, 2, 1)).toThrow("pageTable: touches");
  });

  // Two parts of [1, 2, 3, 4], both the same, and their lse; then the result's.
  const mergeStorages = [24, 6, 24, 6].map((length) => new Float32Array(length).fill(1));
  const view = (storage: number, ...strides: number[]) => [storage, 0, ...strides];
  const [parted, merged] = [0, 2].map((storage) => [view(storage, 0, 12, 4, 1), view(storage + 1, 0, 3, 1, 0)]);
  const merge = [0, 1, 2, 3, 4, 2, ...[merged, parted, parted].flat(2)] as number[];
  const mergeField = (name: string) => mergeFields.indexOf(name as (typeof mergeFields)[number]);
  const partField = (view: number, name: string) =>
    mergeFields.length +
    view * mergeViewFields.length +
    mergeViewFields.indexOf(name as (typeof mergeViewFields)[number]);

  it("merges", () => {
    native.mergeAttentionSync(Float64Array.from(merge), mergeStorages);
    expect(mergeStorages[2]).toEqual(new Float32Array(24).fill(1));
    expect(mergeStorages[3]).toEqual(new Float32Array(6).fill(1 + Math.LN2));
  });

  it.each<[name: string, field: number, value: number, message: RegExp]>([
    ["a part past its storage", partField(2, "Offset"), 1, /^part0Output: touches elements 1.* of a storage of 24/],
    ["an output before its storage", partField(0, "RowStride"), -4, /^output: touches elements -8/],
    ["an lse too long", partField(5, "HeadStride"), 4, /^part1Lse: touches elements 0.* to 6/],
    ["a storage that is not there", partField(3, "Storage"), 4, /^part0Lse: storage 4 of 4/],
    ["a view that is absent", partField(1, "Storage"), -1, /^lseStorage: expected an integer from 0/],
    ["more parts than fields", mergeField("parts"), 3, /^merge: too short for its parts/],
    ["no parts", mergeField("parts"), 0, /^parts: expected an integer from 1/],
    ["a size beyond all bounds", mergeField("rows"), 2 ** 40, /^merge: too large|touches/],
    ["a fraction", mergeField("dims"), 0.5, /^dims: expected an integer/],
    ["a dtype that is none", mergeField("dtype"), 3, /^dtype: /],
  ])("refuses to merge %s", (_, field, value, message) => {
    const wrong = Float64Array.from(merge);
    wrong[field] = value;
    expect(() => native.mergeAttentionSync(wrong, mergeStorages)).toThrow(message);
    expect(() => native.mergeAttention(wrong, mergeStorages, () => {})).toThrow(message);
  });

  it("refuses memory that is not there or not aligned", () => {
    const call = denseProblem({ queryLength: 1, keyLength: 1, headDim: 1 });
    const compute = (key: unknown) => () => {
      const [query, , value, output] = call.storages;
      native.attentionSync(cpu, call.problem, [query!, key as Float32Array, value!, output!], call.plan);
    };
    const detached = new Float32Array(1);
    structuredClone(detached, { transfer: [detached.buffer] });
    expect(compute(detached)).toThrow("key: touches elements 0");
    expect(compute(new Uint8Array(new ArrayBuffer(8), 1, 4))).toThrow("key: its memory is not aligned to 4 bytes");
    expect(compute([0])).toThrow("storages: expected an ArrayBufferView or device memory");
    expect(compute(undefined)).toThrow("storages: expected an ArrayBufferView or device memory");
  });

  it("refuses arguments of another kind", () => {
    const { problem, storages, plan } = denseProblem();
    const attention = (...values: unknown[]) => (native.attention as (...values: unknown[]) => number)(cpu, ...values);
    expect(() => attention(problem, storages, plan)).toThrow("settled: expected a function");
    expect(() => attention(problem, storages, new Float64Array(3), () => {})).toThrow("plan: too short");
    expect(() => attention(problem, storages, [], () => {})).toThrow("plan: expected a Float64Array");
    expect(() => attention(new Float32Array(100), storages, plan)).toThrow("problem: expected a Float64Array");
    expect(() => attention(problem, 3, plan, () => {})).toThrow("storages: expected an array");
    expect(() => attention()).toThrow("storages: expected an array");
    expect(() => native.attentionSync(0.5, problem, storages, plan)).toThrow("device: expected an integer from -1");
    expect(() => native.setThreads(0)).toThrow("count: expected an integer from 1");
  });
});

describe("processes", () => {
  it("end by themselves when nothing is in flight", async () => {
    const support = new URL("support/problem.js", import.meta.url).href;
    const { stdout } = await runModule(`
      import { denseProblem, run } from "${support}";
      run(denseProblem()).then((how) => console.log("settled", how));
      process.on("exit", () => console.log("exit"));
    `);
    expect(stdout).toBe("settled 0\nexit\n");
  });

  it.each([
    ["FOVEA_CPU_ISA", "mmx"],
    ["FOVEA_NUM_THREADS", "0"],
    ["FOVEA_NUM_THREADS", "many"],
    ["FOVEA_NUM_THREADS", " 2"],
  ])("refuse %s=%s", async (name, value) => {
    const { stdout } = await runModule(
      `import native from "${binding}";
      for (const use of [
        () => native.cpu(),
        () => native.attentionSync(-1, new Float64Array(0), [], new Float64Array(0)),
      ]) try { use(); } catch (error) { console.log(error.code, error.message); }`,
      { [name]: value },
    );
    const [first, second] = stdout.trim().split("\n");
    expect(first).toContain("ERR_FOVEA_OPTION");
    expect(first).toContain(name);
    expect(second).toContain("ERR_FOVEA_BOUNDS");
  });

  const known = { x64: "avx512, avx2, baseline", arm64: "neon" }[process.arch as string] ?? "baseline";
  const refusals = [
    ["FOVEA_NUM_THREADS", "0", 'FOVEA_NUM_THREADS: expected a number from 1 to 1024, got "0"'],
    ["FOVEA_CPU_ISA", "mmx", `FOVEA_CPU_ISA: expected one of ${known}, got "mmx"`],
  ] as [string, string, string][];
  const [processor] = devices();
  if (process.arch === "x64" && processor.available && !processor.instructionSets.includes("avx512")) {
    refusals.push(["FOVEA_CPU_ISA", "avx512", 'FOVEA_CPU_ISA: this processor cannot run "avx512"']);
  }
  // Builds with sanitizers have avx512bf16 only where it can run, and AMD's processors have it first.
  const others = (line: unknown) => String(line).replace(/avx512bf16, |, avx512bf16/, "");

  it.each(refusals)("refuse %s=%s in small calls too, which hold nothing afterwards", async (name, value, message) => {
    const refused = await runChild<unknown[]>("refused-child.ts", [], { [name]: value });
    expect(refused.map(others)).toEqual([...Array<string>(5).fill(`ERR_FOVEA_OPTION ${message}`), "1"]);
  });
});
