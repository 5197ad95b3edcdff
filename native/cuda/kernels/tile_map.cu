// Which key tiles masks and biases leave, before the tiled kernels visit them: two bits for each row tile and key tile,
// whether some pair is left, and whether the mask hides none. So a mask of texts that follow one another, of a prefix,
// or of what is causal costs what it leaves, and tiles that it leaves whole cost what they do without one.
//
// A warp looks at one tile and stops as soon as both are decided, which takes a few rows where the tile is neither
// hidden nor left whole. A thread block has eight key tiles, whose bits are a byte of the map.
//
// Floor: a mask's bytes once / bandwidth of device memory, where tiles are hidden or left whole; the tiled kernel need
// not read those again. 16k x 16k bytes are 0.08 ms of an H100's 3.35 TB/s, beside some 3.7 ms that attention of 16
// heads of 128 dims takes without a mask.
#include "pairs.cuh"
#include "scores.cuh"
#include "sequences.cuh"
#include "tile_map.cuh"

namespace fovea::cuda {

/// The bits of look(row, key), or'ed, until they are `all`: rows are the tile's queries and heads, `step` keys looked
/// at together.
template <int step, class Look>
FOVEA_DEVICE uint32_t lookAt(const TilePairs& tile, uint32_t all, Look look) {
  constexpr int together = 8;  // on their way at once
  const Divisor perRow(tile.keys / step);
  const int count = tile.queries * tile.heads * (tile.keys / step);
  uint32_t found = 0;
#pragma unroll 1
  for (int i = laneIndex(); i - laneIndex() < count; i += 32 * together) {
#pragma unroll
    for (int k = 0; k < together; k++) {
      const Divisor::Quotient at = perRow.divide(i + 32 * k);
      if (i + 32 * k < count) found |= look(at.quotient, at.remainder * step);
    }
    if (__reduce_or_sync(0xffffffff, found) == all) return all;
  }
  return __reduce_or_sync(0xffffffff, found);
}

constexpr uint32_t someLeft = 1, someHidden = 2;

FOVEA_DEVICE uint32_t lookAtMask(const View<const uint8_t>& mask, const TilePairs& all) {
  const TilePairs tile = distinctPairs(all, mask);
  const Divisor heads(tile.heads);
  const int64_t place = static_cast<int64_t>(reinterpret_cast<uintptr_t>(mask.data)) + tile.key;
  const bool words = mask.columnStride == 1 && ((place | mask.headStride | mask.rowStride | tile.keys) % 4 == 0);
  if (words)
    return lookAt<4>(tile, someLeft | someHidden, [&](int row, int key) {
      const uint32_t four = *reinterpret_cast<const uint32_t*>(elementsAt(mask, tile, heads, row, key));
      const bool anyZero = ((four - 0x01010101u) & ~four & 0x80808080u) != 0;
      return (four != 0 ? someLeft : 0) | (anyZero ? someHidden : 0);
    });
  return lookAt<1>(tile, someLeft | someHidden, [&](int row, int key) {
    return *elementsAt(mask, tile, heads, row, key) != 0 ? someLeft : someHidden;
  });
}

template <class Element>
FOVEA_DEVICE bool leavesSome(const View<const void>& any, const TilePairs& all) {
  const View<const Element> bias{static_cast<const Element*>(any.data), any.headStride, any.rowStride,
                                 any.columnStride};
  const TilePairs tile = distinctPairs(all, bias);
  const Divisor heads(tile.heads);
  return lookAt<1>(tile, someLeft, [&](int row, int key) {
           const float element = ptx::toFloat(*elementsAt(bias, tile, heads, row, key));
           return element == negativeInfinity() ? 0 : someLeft;
         }) != 0;
}

FOVEA_DEVICE bool leavesSome(DType type, const View<const void>& bias, const TilePairs& tile) {
  switch (type) {
    case DType::float32:
      return leavesSome<float>(bias, tile);
    case DType::float16:
      return leavesSome<Half>(bias, tile);
    default:
      return leavesSome<BFloat>(bias, tile);
  }
}

extern "C" __global__ void __launch_bounds__(tileMapThreads)
    fovea_tile_map(const __grid_constant__ TileMapArguments arguments) {
  __shared__ uint32_t found[tileMapThreads / 32];
  const Problem& problem = arguments.problem;
  const TiledSequence& entry =
      findSequence(arguments.table, problem.sequenceCount, &TiledSequence::firstMapTask, blockIdx.x);
  const Sequence& sequence = entry.sequence;
  const int perRow = 4 * entry.mapWords, task = int(blockIdx.x) - entry.firstMapTask;
  const int part = task % perRow, row = task / perRow;
  const int rowTile = row % entry.mapRowTiles, kvHead = row / entry.mapRowTiles;

  // Where all row tiles are alike, the first query stands for all, and some see what it does not.
  TileQueries queries = arguments.grid.queries(rowTile, sequence.queryLength);
  if (entry.mapRowTiles == 1) queries = {0, sequence.queryLength - 1};
  const KeyRange seen = visibleKeysOfRows(problem, sequence, queries.first, queries.last);
  const int tileKeys = arguments.grid.keys;
  const int64_t key = int64_t(part * (tileMapThreads / 32) + warpIndex()) * tileKeys;
  uint32_t bits = 0;
  if (key < seen.end && key + tileKeys > seen.begin) {
    const int group = problem.groupSize(), queryCount = int(queries.last - queries.first) + 1;
    const int keyCount = int(min(int64_t{tileKeys}, sequence.keyLength - key));
    const TilePairs tile{queries.first, int64_t{kvHead} * group, key, queryCount, group, keyCount};
    bits = sequence.mask ? lookAtMask(sequence.mask, tile) : someLeft;
    if (sequence.bias && (bits & someLeft) && !leavesSome(problem.biasDtype, sequence.bias, tile)) bits = someHidden;
  }
  if (laneIndex() == 0) found[warpIndex()] = bits;
  __syncthreads();
  if (warpIndex() > 0) return;
  const uint32_t own = laneIndex() < tileMapThreads / 32 ? found[laneIndex()] : 0;
  const uint32_t some = __ballot_sync(0xffffffff, own & someLeft);
  const uint32_t whole = __ballot_sync(0xffffffff, own == someLeft);
  if (laneIndex() > 0) return;
  auto* map = reinterpret_cast<uint8_t*>(entry.tileMap) + int64_t{row} * 2 * perRow + part;
  map[0] = uint8_t(some);
  map[perRow] = uint8_t(whole);
}

}  // namespace fovea::cuda
