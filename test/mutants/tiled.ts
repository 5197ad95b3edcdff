// Bugs of the tiled kernels: their ring of copies, rows and heads, weights. (softmax.ts: what lies between two products.)
import type { Mutant } from "./mutant.js";

const narrow = { image: "tiled_sm80", kernels: "Half, float16, 64" };
const wide = { image: "tiled_sm80", kernels: "Half, float16, 128" };
/** Its ring has two places. */
const small = { ...wide, capability: "8.6" };
const weightsImage = { image: "tiled_weights", kernels: "float16, Half" };
const kernel = { ...narrow, file: "tiled_sm80.cuh" };
const rules = { ...narrow, file: "tiled_rules.cuh" };
const tile = { ...narrow, file: "tile.cuh" };
const weights = { ...weightsImage, file: "tiled_weights.cu" };

const parity = (name: string) => [`parity: tiled float16 ${name}`];
const bounds = (name: string) => [`bounds: tiled float16 ${name}`];

/** Who computes which split, and where its results go. */
const splits: readonly Mutant[] = [
  {
    ...kernel,
    name: "tiled: each split has all keys",
    find: "splitTiles(tiledKeyTiles(problem, sequence, shape, rowTile), entry.splitTiles, split);",
    replace: "tiledKeyTiles(problem, sequence, shape, rowTile);",
    tests: ["splits: float16 1025 keys"],
    caughtBy: ["numbers"],
  },
  {
    ...kernel,
    name: "tiled: splits of the first head for all",
    find: "const int perSplit = entry.rowTiles * problem.kvHeads,",
    replace: "const int perSplit = entry.rowTiles,",
    tests: ["splits: float16 four splits"],
    caughtBy: ["numbers", "race-global", "out-of-bounds-global", "uninitialized"],
  },
  {
    ...kernel,
    name: "tiled: results of one split where another's are",
    find: "(int64_t{kvHead} * entry.splits + split) * rowCount",
    replace: "int64_t{kvHead} * entry.splits * rowCount",
    tests: ["splits: float16 four splits"],
    caughtBy: ["race-global", "uninitialized", "numbers"],
  },
  {
    ...kernel,
    name: "tiled: rows past the last one have results",
    find: "if (Output::row(i) >= count) continue;",
    replace: "",
    tests: ["splits: float16 1025 keys"],
    caughtBy: ["race-global", "out-of-bounds-global", "numbers"],
  },
  {
    ...kernel,
    name: "tiled: nothing is left where rows see nothing of a split",
    find: "entry.statistics[shared.firstResult + threadIdx.x] = {negativeInfinity(), 0};",
    replace: "(void)0;",
    tests: ["splits: float16 row tiles that see one split or two"],
    caughtBy: ["uninitialized", "uninitialized-branch", "numbers"],
  },
];

