// Who may attend to whom, and what is done to scores: every rule, with every other.
import { describe, test } from "vitest";
import { check } from "../support/check.js";
import type { SomeSpec } from "../support/spec.js";

const dtypes = ["float32", "float16", "bfloat16"] as const;

const places: SomeSpec[] = [
  {},
  { causal: true },
  { causal: true, queryOffset: 0 },
  { causal: true, queryOffset: -7 },
  { causal: true, queryOffset: 13 },
  { window: { left: 5 } },
  { window: { right: 3 } },
  { window: { left: 0, right: 0 } },
  { window: { left: 20, right: 9 } },
  { window: { left: 1000, right: 1000 } },
  { causal: true, window: { left: 8 } },
  { causal: true, window: { left: 8, right: 4 }, queryOffset: [2, -30] },
  { window: { left: 3, right: 70 }, queryOffset: [-5, 300] },
];

const changes: SomeSpec[] = [
  {},
  { softcap: 3 },
  { alibi: "h" },
  { alibi: "bh", softcap: 1 },
  { sinks: true },
  { sinks: true, mask: "qk", bias: "bhqk" },
  { mask: "b1qk" },
  { bias: "1hqk", biasDtype: "bfloat16" },
  { bias: "hqk", softcap: 20, alibi: "h", sinks: true, mask: "b11k" },
  { scale: -0.4 },
  { scale: 0 },
];

const shapes: SomeSpec[] = [
  { queries: [37, 50], keys: [41, 150], headDim: 8, valueDim: 9 },
  { queries: [1, 2], keys: [30, 300], headDim: 16, valueDim: 8 },
];

describe.each(dtypes)("%s", (dtype) => {
  const all = places.flatMap((place, i) =>
    changes.map((change, j): SomeSpec => {
      const lengths: SomeSpec = (i + j) % 3 === 0 ? { spareKeys: 5, spareQueries: 3 } : {};
      return {
        heads: 2,
        kvHeads: 1,
        seed: i * 100 + j,
        lse: true,
        ...shapes[(i + j) % 2],
        ...lengths,
        ...place,
        ...change,
      };
    }),
  );
  test.each(all)("%o", (spec) => check({ dtype, ...spec }));

  test.each([200, 513])("a window that skips whole blocks on both sides, %i keys", (keys) =>
    check({
      dtype,
      queries: [keys],
      keys: [keys],
      headDim: 8,
      window: { left: 17, right: 2 },
      lse: true,
      weights: true,
    }),
  );
});

describe("masks and biases", () => {
  const letters = ["b", "h", "q", "k"];
  const spreads = [2, 3, 4].flatMap((rank) =>
    Array.from({ length: 2 ** rank }, (_, bits) =>
      letters
        .slice(4 - rank)
        .map((letter, i) => (bits & (1 << i) ? letter : "1"))
        .join(""),
    ),
  );
  const sizes: SomeSpec = { heads: 3, kvHeads: 1, queries: [7, 30], keys: [45, 31], headDim: 8, lse: true };
  test.each(spreads)("spread as %s", async (spread) => {
    await check({ ...sizes, mask: spread });
    await check({ ...sizes, bias: spread });
    await check({ ...sizes, mask: spread, queries: [2, 1], layout: "thd", strides: 5 });
    await check({ ...sizes, bias: spread, queries: [2, 1], layout: "bshd", pageSize: 16 });
  });

  // Whole blocks of keys are hidden, and whole ones left.
  test.each(dtypes)("of texts, %s", async (dtype) => {
    const long: SomeSpec = {
      dtype,
      heads: 2,
      kvHeads: 1,
      queries: [90, 20],
      keys: [640, 525],
      headDim: 24,
      texts: 130,
    };
    for (const mask of ["qk", "bhqk", "b11k"]) await check({ ...long, mask, lse: true });
    await check({ ...long, bias: "hqk", biasDtype: dtype, spareKeys: 7, spareQueries: 3 });
    await check({ ...long, mask: "qk", bias: "b11k", causal: true, window: { left: 300 }, sinks: true, strides: 3 });
    await check({ ...long, mask: "b1qk", layout: "thd", softcap: 5 });
    await check({ ...long, mask: "qk", pageSize: 16, queries: [40, 90] });
    for (const mask of ["b11k", "hqk"]) await check({ ...long, mask, queries: [1, 3], keys: [1900, 700], texts: 700 });
    await check({ ...long, bias: "b1qk", layout: "bshd", queries: [2, 1], causal: true });
    await check({ ...long, mask: "hqk", weights: true, headDim: 70, alibi: "h" });
  });

  test.each(dtypes.flatMap((dtype) => dtypes.map((biasDtype) => [biasDtype, dtype] as const)))(
    "a bias of %s for %s",
    async (biasDtype, dtype) => {
      for (const bias of ["qk", "bhqk", "1h1k", "hq1"]) {
        await check({ ...sizes, dtype, bias, biasDtype, causal: true });
        await check({ ...sizes, dtype, bias, biasDtype, queries: [1, 3], strides: 9 });
      }
    },
  );
});
