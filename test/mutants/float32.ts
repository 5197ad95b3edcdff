// Bugs of float32 on tensor cores: three products of tf32 that make one.
import type { Mutant } from "./mutant.js";

const image = { image: "tiled_float32_sm80", kernels: "float, float32, 64" };
const split = { ...image, file: "split.cuh" };
const ptx = { ...image, file: "ptx.cuh" };
const kernel = { ...image, file: "tiled_sm80.cuh" };

const parity = (name: string) => [`parity: tiled float32 ${name}`];
const simple = parity("lengths 33 x 65");

export const float32Mutants: readonly Mutant[] = [
  {
    ...split,
    name: "split: scores without the low parts of queries",
    find: "ptx::multiplyAddTf32(low, leftLow[i], b0.high, b1.high);",
    replace: "",
    tests: simple,
    caughtBy: ["numbers"],
  },
  {
    ...split,
    name: "split: scores without the low parts of keys",
    find: "ptx::multiplyAddTf32(low, leftHigh[i], b0.low, b1.low);",
    replace: "",
    tests: simple,
    caughtBy: ["numbers"],
  },
  {
    ...split,
    name: "split: output without the low parts of probabilities",
    find: "ptx::multiplyAddTf32(sum.low.fragments[i][0], p.low[i][step], even.high, odd.high);",
    replace: "",
    tests: simple,
    caughtBy: ["numbers"],
  },
  {
    ...split,
    name: "split: output without the low parts of values",
    find: "ptx::multiplyAddTf32(sum.low.fragments[i][0], p.high[i][step], even.low, odd.low);",
    replace: "",
    tests: simple,
    caughtBy: ["numbers"],
  },
  {
    ...split,
    name: "split: high parts of a bit too many",
    find: "bits & 0xffffe000;",
    replace: "bits & 0xfffff000;",
    tests: simple,
    caughtBy: ["numbers"],
  },
  {
    ...split,
    name: "split: low parts are positive",
    find: " | (bits & 0x80000000)};",
    replace: "};",
    tests: simple,
    caughtBy: ["numbers"],
  },
  {
    ...split,
    name: "split: infinity times a number without a low part is NaN",
    find: "leastScoreFactor = 0x2000;",
    replace: "leastScoreFactor = 0;",
    tests: parity("a key with a score of -inf"),
    caughtBy: ["numbers"],
  },
  {
    ...split,
    name: "split: an infinite value times a probability of 1 is NaN",
    find: "__float_as_uint(p * 0x1p-30f));",
    replace: "0);",
    tests: parity("an infinite value"),
    caughtBy: ["numbers"],
  },
  {
    ...split,
    name: "split: probabilities without the order of their keys",
    find: "[k / 2 + k % 2 * 2];",
    replace: "[k];",
    tests: simple,
    caughtBy: ["numbers"],
  },
  {
    ...split,
    image: "tiled_weights",
    kernels: "float32, float",
    name: "split: a step past headDim is multiplied",
    find: "if (step * 8 >= depth) break;",
    replace: "if (step * 8 > depth) break;",
    tests: ["plans: executed flops tiled float32 72, 64, weights"],
    caughtBy: ["numbers"],
  },
  {
    ...split,
    image: "tiled_weights",
    kernels: "float32, float",
    name: "split: the last step is left out",
    find: "if (step * 8 >= depth) break;",
    replace: "if (step * 8 + 8 > depth) break;",
    tests: parity("weights of 180 dims"),
    caughtBy: ["numbers"],
  },
  {
    ...ptx,
    name: "ptx: rows of tf32 factors swapped",
    find: ': "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])\n      : "r"(a[0]), "r"(a[1]),',
    replace: ': "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])\n      : "r"(a[1]), "r"(a[0]),',
    tests: simple,
    caughtBy: ["numbers"],
  },
  {
    ...kernel,
    name: "tiled float32: pairs at the places of 16-bit ones",
    find: "static_cast<float2*>(granule)[column % perGranule / 2] = {low, high};",
    replace: "static_cast<float2*>(granule)[0] = {low, high};",
    tests: simple,
    caughtBy: ["numbers", "uninitialized", "race-shared"],
  },
];
