// The numerical contract, to the letter.
//
// float32: relative L2 error against float64 at most 2e-6 for N(0,1) at the default scale, otherwise times max(1, max|s| / 8).
// 16-bit: root mean square error at most twice that of float64 arithmetic which rounds inputs, scores, probabilities and
// output to the dtype; also with outliers, N(0,1) + N(0,100) * Bernoulli(0.001).
// lse: within 1e-5 * max(1, |lse|). Weights: within 1e-5 + 1e-4 * w.
import { describe, expect, test } from "vitest";
import { Tensor, type FloatDType } from "../lib/index.js";
import { randomNumbers } from "../lib/random.js";
import { referenceAttentionFloat64 } from "../lib/reference.js";
import { algorithms, backends, has, onCuda, run } from "./support/backends.js";
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

type Inputs = ReturnType<typeof inputs>;

/** Query rows that are looked at: all, or where there are many keys some of them, the last among them. */
function sample(queries: number, keys: number): number[] {
  const count = Math.min(queries, Math.max(8, Math.floor(5e4 / keys)));
  return Array.from({ length: count }, (_, i) => queries - 1 - Math.floor((i * queries) / count));
}

interface ExactRow {
  readonly row: number;
  readonly head: number;
  readonly output: Float64Array;
  readonly lse: number;
  readonly weights: Float64Array;
  readonly scores: Float64Array;
}

/** The reference for some rows of all heads. */
function exact([query, key, value]: Inputs, { causal = false, queries, keys, heads = 1, dim }: Case): ExactRow[] {
  const rows = sample(queries, keys);
  const numbers = query.toNumbers();
  const chosen = Array.from({ length: heads }, (_, h) => rows.map((row) => (h * queries + row) * dim)).flat();
  const chosenQueries = Float32Array.from(chosen.flatMap((at) => [...numbers.subarray(at, at + dim)]));
  const seen = rows.flatMap((row) =>
    Array.from({ length: keys }, (_, j) => Number(!causal || j <= row + keys - queries)),
  );
  const all = referenceAttentionFloat64(
    Tensor.from(chosenQueries, [1, heads, rows.length, dim]),
    key.cast("float32"),
    value.cast("float32"),
    {
      mask: Tensor.from(Uint8Array.from(seen), [rows.length, keys], { dtype: "bool" }),
      returnLse: true,
      returnWeights: true,
      returnScores: "biased",
    },
  );
  return chosen.map((at, i) => ({
    row: (at / dim) % queries,
    head: Math.floor(at / dim / queries),
    output: all.output.subarray(i * dim, (i + 1) * dim),
    lse: all.lse![i]!,
    weights: all.weights!.subarray(i * keys, (i + 1) * keys),
    scores: all.scores!.subarray(i * keys, (i + 1) * keys),
  }));
}

/** What arithmetic in the dtype itself comes to, everything else exact: the yardstick of 16-bit results. */
function emulate({ scores, head }: ExactRow, value: Float64Array, dim: number, dtype: FloatDType): Float64Array {
  const keys = scores.length;
  const rounded = round(scores, dtype);
  const largest = rounded.reduce((a, b) => Math.max(a, b));
  const powers = rounded.map((score) => Math.exp(score - largest));
  const sum = powers.reduce((a, b) => a + b);
  const weights = round(
    powers.map((p) => p / sum),
    dtype,
  );
  const output = new Float64Array(dim);
  weights.forEach((w, j) => {
    const from = (head * keys + j) * dim;
    for (let d = 0; d < dim; d++) output[d]! += w * value[from + d]!;
  });
  return round(output, dtype);
}

/** L2 norms of the errors and of what is right. */
function norms(rows: readonly ExactRow[], actual: (row: ExactRow) => ArrayLike<number>) {
  let error = 0;
  let size = 0;
  for (const row of rows) {
    const got = actual(row);
    row.output.forEach((x, d) => {
      error += (got[d]! - x) ** 2;
      size += x ** 2;
    });
  }
  return { error: Math.sqrt(error), size: Math.sqrt(size) };
}

/** What the simulator of a GPU computes within seconds. */
const fits = ({ queries, keys, dim, heads = 1 }: Case) =>
  !onCuda || Math.ceil(queries / 128) * 128 * keys * dim * heads < 5e7;

