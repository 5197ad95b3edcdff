// Scores of any size, infinities and NaN where they are masked, rows to which nothing is left. Answers are worked out by hand
// or by the float64 reference.
import { describe, expect, test } from "vitest";
import { Tensor, type AttentionOptions } from "../../lib/index.js";
import { referenceAttentionFloat64 } from "../../lib/reference.js";
import { algorithms, backends, onCuda, run } from "../support/backends.js";
import { compareEach } from "../support/compare.js";

const [headDim, valueDim, heads] = [16, 8, 2];
const everything = { returnLse: true, returnWeights: true } as const;
/** Rows for the decode kernel, for one panel, and for several. */
const queryLengths = [1, 3, 60];

interface Inputs {
  query: Tensor<"float32">;
  key: Tensor<"float32">;
  value: Tensor<"float32">;
}

function inputs(queryLength: number, keyLength: number, queryFactor = 1): Inputs {
  const query = Tensor.random([1, heads, queryLength, headDim], { seed: 1 });
  query.data.forEach((x, i) => (query.data[i] = x * queryFactor));
  return {
    query,
    key: Tensor.random([1, heads, keyLength, headDim], { seed: 2 }),
    value: Tensor.random([1, heads, keyLength, valueDim], { seed: 3 }),
  };
}

/** Puts a number wherever a key or value is one of `keys`. */
function poison(tensor: Tensor<"float32">, keys: readonly number[], number: number): Tensor<"float32"> {
  const copy = Tensor.from(tensor.data.slice(), tensor.shape);
  const [, kvHeads, length, dim] = copy.shape as [number, number, number, number];
  for (let h = 0; h < kvHeads; h++) {
    for (const j of keys) copy.data.fill(number, (h * length + j) * dim, (h * length + j + 1) * dim);
  }
  return copy;
}

const bools = (shape: readonly number[], of: (i: number) => boolean) =>
  Tensor.from(
    Uint8Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Number(of(i))),
    shape,
    { dtype: "bool" },
  );
const floats = (shape: readonly number[], of: (i: number) => number) =>
  Tensor.from(
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => of(i)),
    shape,
  );

