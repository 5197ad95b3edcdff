// Bugs of decode's splits and of their merge.
import type { Mutant } from "./mutant.js";

const decode = { file: "decode.cu", image: "decode" };
const merge = { file: "merge.cu", image: "merge" };

export const decodeMutants: readonly Mutant[] = [
  {
    ...decode,
    name: "decode: lanes read what others have not brought",
    find: "__syncwarp();  // and no lane reads the tile before it any more",
    replace: "",
    tests: ["decode: float16 513 keys"],
    caughtBy: ["race-shared"],
  },
  {
    ...decode,
    name: "decode: waits for one copy too few",
    find: "ptx::waitCopies<stages - 2>();",
    replace: "ptx::waitCopies<stages - 1>();",
    tests: ["decode: float16 513 keys"],
    caughtBy: ["race-shared", "uninitialized", "numbers", "async-copy"],
  },
  {
    ...decode,
    name: "decode: the last slice is left out",
    find: "(place.end + keys - 1) / keys - firstSlice",
    replace: "place.end / keys - firstSlice",
    tests: ["decode: float16 513 keys"],
    caughtBy: ["numbers"],
  },
  {
    ...decode,
    name: "decode: warps' sums are added whatever their references",
    find: "const float factor = factorOf(warpIndex(), row, topOf(row));",
    replace: "const float factor = 1;",
    tests: ["decode: float16 large scores"],
    caughtBy: ["numbers"],
  },
  {
    ...decode,
    name: "decode: sums overwrite what other warps still multiply",
    find: "__syncthreads();  // and nobody reads a ring any more",
    replace: "__syncwarp();",
    tests: ["decode: float16 513 keys"],
    caughtBy: ["race-shared"],
  },
  {
    ...merge,
    name: "merge: sums of parts are added whatever their references",
    find: "sum += parts.weight(i, top) * parts.sum(i);",
    replace: "sum += parts.sum(i);",
    tests: ["decode: float16 large scores"],
    caughtBy: ["numbers"],
  },
  {
    ...merge,
    name: "merge: the first 32 parts alone",
    find: "chunk < parts.count; chunk += 32",
    replace: "chunk < 32; chunk += 32",
    tests: ["merge: float32"],
    caughtBy: ["numbers"],
  },
  {
    ...merge,
    name: "merge: parts without keys are read",
    find: "if (weight == 0 || column >= dims) continue;",
    replace: "if (column >= dims) continue;",
    tests: ["merge: float32"],
    caughtBy: ["numbers"],
  },
  {
    ...merge,
    name: "merge: the sink is forgotten",
    find: "exists && sequence.sinks ? sequence.sinks[head]",
    replace: "false ? sequence.sinks[head]",
    tests: ["decode: float16 mask and sinks"],
    caughtBy: ["numbers"],
  },
  {
    ...merge,
    name: "merge: rows past the last query have results",
    find: "exists ? entry.splits : 0,",
    replace: "entry.splits,",
    tests: ["decode: float16 a group of 3"],
    caughtBy: ["numbers"],
  },
];
