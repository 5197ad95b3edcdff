// The tiles of the CUDA kernels: one set of numbers and formulas that planner, host path and device code share.
#pragma once
#include "problem.h"

namespace fovea::cuda {

/// The standard kernel works on tiles of 128 queries of one head by 128 keys, held by 4 x 2 warps of 32 queries x 64
/// keys.
constexpr int standardQueryTile = 128;
constexpr int standardKeyTile = 128;
constexpr int warpRows = 32;
/// A block is one warp column of a tile: 64 keys. Row maxima and sums are kept per block.
constexpr int standardKeyBlock = 64;
constexpr int standardThreads = 256;
/// Rows of weights per thread block of the kernel that normalises them: one per warp.
constexpr int weightRows = 8;
/// Bytes of the workspace that describe one sequence to the kernels.
constexpr int64_t standardEntryBytes = 448, tiledEntryBytes = 480, decodeEntryBytes = 432, mergeEntryBytes = 400;
/// Of a query of a shared segment, and of a run of results.
constexpr int64_t ownerEntryBytes = 16, runEntryBytes = 48;
/// Output columns per thread block: the narrow tile when valueDim fits, else the wide one, several times if it must be.
constexpr int narrowValueTile = 64;
constexpr int wideValueTile = 128;
/// Rows of shared-memory tiles: 128 bytes, so 64 columns of a 16-bit type or 32 of float32.
constexpr int panelBytes = 128;
/// Largest headDim and valueDim.
constexpr int maxHeadDim = 512;

/// Largest headDim and valueDim of the kernels that never store scores.
constexpr int maxTiledDim = 256;

constexpr int64_t ceilDivide(int64_t value, int64_t by) { return (value + by - 1) / by; }
constexpr int64_t roundUp(int64_t value, int64_t to) { return ceilDivide(value, to) * to; }
constexpr int64_t clampTo(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

/// A number of at least 1 to divide by time and again: each time takes a multiplication and a correction.
struct Divisor {
  uint32_t divisor, reciprocal;

  constexpr explicit Divisor(int64_t divisor)
      : divisor(uint32_t(divisor)), reciprocal(0xffffffffu / uint32_t(divisor)) {}

  struct Quotient {
    int quotient, remainder;
  };
  /// Of a number that is not negative.
  constexpr Quotient divide(int number) const {
    uint32_t quotient = uint32_t(uint64_t(uint32_t(number)) * reciprocal >> 32);  // or one less than that
    uint32_t remainder = uint32_t(number) - quotient * divisor;
    if (remainder >= divisor) quotient++, remainder -= divisor;
    return {int(quotient), int(remainder)};
  }
};

/// Key tiles [begin, end) of a query tile.
struct TileRange {
  int64_t begin, end;
};

/// The key tiles that the product kernel visits for a query tile: those with a visible key.
constexpr TileRange visibleKeyTiles(const Problem& problem, const Sequence& sequence, int64_t queryTile) {
  const int64_t first = queryTile * standardQueryTile;
  const int64_t last = clampTo(first + standardQueryTile, 0, sequence.queryLength) - 1;
  if (last < first) return {0, 0};
  const KeyRange keys = visibleKeysOfRows(problem, sequence, first, last);
  return {keys.begin / standardKeyTile, ceilDivide(keys.end, standardKeyTile)};
}

/// The key tiles that the scores kernel visits: the same, or all when the caller wants the scores themselves.
constexpr TileRange scoredKeyTiles(const Problem& problem, const Sequence& sequence, int64_t queryTile) {
  if (problem.scoreStage == ScoreStage::none) return visibleKeyTiles(problem, sequence, queryTile);
  return {0, ceilDivide(sequence.keyColumns, standardKeyTile)};
}

/// A thread block of the tiled kernel: 4 warps, each with its own rows and all keys of the tile. Rows are (query, head
/// of the group) pairs of one kv head, row = query * groupSize + head, so that a group shares its keys.
constexpr int tiledThreads = 128;
struct TiledShape {
  int dims;       // headDim and valueDim, padded
  int rowGroups;  // of 16 rows, per warp
  int keys;
  int stages;  // tiles of keys or values that shared memory holds, if there is room (tiledStages())
  constexpr int warpRows() const { return 16 * rowGroups; }
  constexpr int rows() const { return tiledThreads / 32 * warpRows(); }
};

/// Products of tf32 that make one of float32.
constexpr int splitProducts = 3;

constexpr int largestDim(const Problem& problem) {
  return problem.headDim > problem.valueDim ? problem.headDim : problem.valueDim;
}

/// The tile for a dtype, that of keys and values, and the larger of headDim and valueDim. At most 96 KiB of shared
/// memory, which every GPU since compute capability 8.0 has, and two thread blocks on the larger ones; accumulators of
/// at most 192 registers.
constexpr TiledShape tiledShape(DType type, DType stored, int largestDim) {
  if (stored == DType::int8) {
    if (largestDim <= 128) return {128, type == DType::float32 ? 1 : 2, 32, 6};
    return {256, 1, type == DType::float32 ? 16 : 32, 3};
  }
  if (type == DType::float32) {
    if (largestDim <= 64) return {64, 2, 32, 4};
    if (largestDim <= 128) return {128, 1, 32, 3};
    return {256, 1, 16, 2};
  }
  if (largestDim <= 64) return {64, 2, 64, 4};
  if (largestDim <= 128) return {128, 2, 32, 6};
  return {256, 1, 32, 3};
}
constexpr TiledShape tiledShape(const Problem& problem) {
  return tiledShape(problem.dtype, problem.kvDtype(), largestDim(problem));
}
/// A ring's places for tiles of keys or values; of int8 also their scales, and a tile in the dtype.
constexpr int ringBytes(DType type, DType stored, int keys, int dims, int stages) {
  if (stored != DType::int8) return int(byteSize(type)) * keys * dims * stages;
  const int scales = int(roundUp(stages * keys * int64_t(sizeof(float)), 1024));
  return keys * int(roundUp(dims, panelBytes)) * stages + int(byteSize(type)) * keys * dims + scales;
}
constexpr int tiledSharedBytes(DType type, DType stored, const TiledShape& shape) {
  constexpr int shared = 1024;  // what all threads know
  return int(byteSize(type)) * shape.dims * shape.rows() +
         ringBytes(type, stored, shape.keys, shape.dims, shape.stages) + shared;
}

/// A thread block of a kernel takes another KiB of its multiprocessor's shared memory.
constexpr int sharedBytesOnTop = 1024;

/// The tiles in the ring on a GPU with `shared` bytes for each multiprocessor: two where only so two thread blocks fit
/// on one. More tiles hide more of memory's latency, another thread block also what the first one does between
/// products. That is 128 x 32 of 16 bits, and of float32 up to 64 dims, on capabilities 8.6, 8.9 and 12.0 (100 KiB).
constexpr int tiledStages(DType type, DType stored, TiledShape shape, int shared) {
  const int whole = shape.stages;
  const auto fitTwice = [&](int stages) {
    shape.stages = stages;
    return 2 * (tiledSharedBytes(type, stored, shape) + sharedBytesOnTop) <= shared;
  };
  // Both are even, so that keys have the even places.
  return stored != DType::int8 && whole % 2 == 0 && !fitTwice(whole) && fitTwice(2) ? 2 : whole;
}
constexpr int tiledStages(const Problem& problem, int shared) {
  return tiledStages(problem.dtype, problem.kvDtype(), tiledShape(problem), shared);
}

/// A thread block's rows.
struct TiledPlace {
  int kvHead, rowTile;
};

/// A sequence's tasks in order: sections of heads whose keys and values fit into L2 together; in a section, the last
/// row tiles first, which take longest under a causal mask.
constexpr TiledPlace tiledPlace(int task, int rowTiles, int sectionHeads, int kvHeads) {
  const int firstHead = task / (rowTiles * sectionHeads) * sectionHeads;
  const int inSection = task - firstHead * rowTiles, left = kvHeads - firstHead;
  const int heads = sectionHeads < left ? sectionHeads : left;
  return {firstHead + inSection % heads, rowTiles - 1 - inSection / heads};
}

/// The key tiles that a row tile visits: those with a key that some row may see by length, causality and window.
constexpr TileRange tiledKeyTiles(const Problem& problem, const Sequence& sequence, const TiledShape& shape,
                                  int64_t rowTile) {
  const int64_t row = rowTile * shape.rows(), group = problem.groupSize();
  const int64_t first = row / group, last = clampTo((row + shape.rows() - 1) / group, 0, sequence.queryLength - 1);
  if (last < first) return {0, 0};
  const KeyRange keys = visibleKeysOfRows(problem, sequence, first, last);
  return {keys.begin / shape.keys, ceilDivide(keys.end, shape.keys)};
}

/// Of a row tile's key tiles, those of one of its splits, each of `tiles` from its first one on; none past the last.
constexpr TileRange splitTiles(const TileRange& all, int64_t tiles, int64_t split) {
  const int64_t begin = clampTo(all.begin + split * tiles, all.begin, all.end);
  return {begin, clampTo(begin + tiles, begin, all.end)};
}

/// The tile of the kernel that recomputes weights, as far as tiledKeyTiles() looks at it.
constexpr TiledShape weightShape{0, 2, standardKeyTile, 0};

/// A thread block of the decode kernel: all rows of one kv head, at most decodeRows, and one split of the keys. Each
/// warp takes every fourth slice of `keys` keys, through a ring of its own.
constexpr int decodeThreads = 128;
constexpr int decodeWarps = decodeThreads / 32;
constexpr int decodeRows = 16;
struct DecodeShape {
  int dims;    // headDim and valueDim, padded
  int keys;    // of a slice
  int stages;  // slices of keys or values that each warp's part of shared memory holds
};

/// At most 81 KiB of shared memory, and so two thread blocks on a multiprocessor of the larger GPUs.
constexpr DecodeShape decodeShape(DType type, DType stored, int largestDim) {
  if (stored == DType::int8) {
    if (largestDim <= 128) return {128, 16, type == DType::float32 ? 4 : 6};
    return {256, type == DType::float32 ? 8 : 16, type == DType::float32 ? 3 : 2};
  }
  if (type == DType::float32) {
    if (largestDim <= 64) return {64, 16, 4};
    if (largestDim <= 128) return {128, 16, 2};
    return {256, 8, 2};
  }
  if (largestDim <= 64) return {64, 16, 5};
  if (largestDim <= 128) return {128, 16, 4};
  return {256, 16, 2};
}
constexpr DecodeShape decodeShape(const Problem& problem) {
  return decodeShape(problem.dtype, problem.kvDtype(), largestDim(problem));
}
constexpr int decodeSharedBytes(DType type, DType stored, const DecodeShape& shape) {
  constexpr int shared = 1024;  // what all threads know
  return int(byteSize(type)) * shape.dims * decodeRows +
         decodeWarps * ringBytes(type, stored, shape.keys, shape.dims, shape.stages) + shared;
}

constexpr int valueTile(int valueDim) { return valueDim <= narrowValueTile ? narrowValueTile : wideValueTile; }

/// Whether 16-byte copies may be used for a matrix: unit columns, and every row of every head (and page) aligned.
inline bool rowsAligned(const View<const void>& view, int64_t pageStride, DType type) {
  const int64_t size = byteSize(type);
  return view.columnStride == 1 && reinterpret_cast<uintptr_t>(view.data) % 16 == 0 &&
         view.headStride * size % 16 == 0 && view.rowStride * size % 16 == 0 && pageStride * size % 16 == 0;
}

}  // namespace fovea::cuda
