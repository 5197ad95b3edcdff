// Bugs of the decode kernel for Hopper, of what it does not share with the tiled one.
import type { Mutant } from "./mutant.js";

const kernel = { file: "decode_sm90.cu", image: "decode_sm90", kernels: "float16, Half, 64" };
const several = ["decode_sm90: float16 17 rows"];
const pages = ["decode_sm90: float16 pages of 48"];

export const decodeSm90Mutants: readonly Mutant[] = [
  {
    ...kernel,
    name: "decode_sm90: queries are not waited for",
    find: "RingPlace<1>{0}.waitFilled(shared.queries);",
    replace: "",
    tests: several,
    caughtBy: ["copy-in-flight", "race-shared"],
  },
  {
    ...kernel,
    name: "decode_sm90: keys are not waited for",
    find: "place.waitFilled(shared.keys);",
    replace: "",
    tests: several,
    caughtBy: ["copy-in-flight", "race-shared"],
  },
  {
    ...kernel,
    name: "decode_sm90: values are not waited for",
    find: "place.waitFilled(shared.values);",
    replace: "",
    tests: several,
    caughtBy: ["copy-in-flight", "race-shared"],
  },
  {
    ...kernel,
    name: "decode_sm90: values are released before their product is done",
    find: "if (place.count > 0) RingPlace<shape.stages>{place.count - 1}.release(shared.values);",
    replace: "place.release(shared.values);",
    tests: several,
    caughtBy: ["copy-in-flight", "race-shared", "deadlock"],
  },
  {
    ...kernel,
    name: "decode_sm90: warps without rows leave out a product",
    find: "multiplyValues(output, probabilities, value);",
    replace: "if (firstRow < rowCount) multiplyValues(output, probabilities, value);",
    tests: several,
    caughtBy: ["wgmma-warpgroup"],
  },
  {
    ...kernel,
    name: "decode_sm90: a product too many is begun",
    find: "    }\n    productsReady();\n  }",
    replace:
      "    }\n    productsReady();\n    ptx::fenceProducts();\n    multiplyKeys<Element>(scores, shared.query, shared.key[0]);\n    ptx::commitProducts();\n  }",
    tests: several,
    caughtBy: ["wgmma-left"],
  },
  {
    ...kernel,
    name: "decode_sm90: the map of values is used before it is fenced",
    find: "ptx::acquireMap(&entry.value);",
    replace: "",
    tests: several,
    caughtBy: ["tensor-map"],
  },
  {
    ...kernel,
    name: "decode_sm90: values past the end of the last page stay",
    find: "clearRows(value, int(sequence.keyLength) - key);",
    replace: ";",
    tests: pages,
    caughtBy: ["numbers", "uninitialized", "uninitialized-branch"],
  },
  {
    ...kernel,
    name: "decode_sm90: what is cleared is not fenced",
    find: "ptx::fenceAsyncProxy();",
    replace: "",
    tests: several,
    caughtBy: ["missing-proxy-fence"],
  },
  {
    ...kernel,
    name: "decode_sm90: pages past the last are looked up",
    find: "if (!loads || tile >= tiles.count || key >= keyLength)",
    replace: "if (!loads)",
    tests: pages,
    caughtBy: ["out-of-bounds-global", "uninitialized"],
  },
  {
    ...kernel,
    name: "decode_sm90: every lane has the first box",
    find: "const int key = (tiles.first + tile) * shape.keys + firstRow;",
    replace: "const int key = (tiles.first + tile) * shape.keys;",
    tests: pages,
    caughtBy: ["numbers"],
  },
  {
    ...kernel,
    name: "decode_sm90: splits share their place",
    find: "* entry.splits + block.split) * rowCount",
    replace: "* entry.splits) * rowCount",
    tests: several,
    caughtBy: ["race-global", "numbers", "uninitialized"],
  },
];
