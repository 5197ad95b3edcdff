// Bugs of what masks and biases leave of key tiles: finding it, and the tiled kernels' way by it.
import type { Mutant } from "./mutant.js";

const map = { image: "tile_map", file: "tile_map.cu" };
const lookup = { image: "tiled_sm80", kernels: "Half, float16, 64" };
const hopper = { image: "tiled_sm90", kernels: "_ruled, true, 64, 64" };

const visits = (name: string) => [`tile maps: visits under a ${name}, float16 128`];
const parity = (name: string) => [`parity: tiled float16 ${name}`];
const long = ["tile maps: texts of many tiles, float16"];

export const tileMapMutants: readonly Mutant[] = [
  {
    ...map,
    name: "tile maps: only the first rows are looked at",
    find: "const int count = tile.queries * tile.heads * (tile.keys / step);",
    replace: "const int count = tile.keys / step;",
    tests: parity("a mask of the future"),
    caughtBy: ["numbers"],
  },
  {
    ...map,
    name: "tile maps: a tile is given up before its pairs are seen",
    find: "i - laneIndex() < count; i += 32 * together",
    replace: "i - laneIndex() < 32; i += 32 * together",
    tests: parity("a mask of texts"),
    caughtBy: ["numbers"],
  },
  {
    ...map,
    name: "tile maps: one hidden pair of four is none",
    find: "const bool anyZero = ((four - 0x01010101u) & ~four & 0x80808080u) != 0;",
    replace: "const bool anyZero = four == 0;",
    tests: parity("a mask of single keys"),
    caughtBy: ["numbers"],
  },
  {
    ...map,
    name: "tile maps: what leaves some hides none",
    find: "own == someLeft);",
    replace: "own & someLeft);",
    tests: parity("a mask of texts"),
    caughtBy: ["numbers"],
  },
  {
    ...map,
    name: "tile maps: the heads of another group",
    find: "int64_t{kvHead} * group,",
    replace: "0,",
    tests: parity("a mask of each head's texts"),
    caughtBy: ["numbers"],
  },
  {
    ...map,
    name: "tile maps: words of masks that end in between",
    find: " | tile.keys) % 4 == 0);",
    replace: ") % 4 == 0);",
    tests: parity("a mask of all but the last key"),
    caughtBy: ["numbers"],
  },
  {
    ...map,
    name: "tile maps: a bias hides nothing",
    find: "!leavesSome(problem.biasDtype, sequence.bias, tile)) bits",
    replace: "false) bits",
    tests: visits("bias of the future"),
    caughtBy: ["numbers"],
  },
  {
    ...map,
    name: "tile maps: the bits of other row tiles",
    find: "int64_t{row} * 2 * perRow + part;",
    replace: "int64_t{row / 2} * 2 * perRow + part;",
    tests: parity("a mask of texts"),
    caughtBy: ["numbers", "uninitialized", "race-global"],
  },
  {
    ...lookup,
    file: "tile_map.cuh",
    name: "tile maps: one for all row tiles",
    find: "entry.mapRowTiles > 1 ? rowTile : 0",
    replace: "0",
    tests: parity("a mask of texts"),
    caughtBy: ["numbers"],
  },
  {
    ...lookup,
    file: "tile_map.cuh",
    name: "tile maps: a word of tiles is passed over",
    find: "tile = (tile / 32 + 1) * 32;",
    replace: "tile = (tile / 32 + 2) * 32;",
    tests: long,
    caughtBy: ["numbers"],
  },
  {
    ...lookup,
    kernels: "Half, float16, 128",
    file: "tiled_sm80.cuh",
    name: "tile maps: hidden tiles are visited",
    find: "tile < shared.endTile; tile = tileFrom(tile + 1)",
    replace: "tile < shared.endTile; tile++",
    tests: visits("mask of texts"),
    caughtBy: ["numbers", "uninitialized", "race-shared", "copy-in-flight"],
  },
  {
    ...hopper,
    file: "tiled_sm90.cu",
    name: "tile maps: hidden tiles are loaded",
    find: "if (ruled) tile = work.left.from(tile, 1 << 30);",
    replace: "",
    tests: parity("a mask of texts"),
    caughtBy: ["numbers"],
  },
  {
    ...hopper,
    file: "tiled_sm90.cu",
    name: "tile maps: a loading thread that knows no masks",
    find: "{tile, work.left.isMasked(tile)};",
    replace: "{tile, false};",
    tests: parity("a mask of texts"),
    caughtBy: ["numbers"],
  },
  {
    ...hopper,
    file: "tiled_sm90.cu",
    name: "tile maps: which tile it is changes while it is read",
    find: "place.waitEmptied(shared.keys);\n        if (ruled) shared.loaded[place.stage()] = {tile, work.left.isMasked(tile)};",
    replace:
      "if (ruled) shared.loaded[place.stage()] = {tile, work.left.isMasked(tile)};\n        place.waitEmptied(shared.keys);",
    tests: parity("a mask of texts"),
    caughtBy: ["race-shared", "numbers"],
  },
  {
    ...hopper,
    file: "scheduler_sm90.cuh",
    name: "tile maps: a warpgroup's tiles are counted without the map",
    find: "work.own[i] = {work.left.placeOf(own.x, first), work.left.placeOf(own.y, first)};",
    replace: "work.own[i] = own;",
    tests: parity("tiles hidden by each head's texts, and more"),
    caughtBy: ["numbers", "deadlock", "race-shared", "copy-in-flight", "uninitialized"],
  },
  {
    ...hopper,
    file: "tile_map.cuh",
    name: "tile maps: tiles of a further word are not counted",
    find: "at < tile; at = (at / 32 + 1) * 32",
    replace: "at < tile && at < 32; at = (at / 32 + 1) * 32",
    tests: long,
    caughtBy: ["numbers"],
  },
];
