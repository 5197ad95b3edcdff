// Bugs that only tensors of more than 2^31 elements show: places counted in 32 bits.
import type { Mutant } from "./mutant.js";

const caughtBy = ["out-of-bounds-global", "uninitialized", "uninitialized-branch", "race-global", "numbers"];
const decode = { image: "decode", kernels: "Half, float16, 64", caughtBy };

export const farMutants: readonly Mutant[] = [
  {
    ...decode,
    name: "32 bits: where a row is",
    file: "tile.cuh",
    find: "at[0] = base + uint32_t(first) * rowStride;",
    replace: "at[0] = base + int(uint32_t(first) * rowStride);",
    tests: ["far: float16 decode, rows"],
  },
  {
    ...decode,
    name: "32 bits: where a page is",
    file: "tile.cuh",
    find: "at[0] = base + uint32_t(pageTable[row[0].quotient]) * pageStride +",
    replace: "at[0] = base + int(uint32_t(pageTable[row[0].quotient]) * pageStride) +",
    tests: ["far: float16 decode, pages, rows"],
  },
  {
    ...decode,
    name: "32 bits: where bias and mask are",
    file: "tiled_rules.cuh",
    find: "view.data + (row.head * view.headStride + row.query * view.rowStride)",
    replace: "view.data + int(row.head * view.headStride + row.query * view.rowStride)",
    tests: ["far: float16 decode, heads"],
  },
  {
    name: "32 bits: where a page's scales are",
    file: "tile.cuh",
    image: "decode_int8",
    kernels: "Half, float16, 128",
    find: "rows.pageTable[row.quotient] * scalesPageStride",
    replace: "int(rows.pageTable[row.quotient] * scalesPageStride)",
    tests: ["far: float16 decode, int8, rows"],
    caughtBy,
  },
  {
    name: "32 bits: where a row of scores is",
    file: "rules.cuh",
    image: "standard_scores",
    find: "return view.data[place.head * view.headStride + place.row * view.rowStride + place.column * view.columnStride];",
    replace:
      "return view.data[int(place.head * view.headStride + place.row * view.rowStride + place.column * view.columnStride)];",
    tests: ["far: float16 standard"],
    caughtBy,
  },
  {
    name: "32 bits: where a merged part is",
    file: "merge.cu",
    image: "merge",
    find: "static_cast<const Element*>(output.data) + place.offsetIn(output)",
    replace: "static_cast<const Element*>(output.data) + int(place.offsetIn(output))",
    tests: ["far: merging"],
    caughtBy,
  },
  {
    name: "32 bits: the page that a token goes to",
    file: "store.cu",
    image: "store",
    find: "const int64_t to = targetRow(store, token, head) * store.dims + d;",
    replace: "const int to = static_cast<int>(targetRow(store, token, head) * store.dims + d);",
    tests: ["far: stored rows"],
    caughtBy,
  },
  {
    name: "32 bits: where Hopper's kernel writes lse",
    file: "tiled_sm90.cu",
    image: "tiled_sm90",
    find: "sequence.lse.data[packed.head * sequence.lse.headStride + packed.query * sequence.lse.rowStride] = results[i].lse;",
    replace:
      "sequence.lse.data[int(packed.head * sequence.lse.headStride + packed.query * sequence.lse.rowStride)] = results[i].lse;",
    tests: ["far: float16 tiled, rows, Hopper"],
    caughtBy,
  },
];
