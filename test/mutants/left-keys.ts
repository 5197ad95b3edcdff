// Bugs of which keys of a split decode reads under masks and biases.
import type { Mutant } from "./mutant.js";

const look = { image: "decode", kernels: "Half, float16, 64", file: "left_keys.cuh" };

const reads = (name: string) => [`left keys: float16 ${name}`];

export const leftKeysMutants: readonly Mutant[] = [
  {
    ...look,
    name: "left keys: the last key that is left is left out",
    find: "max(left.end, first + 32 * i + 1)}",
    replace: "max(left.end, first + 32 * i - 15)}",
    tests: reads("all but the last key"),
    caughtBy: ["numbers"],
  },
  {
    ...look,
    name: "left keys: the first key that is left is left out",
    find: "min(left.begin, first + 32 * i), max",
    replace: "min(left.begin, first + 32 * i + 16), max",
    tests: reads("texts"),
    caughtBy: ["numbers"],
  },
  {
    ...look,
    kernels: "float, float32, 64",
    file: "decode.cuh",
    name: "left keys: slices are dealt out from the first that is read",
    find: "firstSlice = begin + ((warp - begin) & (decodeWarps - 1));",
    replace: "firstSlice = begin + warp;",
    tests: ["left keys: float32 masks spelled out"],
    caughtBy: ["numbers"],
  },
  {
    ...look,
    file: "decode.cuh",
    name: "left keys: a warp does not wait for what the first has found",
    find: "shared.left = leftKeys(problem, sequence, place.kvHead, place.keys);\n  __syncthreads();\n  if (hides) place.keys = shared.left;",
    replace:
      "shared.left = leftKeys(problem, sequence, place.kvHead, place.keys);\n  if (hides) place.keys = shared.left;\n  __syncthreads();",
    tests: reads("padding"),
    caughtBy: ["race-shared", "uninitialized"],
  },
  {
    image: "decode_sm90",
    kernels: "float16, Half, 64",
    file: "decode_sm90.cu",
    name: "left keys: on Hopper tiles begin with the split",
    find: "const int firstTile = place.keys.begin / shape.keys;",
    replace: "const int firstTile = (entry.firstSplit + place.split) * entry.splitKeys / shape.keys;",
    tests: reads("texts, on Hopper"),
    caughtBy: ["numbers"],
  },
  {
    ...look,
    name: "left keys: only one row is looked at",
    find: "row < pairs.queries * pairs.heads; row++",
    replace: "row < 1; row++",
    tests: reads("each head's texts"),
    caughtBy: ["numbers"],
  },
  {
    ...look,
    name: "left keys: the heads of another group",
    find: "int64_t{kvHead} * group, 0,",
    replace: "0, 0,",
    tests: reads("each head's texts"),
    caughtBy: ["numbers"],
  },
  {
    ...look,
    name: "left keys: only the first keys are looked at",
    find: "from < span.end && left.end == 0; from += keysLookedAt",
    replace: "from == span.begin; from += keysLookedAt",
    tests: reads("all but the last key"),
    caughtBy: ["numbers"],
  },
  {
    ...look,
    name: "left keys: what lies behind the first ones is not looked at",
    find: "to > rest.begin; to -= keysLookedAt",
    replace: "to > span.end; to -= keysLookedAt",
    tests: reads("padding"),
    caughtBy: ["numbers"],
  },
  {
    ...look,
    name: "left keys: the end is looked at too late",
    find: "lookAtKeys(view, pairs, rest, to - keysLookedAt, isLeft)",
    replace: "lookAtKeys(view, pairs, rest, to, isLeft)",
    tests: reads("padding"),
    caughtBy: ["numbers"],
  },
  {
    ...look,
    name: "left keys: nothing left is all",
    find: "if (left.end == 0) return {0, 0};",
    replace: "if (left.end == 0) return span;",
    tests: reads("padding"),
    caughtBy: ["numbers"],
  },
  {
    ...look,
    name: "left keys: a hidden bias is left",
    find: "ptx::toFloat(element) != negativeInfinity()",
    replace: "true",
    tests: reads("a bias of texts"),
    caughtBy: ["numbers"],
  },
  {
    ...look,
    name: "left keys: a bias is not looked at",
    find: "if (!sequence.bias) return span;",
    replace: "return span;",
    tests: reads("a bias of texts"),
    caughtBy: ["numbers"],
  },
];
