// How much an AttentionBatcher launches at a time on a GPU, which is played by one that computes for as long as the test says.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Binding, Settled } from "../binding.js";
import { AttentionBatcher, Tensor } from "../lib/index.js";

/**
 * Computes one launch after the other, and takes so many milliseconds for each, for each of its sequences, and beyond that for the
 * 30th; of an end it tells so late.
 */
const gpu = vi.hoisted(() => ({
  perLaunch: 0,
  perSequence: 0,
  stall: 0,
  late: 0,
  free: 0,
  fails: false,
  launches: [] as number[],
}));
const usual = { ...gpu };

vi.mock(import("../lib/native.js"), async (original) => {
  const device = { name: "played", computeMajor: 9, computeMinor: 0, multiprocessors: 1, memoryBytes: 1, unusable: "" };
  const attention = (_: unknown, problem: Float64Array, __: unknown, plan: Float64Array, settled: Settled): number => {
    if (gpu.fails) throw Object.assign(new Error("no"), { code: "ERR_FOVEA_OUT_OF_MEMORY" });
    const sequences = problem[17]!;
    gpu.launches.push(sequences);
    const stall = gpu.launches.length === 30 ? gpu.stall : 0;
    gpu.free = Math.max(gpu.free, performance.now()) + gpu.perLaunch + sequences * gpu.perSequence + stall;
    setTimeout(() => settled(0, "", gpu.late), gpu.free + gpu.late - performance.now());
    plan.fill(0);
    return gpu.launches.length;
  };
  const binding = {
    kernels: ["played"],
    cuda: () => ({ unavailable: "", driver: "", version: 0, devices: [device] }),
    leave: () => {},
    attention,
  } as unknown as Binding;
  return { ...(await original()), native: () => binding };
});

beforeEach(() => {
  vi.useFakeTimers();
  Object.assign(gpu, usual, { launches: [] });
});
afterEach(() => void vi.useRealTimers());

/** The sizes of the last launches, after callers have made so many calls, each its next one when it has its result. */
async function sizes(callers: number, calls: number, keyLength: number): Promise<number[]> {
  const batcher = new AttentionBatcher({ maxQueue: callers });
  const [query, key] = [Tensor.zeros([1, 1, 1, 16]), Tensor.zeros([1, 1, keyLength, 16])];
  const call = async () => {
    for (let i = 0; i < calls; i++) await batcher.attention(query, key, key, { device: "cuda" });
  };
  const all = Promise.all(Array.from({ length: callers }, call));
  await vi.runAllTimersAsync();
  await all;
  return gpu.launches.slice(-9, -3);
}

test("launches hold 10 milliseconds of work, though there are two at a time", async () => {
  Object.assign(gpu, { perLaunch: 0, perSequence: 0.5 });
  for (const size of await sizes(100, 20, 1000)) expect(size).toBeGreaterThanOrEqual(18);
  expect(Math.max(...gpu.launches.slice(20))).toBeLessThanOrEqual(22);
});

test("launches hold as much where the event loop hears of each end late", async () => {
  Object.assign(gpu, { perSequence: 0.5, late: 30 });
  for (const size of await sizes(100, 20, 1000)) expect(size).toBeGreaterThanOrEqual(18);
});

test("launches hold hardly less once one of them took a hundred times as long", async () => {
  Object.assign(gpu, { perSequence: 0.5, stall: 1000 });
  await sizes(100, 20, 1000);
  expect(gpu.launches.length).toBeGreaterThan(60);
  expect(Math.min(...gpu.launches.slice(30, -3))).toBeGreaterThanOrEqual(15);
});

test("calls that are a launch's work by the first guess go together on a GPU that is faster than that", async () => {
  Object.assign(gpu, { perLaunch: 0.05, perSequence: 0.001 });
  const work = 34 * 32 * 400_000; // above 10 ms at the first guess
  expect(work * 5e-8).toBeGreaterThan(10);
  for (const size of await sizes(100, 20, 400_000)) expect(size).toBeGreaterThan(20);
});

test("what waited for company leaves no timer, which would keep the process alive", async () => {
  const batcher = new AttentionBatcher({ maxWait: 60_000 });
  const tensor = Tensor.zeros([1, 1, 1, 16]);
  const controller = new AbortController();
  const call = batcher.attention(tensor, tensor, tensor, { device: "cuda", signal: controller.signal });
  expect(vi.getTimerCount()).toBe(1);
  controller.abort();
  await expect(call).rejects.toMatchObject({ code: "ERR_FOVEA_ABORTED" });
  expect(vi.getTimerCount()).toBe(0);

  gpu.fails = true;
  const calls = [1, 2].map(() => batcher.attention(tensor, tensor, tensor, { device: "cuda" }));
  await batcher.close();
  for (const failed of await Promise.allSettled(calls)) expect(failed.status).toBe("rejected");
  expect(vi.getTimerCount()).toBe(0);
});

test("calls with a mask or bias are launched apart from those without, whose kernels are faster", async () => {
  Object.assign(gpu, { perLaunch: 5, perSequence: 0 });
  const batcher = new AttentionBatcher();
  const [query, key] = [Tensor.zeros([1, 1, 1, 16]), Tensor.zeros([1, 1, 30, 16])];
  const mask = Tensor.from(new Uint8Array(30).fill(1), [1, 1, 1, 30], { dtype: "bool" });
  const call = (options = {}) => batcher.attention(query, key, key, { device: "cuda", ...options });
  const all = [call(), call({ mask }), call(), call(), call({ mask }), call({ mask }), call()];
  await vi.runAllTimersAsync();
  await Promise.all(all);
  expect(gpu.launches).toEqual([4, 3]);
});
