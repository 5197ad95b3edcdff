// Bugs of storing rows in pages, and of reading int8 ones.
import type { Mutant } from "./mutant.js";

const store = { file: "store.cu", image: "store" };
const int8 = { file: "tile.cuh", image: "decode_int8", kernels: "Half, float16, 128" };

export const pagesMutants: readonly Mutant[] = [
  {
    ...store,
    name: "store: the second of a pair turns the other way",
    find: "__fmul_rn(second ? other : -other, turn.y)",
    replace: "__fmul_rn(-other, turn.y)",
    tests: ["store: float32 to float32"],
    caughtBy: ["numbers"],
  },
  {
    ...store,
    name: "store: rotations are fused, which the CPU's are not",
    find: "__fadd_rn(__fmul_rn(own, turn.x), __fmul_rn(second ? other : -other, turn.y))",
    replace: "fmaf(own, turn.x, __fmul_rn(second ? other : -other, turn.y))",
    tests: ["store: float32 to float32"],
    caughtBy: ["numbers"],
  },
  {
    ...store,
    name: "store: each lane has a scale of its own",
    find: "largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, lanes));",
    replace: "",
    tests: ["store: float32 to int8"],
    caughtBy: ["numbers"],
  },
  {
    ...store,
    name: "store: a row with an infinity is stored",
    find: "finite = __all_sync(0xffffffff, finite);",
    replace: "finite = true;",
    tests: ["store: float32 to int8"],
    caughtBy: ["numbers"],
  },
  {
    ...store,
    name: "store: what rows end with goes to the next one too",
    find: "if (i * 32 + lane < dims)",
    replace: "if (i * 32 + lane <= dims)",
    tests: ["store: float32 to int8"],
    caughtBy: ["race-global", "numbers"],
  },
  {
    ...int8,
    name: "int8: scores lack the scales of keys",
    find: "scores.at(i, j) *= scale;",
    replace: "scores.at(i, j) *= 0.02f;",
    tests: ["int8: float16 decode, 16 rows"],
    caughtBy: ["numbers"],
  },
  {
    ...int8,
    name: "int8: lanes multiply what others have not converted",
    find: "      __syncwarp();\n    else",
    replace: "      (void)0;\n    else",
    tests: ["int8: float16 decode, 16 rows"],
    caughtBy: ["race-shared"],
  },
  {
    ...int8,
    name: "int8: scales of rows past the end are read",
    find: "const bool exists = first + key < rowEnd;",
    replace: "const bool exists = true;",
    tests: ["int8: float16 decode, 16 rows"],
    caughtBy: ["numbers", "out-of-bounds-global"],
  },
];
