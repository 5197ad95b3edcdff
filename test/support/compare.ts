// The numerical contract, as far as it can be checked on problems of any size and kind. (test/numerics.test.ts checks it to the
// letter, on the distributions it speaks of.)
import type { AttentionResult } from "../../lib/index.js";
import { round } from "./build.js";
import type { Bound, Bounds } from "./backends.js";
import type { Expected } from "./oracle.js";
import type { Spec } from "./spec.js";

/** What is wrong with a result, or undefined. */
export function complaint(
  { dtype }: Spec,
  actual: Pick<AttentionResult, "output" | "lse" | "weights" | "scores">,
  expected: Expected,
  bounds: Bounds,
): string | undefined {
  // Larger scores have larger rounding errors, and so have the weights and lse made of them, though a bias cancel them.
  const growth = Math.max(1, expected.scoreSize / 8);
  const { all, each } = bounds[dtype];
  return (
    compareOutput(actual.output.toNumbers(), expected, dtype, { all: all * growth, each: each * growth }) ??
    compareEach("lse", actual.lse?.toNumbers(), expected.lse, (lse) => 1e-5 * Math.max(growth, Math.abs(lse))) ??
    compareEach("weights", actual.weights?.toNumbers(), expected.weights, (w) =>
      w === 0 ? 0 : (1e-5 + 1e-4 * w) * growth,
    ) ??
    compareEach("scores", actual.scores?.toNumbers(), expected.scores, (s) => 4e-6 * Math.max(growth, Math.abs(s)))
  );
}

/**
 * Relative L2 error of all, and an error of each element; both count from the size of the values, of which an output is the
 * average, where the output itself is smaller. A 16-bit output may be off by its own rounding besides.
 */
function compareOutput(
  actual: Float64Array,
  { output, valueSize }: Expected,
  dtype: Spec["dtype"],
  { all, each }: Bound,
): string | undefined {
  const rounded = dtype === "float32" ? output : round(output, dtype);
  const roundingError = (i: number) => Math.abs(rounded[i]! - output[i]!);
  const problem = compareEach("output", actual, output, (value, i) => {
    if (value === 0) return 0; // nothing attends
    const size = Math.max(Math.abs(value), valueSize);
    return each * size + roundingError(i);
  });
  if (problem !== undefined) return problem;

  let error = 0;
  let size = 0;
  for (let i = 0; i < output.length; i++) {
    error += Math.max(0, Math.abs(actual[i]! - output[i]!) - roundingError(i)) ** 2;
    size += output[i]! ** 2;
  }
  const limit = all * Math.max(Math.sqrt(size), (valueSize / 2) * Math.sqrt(output.length));
  if (Math.sqrt(error) <= limit) return undefined;
  return `output: L2 error ${Math.sqrt(error).toExponential(2)}, expected at most ${limit.toExponential(2)}`;
}

/** Each element within its limit; what is not finite exactly. */
export function compareEach(
  name: string,
  actual: Float64Array | undefined,
  expected: Float64Array | undefined,
  limit: (value: number, index: number) => number,
): string | undefined {
  if (actual?.length !== expected?.length) return `${name}: ${actual?.length} elements, expected ${expected?.length}`;
  for (let i = 0; i < (expected?.length ?? 0); i++) {
    const [got, wanted] = [actual![i]!, expected![i]!];
    if (Object.is(got, wanted) || got === wanted) continue;
    // Where -Infinity is wanted a limit relative to it would let anything pass.
    if (Number.isFinite(wanted) && Math.abs(got - wanted) <= limit(wanted, i)) continue;
    return `${name}[${i}] of ${expected!.length}: got ${got}, expected ${wanted} (within ${limit(wanted, i).toExponential(2)})`;
  }
  return undefined;
}
