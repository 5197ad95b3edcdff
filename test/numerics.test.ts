// The numerical contract, to the letter.
//
// float32: relative L2 error against float64 at most 2e-6 for N(0,1) at the default scale, otherwise times max(1, max|s| / 8).
// 16-bit: root mean square error at most twice that of float64 arithmetic which rounds inputs, scores, probabilities and
// output to the dtype; also with outliers, N(0,1) + N(0,100) * Bernoulli(0.001).
// lse: within 1e-5 * max(1, |lse|). Weights: within 1e-5 + 1e-4 * w.
import { describe, expect, test } from "vitest";
import { Tensor, type AttentionOptions, type FloatDType } from "../lib/index.js";
import { randomNumbers } from "../lib/random.js";
import { referenceAttentionFloat64 } from "../lib/reference.js";
import { backends, run } from "./support/backends.js";
import { round } from "./support/build.js";

interface Case {
  readonly queries: number;
  readonly keys: number;
  readonly dim: number;
  readonly heads?: number;
  readonly causal?: boolean;
  /** Standard deviation of the queries. */
  readonly spread?: number;
  readonly outliers?: boolean;
}

/** N(0, spread^2), or with one in a thousand from N(0, 100) besides, rounded to the dtype. */
function draw(
  shape: readonly number[],
  dtype: FloatDType,
  seed: number,
  { spread = 1, outliers = false }: Partial<Case>,
) {
  const size = shape.reduce((a, b) => a * b);
  const values = randomNumbers(size, seed, "normal").map((x) => x * spread);
  if (outliers) {
    const chosen = randomNumbers(size, seed + 100, "uniform");
    const large = randomNumbers(size, seed + 200, "normal");
    chosen.forEach((luck, i) => (values[i]! += luck < 0.001 ? 10 * large[i]! : 0));
  }
  return Tensor.from(Float32Array.from(values), shape).cast(dtype);
}

function inputs(example: Case, dtype: FloatDType) {
  const { queries, keys, dim, heads = 1, outliers = false } = example;
  return [
    draw([1, heads, queries, dim], dtype, 1, example),
    draw([1, heads, keys, dim], dtype, 2, { outliers }),
    draw([1, heads, keys, dim], dtype, 3, { outliers }),
  ] as const;
}

/** Of the rows that the reference is asked for: all, or a few where there are many keys. */
const sampled = (queries: number, keys: number) => {
  const step = queries * keys > 2e6 ? Math.floor(queries / 7) : 1;
  return Array.from({ length: Math.ceil(queries / step) }, (_, i) => Math.min(queries - 1, i * step));
};

type Inputs = ReturnType<typeof inputs>;

/** The reference for some rows, as [heads, rows, ...], each row asked with its own place. */
function exact(
  [query, key, value]: Inputs,
  rows: readonly number[],
  { causal = false, queries, keys, heads = 1 }: Case,
) {
  const rest = { key: key.cast("float32"), value: value.cast("float32"), query: query.cast("float32") };
  return rows.map((row) => {
    const options = {
      causal,
      queryOffset: row + keys - queries,
      returnLse: true,
      returnWeights: true,
      returnScores: "biased",
    };
    const one = rest.query.slice(2, row, row + 1);
    return { row, heads, ...referenceAttentionFloat64(one, rest.key, rest.value, options as AttentionOptions) };
  });
}

/** What arithmetic in the dtype itself comes to, everything else exact: the yardstick of 16-bit results. */
function emulate(
  { scores, heads }: ReturnType<typeof exact>[number],
  value: Float64Array,
  dim: number,
  dtype: FloatDType,
): Float64Array {
  const keys = scores!.length / heads;
  const output = new Float64Array(heads * dim);
  for (let h = 0; h < heads; h++) {
    const row = round(scores!.subarray(h * keys, (h + 1) * keys), dtype);
    const largest = row.reduce((a, b) => Math.max(a, b));
    const powers = row.map((score) => Math.exp(score - largest));
    const sum = powers.reduce((a, b) => a + b);
    const weights = round(
      powers.map((p) => p / sum),
      dtype,
    );
    weights.forEach((w, j) => {
      for (let d = 0; d < dim; d++) output[h * dim + d]! += w * value[(h * keys + j) * dim + d]!;
    });
  }
  return round(output, dtype);
}

