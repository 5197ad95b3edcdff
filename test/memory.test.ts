// Extra memory: what plans say, and what a process grows by.
import { existsSync, readFileSync } from "node:fs";
import { isMainThread } from "node:worker_threads";
import { describe, expect, test } from "vitest";
import { attention, attentionSync, explain, Tensor } from "../lib/index.js";
import { native } from "../lib/native.js";
import { runChild } from "./support/child.js";
import type { Grown, MemoryTask } from "./support/memory-child.js";

const megabyte = 2 ** 20;
const shaped = (length: number, heads = 8) => ({ shape: [1, heads, length, 64], dtype: "float32" }) as const;

test.skipIf(!existsSync("/sys/kernel/mm/transparent_hugepage"))("large tensors ask for huge pages", () => {
  const flagsOf = (megabytes: number): string => {
    const { data } = Tensor.empty([megabytes * 2 ** 18]);
    const middle = native().address(data) + data.byteLength / 2;
    for (const mapping of readFileSync("/proc/self/smaps", "utf8").split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)) {
      const [begin, end] = mapping
        .split(" ", 1)[0]!
        .split("-")
        .map((address) => Number(`0x${address}`));
      if (begin! <= middle && middle < end!) return /VmFlags: (.*)/.exec(mapping)![1]!;
    }
    return "no mapping";
  };
  expect(flagsOf(64).split(" ")).toContain("hg");
});

