// Random programs of a cache's operations, each compared with a model that keeps every sequence apart and recomputes from scratch.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { onCuda } from "./support/backends.js";
import { CacheModel, relativeError, type ModelOptions } from "./support/cache-model.js";

type Step =
  | { readonly do: "create" | "fork" | "free"; readonly at: number }
  | { readonly do: "truncate"; readonly at: number; readonly share: number }
  | {
      readonly do: "append" | "attend";
      readonly counts: readonly number[];
      readonly at: number;
      readonly sync: boolean;
    };

/** The simulator is slow. */
const longest = onCuda ? 20 : 40;
const runs = Number(process.env["FOVEA_SWEEP_RUNS"] ?? (onCuda ? 12 : 40));

const at = fc.nat(7);
/** On the processor some are long enough that a fork makes a segment of them. */
const count = fc.oneof(
  { weight: 4, arbitrary: fc.constant(1) },
  { weight: 4, arbitrary: fc.integer({ min: 0, max: longest }) },
  { weight: onCuda ? 0 : 1, arbitrary: fc.integer({ min: 120, max: 180 }) },
);
const counts = fc.array(count, { minLength: 1, maxLength: 4 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 1, arbitrary: fc.record({ do: fc.constant("create" as const), at }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("fork" as const), at }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("free" as const), at }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("truncate" as const),
      at,
      share: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("append" as const), counts, at, sync: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("attend" as const), counts, at, sync: fc.boolean() }) },
);

const options = fc.constantFrom(
  {},
  { window: { left: 9 } },
  { softcap: 3, sinks: Float32Array.of(0.5, -1, 2, 0) },
  { alibiSlopes: Float32Array.of(0.5, 0.25, 0.1, 0) },
  { causal: false, scale: 0.3 },
);

const caches: fc.Arbitrary<ModelOptions> = fc.record({
  layers: fc.constantFrom(1, 2),
  heads: fc.constant(4),
  kvHeads: fc.constantFrom(1, 2, 4),
  headDim: fc.constantFrom(8, 20),
  valueDim: fc.constantFrom(8, 12),
  pageSize: fc.constantFrom(1, 3, 16),
  pages: fc.constantFrom(12, onCuda ? 60 : 180),
  rope: fc.constantFrom(undefined, { theta: 1e4, dim: 6 }, { frequencies: [1, 0.1, 0.01], interleaved: true }),
  input: fc.constantFrom(undefined, "bfloat16" as const),
  dtype: fc.constantFrom("float32" as const, "float16" as const, "bfloat16" as const, "int8" as const),
  queryDtype: fc.constantFrom("float32" as const, "float16" as const, "bfloat16" as const),
});

/** On a GPU queries have the dtype of the pages, but for int8 ones. */
function sizesOf(sizes: ModelOptions): ModelOptions {
  if (!onCuda) return { ...sizes, queryDtype: "float32" };
  const { dtype, queryDtype } = sizes;
  return { ...sizes, device: "cuda", queryDtype: dtype === "int8" ? queryDtype : dtype };
}

/** Relative errors of outputs beside those of quantised pages: sums are float32, and a GPU's products of 16-bit types 16-bit. */
const exact = { float32: 3e-6, float16: onCuda ? 2e-3 : 3e-6, bfloat16: onCuda ? 1.5e-2 : 3e-6 };

describe("programs", () => {
  it(
    "answer what a recomputation from scratch answers, and count pages as a model does",
    { timeout: 60_000 },
    async () => {
      const program = fc.array(step, { minLength: 5, maxLength: 25 });
      await fc.assert(
        fc.asyncProperty(
          caches,
          program,
          options,
          fc.integer({ min: 1, max: 1e6 }),
          async (sizes, steps, attending, seed) => {
            const model = new CacheModel(sizesOf(sizes), seed);
            for (const each of steps) {
              await take(model, each, attending);
              model.check();
            }
            while (model.sequences.length > 0) model.free(model.sequences[0]!);
            expect(model.cache.statistics).toMatchObject({ sequences: 0, usedPages: 0, sharedPages: 0 });
            model.cache.dispose();
          },
        ),
        { numRuns: runs, interruptAfterTimeLimit: 40_000 },
      );
    },
  );
});

async function take(model: CacheModel, step: Step, attending: object): Promise<void> {
  const { sequences } = model;
  if (step.do === "create" || sequences.length === 0) return void model.create();
  const one = sequences[step.at % sequences.length]!;
  if (step.do === "fork") return void model.fork(one);
  if (step.do === "free") return model.free(one);
  if (step.do === "truncate") return model.truncate(one, Math.floor(step.share * one.tokens.length));
  // Different sequences, from `at` on.
  const { counts, sync } = step as Extract<Step, { counts: readonly number[] }>;
  const some = counts.slice(0, sequences.length).map((_, i) => sequences[(step.at + i) % sequences.length]!);
  const wanted = counts.slice(0, some.length);
  if (step.do === "append") return void (await model.append(some, wanted, sync));

  const queries = wanted.map((count, i) => Math.min(count, some[i]!.tokens.length));
  const query = model.queries(queries);
  const { dtype } = model.cache;
  // A rotated key that lies between two 16-bit numbers may become the other one.
  const { rope, queryDtype = "float32" } = model.options;
  const rounding = rope === undefined ? 0 : { float32: 0, int8: 0, float16: 1e-3, bfloat16: 8e-3 }[dtype];
  const bound = (dtype === "int8" ? 3e-2 : rounding) + exact[queryDtype];
  for (let layer = 0; layer < model.cache.layers; layer++) {
    const actual = await model.attend(some, queries, query, layer, attending, sync);
    const expected = model.expected(some, queries, query, layer, attending);
    expect(relativeError(actual.output, expected.output)).toBeLessThan(bound);
    if (dtype === "int8") continue;
    actual.lse.forEach((lse, i) =>
      expect(Math.abs(lse - expected.lse[i]!)).toBeLessThan((1e-5 + rounding) * Math.max(1, Math.abs(lse))),
    );
  }
}