function norms(rows: ReturnType<typeof exact>, actual: (row: number, head: number, d: number) => number, dim: number) {
  let error = 0;
  let size = 0;
  for (const { row, output, heads } of rows) {
    for (let h = 0; h < heads; h++) {
      for (let d = 0; d < dim; d++) {
        error += (actual(row, h, d) - output[h * dim + d]!) ** 2;
        size += output[h * dim + d]! ** 2;
      }
    }
  }
  return { error: Math.sqrt(error), size: Math.sqrt(size) };
}

const sizes: Case[] = [
  { queries: 1, keys: 100, dim: 64 },
  { queries: 4, keys: 5000, dim: 128 },
  { queries: 1, keys: 16384, dim: 128, heads: 2 },
  { queries: 200, keys: 200, dim: 64, heads: 2, causal: true },
  { queries: 130, keys: 1111, dim: 128 },
  { queries: 64, keys: 300, dim: 512 },
  { queries: 64, keys: 16384, dim: 64, causal: true },
  { queries: 500, keys: 16384, dim: 80 },
];
const large: Case[] = [3, 10, 30].flatMap((spread) => [
  { queries: 2, keys: 2000, dim: 64, spread },
  { queries: 60, keys: 2000, dim: 64, spread, causal: true },
]);

describe.each(backends)("$name", (backend) => {
  describe.each(["standard", "tiled"] as const)("%s", (algorithm) => {
    test.each([...sizes, ...large])("float32, %o", async (example) => {
      const { queries, keys, dim, heads = 1, causal = false } = example;
      const given = inputs(example, "float32");
      const rows = exact(given, sampled(queries, keys), example);
      // Weights only where they are not too many.
      const options = { algorithm, causal, returnLse: true, returnWeights: queries * keys < 1e6 };
      const { output, lse, weights } = await run(backend, given, options);

      const { error, size } = norms(rows, (row, h, d) => output.data[(h * queries + row) * dim + d]!, dim);
      let growth = 1;
      for (const { scores } of rows) {
        for (const score of scores!) if (score > -Infinity) growth = Math.max(growth, Math.abs(score) / 8);
      }
      if (example.spread === undefined) growth = 1;
      expect(error / size).toBeLessThanOrEqual(backend.bounds.float32 * growth);

      for (const expected of rows) {
        for (let h = 0; h < heads; h++) {
          const wanted = expected.lse![h]!;
          const off = Math.abs(lse!.data[h * queries + expected.row]! - wanted);
          expect(off).toBeLessThanOrEqual(1e-5 * Math.max(1, Math.abs(wanted)));
          let worst = 0;
          for (let j = 0; weights && j < keys; j++) {
            const weight = expected.weights![h * keys + j]!;
            const got = weights.data[(h * queries + expected.row) * keys + j]!;
            worst = Math.max(worst, Math.abs(got - weight) / (1e-5 + 1e-4 * weight));
          }
          expect(worst).toBeLessThanOrEqual(1);
        }
      }
    });

    const halves = ["float16", "bfloat16"] as const;
    const some = sizes.filter(({ keys }) => keys <= 5000);
    test.each(
      halves.flatMap((dtype) =>
        [...some, ...some.map((size) => ({ ...size, outliers: true }))].map((size) => ({ dtype, size })),
      ),
    )("$dtype, $size", async ({ dtype, size: example }) => {
      const { queries, keys, dim, causal = false } = example;
      const given = inputs(example, dtype);
      const rows = exact(given, sampled(queries, keys), example);
      const output = (await run(backend, given, { algorithm, causal })).output.toNumbers();
      const value = given[2].toNumbers();
      const emulated = new Map(rows.map((row) => [row.row, emulate(row, value, dim, dtype)]));
      const own = norms(rows, (row, h, d) => output[(h * queries + row) * dim + d]!, dim).error;
      const yardstick = norms(rows, (row, h, d) => emulated.get(row)![h * dim + d]!, dim).error;
      expect(yardstick).toBeGreaterThan(0);
      expect(own).toBeLessThanOrEqual(2 * yardstick);
    });
  });
});