/** What is copied, where to, and who waits for it. */
const ring: readonly Mutant[] = [
  {
    ...kernel,
    name: "tiled: waits for one copy too few",
    find: "ptx::waitCopies<shape.stages - 2>();",
    replace: "ptx::waitCopies<shape.stages - 1>();",
    tests: parity("lengths 128 x 128"),
    caughtBy: ["race-shared", "copy-in-flight", "uninitialized"],
  },
  {
    ...kernel,
    ...small,
    name: "tiled: waits as if its ring had more places than it has",
    find: "if (stages == 2)",
    replace: "if (stages == 1)",
    tests: parity("several tiles of 128, 128"),
    caughtBy: ["race-shared", "copy-in-flight", "uninitialized"],
  },
  {
    ...kernel,
    ...small,
    name: "tiled: copies into places that its ring does not have",
    find: "place == 0 ? stages - 1 : place - 1",
    replace: "place == 0 ? shape.stages - 1 : place - 1",
    tests: parity("several tiles of 128, 128"),
    caughtBy: ["out-of-bounds-shared"],
  },
  {
    ...kernel,
    name: "tiled: no barrier between a tile's copy and its readers",
    find: "__syncthreads();  // and nobody reads the tile before it any more",
    replace: "",
    tests: parity("lengths 128 x 128"),
    caughtBy: ["race-shared"],
  },
  {
    ...kernel,
    name: "tiled: the next tile is copied over the one that is read",
    find: "load((values + shape.stages - 1) % 2 == 1, place == 0 ? stages - 1 : place - 1);",
    replace: "load((values + shape.stages - 1) % 2 == 1, place);",
    tests: parity("lengths 129 x 127"),
    caughtBy: ["race-shared", "copy-in-flight", "numbers", "uninitialized"],
  },
  {
    ...kernel,
    name: "tiled: one place of the ring is forgotten",
    find: "place = place == stages - 1 ? 0 : place + 1;\n    nextTile(true);",
    replace: "place = place == stages - 2 ? 0 : place + 1;\n    nextTile(true);",
    tests: parity("several tiles of 64, 64"),
    caughtBy: ["numbers", "uninitialized", "race-shared", "copy-in-flight"],
  },
  {
    ...kernel,
    name: "tiled: what all threads know is read before it is written",
    find: "* rowCount + shared.firstRow;\n  }\n  __syncthreads();",
    replace: "* rowCount + shared.firstRow;\n  }",
    tests: parity("lengths 33 x 65"),
    caughtBy: ["race-shared"],
  },
  {
    ...kernel,
    name: "tiled: output is written where a query still arrives",
    find: "ptx::waitCopies<0>();\n  __syncthreads();  // the query's place becomes the output's",
    replace: "",
    tests: parity("negative offset: empty rows"),
    caughtBy: ["race-shared", "copy-in-flight"],
  },
  {
    ...kernel,
    name: "tiled: output is read before other lanes have written it",
    find: "__syncwarp();\n  writeRows",
    replace: "writeRows",
    tests: parity("lengths 33 x 65"),
    caughtBy: ["race-shared"],
  },
  {
    ...kernel,
    name: "tiled: values of the next tile",
    find: "next * keys, shared.keyLength,",
    replace: "(next + values) * keys, shared.keyLength,",
    tests: parity("lengths 129 x 127"),
    caughtBy: ["numbers"],
  },
  {
    ...kernel,
    ...wide,
    name: "tiled: as many columns of values as of keys",
    find: "values ? problem.valueDim : problem.headDim);",
    replace: "problem.headDim);",
    tests: parity("dims 48, 72"),
    caughtBy: ["numbers", "uninitialized"],
  },
  {
    ...kernel,
    name: "tiled: one key past the last",
    find: "shared.keyLength = int(sequence.keyLength);",
    replace: "shared.keyLength = int(sequence.keyLength) + 1;",
    tests: bounds("rows before heads, causal"),
    caughtBy: ["out-of-bounds-global"],
  },
  {
    ...kernel,
    name: "tiled: the last query is not loaded",
    find: "loadRows<tiledThreads>(shared.query, query, rowCount - firstRow,",
    replace: "loadRows<tiledThreads>(shared.query, query, rowCount - firstRow - 1,",
    tests: parity("lengths 33 x 65"),
    caughtBy: ["numbers"],
  },
  {
    ...tile,
    name: "tiled: rows of several pages are found as in one",
    find: "if (uint32_t(row[0].remainder) + (count - 1) * step >= pageSize.divisor) {",
    replace: "if (false) {",
    tests: parity("pages of 16"),
    caughtBy: ["numbers", "uninitialized", "out-of-bounds-global"],
  },
  {
    ...tile,
    name: "tiled: all rows are in the first one's page",
    find: "row[i] = pageSize.divide(min(first + i * step, last));",
    replace: "row[i] = {pageSize.divide(first).quotient, pageSize.divide(min(first + i * step, last)).remainder};",
    tests: parity("pages of 16"),
    caughtBy: ["numbers", "uninitialized"],
  },
  {
    ...tile,
    name: "tiled: pages past the last are looked up",
    find: "min(first + i * step, last)",
    replace: "first + i * step",
    tests: bounds("pages"),
    caughtBy: ["out-of-bounds-global"],
  },
  {
    ...tile,
    name: "tiled: a tile begins with its first page",
    find: "uint32_t(row[i].remainder) * rowStride",
    replace: "(row[i].remainder - row[0].remainder) * rowStride",
    tests: parity("pages of 100"),
    caughtBy: ["numbers", "out-of-bounds-global"],
  },
];