describe("plans", () => {
  test("tiled takes nothing that grows with the length", () => {
    for (const causal of [false, true]) {
      const bytes = [2048, 4096, 8192, 16384, 1 << 20].map(
        (length) => explain(shaped(length), shaped(length), shaped(length), { causal }).workspaceBytes,
      );
      expect(new Set(bytes).size).toBe(1);
      expect(bytes[0]).toBeLessThan(8 * megabyte);
    }
  });

  test("what does not fit is an error that says how much it was", async () => {
    const tall = () => Tensor.zeros([1, 1, 2 ** 23, 1]);
    const call = [tall(), tall(), tall(), { algorithm: "standard" }] as const;
    const expected = {
      code: "ERR_FOVEA_OUT_OF_MEMORY",
      message: `attention: not enough memory for ${2 ** 48} bytes of workspace and the scratch of each thread`,
    };
    expect(() => attentionSync(...call)).toThrow(expect.objectContaining(expected));
    await expect(attention(...call)).rejects.toMatchObject(expected);
  });

  test("follows strides, and names no kernel where there is nothing to do", () => {
    const heads = { shape: [1, 8, 4096, 64], dtype: "float32" } as const;
    const few = { ...heads, shape: [1, 8, 128, 64] } as const; // of more keys AVX-512 packs the values in any case
    const inside = { ...few, strides: [128 * 512, 64, 512, 1] };
    expect(explain(heads, inside, inside).queryBlock).toBeGreaterThan(explain(heads, few, few).queryBlock);
    expect(explain({ ...heads, shape: [1, 8, 0, 64] }, heads, heads)).toMatchObject({ kernel: "none", tasks: 0 });
  });

  test("decode takes one output row per split of the keys", () => {
    const { splits, workspaceBytes } = explain(shaped(1), shaped(16384), shaped(16384));
    expect(splits).toBe(16);
    expect(workspaceBytes).toBeGreaterThanOrEqual(4 * 8 * 64 * splits);
    expect(workspaceBytes).toBeLessThan(4 * 8 * 64 * splits * 2);
  });

  // Few queries: their keys are split, and every split has results of its own until they are merged.
  test.each([
    [1, "cpu.decode", 32],
    [5, "cpu.decode", 32],
    [100, "cpu.tiled", 8],
    [190, "cpu.tiled", 8],
  ])("%i queries, %s: results of %i splits at most, however many keys", (queries, kernel, most) => {
    const long = Array.from({ length: 400 }, (_, i) => Math.round(2048 * 1.02 ** i)); // to 5.5 million
    // Windows and offsets begin the first split anywhere.
    for (const options of [{}, { causal: true }, { window: { left: 40_000 } }, { window: { left: 3_000_001 } }]) {
      const plans = long.map((length) => explain(shaped(queries), shaped(length), shaped(length), options));
      const row = 4 * 8 * (64 + 2); // of all heads: an output, a sum and a reference
      for (const plan of plans) {
        expect(plan.kernel).toBe(kernel);
        expect(plan.splits).toBeLessThanOrEqual(most);
        if (plan.splits === 1) expect(plan.workspaceBytes).toBe(0);
        else {
          expect(plan.workspaceBytes).toBeGreaterThanOrEqual(row * queries * plan.splits);
          expect(plan.workspaceBytes).toBeLessThanOrEqual(row * (queries + 32) * plan.splits);
        }
      }
      expect(Math.max(...plans.map(({ splits }) => splits))).toBeGreaterThanOrEqual(most - 1);
    }
  });

  test("splits of many heads take room in turns, and each head has the bits it has alone", () => {
    // 2 splits of 390 KB a head, of which 6 MiB hold 8.
    const [heads, queries, keys] = [48, 190, 2100];
    const query = Tensor.random([1, heads, queries, 8], { seed: 1 });
    const spread = (dim: number, seed: number) => {
      const { data } = Tensor.random([keys, dim], { seed });
      return { data, dtype: "float32", shape: [1, heads, keys, dim], strides: [0, 0, dim, 1] } as const;
    };
    const [key, value] = [spread(8, 2), spread(512, 3)];
    const { output, plan } = attentionSync(query, key, value);
    expect(plan).toMatchObject({ kernel: "cpu.tiled", splits: 2, workspaceBytes: 6 * megabyte });
    const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) => Buffer.from(buffer, byteOffset, byteLength);
    const one = <T extends { shape: readonly number[] }>(tensor: T) => ({
      ...tensor,
      shape: [1, 1, keys, tensor.shape[3]!],
    });
    for (const head of [0, 7, 8, 9, 15, 16, 47]) {
      const alone = attentionSync(query.slice(1, head, head + 1), one(key), one(value)).output;
      const { data } = output.slice(1, head, head + 1).contiguous();
      expect(bytesOf(data).equals(bytesOf(alone.data)), `head ${head}`).toBe(true);
    }
    // Wide values of heads side by side: fewer heads go together.
    const wide = (rows: number, dim: number) =>
      ({ shape: [1, 16, rows, dim], strides: [rows * 16 * dim, dim, 16 * dim, 1], dtype: "float32" }) as const;
    const plan16 = explain(wide(16, 16), wide(31744, 16), wide(31744, 512));
    expect(plan16).toMatchObject({ kernel: "cpu.decode", splits: 31, workspaceBytes: 6 * megabyte });
    // Many more of them, and of decode, whose heads go together.
    for (const [count, length] of [
      [100, 100],
      [500, 1],
    ] as const) {
      const many = { shape: [count, 8, 65536, 64], dtype: "float32" } as const;
      expect(explain({ ...many, shape: [count, 8, length, 64] }, many, many).workspaceBytes).toBe(6 * megabyte);
    }
  });

  test("standard takes all scores of one sequence", () => {
    const one = explain(shaped(1000), shaped(1000), shaped(1000), { algorithm: "standard" });
    expect(one.workspaceBytes).toBe(4 * 8 * 1000 * 1000);
    const batch = { shape: [5, 8, 1000, 64], dtype: "float32" } as const;
    expect(explain(batch, batch, batch, { algorithm: "standard" }).workspaceBytes).toBe(one.workspaceBytes);
  });
});

const measure = (task: MemoryTask) => runChild<Grown[]>("memory-child.ts", [JSON.stringify(task)]);

