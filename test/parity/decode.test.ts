// Few queries against many keys, which are split: extremes first, as every split and its merge must stand them, then layouts.
import { describe, expect, onTestFinished, test } from "vitest";
import { devices, explain, setThreads, Tensor, type AttentionOptions, type FloatDType } from "../../lib/index.js";
import { native } from "../../lib/native.js";
import { referenceAttentionFloat64 } from "../../lib/reference.js";
import { backends, onCuda, run } from "../support/backends.js";
import { check } from "../support/check.js";
import { compareEach } from "../support/compare.js";
import { drawn, spoiled } from "../support/spoil.js";

const [heads, queryLength, keyLength, headDim, valueDim] = [2, 3, 1100, 16, 8];
/** In every split, at its edges and those of slices. */
const masked = [0, 3, 15, 16, 255, 256, 384, 575, 576, 1023, 1024, 1099];
const every = Array.from({ length: keyLength }, (_, j) => j);

const perKey = (of: (j: number) => number) => Tensor.from(Float32Array.from(every, of), [1, keyLength]);

const [query, key, value] = [
  drawn(1, [1, heads, queryLength, headDim]),
  drawn(2, [1, heads, keyLength, headDim]),
  drawn(3, [1, heads, keyLength, valueDim]),
];
const clean = { query, key, value };