/** Rows, heads, and what is written. */
const rows: readonly Mutant[] = [
  {
    ...rules,
    name: "tiled: heads of another group",
    find: "kvHead * int(arguments.group.divisor) + place.remainder",
    replace: "kvHead + place.remainder",
    tests: parity("grouped heads"),
    caughtBy: ["race-global"],
  },
  {
    ...rules,
    name: "tiled: groups as if of one head",
    find: "const Divisor::Quotient place = arguments.group.divide(row);",
    replace: "const Divisor::Quotient place{row, 0};",
    tests: parity("a group of 3"),
    caughtBy: ["numbers", "out-of-bounds-global"],
  },
  {
    ...kernel,
    name: "tiled: rows past the last query have results",
    find: "const bool exists = packed.query < sequence.queryLength;",
    replace: "const bool exists = true;",
    tests: parity("everything"),
    caughtBy: ["numbers"],
  },
  {
    ...kernel,
    name: "tiled: lse of rows that are not there",
    find: "&& packed.query < queryRows) {",
    replace: ") {",
    tests: bounds("rows before heads, causal"),
    caughtBy: ["out-of-bounds-global"],
  },
  {
    ...kernel,
    name: "tiled: one row of output past the last",
    find: "i < rows && firstRow + i < rowEnd;",
    replace: "i < rows && firstRow + i <= rowEnd;",
    tests: bounds("rows before heads, causal"),
    caughtBy: ["out-of-bounds-global"],
  },
  {
    ...kernel,
    ...wide,
    name: "tiled: columns past valueDim are written",
    find: "if (entry.outputAligned && column + perGranule <= problem.valueDim) {",
    replace: "if (entry.outputAligned) {",
    tests: bounds("aligned rows"),
    caughtBy: ["out-of-bounds-global"],
  },
  {
    ...kernel,
    ...wide,
    name: "tiled: outputs that are not aligned are written as if they were",
    find: "if (entry.outputAligned && column",
    replace: "if (column",
    tests: bounds("rows that are not aligned"),
    caughtBy: ["misaligned"],
  },
  {
    ...kernel,
    name: "tiled: rows that see nothing keep what masked values were",
    find: "const bool empty = result.factor == 0;",
    replace: "const bool empty = false;",
    tests: parity("a mask of nothing, NaN values"),
    caughtBy: ["numbers"],
  },
];

/** Which elements of biases and masks are read in pairs. */
const pairs: readonly Mutant[] = [
  {
    ...rules,
    name: "tiled: pairs of keys that a row does not see",
    find: "seesAll && hasPairs(view)",
    replace: "hasPairs(view)",
    tests: bounds("bias and mask, rows of pairs"),
    caughtBy: ["out-of-bounds-global"],
  },
  {
    ...rules,
    name: "tiled: pairs at odd places",
    find: "(place | view.headStride | view.rowStride) % 2 == 0",
    replace: "true",
    tests: parity("bias and mask at odd places"),
    caughtBy: ["misaligned"],
  },
  {
    ...rules,
    name: "tiled: pairs of what are no neighbours",
    find: "view.columnStride == 1 && (place",
    replace: "(place",
    tests: parity("bias per row float16"),
    caughtBy: ["numbers", "uninitialized-branch"],
  },
  {
    ...rules,
    name: "tiled: the first of each pair twice",
    find: "action(tile.at(i, j + 1), pairs[j / 2].second);",
    replace: "action(tile.at(i, j + 1), pairs[j / 2].first);",
    tests: parity("bias and mask at even places"),
    caughtBy: ["numbers"],
  },
];

/** The kernel that recomputes weights. */
const recomputed: readonly Mutant[] = [
  {
    ...weights,
    name: "tiled weights: waits for no panel",
    find: "ptx::waitCopies<1>();",
    replace: "ptx::waitCopies<2>();",
    tests: parity("weights"),
    caughtBy: ["race-shared", "copy-in-flight", "uninitialized"],
  },
  {
    ...weights,
    name: "tiled weights: a panel is replaced while it is read",
    find: "__syncthreads();  // nobody reads it any more",
    replace: "",
    tests: parity("weights of 180 dims"),
    caughtBy: ["race-shared", "copy-in-flight"],
  },
  {
    ...weights,
    name: "tiled weights: a panel is read before all have copied it",
    find: "__syncthreads();  // this panel is there",
    replace: "",
    tests: parity("weights"),
    caughtBy: ["race-shared", "copy-in-flight"],
  },
  {
    ...weights,
    name: "tiled weights: blocks that no row sees are not written",
    find: "const float weight = empty ? 0.f :",
    replace: "if (empty) return;\n      const float weight =",
    tests: parity("weights in a window"),
    caughtBy: ["numbers"],
  },
  {
    ...kernel,
    name: "tiled weights: rows of another head",
    find: "entry.rows[int64_t(kvHead) * queryRows * problem.groupSize() + row]",
    replace: "entry.rows[int64_t(kvHead) * queryRows + row]",
    tests: parity("everything"),
    caughtBy: ["numbers", "race-global"],
  },
];

export const tiledMutants: readonly Mutant[] = [...splits, ...ring, ...rows, ...pairs, ...recomputed];
