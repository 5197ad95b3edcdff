// What masks and biases leave of a sequence's key tiles, as the tiled kernels look it up: sizes that planner, host path
// and device code share.
#pragma once
#include "tiles_sm90.h"

namespace fovea::cuda {

/// A launch before the tiled kernels' reads masks and biases once, and keeps two bits for each row tile and key tile:
/// whether some pair is left, and whether the mask hides none. Tiles of which nothing is left are not visited then.
/// Where all heads, or all queries, have the same mask and bias, they share their bits; sequences do that look at the
/// same ones likewise. So it takes little beside a mask's bytes.
struct TileMap {
  int64_t heads = 0, rowTiles = 0;  // 1: alike for all
  int64_t words = 0;                // of 32 bits, one for each key tile
  constexpr int64_t bytes() const { return 2 * heads * rowTiles * words * int64_t(sizeof(uint32_t)); }
  /// Thread blocks that make it, each eight key tiles of a row tile, by as many warps.
  constexpr int64_t tasks() const { return heads * rowTiles * words * 4; }
};
constexpr int tileMapThreads = 256;

/// Fewer keys are not worth a launch.
constexpr int64_t leastMappedKeys = 512;

/// Queries [first, last] of a row tile.
struct TileQueries {
  int64_t first, last;
};

/// How a kernel cuts a sequence: row tile i has rows from i * rows on, and a query as many as its heads in a group
/// (Hopper's: whole queries); tiles of so many keys.
struct TileGrid {
  int32_t rows, rowsPerQuery, keys;
  constexpr TileQueries queries(int64_t rowTile, int64_t queryLength) const {
    const int64_t first = rowTile * rows / rowsPerQuery, last = ((rowTile + 1) * rows - 1) / rowsPerQuery;
    return {first, last < queryLength ? last : queryLength - 1};
  }
};
constexpr TileGrid tileGrid(const Problem& problem) {
  const TiledShape shape = tiledShape(problem);
  return {shape.rows(), problem.groupSize(), shape.keys};
}
/// `packed` is what Hopper's kernel sees.
constexpr TileGrid sm90TileGrid(const Problem& packed, const Sm90Shape& shape) {
  return {int32_t(tileQueries(packed, shape)), 1, shape.keys};
}

/// None where there is nothing to look up. `problem` is the packed one with Hopper's grid.
inline TileMap tileMapOf(const Problem& problem, const Sequence& sequence, const TileGrid& grid) {
  if ((!sequence.mask && !sequence.bias) || sequence.queryLength == 0 || sequence.keyLength < leastMappedKeys)
    return {};
  const auto differ = [](int64_t maskStride, int64_t biasStride) { return maskStride != 0 || biasStride != 0; };
  const bool heads = differ(sequence.mask ? sequence.mask.headStride : 0, sequence.bias ? sequence.bias.headStride : 0);
  const bool rows = differ(sequence.mask ? sequence.mask.rowStride : 0, sequence.bias ? sequence.bias.rowStride : 0);
  const int64_t rowTiles = ceilDivide(sequence.queryLength * grid.rowsPerQuery, grid.rows);
  return {heads ? problem.kvHeads : 1, rows ? rowTiles : 1, ceilDivide(sequence.keyLength, 32 * grid.keys)};
}
inline TileMap tileMapOf(const Problem& problem, const Sequence& sequence, Kernel kernel) {
  if (kernel == Kernel::cudaTiled) return tileMapOf(problem, sequence, tileGrid(problem));
  if (kernel != Kernel::cudaTiledSm90) return {};
  const Problem packed = packedProblem(problem);
  return tileMapOf(packed, sequence, sm90TileGrid(packed, sm90Shape(problem, true)));
}

/// Where the maps of a call lie, one after the other.
class TileMapPlaces {
 public:
  struct Place {
    TileMap map;
    int64_t offset = 0;
    int64_t tasks = 0;  // 0: the map of the sequence before, which looks at the same
  };
  Place add(const Problem& problem, const Sequence& sequence, Kernel kernel) {
    const bool shares = before_ && kernel == kernel_ && looksAtTheSame(*before_, sequence);
    before_ = &sequence, kernel_ = kernel;
    if (shares) {
      place_.tasks = 0;
      return place_;
    }
    place_.map = tileMapOf(problem, sequence, kernel);
    place_.offset = bytes, place_.tasks = place_.map.tasks();
    bytes += place_.map.bytes(), tasks += place_.tasks;
    return place_;
  }
  int64_t bytes = 0, tasks = 0;

 private:
  static bool looksAtTheSame(const Sequence& a, const Sequence& b) {
    const auto same = [](const auto& x, const auto& y) {
      return x.data == y.data && x.headStride == y.headStride && x.rowStride == y.rowStride &&
             x.columnStride == y.columnStride;
    };
    return same(a.mask, b.mask) && same(a.bias, b.bias) && a.queryLength == b.queryLength &&
           a.keyLength == b.keyLength && a.queryOffset == b.queryOffset;
  }

  const Sequence* before_ = nullptr;
  Kernel kernel_ = Kernel::cudaTiled;
  Place place_;
};

}  // namespace fovea::cuda
