// mergeAttention of tensors on a GPU.
import { describe, expect, test } from "vitest";
import { attentionSync, mergeAttention, mergeAttentionSync, Tensor, type FloatDType } from "../../lib/index.js";
import { referenceMergeFloat64 } from "../../lib/reference.js";
import { compareEach } from "../support/compare.js";

const device = "cuda:0";

describe.each<FloatDType>(["float32", "float16", "bfloat16"])("%s", (dtype) => {
  const rounding = { float32: 2e-6, float16: 2 ** -10, bfloat16: 2 ** -7 }[dtype];

  test.each(["bhsd", "bshd", "thd"] as const)("parts in layout %s, as the reference merges them", async (layout) => {
    const [shape, lseShape] = {
      bhsd: [
        [2, 3, 5, 20],
        [2, 3, 5],
      ],
      bshd: [
        [2, 5, 3, 20],
        [2, 3, 5],
      ],
      thd: [
        [5, 3, 20],
        [3, 5],
      ],
    }[layout] as [number[], number[]];
    const parts = [0, 1, 2].map((i) => {
      const lse = Tensor.random(lseShape, { seed: 10 + i });
      lse.data.forEach((_, row) => row % 3 === i && (lse.data[row] = -Infinity));
      lse.data[4] = -Infinity; // in all of them
      return { output: Tensor.random(shape, { seed: i, dtype }), lse };
    });
    const there = await Promise.all(
      parts.map(async ({ output, lse }) => ({ output: await output.to(device), lse: await lse.to(device) })),
    );
    const expected = referenceMergeFloat64(parts, { layout });
    for (const merged of [mergeAttentionSync(there, { layout }), await mergeAttention(there, { layout })]) {
      expect(merged.output.device).toBe(device);
      const output = (await merged.output.read()).toNumbers();
      const lse = (await merged.lse.read()).toNumbers();
      const limit = (x: number) => rounding * Math.max(1, Math.abs(x));
      expect(compareEach("output", output, expected.output, limit)).toBeUndefined();
      expect(compareEach("lse", lse, expected.lse, (x) => 1e-6 * Math.max(1, Math.abs(x)))).toBeUndefined();
    }
  });
});

test("follows what is enqueued, and writes into a strided out", async () => {
  const [query, key, value] = [1, 2, 3].map((seed) => Tensor.random([1, 2, 4, 8], { seed, device }));
  const parts = [0, 2].map((first) => {
    const options = { returnLse: true } as const;
    return attentionSync(query!, key!.slice(2, first, first + 2), value!.slice(2, first, first + 2), options);
  });
  const out = Tensor.zeros([8, 4, 2, 1], { device }).transpose(3, 2, 1, 0);
  const merged = mergeAttentionSync(parts, { out });
  expect(merged.output).toBe(out);
  const whole = attentionSync(query!, key!, value!);
  for (const part of parts) part.output.dispose(); // their memory stays until it is done
  const [got, expected] = await Promise.all([out.read(), whole.output.read()]);
  expect(compareEach("output", got.toNumbers(), expected.toNumbers(), () => 1e-5)).toBeUndefined();
});

/** One row per lse, on the GPU. */
const part = async (output: number, ...lses: number[]) => ({
  output: await Tensor.from(new Float32Array(lses.length).fill(output), [1, 1, lses.length, 1]).to(device),
  lse: await Tensor.from(Float32Array.from(lses), [1, 1, lses.length]).to(device),
});

test("infinite and NaN lse's", async () => {
  const { output, lse } = await mergeAttention([
    await part(1, Infinity, NaN, -Infinity, 3e38, 3e38, Infinity),
    await part(2, 5, 1, -Infinity, 3e38, -3e38, Infinity),
  ]);
  const large = Math.fround(3e38);
  expect([...(await output.read()).toNumbers()]).toEqual([1, NaN, 0, 1.5, 1, 1.5]);
  expect([...(await lse.read()).toNumbers()]).toEqual([Infinity, NaN, -Infinity, large, large, Infinity]);
});

test("a NaN counts however small the part's weight, unless it saw no key", async () => {
  const merged = await mergeAttention([await part(NaN, -90, -200, -2000, -Infinity), await part(2, 0, 0, 0, 0)]);
  expect([...(await merged.output.read()).toNumbers()]).toEqual([NaN, NaN, NaN, 2]);
  expect([...(await merged.lse.read()).toNumbers()]).toEqual([0, 0, 0, 0]);
});

test("all parts live together", () => {
  const part = { output: Tensor.zeros([1, 1, 1, 4]), lse: Tensor.zeros([1, 1, 1]) };
  const there = { output: Tensor.zeros([1, 1, 1, 4], { device }), lse: Tensor.zeros([1, 1, 1], { device }) };
  const error = (message: RegExp) =>
    expect.objectContaining({ code: "ERR_FOVEA_DEVICE", message: expect.stringMatching(message) as string }) as Error;
  expect(() => mergeAttentionSync([there, part])).toThrow(error(/^parts\[1\]\.output: expected a tensor on cuda:0/));
  expect(() => mergeAttentionSync([{ ...there, lse: part.lse }])).toThrow(
    error(/^parts\[0\]\.lse: expected a tensor on cuda:0/),
  );
  expect(() => mergeAttentionSync([there], { out: part.output })).toThrow(error(/^out: expected a tensor on cuda:0/));
});
