// The tiles of the tiled kernel for Hopper: numbers and formulas that planner, host path and device code share.
#pragma once
#include "plan.h"
#include "splits_cuda.h"
#include "tiles_cuda.h"

namespace fovea::cuda {

/// A warpgroup multiplies 64 rows at a time.
constexpr int warpgroupThreads = 128, warpgroupRows = 64;

/// Columns of a panel, in which matrices of so many (padded) columns lie in shared memory: rows of 128 bytes, or of 64
/// where those do not go up.
constexpr int sm90PanelColumns(int columns) { return columns % 64 == 0 ? 64 : 32; }

/// Bytes of the workspace that describe one sequence to the copy engine, and of the counter of tasks; that describe one
/// to the decode kernel.
constexpr int64_t sm90MapBytes = 512, sm90CounterBytes = 64, sm90DecodeEntryBytes = 896;

/// A thread block: one warpgroup that loads, and `consumers` that multiply, each with its own 64 rows and all keys of
/// the tile.
struct Sm90Shape {
  int dims, valueDims;  // headDim and valueDim, padded
  int consumers;
  int keys;
  int stages;      // tiles of keys, and as many of values, that shared memory holds
  bool ownOutput;  // whether the output is staged beside the query, not in its place
  constexpr int threads() const { return (1 + consumers) * warpgroupThreads; }
  constexpr int rows() const { return consumers * warpgroupRows; }
  /// Registers per thread, of the 64 Ki that a thread block has.
  constexpr int producerRegisters() const { return consumers == 2 ? 40 : 32; }
  constexpr int consumerRegisters() const { return consumers == 2 ? 232 : 160; }
};

/// The tile for headDim and valueDim up to maxTiledDim. Sizes: the largest whose accumulators (scores, rounded
/// probabilities, output) and whose tiles fit into registers and shared memory. Rules (hasRules()) take registers, but
/// not keys: a sequence without has the same bits beside one that has some.
constexpr Sm90Shape sm90Shape(int headDim, int valueDim, bool ruled) {
  if (headDim <= 64 && valueDim <= 64) return {64, 64, ruled ? 2 : 3, 128, 2, true};
  if (headDim <= 96 && valueDim <= 96) return {96, 96, ruled ? 2 : 3, 112, 2, true};
  if (headDim <= 128 && valueDim <= 128) return {128, 128, 2, 128, 2, true};
  if (headDim <= 192 && valueDim <= 128) return {192, 128, 2, 128, 2, false};
  if (headDim <= 192 && valueDim <= 192) return {192, 192, 2, 112, 2, false};
  return {256, 256, 2, 80, 2, false};
}
static_assert([] {
  for (int dims = 8; dims <= maxTiledDim; dims += 8)
    for (int valueDims = 8; valueDims <= maxTiledDim; valueDims += 8)
      if (sm90Shape(dims, valueDims, false).keys != sm90Shape(dims, valueDims, true).keys) return false;
  return true;
}());
constexpr Sm90Shape sm90Shape(const Problem& problem, bool ruled) {
  return sm90Shape(problem.headDim, problem.valueDim, ruled);
}

/// Dynamic shared memory: tiles, and what the threads tell one another.
constexpr int sm90SharedBytes(const Sm90Shape& shape) {
  constexpr int shared = 3072;
  const int queryBytes = 2 * shape.rows() * shape.dims;
  const int outputBytes = shape.ownOutput ? 2 * shape.rows() * shape.valueDims : 0;
  return queryBytes + outputBytes + 2 * shape.stages * shape.keys * (shape.dims + shape.valueDims) + shared;
}

/// How many heads of a group share a warpgroup's 64 rows with all their queries: the largest divisor of the group that
/// leaves less than a tenth of the rows without work.
constexpr int packedHeads(int groupSize) {
  int best = 1;
  for (int heads = 1; heads <= groupSize && heads <= warpgroupRows; heads++)
    if (groupSize % heads == 0 && warpgroupRows / heads * heads * 10 >= warpgroupRows * 9) best = heads;
  return best;
}

/// The problem as the kernel sees it: packed heads are a group of their own, whose keys other groups may share.
constexpr Problem packedProblem(const Problem& problem) {
  Problem packed = problem;
  packed.kvHeads = problem.heads / packedHeads(problem.groupSize());
  return packed;
}

/// Of a packed problem: queries of a warpgroup and of a thread block. Row r of a warpgroup is query r / groupSize of
/// its queries, head r % groupSize; further rows are empty.
constexpr int warpgroupQueries(const Problem& packed) { return warpgroupRows / packed.groupSize(); }
constexpr int64_t tileQueries(const Problem& packed, const Sm90Shape& shape) {
  return int64_t{shape.consumers} * warpgroupQueries(packed);
}

/// The key tiles with a key that some of `queries` queries from `first` on may see by length, causality and window.
constexpr TileRange sm90KeyTiles(const Problem& problem, const Sequence& sequence, const Sm90Shape& shape,
                                 int64_t first, int64_t queries) {
  const int64_t last = clampTo(first + queries, 0, sequence.queryLength) - 1;
  if (last < first) return {0, 0};
  const KeyRange keys = visibleKeysOfRows(problem, sequence, first, last);
  return {keys.begin / shape.keys, ceilDivide(keys.end, shape.keys)};
}

/// Whether anything but a positive scale and ranges of keys decides over the scores.
inline bool hasRules(const Problem& problem) {
  if (problem.softcap > 0 || !(float(problem.scale) > 0)) return true;
  for (int64_t i = 0; i < problem.sequenceCount; i++) {
    const Sequence& sequence = problem.sequences[i];
    if (sequence.bias || sequence.mask || sequence.alibiSlopes) return true;
  }
  return false;
}

/// Whether the copy engine can describe a matrix: rows at multiples of 16 bytes, strides above 0. `heads` and `rows`
/// are its sizes.
inline bool isTensor(const View<const void>& view, int64_t heads, int64_t rows, DType type) {
  const auto describes = [&](int64_t stride, int64_t count) {
    const int64_t bytes = stride * byteSize(type);
    return count <= 1 || (bytes > 0 && bytes % 16 == 0 && bytes < int64_t{1} << 40);
  };
  return view.columnStride == 1 && reinterpret_cast<uintptr_t>(view.data) % 16 == 0 &&
         describes(view.headStride, heads) && describes(view.rowStride, rows);
}

/// Why a sequence with headDim and valueDim up to maxTiledDim is not this kernel's. Valid for host tensors and for
/// their copies on the device alike: those keep strides and places within 16 bytes, but outputs lie close together
/// there.
inline Sm90Refusal sm90Refusal(const Problem& problem, const Sequence& sequence) {
  const bool halves = problem.dtype == DType::float16 || problem.dtype == DType::bfloat16;
  if (!halves || problem.kvDtype() != problem.dtype) return Sm90Refusal::dtype;
  if (problem.pageSize > 0) return Sm90Refusal::pages;
  const View<void>& output = sequence.output;
  const bool tensors = problem.valueDim % 8 == 0 &&
                       isTensor(sequence.query, problem.heads, sequence.queryLength, problem.dtype) &&
                       isTensor(sequence.key, problem.kvHeads, sequence.keyLength, problem.dtype) &&
                       isTensor(sequence.value, problem.kvHeads, sequence.keyLength, problem.dtype) &&
                       isTensor({output.data, output.headStride, output.rowStride, output.columnStride}, problem.heads,
                                sequence.queryRows, problem.dtype);
  return tensors ? Sm90Refusal::none : Sm90Refusal::strides;
}

/// A thread block of the decode kernel for Hopper: a warp that loads, and a warpgroup that multiplies: all rows of one
/// kv head, and one split of the keys.
constexpr int sm90DecodeThreads = warpgroupThreads + 32;

/// At least 64 KiB of keys and values on their way to a multiprocessor while others are used: two thread blocks of it,
/// of 256 dims one. `stages` of keys, and as many of values.
constexpr DecodeShape sm90DecodeShape(int largestDim) {
  if (largestDim <= 64) return {64, 64, 4};
  if (largestDim <= 128) return {128, 64, 2};
  return {256, 64, 2};
}
constexpr DecodeShape sm90DecodeShape(const Problem& problem) { return sm90DecodeShape(largestDim(problem)); }
constexpr int sm90DecodeSharedBytes(const DecodeShape& shape) {
  constexpr int shared = 1024;  // what the threads tell one another
  return 2 * shape.dims * (warpgroupRows + 2 * shape.stages * shape.keys) + shared;
}

/// Keys of a box: of a tile's 64 those that lie in one page. Fewer than 16 are not worth a copy.
constexpr int sm90BoxKeys(int pageSize) {
  int keys = 64;
  while (pageSize % keys != 0) keys /= 2;
  return keys;
}
constexpr int smallestBoxKeys = 16;

/// Why a sequence is not the decode kernel's for Hopper.
inline Sm90Refusal sm90DecodeRefusal(const Problem& problem, const Sequence& sequence) {
  const bool halves = problem.dtype == DType::float16 || problem.dtype == DType::bfloat16;
  if (!halves || problem.kvDtype() != problem.dtype) return Sm90Refusal::dtype;
  if (sm90BoxKeys(problem.pageSize) < smallestBoxKeys) return Sm90Refusal::pageSize;
  const bool paged = problem.pageSize > 0;
  const int64_t keys = paged ? problem.pageSize : sequence.keyLength;
  const auto isKeyTensor = [&](const View<const void>& view, int64_t pageStride) {
    const bool pages = !paged || (pageStride > 0 && pageStride * byteSize(problem.dtype) % 16 == 0);
    return pages && isTensor(view, problem.kvHeads, keys, problem.dtype);
  };
  const bool tensors = isTensor(sequence.query, problem.heads, sequence.queryLength, problem.dtype) &&
                       isKeyTensor(sequence.key, sequence.keyPageStride) &&
                       isKeyTensor(sequence.value, sequence.valuePageStride);
  return tensors ? Sm90Refusal::none : Sm90Refusal::strides;
}

/// Whether a sequence on a Hopper GPU has too many rows for the decode kernel of others, but no more than a warpgroup
/// multiplies, and keys that are worth splitting.
constexpr bool hasWarpgroupRows(const Problem& problem, const Sequence& sequence) {
  const int64_t rows = sequence.queryLength * problem.groupSize();
  return rows > decodeRows && rows <= warpgroupRows && !sequence.weights && decodeSplits(problem, sequence).count > 1;
}

/// A kernel's work on one sequence. A task is a thread block's tile of queries.
struct Sm90Work {
  int64_t rowTiles = 0, tasks = 0;
  double flops = 0;  // of all heads: whole tiles of the warpgroups that have rows
};
Sm90Work sm90Work(const Problem& problem, const Sequence& sequence, const Sm90Shape& shape);

/// Workspace bytes of what describes `sequences` sequences to the copy engine, and of the counter of tasks.
constexpr int64_t sm90WorkspaceBytes(int64_t sequences) {
  return sequences > 0 ? roundUp(sequences * sm90MapBytes + sm90CounterBytes, 256) : 0;
}

}  // namespace fovea::cuda
