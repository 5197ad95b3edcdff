// Sizes of every kind: one, primes, and those before, at and past the edges of vectors, tiles, blocks and splits.
import { describe, test } from "vitest";
import { onCuda } from "../support/backends.js";
import { check } from "../support/check.js";
import { show, type SomeSpec } from "../support/spec.js";

const dtypes = ["float32", "float16", "bfloat16"] as const;
const dims = [1, 3, 8, 16, 17, 31, 64, 65, 80, 96, 128, 192, 256, 512];

describe.each(dtypes)("%s", (dtype) => {
  describe("headDim and valueDim", () => {
    const pairs: [number, number][] = [
      ...dims.map((dim): [number, number] => [dim, dim]),
      ...dims.map((dim, i): [number, number] => [dim, dims[(i * 5 + 3) % dims.length]!]),
      [1, 512],
      [512, 1],
      [192, 128],
    ];
    // Few queries take the decode kernel, more the tiled one.
    test.each(pairs)("%i and %i", async (headDim, valueDim) => {
      const seed = headDim * 1000 + valueDim;
      await check({ dtype, seed, headDim, valueDim, queries: [2], keys: [37], lse: true });
      await check({ dtype, seed, headDim, valueDim, queries: [29], keys: [37], causal: true, weights: true });
    });
  });

  describe("queryLength and keyLength", () => {
    const edges = [4, 8, 24, 128, 192, 256, 384];
    const beside = edges.flatMap((edge) => [edge - 1, edge, edge + 1]);
    const specs = beside.flatMap((length, i): SomeSpec[] => {
      const other = beside[(i * 8 + 5) % beside.length]!;
      const causal = i % 2 === 0;
      return [
        { queries: [length], keys: [other], headDim: 9, valueDim: 5, causal, lse: true },
        { queries: [length], keys: [length], headDim: 8, valueDim: 8, causal: !causal },
        { queries: [1], keys: [length], heads: 2, kvHeads: 1, headDim: 16, lse: true },
      ];
    });
    test.each([
      ...specs,
      { queries: [1], keys: [1], headDim: 1, weights: true },
      { queries: [1], keys: [2], headDim: 3, weights: true },
      { queries: [97], keys: [1], headDim: 5, weights: true, lse: true },
      { queries: [101], keys: [103], headDim: 13, weights: true, lse: true },
      { queries: [211, 7, 1], keys: [199, 13, 101], headDim: 7, valueDim: 11, causal: true, lse: true },
      { queries: [0, 5], keys: [5, 0], headDim: 4, lse: true, weights: true },
      { queries: [0], keys: [0], headDim: 4, lse: true },
      { queries: [], keys: [], headDim: 4, lse: true },
    ])("%o", (spec) => check({ dtype, seed: 7, ...spec }));
  });

  describe("keys that are split among threads", () => {
    const edges = [1024, 2048, 4096].flatMap((edge) => [edge - 1, edge, edge + 1]);
    test.each(
      edges.flatMap((keys, i): SomeSpec[] => [
        { queries: [1], keys: [keys], heads: 4, kvHeads: 2, headDim: 16, valueDim: 8, lse: true },
        { queries: [3], keys: [keys], headDim: 8, causal: true, sinks: true, lse: true, spareKeys: i },
        { queries: [11], keys: [keys], headDim: 8, window: { left: 1500 }, lse: true },
        { queries: [2], keys: [keys], headDim: 4, mask: "qk", alibi: "h", softcap: 20, lse: true },
      ]),
    )("%o", (spec) => check({ dtype, seed: 11, ...spec }));

    test("one of several sequences, paged", () =>
      check({ dtype, queries: [1, 1, 2], keys: [2500, 3, 1024], headDim: 16, pageSize: 16, lse: true, heads: 2 }));
  });
});

describe("heads", () => {
  const ratios = [1, 2, 3, 5, 7, 8, 16];
  const pairs = ratios.flatMap((group) => [1, 2, 3].map((kvHeads) => [kvHeads * group, kvHeads] as const));
  test.each(pairs.filter(([heads]) => !onCuda || heads <= 24))("%i on %i", async (heads, kvHeads) => {
    for (const [i, queries] of [1, 3, 14].entries()) {
      const common: SomeSpec = { seed: heads, heads, kvHeads, headDim: 12, dtype: dtypes[i]!, lse: true };
      await check({ ...common, queries: [queries], keys: [33], causal: true });
      await check({ ...common, queries: [queries, 2], keys: [19, 21], alibi: "bh", sinks: true, mask: "1hqk" });
      await check({ ...common, queries: [queries], keys: [19], bias: "1h1k", layout: "thd", softcap: 3 });
    }
  });

  test("many", () => check({ heads: 64, kvHeads: 4, headDim: 8, queries: [5], keys: [9], weights: true }));
});

test("a name says what to paste", ({ expect }) => {
  expect(show({ heads: 2, kvHeads: 2, headDim: 4, causal: false, keys: [3], lse: true })).toBe(
    "{ heads: 2, headDim: 4, keys: [ 3 ], lse: true }",
  );
});