describe.each(backends)("$name", (backend) => {
  describe.each(algorithms)("%s", (algorithm) => {
    /** Output, lse and weights as numbers, with and without asking for weights (they take another way). */
    async function compute({ query, key, value }: Inputs, options: AttentionOptions) {
      const plain = await run(backend, [query, key, value], { ...options, algorithm, returnLse: true });
      const all = await run(backend, [query, key, value], { ...options, algorithm, ...everything });
      return [plain, all].map(({ output, lse, weights }) => ({
        output: output.toNumbers(),
        lse: lse!.toNumbers(),
        weights: weights?.toNumbers(),
      }));
    }

    // Not on GPUs, which sum products of 16 bits before they scale them.
    test.skipIf(onCuda).each([0, 1e-38, 1e-30, 1e30, 1e37])("a scale of %d, in bfloat16", async (scale) => {
      const factor = scale === 0 ? 1e17 : 1 / Math.sqrt(scale);
      const given = inputs(40, 300);
      const scaled = (tensor: Tensor<"float32">) =>
        floats(tensor.shape, (i) => tensor.data[i]! * factor).cast("bfloat16");
      const [query, key, value] = [scaled(given.query), scaled(given.key), given.value.cast("bfloat16")] as const;
      const { output, lse } = await run(backend, [query, key, value], { algorithm, scale, returnLse: true });
      const expected = referenceAttentionFloat64(query, key, value, { scale, returnLse: true });
      expect(compareEach("output", output.toNumbers(), expected.output, () => 0.02)).toBeUndefined();
      expect(
        compareEach("lse", lse!.toNumbers(), expected.lse, (x) => 1e-5 * Math.max(8, Math.abs(x))),
      ).toBeUndefined();
    });

    // Kernels read a bias by pairs where its rows begin at even places.
    test.each([NaN, Infinity].flatMap((bias) => [0, 1].map((offset) => [bias, offset] as const)))(
      "a bias of %d where the score is -Infinity by itself: NaN, also %d elements further",
      async (number, offset) => {
        const [queryLength, keyLength] = [20, 128];
        const { value } = inputs(queryLength, keyLength);
        const query = floats([1, heads, queryLength, headDim], (i) => (i % headDim === 0 ? 1e30 : 0));
        const far = 5 * headDim;
        const key = floats([1, heads, keyLength, headDim], (i) => (i % (keyLength * headDim) === far ? -1e30 : 0));
        const stride = keyLength + 2;
        const data = new Float32Array(queryLength * stride + 1);
        for (let i = 0; i < queryLength; i++) data[offset + i * stride + 5] = number;
        const bias = { data, shape: [1, 1, queryLength, keyLength], strides: [0, 0, stride, 1], offset };
        for (const { output, lse } of await compute({ query, key, value }, { bias, scale: 1 })) {
          expect([...output, ...lse].every(Number.isNaN)).toBe(true);
        }
      },
    );

    /** As the reference has it, to `tolerance` relative to the values (of size 1), and lse to the contract's. */
    async function expectReference(given: Inputs, options: AttentionOptions, tolerance = 1e-4, clean = given) {
      const { query, key, value } = clean;
      const expected = referenceAttentionFloat64(query, key, value, { ...options, ...everything });
      for (const actual of await compute(given, options)) {
        const limit = () => tolerance;
        expect(compareEach("output", actual.output, expected.output, limit)).toBeUndefined();
        // Scores in base 2 end at 3.4e38 log2(e)^-1; beyond, they count as that, and lse with them.
        const ofLse = (lse: number) => (Math.abs(lse) > 2.3e38 ? Infinity : 1e-5 * Math.max(1, Math.abs(lse)));
        expect(compareEach("lse", actual.lse, expected.lse, ofLse)).toBeUndefined();
        // A row that is NaN may be so even for keys that it does not see; one without any key is 0, whatever its sink.
        const keyLength = key.shape[2]!;
        const isNaN = (row: number) =>
          expected.weights!.subarray(row * keyLength, (row + 1) * keyLength).some(Number.isNaN);
        const weights = actual.weights?.map((w, i) =>
          Number.isNaN(w) && expected.weights![i] === 0 && isNaN(Math.floor(i / keyLength)) ? 0 : w,
        );
        if (weights) expect(compareEach("weights", weights, expected.weights, limit)).toBeUndefined();
      }
    }

    describe.each(queryLengths)("%i queries", (queryLength) => {
      const keyLength = 140;
      const masked = [0, 3, 4, 50, 127, 128, 139];
      const open = (j: number) => !masked.includes(j);

      test.each([NaN, Infinity, -Infinity])(
        "%f in a key or query never reaches a row that masks it",
        async (number) => {
          const clean = inputs(queryLength, keyLength);
          const given = { ...clean, key: poison(clean.key, masked, number) };
          await expectReference(given, { mask: bools([1, keyLength], open) }, 1e-5, clean);
          await expectReference(given, { bias: floats([1, keyLength], (j) => (open(j) ? 0 : -Infinity)) }, 1e-5, clean);
        },
      );

      test("a NaN stays one through a softcap", async () => {
        const clean = inputs(queryLength, keyLength);
        await expectReference({ ...clean, key: poison(clean.key, [50], NaN) }, { softcap: 30, causal: true });
      });

      test.each([1e-42, 1e-30, 1e30, 2e38])("a softcap of %f", async (softcap) => {
        await expectReference(inputs(queryLength, keyLength), { softcap });
        await expectReference(inputs(queryLength, keyLength, 0), { softcap });
      });

      test.skipIf(onCuda)("slopes of any finite size hide no key", async () => {
        for (const { output, lse } of await compute(inputs(queryLength, 9), {
          alibiSlopes: floats([heads], (h) => (h ? 3e38 : -3e38)),
        })) {
          expect(output.every(Number.isFinite)).toBe(true);
          expect(lse.every(Number.isFinite)).toBe(true);
        }
      });

      test.skipIf(onCuda).each([-3000, -100, 40, 240, 3000])(
        "ALiBi of rows from place %i on, whose keys are 0 to 139: weights add up to one",
        async (queryOffset) => {
          const given = inputs(queryLength, keyLength);
          const options = { alibiSlopes: floats([heads], (h) => (h ? 0.0625 : 0.5)), queryOffset };
          await expectReference(given, options, 5e-4); // terms of 1500 are rounded by 1.2e-4
          const { weights } = (await compute(given, options))[1]!;
          for (let row = 0; row < heads * queryLength; row++) {
            const sum = weights!.subarray(row * keyLength, (row + 1) * keyLength).reduce((a, b) => a + b, 0);
            expect(Math.abs(sum - 1)).toBeLessThan(5e-6);
          }
        },
      );

      test.each([1e38, -1e38, Infinity, -Infinity, NaN])(
        "slopes of %f touch no key that a row does not see",
        async (slope) => {
          const given = inputs(queryLength, keyLength);
          const alibiSlopes = floats([heads], (h) => (h ? slope : 0.5));
          const near = { causal: true, window: { left: 1 }, alibiSlopes }; // scores of ordinary size, or of one slope
          await expectReference(given, { ...near, queryOffset: 70 }, 1e-4);
          await expectReference(given, { ...near, queryOffset: -2 }, 1e-4);
          await expectReference(given, { ...near, queryOffset: 138 }, 1e-4);
          await expectReference(given, { ...near, window: { left: 1, right: 1 }, queryOffset: 70 }, 1e-4);
          const beside = bools(
            [queryLength, keyLength],
            (i) => Math.abs((i % keyLength) - Math.floor(i / keyLength)) === 1,
          );
          await expectReference(given, { alibiSlopes, queryOffset: 0, mask: beside }, 1e-4);
          const bias = floats([queryLength, keyLength], (i) => (beside.data[i] ? 0 : -Infinity));
          await expectReference(given, { alibiSlopes, queryOffset: 0, bias }, 1e-4);
          if (Number.isFinite(slope)) return; // else all but a row's own key are out of range, which it does not see
          await expectReference(given, { alibiSlopes, keyLengths: Int32Array.of(100), queryOffset: 100 }, 1e-4);
          await expectReference(given, { alibiSlopes, causal: true, queryOffset: -1 }, 1e-4);
        },
      );

      test.each([NaN, Infinity])("%f in a key after a row's place, or before its window", async (number) => {
        const clean = inputs(queryLength, keyLength);
        const options = { causal: true, window: { left: 60 }, queryOffset: 70 };
        const beyond = Array.from({ length: keyLength }, (_, j) => j).filter((j) => j < 10 || j >= 70 + queryLength);
        await expectReference({ ...clean, key: poison(clean.key, beyond, number) }, options, 1e-5, clean);
        // Rows see different keys: those that see a poisoned one are NaN, the others as if nothing were.
        const seen = 70 + Math.floor(queryLength / 2);
        const given = { ...clean, key: poison(clean.key, [seen], number) };
        const expected = referenceAttentionFloat64(clean.query, clean.key, clean.value, options);
        const rowsBefore = (seen - 70) * valueDim;
        for (const { output } of await compute(given, options)) {
          const own = output.subarray(0, rowsBefore);
          expect(compareEach("rows before", own, expected.output.subarray(0, rowsBefore), () => 1e-5)).toBeUndefined();
          expect(output.subarray(rowsBefore, rowsBefore + valueDim).every(Number.isFinite)).toBe(false);
        }
      });

      // Any NaN, such as memory full of ones.
      test.each(["7fc00000", "ffffffff", "7f800001"])(
        "a NaN (%s) that a row sees is NaN in its output, and in no other's",
        async (bits) => {
          const given = inputs(queryLength, keyLength);
          new Uint32Array(given.query.data.buffer, given.query.data.byteOffset, headDim).fill(parseInt(bits, 16));
          const clean = inputs(queryLength, keyLength);
          const expected = referenceAttentionFloat64(clean.query, clean.key, clean.value).output;
          for (const { output, lse } of await compute(given, {})) {
            expect(output.subarray(0, valueDim).every(Number.isNaN)).toBe(true);
            expect(lse[0]).toBeNaN();
            const others = output.subarray(valueDim);
            expect(compareEach("others", others, expected.subarray(valueDim), () => 1e-5)).toBeUndefined();
          }
        },
      );

      test("rows without a key: 0, weights 0, lse -Infinity or the sink, even among NaN", async () => {
        const clean = inputs(queryLength, keyLength);
        const given = {
          query: clean.query,
          key: poison(clean.key, [...Array(keyLength).keys()], NaN),
          value: poison(clean.value, [...Array(keyLength).keys()], NaN),
        };
        const nothing: AttentionOptions[] = [
          { mask: bools([1, 1], () => false) },
          { bias: floats([1, 1], () => -Infinity) },
          { causal: true, queryOffset: -100 },
          { window: { left: 3 }, queryOffset: 1000 },
          { keyLengths: Int32Array.of(0) },
          { queryLengths: Int32Array.of(0) },
        ];
        for (const options of nothing) {
          for (const sinks of [undefined, Float32Array.of(3, -200)]) {
            for (const { output, lse, weights } of await compute(given, { ...options, sinks })) {
              expect(output.every((x) => x === 0)).toBe(true);
              expect(weights?.every((x) => x === 0) ?? true).toBe(true);
              // Past the sequence's queries there is no row, hence no sink.
              const sink = options.queryLengths ? undefined : sinks;
              expect([...lse]).toEqual(Array.from(lse, (_, i) => sink?.[Math.floor(i / queryLength)] ?? -Infinity));
            }
          }
        }
      });

      test("some rows without a key among others", async () => {
        const given = inputs(queryLength, keyLength);
        const mask = bools([queryLength, keyLength], (i) => Math.floor(i / keyLength) % 3 !== 0 && i % 5 !== 0);
        await expectReference(given, { mask }, 1e-5);
        await expectReference(given, { mask, sinks: Float32Array.of(-1, 2) }, 1e-5);
        await expectReference(given, { bias: floats([queryLength, 1], (i) => (i % 2 === 0 ? -Infinity : 2)) }, 1e-5);
      });

      test.each([30, 1e3, 1e10, 1e18])("queries %f times as large: the best key takes all", async (factor) => {
        // Beyond some size every softmax is one-hot, and the output one of the values.
        await expectReference(inputs(queryLength, keyLength, factor), {}, factor > 100 ? 1e-3 : 1e-4);
        await expectReference(inputs(queryLength, keyLength, -factor), { causal: true }, factor > 100 ? 1e-3 : 1e-4);
      });

      test.each([1e7, 1e10, 1e18])("the same with ALiBi, queries %f times as large", async (factor) => {
        const alibiSlopes = floats([heads], (h) => (h ? 0.0625 : 0.5));
        for (const options of [{ alibiSlopes }, { alibiSlopes, causal: true }])
          await expectReference(inputs(queryLength, keyLength, factor), options, 1e-3);
      });

      test.each([1e6, 1e9, 1e15])("equal keys have equal weights, queries %f times as large", async (factor) => {
        const given = inputs(queryLength, keyLength, factor);
        const { query, key } = given;
        query.data.forEach((x, i) => (query.data[i] = Math.abs(x))); // so that no large products cancel
        key.data.forEach((_, i) => (key.data[i] = Math.abs(key.data[i % headDim]!)));
        for (const options of [{}, { causal: true }, { window: { left: 40 } }])
          await expectReference(given, options, 1e-5);
      });

      test.each([1e3, -1e3, 1e9, -1e9, 1e30, -1e30, 3.4e38, -3.4e38])("scores all near %f", async (size) => {
        // The same for every key: weights are even.
        const given = inputs(queryLength, keyLength, 0);
        await expectReference(given, { bias: floats([1, 1], () => size) });
      });

      test.each([-1e4, -1e9, -1e30, -3.4e38])(
        "a bias of %f in place of a mask, before and after others",
        async (low) => {
          const given = inputs(queryLength, keyLength);
          const after = floats([1, keyLength], (j) => (j >= 70 ? low : 0));
          const before = floats([1, keyLength], (j) => (j < 70 ? low : 0));
          const between = floats([1, keyLength], (j) => (j % 9 < 4 ? low : 0));
          for (const bias of [after, before, between]) await expectReference(given, { bias }, 1e-5);
        },
      );

      test("scores that climb from key to key, and fall", async () => {
        const given = inputs(queryLength, keyLength);
        for (const step of [0.3, 7, 100]) {
          // Rounding is relative to the scores, up to 140 steps.
          const tolerance = 1e-5 * Math.max(1, step);
          await expectReference(given, { bias: floats([1, keyLength], (j) => step * (j - 70)) }, tolerance);
          await expectReference(given, { bias: floats([1, keyLength], (j) => step * (70 - j)) }, tolerance);
        }
      });

      test("sinks far above and below the scores", async () => {
        const given = inputs(queryLength, keyLength);
        for (const sinks of [1e4, 100, -3e38, Infinity].map((size) => Float32Array.of(size, -size))) {
          await expectReference(given, { sinks }, 1e-5);
        }
      });

      test("a NaN sink is NaN in its head, but for rows without a key", async () => {
        const given = inputs(queryLength, keyLength);
        const sinks = Float32Array.of(NaN, 1);
        const half = queryLength * valueDim;
        const { output: expected } = referenceAttentionFloat64(given.query, given.key, given.value, { sinks });
        for (const { output, lse } of await compute(given, { sinks })) {
          expect(output.subarray(0, half).every(Number.isNaN)).toBe(true);
          expect(lse.subarray(0, queryLength).every(Number.isNaN)).toBe(true);
          expect(compareEach("other", output.subarray(half), expected.subarray(half), () => 1e-5)).toBeUndefined();
        }
        for (const { output, lse } of await compute(given, { sinks, keyLengths: Int32Array.of(0) })) {
          expect(output.every((x) => x === 0)).toBe(true);
          expect(lse[0]).toBeNaN();
        }
        const mask = bools([queryLength, keyLength], (i) => i >= keyLength && i % 3 !== 0);
        await expectReference(given, { sinks, mask }, 1e-5); // keys that a row does not see, and a row without any
      });

      test("queries as far from the keys as they may be, windows of any size", async () => {
        const given = inputs(queryLength, keyLength);
        const [far, endless] = [2 ** 52, 2 ** 53 - 1];
        for (const queryOffset of [far, far - 1, -far, 1 - far]) {
          const options = [
            { causal: true },
            { window: { left: endless, right: endless } },
            { causal: true, window: { left: far + 70 } },
            { window: { left: far, right: far - 70 } },
            { window: { left: far - 1, right: far + 1 } },
          ];
          for (const each of options) await expectReference(given, { ...each, queryOffset }, 1e-5);
        }
      });

      test("infinities as float32 has them", async () => {
        // Factors that tensor cores hold without a rest, so that nothing but the infinity may decide.
        const given = inputs(queryLength, keyLength);
        given.query.data.forEach((_, i) => (given.query.data[i] = i % headDim === 0 ? -1.5 : 1));
        for (let h = 0; h < heads; h++) given.key.data[(h * keyLength + 7) * headDim] = Infinity;
        for (let h = 0; h < heads; h++) given.value.data[(h * keyLength + 9) * valueDim + 3] = -Infinity;
        const clean = inputs(queryLength, keyLength);
        clean.query.data.set(given.query.data);
        const options = { mask: bools([1, keyLength], (j) => j !== 7) };
        const { output, lse } = referenceAttentionFloat64(clean.query, clean.key, clean.value, {
          ...options,
          returnLse: true,
        });
        for (let i = 3; i < output.length; i += valueDim) output[i] = -Infinity;
        for (const actual of await compute(given, {})) {
          expect(compareEach("output", actual.output, output, () => 1e-5)).toBeUndefined();
          expect(compareEach("lse", actual.lse, lse, () => 1e-4)).toBeUndefined();
        }
      });

      test("large values", async () => {
        const given = inputs(queryLength, keyLength);
        given.value.data.fill(1e30);
        for (const { output } of await compute(given, {})) {
          for (const x of output) expect(x / 1e30).toBeCloseTo(1, 5);
        }
      });
    });
  });
});
