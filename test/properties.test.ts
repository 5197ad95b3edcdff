// Random problems, all options in combination, against the reference. A failure is shrunk, and says what to paste into a test.
//
// Every run tries the same problems; `npm run sweep:random` tries many others. FOVEA_SWEEP_RUNS and FOVEA_SWEEP_SEED say how
// many, and which. The simulator of a GPU is slow, so it gets fewer, and in a test run none of the largest.
import fc from "fast-check";
import { expect, test } from "vitest";
import { referenceAttentionFloat64 } from "../lib/reference.js";
import { specs } from "./support/arbitrary.js";
import { onCuda } from "./support/backends.js";
import { build } from "./support/build.js";
import { check } from "./support/check.js";
import { compareEach } from "./support/compare.js";
import { oracle } from "./support/oracle.js";
import { complete, show, type SomeSpec, type Spec } from "./support/spec.js";

const sweep = process.env["FOVEA_SWEEP_RUNS"];
const runs = onCuda ? Math.ceil(Number(sweep ?? 1440) / 24) : Number(sweep ?? 120);
const usualSeed = 20250701;
const seed = Number(process.env["FOVEA_SWEEP_SEED"] ?? usualSeed);
/** On the simulator, which computes whole tiles, few problems of many heads and many keys would take as long as all the rest. */
const tilesOf = ({ heads, queries, keys }: Spec) =>
  queries.reduce((sum, length, i) => sum + heads * Math.ceil(length / 64) * Math.ceil(keys[i]! / 64), 0);
const tried = onCuda && sweep === undefined ? specs.filter((some) => tilesOf(complete(some)) <= 300) : specs;
const timeout = 60_000 + (onCuda ? 10_000 : 500) * runs;

test("every algorithm, whatever the options", { timeout }, async () => {
  await fc.assert(fc.asyncProperty(tried, check), { numRuns: runs, seed });
});

test("the reference, whatever layout, strides and padding", { timeout }, () => {
  fc.assert(
    fc.property(specs, (some: SomeSpec) => {
      const spec = complete(some);
      const problem = build(spec);
      const expected = oracle(problem);
      const result = referenceAttentionFloat64(problem.query, problem.key, problem.value, problem.options);
      for (const name of ["output", "lse", "weights", "scores"] as const) {
        const wrong = compareEach(name, result[name], expected[name], () => 0);
        if (wrong !== undefined) throw new Error(`${wrong}\n\n  ${show(some)}\n`);
      }
    }),
    { numRuns: Math.ceil(runs / 4), seed: seed + 1 },
  );
});

test("a mistake is found, and shrunk to a problem one can read", () => {
  const mistaken = (some: SomeSpec) => {
    const spec = complete(some);
    const { query, key, value, options } = build(spec);
    // As if windows reached one key further to the left than they were told.
    const { left } = spec.window ?? {};
    const window = left === undefined ? spec.window : { ...spec.window, left: left + 1 };
    const { output } = referenceAttentionFloat64(query, key, value, { ...options, window });
    const wrong = compareEach("output", output, oracle(build(spec)).output, () => 1e-6);
    if (wrong !== undefined) throw new Error(wrong);
  };
  const { failed, counterexample } = fc.check(fc.property(specs, mistaken), { numRuns: 1000, seed: usualSeed }); // how far others shrink is luck
  expect(failed).toBe(true);
  const [found] = counterexample!;
  expect(Object.keys(found.window!)).toEqual(["left"]);
  expect(found.queries).toHaveLength(1);
  expect(show(found).length, show(found)).toBeLessThan(150);
});
