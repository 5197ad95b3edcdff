// What can be returned besides the output: lse, weights, and scores of each stage, alone and together.
import { describe, expect, test } from "vitest";
import { algorithms, backends, run } from "../support/backends.js";
import { build } from "../support/build.js";
import { check } from "../support/check.js";
import { complete, type SomeSpec } from "../support/spec.js";

const dtypes = ["float32", "float16", "bfloat16"] as const;
const stages = [undefined, "scaled", "capped", "biased"] as const;
const problems: SomeSpec[] = [
  { queries: [1], keys: [9], headDim: 8 },
  { queries: [3, 33], keys: [140, 17], headDim: 5, causal: true, spareQueries: 2, spareKeys: 3 },
  { queries: [30, 2], keys: [135, 1], headDim: 16, softcap: 2, bias: "bhqk", alibi: "bh", sinks: true },
  { queries: [9, 26], keys: [60, 131], headDim: 12, mask: "1hqk", window: { left: 40, right: 9 }, layout: "bshd" },
  { queries: [5, 1], keys: [50, 33], headDim: 12, pageSize: 16, mask: "qk", softcap: 9 },
  { queries: [2, 2], keys: [2100, 30], headDim: 4, causal: true },
  { queries: [3, 5], keys: [20, 0], headDim: 12, pageSize: 16 },
];

describe.each(dtypes)("%s", (dtype) => {
  test.each(problems)("%o", async (problem) => {
    const common = { dtype, heads: 2, kvHeads: 1, ...problem };
    for (const scores of stages) {
      for (const weights of [false, true]) {
        for (const lse of [false, true]) await check({ ...common, scores, weights, lse });
      }
    }
  });
});

describe.each(backends)("$name", (backend) => {
  test.each(algorithms.filter((algorithm) => algorithm !== "auto"))(
    "asking for more changes nothing of the output beyond rounding, %s",
    async (algorithm) => {
      const problem = build(complete({ queries: [40], keys: [300], headDim: 16, heads: 2, causal: true }));
      const inputs = [problem.query, problem.key, problem.value] as const;
      const plain = await run(backend, inputs, { causal: true, algorithm });
      const more = await run(backend, inputs, { causal: true, algorithm, returnLse: true, returnWeights: true });
      expect(more.output.data).toEqual(plain.output.data);
      expect(plain.lse).toBeUndefined();
      expect(plain.weights).toBeUndefined();
      expect(more.scores).toBeUndefined();
    },
  );

  test.each(algorithms.filter((algorithm) => algorithm !== "auto"))(
    "weights sum to one and give the output, %s",
    async (algorithm) => {
      const problem = build(complete({ queries: [40], keys: [300], headDim: 16, valueDim: 4, causal: true }));
      const inputs = [problem.query, problem.key, problem.value] as const;
      const { output, weights } = await run(backend, inputs, { causal: true, algorithm, returnWeights: true });
      const [w, value] = [weights!.toNumbers(), problem.sequences[0]!.value];
      for (let i = 0; i < 40; i++) {
        const row = w.subarray(i * 300, (i + 1) * 300);
        expect(row.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 5);
        const average = row.reduce((sum, weight, j) => sum + weight * value[4 * j]!, 0);
        expect(output.toNumbers()[4 * i]).toBeCloseTo(average, 5);
      }
    },
  );
});
