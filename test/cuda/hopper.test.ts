// Which calls Hopper's kernel takes, why it leaves others, and how much it computes; and that other GPUs never get it. (Its
// results: the suites that compute, which draw a GPU of each compute capability; here beside its own tiles' edges.)
import { describe, expect, test } from "vitest";
import { devices, explain, Tensor, type AttentionOptions, type Layout } from "../../lib/index.js";
import { backends, run } from "../support/backends.js";
import { build } from "../support/build.js";
import { complaint } from "../support/compare.js";
import { oracle } from "../support/oracle.js";
import { complete } from "../support/spec.js";

const gpus = devices().flatMap((info) => ("computeCapability" in info ? [info] : []));
const isHopper = ({ computeCapability }: (typeof gpus)[number]) => computeCapability.startsWith("9.");
const halves = ["float16", "bfloat16"] as const;

/** Two sequences of 200 queries and 300 keys, 4 heads. */
const [batch, heads, queries, keys] = [2, 4, 200, 300];

interface Sizes {
  readonly headDim?: number;
  readonly valueDim?: number;
  readonly kvHeads?: number;
  readonly layout?: Layout;
  readonly dtype?: "float16" | "bfloat16" | "float32";
}

function inputs({ headDim = 64, valueDim = headDim, kvHeads = 2, layout = "bhsd", dtype = "float16" }: Sizes) {
  const of = (length: number, count: number, dim: number) => {
    const shapes = {
      bhsd: [batch, count, length, dim],
      bshd: [batch, length, count, dim],
      thd: [batch * length, count, dim],
    };
    return { shape: shapes[layout], dtype };
  };
  return [of(queries, heads, headDim), of(keys, kvHeads, headDim), of(keys, kvHeads, valueDim)] as const;
}

const ragged = {
  layout: "thd",
  cuSeqlensQuery: Int32Array.of(0, 17, batch * queries),
  cuSeqlensKey: Int32Array.of(0, 430, batch * keys),
} as const;

/** All that a call may ask for, but pages, and scores, which are the standard kernel's. */
const rules: Record<string, AttentionOptions> = {
  full: {},
  causal: { causal: true },
  "causal from the top left": { causal: true, queryOffset: 0 },
  "offsets of their own": { causal: true, queryOffset: [-30, 500] },
  window: { window: { left: 100, right: 5 } },
  "causal window": { causal: true, window: { left: 0 } },
  softcap: { softcap: 20 },
  sinks: { sinks: Float32Array.of(1, 2, 3, 4) },
  alibi: { alibiSlopes: Float32Array.of(1, 2, 3, 4) },
  lengths: { queryLengths: Int32Array.of(0, 199), keyLengths: Int32Array.of(100, 0) },
  mask: { mask: Tensor.zeros([1, 1, queries, keys], { dtype: "bool" }) },
  "a mask for each sequence and head": { mask: Tensor.zeros([batch, heads, queries, keys], { dtype: "bool" }) },
  bias: { bias: Tensor.zeros([1, 1, queries, keys]) },
  "a bias for each head, in float16": { bias: Tensor.zeros([heads, 1, keys], { dtype: "float16" }) },
  "lse and weights": { returnLse: true, returnWeights: true },
  "a scale below 0": { scale: -1 },
  everything: {
    causal: true,
    window: { left: 70, right: 9 },
    softcap: 5,
    scale: 0.3,
    queryOffset: 3,
    returnLse: true,
    sinks: Float32Array.of(1, 2, 3, 4),
    alibiSlopes: Float32Array.of(1, 2, 3, 4),
    mask: Tensor.zeros([queries, keys], { dtype: "bool" }),
    bias: Tensor.zeros([heads, queries, keys], { dtype: "bfloat16" }),
  },
};

/** Each kernel in use, and why it is not Hopper's. */
const kernels = (device: (typeof gpus)[number], sizes: Sizes, options: AttentionOptions = {}) =>
  explain(...inputs(sizes), { ...options, layout: sizes.layout, device: device.device }).parts.map(
    ({ kernel, reason }) => [kernel, reason],
  );