const allSizes: Case[] = [
  { queries: 1, keys: 100, dim: 64 },
  { queries: 4, keys: 5000, dim: 128 },
  { queries: 1, keys: 16384, dim: 128, heads: 2 },
  { queries: 200, keys: 200, dim: 64, heads: 2, causal: true },
  { queries: 130, keys: 1111, dim: 128 },
  { queries: 64, keys: 300, dim: 512 },
  { queries: 64, keys: 16384, dim: 64, causal: true },
  { queries: 500, keys: 16384, dim: 80 },
  { queries: 1, keys: 2 ** 19, dim: 4 }, // sums do not lose with the number of keys
];
const sizes = allSizes.filter(fits);
const large: Case[] = [
  ...[3, 10, 30].flatMap((spread) => [
    { queries: 2, keys: 2000, dim: 64, spread },
    { queries: 60, keys: 2000, dim: 64, spread, causal: true },
  ]),
  { queries: 1, keys: 100, dim: 512, spread: 3 }, // many products to sum, one row to show it
];

const named = algorithms.filter((algorithm) => algorithm !== "auto");
const halves = ["float16", "bfloat16"] as const;
const halfSizes = sizes.filter(({ keys }) => keys <= 5000);
const halfCases = halves.flatMap((dtype) =>
  [...halfSizes, ...halfSizes.map((size) => ({ ...size, outliers: true }))].map((example) => ({ dtype, example })),
);

describe.each(backends)("$name", (backend) => {
  test.each([...sizes, ...large])("float32, %o", async (example) => {
    const { queries, keys, dim, causal = false, spread } = example;
    const given = inputs(example, "float32");
    const rows = exact(given, example);
    const largest = Math.max(
      ...rows.map(({ scores }) => scores.reduce((a, b) => (b > -Infinity ? Math.max(a, Math.abs(b)) : a), 0)),
    );
    const growth = spread === undefined ? 1 : Math.max(1, largest / 8);
    for (const algorithm of named.filter((each) => has(each, dim, dim))) {
      // Weights only where they are not too many.
      const options = { algorithm, causal, returnLse: true, returnWeights: queries * keys < 1e6 };
      const { output, lse, weights, plan } = await run(backend, given, options);
      const at = ({ row, head }: ExactRow) => head * queries + row;
      const outputRow = (row: ExactRow) => output.data.subarray(at(row) * dim, (at(row) + 1) * dim) as Float32Array;
      const { error, size } = norms(rows, outputRow);
      expect(error / size, algorithm).toBeLessThanOrEqual(backend.boundsOf(plan).float32.all * growth);
      for (const row of rows) {
        const off = Math.abs(lse!.data[at(row)]! - row.lse);
        expect(off, algorithm).toBeLessThanOrEqual(1e-5 * Math.max(1, Math.abs(row.lse)));
        if (!weights) continue;
        const got = weights.data.subarray(at(row) * keys, (at(row) + 1) * keys);
        const worst = row.weights.reduce((most, w, j) => Math.max(most, Math.abs(got[j]! - w) / (1e-5 + 1e-4 * w)), 0);
        expect(worst, algorithm).toBeLessThanOrEqual(1);
      }
    }
  });

  test("exponentials, by themselves: rows of two keys whose scores differ by up to two factors of 2", async () => {
    const rows = onCuda ? 200 : 4000;
    const differences = Float32Array.from({ length: rows }, (_, i) => (-2 * Math.LN2 * (i + 0.5)) / rows);
    const pair = Float32Array.from([0, 1]);
    const prefill = [
      Tensor.from(differences, [1, 1, rows, 1]),
      Tensor.from(pair, [1, 1, 2, 1]),
      Tensor.from(pair, [1, 1, 2, 1]),
    ] as const;
    const pairs = Tensor.from(
      Float32Array.from({ length: 2 * rows }, (_, i) => i % 2),
      [rows, 1, 2, 1],
    );
    const decode = [Tensor.from(differences, [rows, 1, 1, 1]), pairs, pairs] as const;
    for (const given of [prefill, decode])
      for (const algorithm of named.filter((each) => has(each, 1, 1))) {
        const output = (await run(backend, given, { algorithm, scale: 1 })).output.toNumbers();
        const off = Array.from(differences, (x, i) => Math.abs(output[i]! * (1 + Math.exp(-x)) - 1));
        expect(Math.max(...off), algorithm).toBeLessThanOrEqual(5e-7);
      }
  });

  test.each(halfCases)("$dtype, $example", async ({ dtype, example }) => {
    const { queries, dim, causal = false } = example;
    const given = inputs(example, dtype);
    const rows = exact(given, example);
    const value = given[2].toNumbers();
    const yardstick = norms(rows, (row) => emulate(row, value, dim, dtype)).error;
    expect(yardstick).toBeGreaterThan(0);
    for (const algorithm of named.filter((each) => has(each, dim, dim))) {
      const output = (await run(backend, given, { algorithm, causal })).output.toNumbers();
      const at = ({ row, head }: ExactRow) => (head * queries + row) * dim;
      const own = norms(rows, (row) => output.subarray(at(row), at(row) + dim)).error;
      expect(own, algorithm).toBeLessThanOrEqual(2 * yardstick);
    }
  });
});
