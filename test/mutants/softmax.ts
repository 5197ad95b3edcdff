// Bugs of the tiled kernels between their products: what is visited and masked, the rules, the online softmax.
import type { Mutant } from "./mutant.js";

const narrow = { image: "tiled_sm80", kernels: "Half, float16, 64" };
const wide = { image: "tiled_sm80", kernels: "Half, float16, 128" };
const kernel = { ...narrow, file: "tiled_sm80.cuh" };
const rules = { ...narrow, file: "tiled_rules.cuh" };
const softmax = { ...narrow, file: "softmax.cuh" };
const products = { ...narrow, file: "products.cuh" };

const parity = (name: string) => [`parity: tiled float16 ${name}`];

/** Which keys are visited, multiplied and masked. */
const visits: readonly Mutant[] = [
  {
    ...kernel,
    name: "tiled: the last block is not visited",
    find: "shared.endTile = int(tiles.end);",
    replace: "shared.endTile = int(tiles.end) - 1;",
    tests: parity("causal window"),
    caughtBy: ["numbers"],
  },
  {
    ...kernel,
    name: "tiled: a block past the last is visited",
    find: "shared.endTile = int(tiles.end);",
    replace: "shared.endTile = int(tiles.end) + 1;",
    tests: ["plans: executed flops tiled float16 64, 64"],
    caughtBy: ["numbers"],
  },
  {
    ...kernel,
    name: "tiled: a window's first block is not visited",
    find: "shared.left.from(int(tiles.begin), int(tiles.end));",
    replace: "shared.left.from(int(tiles.begin) + 1, int(tiles.end));",
    tests: parity("causal window"),
    caughtBy: ["numbers"],
  },
  {
    ...kernel,
    name: "tiled: warps without rows multiply",
    find: "const bool hasRows = shared.firstRow + warpRow < rowCount;",
    replace: "const bool hasRows = true;",
    tests: ["plans: executed flops tiled float16 64, 64"],
    caughtBy: ["numbers"],
  },
  {
    ...kernel,
    ...wide,
    name: "tiled: panels past headDim are multiplied",
    find: "if (panel > 0 && panel * panelColumns<Element> >= problem.headDim) break;",
    replace: "",
    tests: parity("dims 48, 72"),
    caughtBy: ["uninitialized", "numbers"],
  },
  {
    ...products,
    ...wide,
    name: "tiled: panels past valueDim are multiplied",
    find: "if (panel > 0 && panel * panelColumns<Element> >= valueDim) break;",
    replace: "",
    tests: ["plans: executed flops tiled float16 72, 40"],
    caughtBy: ["numbers"],
  },
  {
    ...kernel,
    name: "tiled: the diagonal's block is not masked",
    find: "modified ? -1 : int(seen.end) - keys};",
    replace: "modified ? -1 : int(seen.end)};",
    tests: parity("lengths 127 x 129"),
    caughtBy: ["numbers"],
  },
  {
    ...kernel,
    name: "tiled: the window's first block is not masked",
    find: "key < plain.x || key > plain.y",
    replace: "key > plain.y",
    tests: parity("causal window"),
    caughtBy: ["numbers"],
  },
  {
    ...kernel,
    name: "tiled: rules are for border blocks alone",
    find: "modified ? -1 : int(seen.end) - keys};",
    replace: "int(seen.end) - keys};",
    tests: parity("alibi"),
    caughtBy: ["numbers"],
  },
  {
    ...kernel,
    name: "tiled: every block is masked",
    find: "modified ? -1 : int(seen.end) - keys};",
    replace: "-1};",
    tests: ["counters: tiled float16 64 full"],
    caughtBy: ["numbers"],
  },
  {
    ...rules,
    name: "tiled: what the last row sees, every row sees",
    find: "return {a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};",
    replace: "return {a.begin > b.begin ? a.begin : b.begin, b.end};",
    tests: parity("lengths 127 x 129"),
    caughtBy: ["numbers"],
  },
  {
    ...rules,
    name: "tiled: what the first row sees, every row sees",
    find: "return {a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};",
    replace: "return {a.begin, a.end < b.end ? a.end : b.end};",
    tests: parity("window to the left"),
    caughtBy: ["numbers"],
  },
  {
    ...rules,
    name: "tiled: rows of a group see keys by their number",
    find: "const int query = arguments.group.divide(row).quotient;",
    replace: "const int query = row;",
    tests: parity("a group of 3"),
    caughtBy: ["numbers"],
  },
  {
    ...rules,
    name: "tiled: one key past the last that a row sees",
    find: "column < end;",
    replace: "column <= end;",
    tests: parity("lengths 127 x 129"),
    caughtBy: ["numbers"],
  },
];

