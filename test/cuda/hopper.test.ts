// Which calls Hopper's kernel takes, why it leaves others, and how much it computes. (Its results: the suites that
// vitest.config.ts runs on a simulated Hopper GPU.)
import { describe, expect, test } from "vitest";
import { devices, explain, Tensor, type AttentionOptions } from "../../lib/index.js";

const onHopper = devices().some((info) => "computeCapability" in info && info.computeCapability.startsWith("9."));

describe.runIf(onHopper)("cuda.tiled_sm90", () => {
  const shapes = (
    queries: number,
    keys: number,
    headDim: number,
    valueDim = headDim,
    dtype: "float16" | "bfloat16",
  ) => {
    const of = (length: number, heads: number, dim: number) => ({ shape: [1, heads, length, dim] as const, dtype });
    return [of(queries, 4, headDim), of(keys, 2, headDim), of(keys, 2, valueDim)] as const;
  };
  const plan = (options: AttentionOptions, ...sizes: Parameters<typeof shapes>) =>
    explain(...shapes(...sizes), { ...options, device: "cuda" });

  const rules: Record<string, AttentionOptions> = {
    full: {},
    causal: { causal: true },
    "causal from the top left": { causal: true, queryOffset: 0 },
    window: { window: { left: 100, right: 5 } },
    softcap: { softcap: 20 },
    sinks: { sinks: Float32Array.of(1, 2, 3, 4) },
    alibi: { alibiSlopes: Float32Array.of(1, 2, 3, 4) },
    lengths: { keyLengths: Int32Array.of(100) },
    mask: { mask: Tensor.zeros([1, 1, 200, 300], { dtype: "bool" }) },
    bias: { bias: Tensor.zeros([1, 1, 200, 300]) },
    "lse and weights": { returnLse: true, returnWeights: true },
    "a scale below 0": { scale: -1 },
  };
  test.each(Object.entries(rules))("takes %s", (_, options) => {
    for (const dtype of ["float16", "bfloat16"] as const)
      for (const [headDim, valueDim] of [
        [8, 8],
        [64, 64],
        [96, 96],
        [128, 128],
        [192, 128],
        [192, 192],
        [256, 256],
        [40, 200],
      ] as const) {
        const { kernel, parts } = plan(options, 200, 300, headDim, valueDim, dtype);
        expect([kernel, parts[0]!.reason]).toEqual(["cuda.tiled_sm90", ""]);
      }
  });

  test("says why it leaves a call to cuda.tiled", () => {
    const odd = plan({}, 200, 300, 60, 60, "float16");
    expect([odd.kernel, odd.parts[0]!.reason]).toEqual(["cuda.tiled", expect.stringMatching(/16 bytes/)]);
    const pages = { shape: [8, 2, 16, 64], dtype: "float16" } as const;
    const paged = explain({ shape: [1, 4, 20, 64], dtype: "float16" }, pages, pages, {
      pageTable: { shape: [1, 4], dtype: "int32" },
      keyLengths: Int32Array.of(50),
      device: "cuda",
    });
    expect([paged.kernel, paged.parts[0]!.reason]).toEqual(["cuda.tiled", expect.stringMatching(/pages/)]);
  });

  test.each([64, 96, 128, 192, 256])("%i dims, 16k: hardly more than what is needed", (dim) => {
    for (const causal of [false, true]) {
      const { flops, usefulFlops } = plan({ causal }, 16384, 16384, dim, dim, "float16");
      expect(flops / usefulFlops).toBeLessThanOrEqual(causal ? 1.04 : 1.02);
    }
  });
});