describe.each(backends)("$name", (backend) => {
  test("is for up to 16 rows of a kv head, with AVX-512 24", () => {
    const kernel = (heads: number, queries: number, returnWeights = false) => {
      const key = { shape: [1, 2, 4096, 64], dtype: "float16" } as const;
      const query = { shape: [1, 2 * heads, queries, 64], dtype: "float16" } as const;
      return explain(query, key, key, { device: backend.device, returnWeights }).kernel;
    };
    const info = devices().find(({ device }) => device === backend.device);
    const hopper = info !== undefined && "computeCapability" in info && info.computeCapability.startsWith("9.");
    const [few, tiled, more] = onCuda
      ? ["cuda.decode", hopper ? "cuda.tiled_sm90" : "cuda.tiled", hopper ? "cuda.decode_sm90" : "cuda.tiled"]
      : ["cpu.decode", "cpu.tiled", "cpu.tiled"];
    expect([kernel(1, 1), kernel(16, 1), kernel(1, 16), kernel(8, 2), kernel(5, 3)]).toEqual(Array(5).fill(few));
    const wide = info !== undefined && "instructionSet" in info && info.instructionSet.startsWith("avx512");
    expect([kernel(17, 1), kernel(1, 17), kernel(6, 3)]).toEqual(Array(3).fill(wide ? few : more));
    expect([kernel(25, 1), kernel(1, 25), kernel(7, 4)]).toEqual(Array(3).fill(more));
    expect([kernel(65, 1), kernel(1, 1, true)]).toEqual([tiled, tiled]);
  });

  describe.each<FloatDType>(["float32", "float16", "bfloat16"])("%s", (dtype) => {
    const rounding = { float32: 2e-6, float16: 2 ** -10, bfloat16: 2 ** -7 }[dtype];

    async function compute(given: typeof clean, options: AttentionOptions) {
      const inputs = [given.query, given.key, given.value].map((tensor) => tensor.cast(dtype)) as [
        Tensor,
        Tensor,
        Tensor,
      ];
      const { output, lse, plan } = await run(backend, inputs, { ...options, algorithm: "tiled", returnLse: true });
      expect(plan.kernel).toBe(onCuda ? "cuda.decode" : "cpu.decode");
      expect(plan.splits).toBeGreaterThan(1);
      return { output: output.toNumbers(), lse: lse!.toNumbers() };
    }

    /** As the reference has it of clean inputs, to a few roundings of the dtype. */
    async function expectReference(
      options: AttentionOptions,
      given = clean,
      cleaned = given,
      tolerance = 8 * rounding,
    ) {
      const [q, k, v] = [cleaned.query, cleaned.key, cleaned.value].map((tensor) => tensor.cast(dtype));
      const expected = referenceAttentionFloat64(q!, k!, v!, { ...options, returnLse: true });
      const actual = await compute(given, options);
      const limit = (x: number) => tolerance * Math.max(1, Math.abs(x));
      expect(compareEach("output", actual.output, expected.output, limit)).toBeUndefined();
      // Scores in base 2 end at 3.4e38 log2(e)^-1; beyond, they count as that, and lse with them.
      const ofLse = (x: number) => (Math.abs(x) > 2.3e38 ? Infinity : 2e-5 * Math.max(1, Math.abs(x)));
      expect(compareEach("lse", actual.lse, expected.lse, ofLse)).toBeUndefined();
    }

    test.each([NaN, Infinity, -Infinity])("%f in a masked key", async (number) => {
      const given = { ...clean, key: spoiled(key, masked, number) };
      const open = (j: number) => !masked.includes(j);
      const mask = Tensor.from(
        Uint8Array.from(every, (j) => Number(open(j))),
        [1, keyLength],
        { dtype: "bool" },
      );
      await expectReference({ mask }, given, clean);
      await expectReference({ bias: perKey((j) => (open(j) ? 0 : -Infinity)) }, given, clean);
      const late = { ...clean, key: spoiled(key, [keyLength - 1], number) };
      await expectReference({ causal: true, queryOffset: keyLength - queryLength - 1 }, late, clean);
    });

    test("rows without a key, among NaN", async () => {
      const given = { query, key: spoiled(key, every, NaN), value: spoiled(value, every, NaN) };
      const nothing: AttentionOptions[] = [
        { mask: Tensor.zeros([1, 1], { dtype: "bool" }) },
        { bias: Tensor.from(Float32Array.of(-Infinity), [1, 1]) },
      ];
      for (const options of nothing) {
        for (const sinks of [undefined, Float32Array.of(3, -200)]) {
          const { output, lse } = await compute(given, { ...options, sinks });
          expect(output.every((x) => x === 0)).toBe(true);
          expect([...lse]).toEqual(Array.from(lse, (_, i) => sinks?.[Math.floor(i / queryLength)] ?? -Infinity));
        }
      }
    });

    test("some rows without a key among others, and splits without one", async () => {
      const of = (i: number) => Number(i >= keyLength && i % keyLength >= 700 && i % 3 > 0);
      const mask = Tensor.from(
        Uint8Array.from({ length: queryLength * keyLength }, (_, i) => of(i)),
        [queryLength, keyLength],
        { dtype: "bool" },
      );
      await expectReference({ mask });
      await expectReference({ mask, sinks: Float32Array.of(-1, 2) });
    });

    test("a NaN that a row sees is NaN in its output, and in no other's", async () => {
      const given = { ...clean, query: drawn(1, [1, heads, queryLength, headDim]) };
      given.query.data.fill(NaN, 0, headDim);
      const { output, lse } = await compute(given, {});
      expect(output.subarray(0, valueDim).every(Number.isNaN)).toBe(true);
      expect(lse[0]).toBeNaN();
      expect(output.subarray(valueDim).some(Number.isNaN)).toBe(false);
    });

    test.each<[string, (j: number) => boolean]>([
      ["of a warp of the CUDA kernel", (j) => j % 64 < 16],
      ["of a split", (j) => j < 600],
    ])("a NaN value counts where all keys %s weigh less than any float32", async (_, isFaint) => {
      const given = { ...clean, value: spoiled(value, [5], NaN) };
      const { output, lse } = await compute(given, { bias: perKey((j) => (isFaint(j) ? -200 : 0)) });
      expect(output.every(Number.isNaN)).toBe(true);
      expect(lse.every(Number.isFinite)).toBe(true);
    });

    test("scores, biases and sinks of any size", async () => {
      const largest = dtype === "float16" ? 1000 : 1e18;
      for (const factor of [30, -1000, largest]) {
        await expectReference(
          {},
          { ...clean, query: drawn(1, [1, heads, queryLength, headDim], factor) },
          undefined,
          1e-3 + 8 * rounding,
        );
      }
      for (const size of [1e3, -1e30, 3.4e38]) {
        await expectReference(
          { bias: perKey((j) => (j % 2 ? -size : size)) },
          { ...clean, query: drawn(1, [1, heads, queryLength, headDim], 0) },
        );
      }
      await expectReference({ bias: perKey((j) => (j < 600 ? -3.4e38 : 0)) });
      for (const step of [1, -1])
        await expectReference({ bias: perKey((j) => step * (j - 550)) }, clean, clean, 1e-3 + 8 * rounding);
      for (const size of [100, 1e4, 3e38]) await expectReference({ sinks: Float32Array.of(size, -size) });
    });
  });

  const few = { queries: [1, 2, 0], keys: [530, 700, 40], lse: true, headDim: 24, valueDim: 20, spareKeys: 3 } as const;
  test.each([
    { dtype: "float16", heads: 4, kvHeads: 2, causal: true, strides: 3 },
    { dtype: "bfloat16", layout: "thd", heads: 7, kvHeads: 1, causal: true },
    { dtype: "float32", layout: "bshd", heads: 3, kvHeads: 1, spareQueries: 2, out: true, strides: 5 },
    { dtype: "float32", pageSize: 1, heads: 1 },
    { dtype: "float16", pageSize: 100, heads: 4, kvHeads: 1, strides: 7, sinks: true, alibi: "bh" },
  ] as const)("%o", async (some) => check({ ...few, ...some }));

  // Work enough for tasks of several heads, whose pages begin and end within blocks and windows.
  const many = { queries: Array(20).fill(1), keys: Array.from({ length: 20 }, (_, i) => (37 * i) % 300), lse: true };
  test.each([
    { pageSize: 16 },
    { pageSize: 4, dtype: "float16", window: { left: 50 } },
    { pageSize: 64, dtype: "bfloat16", kvHeads: 2 },
    { pageSize: 32, headDim: 32, window: { left: 70 }, sinks: true },
    { layout: "bshd" },
    { layout: "bshd", dtype: "float16", headDim: 64, kvHeads: 2 },
    { layout: "bshd", headDim: 512, valueDim: 256, kvHeads: 4 },
  ] as const)("many sequences of many heads, %o", async (some) => {
    setThreads(1); // each thread is to have some tasks
    onTestFinished(() => setThreads(native().cpu().cores));
    await check({ dtype: "float32", heads: 8, headDim: 16, valueDim: 32, ...many, ...some });
  });
});
