// Bugs of which keys of a split decode reads under masks and biases.
import type { Mutant } from "./mutant.js";

const look = { image: "decode", kernels: "Half, float16, 64", file: "left_keys.cuh" };

const reads = (name: string) => [`left keys: float16 ${name}`];

export const leftKeysMutants: readonly Mutant[] = [
  {
    ...look,
    name: "left keys: the last key that is left is left out",
    find: "max(left.end, key + 1)}",
    replace: "max(left.end, key - 15)}",
    tests: reads("all but the last key"),
    caughtBy: ["numbers"],
  },
  {
    ...look,
    name: "left keys: the first key that is left is left out",
    find: "min(left.begin, key), max",
    replace: "min(left.begin, key + 16), max",
    tests: reads("texts"),
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