// Each try is a new process: what a kernel takes it takes every time, while pages of 2 MiB come when the system likes.
// It is the same whoever starts the process: once is enough, when tests themselves run in workers.
describe.skipIf(!isMainThread || !existsSync("/proc/self/clear_refs"))("what a process grows by", { retry: 2 }, () => {
  test.each(["float32", "bfloat16"] as const)("tiled is flat from 2k to 16k, %s", async (dtype) => {
    const lengths = [2048, 4096, 8192, 16384];
    const grown = await measure({ algorithm: "tiled", dtype, heads: 2, lengths });
    // Scratch of two threads, kept from the first call on; one head's copy of 16k keys would be 4 MB, its scores 1 GB.
    for (const { bytes } of grown) expect(bytes).toBeLessThan(3 * megabyte);
  });

  test.each(["float32", "bfloat16"] as const)(
    "tiled takes less than 8 MB per thread at 512 dims, %s",
    async (dtype) => {
      const grown = await measure({
        algorithm: "tiled",
        dtype,
        heads: 16,
        headDim: 512,
        window: 256,
        lengths: [1024, 2048],
      });
      // Two threads' scratch, which grows here, with the first call or with the second. Enough heads for the longest blocks.
      const sum = grown.reduce((total, { bytes }) => total + bytes, 0);
      expect(sum).toBeLessThan(2 * 8 * megabyte);
    },
  );

  // 14336 keys make 7 splits of 2048, and no length makes more; 31744 make 31 of 1024, as do 63488 of 2048.
  test.each([
    { queries: 100, heads: 32, kernel: "cpu.tiled", lengths: [2048, 4096, 8192, 14336, 16384, 28672, 32768, 65536] },
    { queries: 1, heads: 512, kernel: "cpu.decode", lengths: [2048, 4096, 8192, 16384, 31744, 32768, 63488, 65536] },
  ])("$queries queries: flat once the keys have all their splits", async ({ queries, heads, kernel, lengths }) => {
    const grown = await measure({ algorithm: "tiled", dtype: "float32", heads, queries, lengths });
    expect(new Set(grown.map(({ plan }) => plan.kernel))).toEqual(new Set([kernel]));
    const most = Math.max(...grown.map(({ plan }) => plan.workspaceBytes));
    expect(most).toBeGreaterThan(4 * megabyte);
    let reached = false;
    let sum = 0;
    for (const { bytes, plan } of grown) {
      // A workspace is kept for the next call: once the largest is there, nothing is added.
      expect(bytes).toBeLessThan((reached ? 0 : plan.workspaceBytes) + 3 * megabyte);
      // That the measure measures: all of the largest has come by now, on pages of the smaller ones perhaps.
      sum += bytes;
      if (!reached && plan.workspaceBytes === most) expect(sum).toBeGreaterThan(0.5 * most);
      reached ||= plan.workspaceBytes === most;
    }
  });

  test("standard by what its plan says", async () => {
    const lengths = [1024, 2048, 4096];
    const grown = await measure({ algorithm: "standard", dtype: "float32", heads: 2, window: 256, lengths });
    for (const { length, bytes, plan } of grown) {
      expect(plan.workspaceBytes).toBe(4 * 2 * length * length);
      expect(bytes).toBeLessThan(plan.workspaceBytes + 3 * megabyte);
    }
    // That the measure measures: the last and largest cannot have been there before.
    const { bytes, plan } = grown.at(-1)!;
    expect(bytes).toBeGreaterThan(0.5 * plan.workspaceBytes);
  });

  test("of workspaces 64 MiB are kept for later calls, the last ones", async () => {
    // Each larger than all before (9 to 28 MB, 160 MB in all), so that none can be used again.
    const lengths = [1100, 1200, 1300, 1400, 1500, 1600, 1700, 1800, 1900];
    const grown = await measure({ algorithm: "standard", dtype: "float32", heads: 2, window: 256, lengths });
    const most = grown.reduce((sum, { plan }) => sum + plan.workspaceBytes, 0);
    expect(most).toBeGreaterThan(150 * megabyte);
    expect(grown.at(-1)!.rss - grown[0]!.rss).toBeLessThan(80 * megabyte);
    expect(grown.at(-1)!.rss - grown[0]!.rss).toBeGreaterThan(20 * megabyte);
  });
});
