// Random specs, all options in combination. They shrink towards one query, one key and no options at all.
import fc from "fast-check";
import type { SomeSpec, Spec } from "./spec.js";

const floats = fc.constantFrom("float32", "float16", "bfloat16");
const small = fc.integer({ min: 1, max: 9 });

/** Dimensions: small ones, and those around whole vectors and cache lines. */
const dim = fc.oneof(small, fc.constantFrom(15, 16, 17, 31, 32, 33, 64, 65, 80, 96, 128));

/** Lengths: small ones, and those at and beside the edges of blocks. */
const length = fc.oneof(
  { arbitrary: fc.integer({ min: 0, max: 12 }), weight: 3 },
  { arbitrary: fc.integer({ min: 0, max: 70 }), weight: 2 },
  fc.constantFrom(0, 4, 8, 24, 96, 128, 192, 256).chain((edge) => fc.integer({ min: edge, max: edge + 2 })),
);
const longest = fc.constantFrom(384, 511, 640, 1023, 1025, 2047, 2049, 2100);

/** Many keys for very few queries: those are split. */
const decode = fc.record({ query: fc.integer({ min: 1, max: 3 }), key: longest });
const sequence = fc.oneof(
  { arbitrary: fc.record({ query: length, key: length }), weight: 9 },
  { arbitrary: decode, weight: 1 },
);

/** One letter per dimension that is there, 1 where it is spread. */
const spread = fc
  .record({
    rank: fc.integer({ min: 2, max: 4 }),
    kept: fc.tuple(fc.boolean(), fc.boolean(), fc.boolean(), fc.boolean()),
  })
  .map(({ rank, kept }) =>
    [..."bhqk"]
      .map((letter, i) => (kept[i] ? letter : "1"))
      .join("")
      .slice(4 - rank),
  );

const reach = fc.oneof(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 140 }));
const offset = fc.oneof(fc.integer({ min: -6, max: 6 }), fc.integer({ min: -300, max: 300 }));

/** There in one of three problems. */
function sometimes<T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> {
  return fc.oneof(
    { withCrossShrink: true },
    { arbitrary: fc.constant(undefined), weight: 2 },
    { arbitrary, weight: 1 },
  );
}

const yes = sometimes(fc.constant(true));

/** Options that change the answer, or how it is asked for. */
const options = fc.record({
  dtype: sometimes(floats),
  layout: sometimes(fc.constantFrom("bshd", "thd")),
  valueDim: sometimes(dim),
  spareQueries: sometimes(small),
  spareKeys: sometimes(small),
  lengths: yes,
  pageSize: sometimes(fc.constantFrom(1, 3, 16, 64)),
  sharedKeys: yes,
  causal: yes,
  window: sometimes(fc.record({ left: reach, right: reach }, { requiredKeys: [], noNullPrototype: true })),
  queryOffset: sometimes(fc.oneof(offset, fc.array(offset, { minLength: 3, maxLength: 3 }))),
  scale: sometimes(fc.constantFrom(0, 1, -0.3, 0.05)),
  softcap: sometimes(fc.constantFrom(0.5, 2, 30)),
  mask: sometimes(spread),
  texts: sometimes(fc.constantFrom(7, 40, 130)),
  bias: sometimes(spread),
  biasDtype: sometimes(floats),
  alibi: sometimes(fc.constantFrom("h", "bh")),
  sinks: yes,
  lse: yes,
  weights: yes,
  scores: sometimes(fc.constantFrom("scaled", "capped", "biased")),
  strides: sometimes(fc.integer({ min: 1, max: 1e6 })),
  out: yes,
} as const);

export const specs: fc.Arbitrary<SomeSpec> = fc
  .record({
    seed: fc.integer({ min: 1, max: 1e6 }),
    kvHeads: fc.integer({ min: 1, max: 3 }),
    group: fc.constantFrom(1, 1, 2, 3, 5, 8, 16),
    headDim: dim,
    sequences: fc.array(sequence, { minLength: 1, maxLength: 3 }),
    options,
  })
  .map(({ seed, kvHeads, group, headDim, sequences, options }) =>
    legal({
      seed,
      heads: kvHeads * group,
      kvHeads,
      headDim,
      queries: sequences.map(({ query }) => query),
      keys: sequences.map(({ key }) => key),
      ...options,
    }),
  );

/** Takes away what does not go together. */
function legal(some: SomeSpec & Pick<Spec, "queries" | "keys">): SomeSpec {
  const spec = { ...some };
  const batch = spec.queries.length;
  if (Array.isArray(spec.queryOffset)) spec.queryOffset = (spec.queryOffset as number[]).slice(0, batch);
  if (spec.layout === "thd") spec.weights = spec.scores = spec.lengths = spec.sharedKeys = undefined;
  if (spec.pageSize !== undefined) spec.sharedKeys = undefined;
  if (spec.sharedKeys === true) spec.keys = spec.queries.map(() => spec.keys[0]!);
  if (spec.bias === undefined) spec.biasDtype = undefined;
  return affordable(spec);
}

/** Multiply-adds of one sequence that the reference is given time for. */
const budget = 1e6;

/** With smaller vectors where a sequence is long, and fewer queries where one would still take too long. */
function affordable(spec: SomeSpec & Pick<Spec, "queries" | "keys">): SomeSpec {
  const { heads = 1, valueDim: wanted } = spec;
  const largest = spec.keys.some((keys) => keys > 300) ? 17 : Infinity;
  const headDim = Math.min(spec.headDim!, largest);
  const valueDim = Math.min(wanted ?? headDim, largest);
  const most = (keys: number) => Math.max(1, Math.floor(budget / (heads * (headDim + valueDim) * Math.max(1, keys))));
  return {
    ...spec,
    headDim,
    valueDim: wanted && valueDim,
    queries: spec.queries.map((queries, b) => Math.min(queries, most(spec.keys[b]!))),
  };
}