describe.each(gpus)("compute capability $computeCapability", (gpu) => {
  const expected = [[isHopper(gpu) ? "cuda.tiled_sm90" : "cuda.tiled", ""]];

  test.each(Object.entries(rules))("%s", (_, options) => {
    for (const dtype of halves)
      for (const layout of ["bhsd", "bshd"] as const)
        for (const kvHeads of [1, 2])
          for (const [headDim, valueDim] of [
            [64, 64],
            [192, 128],
            [40, 256],
          ] as const)
            expect(kernels(gpu, { dtype, layout, kvHeads, headDim, valueDim }, options)).toEqual(expected);
  });

  test("ragged", () => {
    for (const dtype of halves) expect(kernels(gpu, { dtype, layout: "thd" }, ragged)).toEqual(expected);
  });

  test("all dims of whole 16 bytes, up to 256", () => {
    const dims = Array.from({ length: 32 }, (_, i) => 8 * (i + 1));
    for (const headDim of dims)
      for (const valueDim of dims) expect(kernels(gpu, { headDim, valueDim })).toEqual(expected);
  });

  /** Of a call's one part. */
  const part = (length: number, options: AttentionOptions = {}, dim = 64) => {
    const shape = [2, 8, length, dim];
    const tensor = { shape, dtype: "float16" } as const;
    return explain(tensor, tensor, tensor, { ...options, device: gpu.device }).parts[0]!;
  };

  test("the order of tiles: the longest first where some see more keys", () => {
    expect(part(512).order).toBe(isHopper(gpu) ? "dealt" : "longest first");
    const differing: AttentionOptions[] = [
      { causal: true },
      { window: { left: 100 } },
      { keyLengths: Int32Array.of(512, 511) },
    ];
    for (const options of differing) expect(part(512, options).order).toBe("longest first");
    expect(part(512, { algorithm: "standard", causal: true })).toMatchObject({ order: "", sectionHeads: 0 });
  });

  test("sections of heads whose keys and values half of the L2 cache holds", () => {
    const heads = (length: number, dim?: number) => part(length, {}, dim).sectionHeads;
    const sections = [128, 16384, 32768, 1 << 20].map((length) => heads(length));
    expect(sections).toEqual([...sections].sort((a, b) => b - a));
    expect([sections[0], sections.at(-1)]).toEqual([8, 1]);
    if (gpu.name.includes("simulator")) expect(sections).toEqual([8, 5, 2, 1]); // of 40 MiB, 4 and 8 MiB a head
    expect(heads(16384, 128)).toBe(heads(32768));
  });

  test("one query, where its keys are not worth splitting", () => {
    const plan = (length: number) => {
      const key = { shape: [1, 2, length, 64], dtype: "float16" } as const;
      return explain({ shape: [1, 4, 1, 64], dtype: "float16" }, key, key, { device: gpu.device }).kernel;
    };
    expect([plan(1), plan(100), plan(4096)]).toEqual([expected[0]![0], expected[0]![0], "cuda.decode"]);
  });
});

describe.each(gpus.filter(isHopper))("what cuda.tiled_sm90 leaves to cuda.tiled, and why", (gpu) => {
  test("float32, rows off 16 bytes, pages", () => {
    const left = (reason: RegExp) => [["cuda.tiled", expect.stringMatching(reason)]];
    expect(kernels(gpu, { dtype: "float32" })).toEqual(left(/float16/));
    for (const sizes of [{ headDim: 60 }, { valueDim: 60 }, { headDim: 1, valueDim: 64 }])
      expect(kernels(gpu, sizes)).toEqual(left(/16 bytes/));
    const pages = { shape: [8, 2, 16, 64], dtype: "float16" } as const;
    const paged = explain({ shape: [1, 4, 20, 64], dtype: "float16" }, pages, pages, {
      pageTable: { shape: [1, 4], dtype: "int32" },
      keyLengths: Int32Array.of(50),
      device: gpu.device,
    });
    expect(paged.parts).toMatchObject(left(/pages/).map(([kernel, reason]) => ({ kernel, reason })));
  });

  test.each([
    [64, 64],
    [96, 96],
    [128, 128],
    [192, 128],
    [192, 192],
    [256, 256],
  ])("dims of %i and %i, 16k: hardly more than what is needed", (headDim, valueDim) => {
    const tensor = (dim: number) => ({ shape: [1, 4, 16384, dim], dtype: "float16" }) as const;
    for (const causal of [false, true]) {
      const options = { causal, device: gpu.device };
      const { flops, usefulFlops } = explain(tensor(headDim), tensor(headDim), tensor(valueDim), options);
      expect(flops / usefulFlops).toBeLessThanOrEqual(causal ? 1.04 : 1.02);
    }
  });
});

// Tiles of 112 and 80 keys, whose edges the suites' lengths do not meet, and of 64 rows of each warpgroup.
describe.each(gpus.filter(isHopper))("lengths one off a tile, on $name", (gpu) => {
  test.each([
    [96, 112, false],
    [192, 112, true],
    [256, 80, true],
  ])("%i dims, tiles of %i keys, causal %s", async (headDim, tile, causal) => {
    const queries = [63, 64, 65, 127, 193];
    const keys = [tile - 1, tile, tile + 1, 2 * tile - 1, 2 * tile + 1];
    const problem = build(complete({ dtype: "float16", layout: "thd", headDim, causal, lse: true, queries, keys }));
    const backend = { ...backends[0]!, device: gpu.device };
    const result = await run(backend, [problem.query, problem.key, problem.value], problem.options);
    expect(result.plan).toMatchObject({ kernel: "cuda.tiled_sm90", keyBlock: tile, parts: [{}] });
    expect(complaint(problem.spec, result, oracle(problem), backend.boundsOf(result.plan))).toBeUndefined();
  });
});
