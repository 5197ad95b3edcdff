// Extra memory: what plans say, and what a process grows by.
import { existsSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { explain, type Plan } from "../lib/index.js";
import { runChild } from "./support/child.js";

const megabyte = 2 ** 20;
const shaped = (length: number, heads = 8) => ({ shape: [1, heads, length, 64], dtype: "float32" }) as const;

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

  test("decode takes one output row per split of the keys", () => {
    const { splits, workspaceBytes } = explain(shaped(1), shaped(16384), shaped(16384));
    expect(splits).toBe(16);
    expect(workspaceBytes).toBeGreaterThanOrEqual(4 * 8 * 64 * splits);
    expect(workspaceBytes).toBeLessThan(4 * 8 * 64 * splits * 2);
  });

  test("standard takes all scores of one sequence", () => {
    const one = explain(shaped(1000), shaped(1000), shaped(1000), { algorithm: "standard" });
    expect(one.workspaceBytes).toBe(4 * 8 * 1000 * 1000);
    const batch = { shape: [5, 8, 1000, 64], dtype: "float32" } as const;
    expect(explain(batch, batch, batch, { algorithm: "standard" }).workspaceBytes).toBe(one.workspaceBytes);
  });
});

interface Grown {
  length: number;
  bytes: number;
  plan: Plan;
}

describe.skipIf(!existsSync("/proc/self/clear_refs"))("what a process grows by", () => {
  test.each(["float32", "bfloat16"])("tiled is flat from 2k to 16k, %s", async (dtype) => {
    const grown = await runChild<Grown[]>("memory-child.ts", ["tiled", dtype, "2048", "4096", "8192", "16384"]);
    // Scratch of two threads, kept from the first call on; one head's copy of 16k keys would be 4 MB, its scores 1 GB.
    for (const { bytes } of grown) expect(bytes).toBeLessThan(3 * megabyte);
  });

  test("standard by what its plan says", async () => {
    const grown = await runChild<Grown[]>("memory-child.ts", ["standard", "float32", "1024", "2048", "4096"]);
    for (const { length, bytes, plan } of grown) {
      expect(plan.workspaceBytes).toBe(4 * 2 * length * length);
      expect(bytes).toBeLessThan(plan.workspaceBytes + 3 * megabyte);
    }
    // That the measure measures: the last and largest cannot have been there before.
    const { bytes, plan } = grown.at(-1)!;
    expect(bytes).toBeGreaterThan(0.5 * plan.workspaceBytes);
  });
});