/** The rules, and the online softmax. */
const scores: readonly Mutant[] = [
  {
    ...rules,
    name: "tiled: the mask of another row",
    find: "row.head * view.headStride + row.query * view.rowStride) +",
    replace: "row.head * view.headStride + (row.query ^ 1) * view.rowStride) +",
    tests: parity("mask"),
    caughtBy: ["numbers"],
  },
  {
    ...rules,
    name: "tiled: the bias of another head",
    find: "view.data + (row.head * view.headStride",
    replace: "view.data + (place.kvHead * view.headStride",
    tests: parity("everything"),
    caughtBy: ["numbers"],
  },
  {
    ...rules,
    name: "tiled: a mask goes on at every other column",
    find: "if (j > 0) from +=",
    replace: "if (j % 2 > 0) from +=",
    tests: parity("mask"),
    caughtBy: ["numbers"],
  },
  {
    ...rules,
    name: "tiled: a mask is read where no key is",
    find: "if (seen.template has<Tile>(j)) elements[j] = *from;",
    replace: "elements[j] = *from;",
    tests: parity("mask"),
    caughtBy: ["uninitialized", "uninitialized-branch"],
  },
  {
    ...softmax,
    name: "softmax: the output is not rescaled",
    find: "if (moveReferences(scores, states, factors, unit)) rescale(output, factors);",
    replace: "moveReferences(scores, states, factors, unit);",
    tests: parity("large scores"),
    caughtBy: ["numbers"],
  },
  {
    ...softmax,
    name: "softmax: the sum is not rescaled",
    find: "states.sum[i] *= factors[i];",
    replace: "",
    tests: parity("large scores"),
    caughtBy: ["numbers"],
  },
  {
    ...softmax,
    name: "softmax: references never move again",
    find: "const bool moves = highest[i] > states.reference[i] + headroom;",
    replace: "const bool moves = states.reference[i] == negativeInfinity();",
    tests: parity("large scores"),
    caughtBy: ["numbers"],
  },
  {
    ...softmax,
    name: "softmax: each lane has a reference of its own",
    find: "highest[i] = fmaxf(highest[i], __shfl_xor_sync(0xffffffff, highest[i], lanes));",
    replace: "highest[i] += 0;",
    tests: parity("large scores"),
    caughtBy: ["numbers"],
  },
  {
    ...softmax,
    name: "softmax: lanes that need no new maximum leave the others alone",
    find: "if (!__any_sync(0xffffffff, exceeds)) return false;",
    replace: "if (!exceeds) return false;",
    tests: parity("large scores"),
    caughtBy: ["divergence", "deadlock"],
  },
  {
    ...softmax,
    name: "softmax: rows that see nothing are NaN",
    find: "references[i] = finiteReference(states.reference[i]),",
    replace: "references[i] = states.reference[i],",
    tests: parity("negative offset: empty rows"),
    caughtBy: ["numbers"],
  },
  {
    ...softmax,
    kernels: "BFloat, bfloat16, 64",
    name: "softmax: large references are rounded, scores are not",
    find: "states.large |= fabsf(highest[i]) >= largeReference;",
    replace: "",
    tests: ["parity: tiled bfloat16 scores beyond 1e10"],
    caughtBy: ["numbers"],
  },
  {
    ...softmax,
    name: "softmax: sinks have no weight",
    find: "total = fmaf(total, factor, ptx::exp2(logit - top));",
    replace: "total = total * factor;",
    tests: parity("sinks"),
    caughtBy: ["numbers"],
  },
];

export const softmaxMutants: readonly Mutant[] = [...visits, ...scores];
