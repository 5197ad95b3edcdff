// Of the 16-bit kernels: what masked keys hide, rows to which nothing is left, scores and sinks of any size. (The suite of
// test/parity does this for float32, to tighter bounds.)
import { describe, expect, test } from "vitest";
import { attention, Tensor, type AttentionOptions } from "../../lib/index.js";
import { referenceAttentionFloat64 } from "../../lib/reference.js";
import { testDevice } from "../support/backends.js";
import { compareEach } from "../support/compare.js";
import { drawn, spoiled } from "../support/spoil.js";

const [heads, headDim, valueDim, keyLength] = [2, 16, 8, 140];
const keys = Array.from({ length: keyLength }, (_, j) => j);

describe.each(["float16", "bfloat16"] as const)("%s", (dtype) => {
  describe.each(["standard", "tiled"] as const)("%s", (algorithm) => {
    describe.each([1, 3, 60])("%i queries", (queryLength) => {
      const [query, key, value] = [
        drawn(1, [1, heads, queryLength, headDim]),
        drawn(2, [1, heads, keyLength, headDim]),
        drawn(3, [1, heads, keyLength, valueDim]),
      ];
      const rounding = dtype === "float16" ? 2 ** -9 : 2 ** -6;

      /** As the reference has it of clean inputs, to a few roundings of the dtype. */
      async function expectReference(
        options: AttentionOptions,
        given = { query, key, value },
        clean = given,
      ): Promise<void> {
        const [q, k, v] = [clean.query, clean.key, clean.value].map((tensor) => tensor.cast(dtype));
        const everything = { returnLse: true, returnWeights: true } as const;
        const expected = referenceAttentionFloat64(q!, k!, v!, { ...options, ...everything });
        const actual = await attention(given.query.cast(dtype), given.key.cast(dtype), given.value.cast(dtype), {
          ...options,
          ...everything,
          algorithm,
          device: testDevice(),
        });
        const limit = (x: number) => 4 * rounding * Math.max(1, Math.abs(x));
        expect(compareEach("output", actual.output.toNumbers(), expected.output, limit)).toBeUndefined();
        const ofLse = (x: number) => 1e-4 * Math.max(1, Math.abs(x));
        expect(compareEach("lse", actual.lse.toNumbers(), expected.lse, ofLse)).toBeUndefined();
        expect(compareEach("weights", actual.weights.toNumbers(), expected.weights, () => 1e-3)).toBeUndefined();
      }

      test.each([NaN, Infinity, -Infinity])("%f in a masked key", async (number) => {
        const masked = [0, 3, 4, 50, 127, 128, 139];
        const given = { query, key: spoiled(key, masked, number), value };
        const clean = { query, key, value };
        const open = Uint8Array.from(keys, (j) => Number(!masked.includes(j)));
        await expectReference({ mask: Tensor.from(open, [1, keyLength], { dtype: "bool" }) }, given, clean);
        const bias = Float32Array.from(open, (allowed) => (allowed ? 0 : -Infinity));
        await expectReference({ bias: Tensor.from(bias, [1, keyLength]) }, given, clean);
        const late = { query, key: spoiled(key, [keyLength - 1], number), value };
        await expectReference({ causal: true, queryOffset: keyLength - queryLength - 1 }, late, clean);
      });

      test("rows without a key, among NaN", async () => {
        const nothing: AttentionOptions[] = [
          { mask: Tensor.zeros([1, 1], { dtype: "bool" }) },
          { bias: Tensor.from(Float32Array.of(-Infinity), [1, 1]) },
          { causal: true, queryOffset: -100 },
          { window: { left: 3 }, queryOffset: 1000 },
          { keyLengths: Int32Array.of(0) },
        ];
        const spoil = (tensor: Tensor<"float32">) => spoiled(tensor, keys, NaN).cast(dtype);
        for (const options of nothing) {
          for (const sinks of [undefined, Float32Array.of(3, -200)]) {
            const all = {
              ...options,
              sinks,
              algorithm,
              device: testDevice(),
              returnLse: true,
              returnWeights: true,
            } as const;
            const { output, lse, weights } = await attention(query.cast(dtype), spoil(key), spoil(value), all);
            expect(output.toNumbers().every((x) => x === 0)).toBe(true);
            expect(weights.toNumbers().every((x) => x === 0)).toBe(true);
            const expected = Array.from(lse.data, (_, i) => sinks?.[Math.floor(i / queryLength)] ?? -Infinity);
            expect(compareEach("lse", lse.toNumbers(), Float64Array.from(expected), () => 1e-4)).toBeUndefined();
          }
        }
      });

      test("scores and sinks of any size", async () => {
        for (const factor of [30, 1000, -1000, ...(dtype === "bfloat16" ? [1e10, -1e18] : [])])
          await expectReference({}, { query: drawn(1, [1, heads, queryLength, headDim], factor), key, value });
        for (const size of [100, 1e4, 1e30]) await expectReference({ sinks: Float32Array.of(size, -size) });
        const bias = Float32Array.from(keys, (j) => (j % 2 ? -1e30 : 0));
        await expectReference({ bias: Tensor.from(bias, [1, keyLength]), causal: true });
      });
    });
  });
});
