// Weights beside tiled attention: scores are computed a second time, tile by tile, and normalised by what the tiled
// kernel found for each row. Nothing of the size of the scores is stored but the weights themselves.
//
//   w = 2^(rules(Q Kᵀ) - reference) / sum;   0 where no key was visible: tiles that no row sees, rows and columns past
//   the lengths
//
// A thread block takes 128 rows, (query, head of the group) pairs, by 128 keys, in 4 x 2 warps of 32 x 64, and a panel
// (128 bytes of columns) of queries and keys at a time, two of each in flight.
//
// Floor on one A100 SM (16-bit, headDim 128): 4.2 MFLOP per tile, 2,048 cycles of mma.sync; 16,384 exponentials, 1,024
// cycles; 192 KiB out of and 64 KiB into shared memory, 2,048 cycles; 64 KiB written, 6,400 cycles of the SM's share of
// 1.55 TB/s, which is the limit.
#include "softmax.cuh"
#include "split.cuh"
#include "tiled_rules.cuh"

namespace fovea::cuda {

struct WeightShared {
  Panel<standardQueryTile> query[2][1];
  Panel<standardKeyTile> key[2][1];
};

static_assert(sizeof(WeightShared) == weightSharedBytes);
static_assert(weightShape.rows() == standardQueryTile);

/// Rows [row, row + 32) and keys [key, key + 64) of the weights.
template <class Tile>
FOVEA_DEVICE void writeWeights(const RuleArguments& arguments, const TiledSequence& entry, const ScorePlace& place,
                               float unit, bool visible, Tile& scores) {
  const Sequence& sequence = entry.sequence;
  const View<float>& weights = sequence.weights;
  const int64_t rowEnd = sequence.queryRows * arguments.group.divisor;
#pragma unroll
  for (int i = 0; i < Tile::rowsPerThread; i++) {
    const int row = place.row + scores.row(i);
    if (row >= rowEnd) return;
    const PackedRow packed = packedRow(arguments, place.kvHead, row);
    float* to = weights.data + packed.head * weights.headStride + packed.query * weights.rowStride;
    const float2 state = entry.rows[place.kvHead * rowEnd + row];
#pragma unroll
    for (int j = 0; j < Tile::columnsPerThread; j++) {
      const int key = place.key + scores.column(j);
      // Then the scores mean nothing, or the row may be NaN where it does see.
      const bool empty = !visible || state.y == 0 || scores.at(i, j) == negativeInfinity();
      const float weight = empty ? 0.f : ptx::exp2(exponent(scores.at(i, j), unit, state.x)) * state.y;
      if (key < sequence.keyColumns) to[key * weights.columnStride] = weight;
    }
  }
}

template <class Element>
FOVEA_DEVICE void tiledWeights(const TiledArguments& arguments) {
  extern __shared__ __align__(1024) unsigned char sharedMemory[];
  auto& shared = *reinterpret_cast<WeightShared*>(sharedMemory);
  constexpr int depth = panelColumns<Element>;
  constexpr TiledShape shape = weightShape;

  const Problem& problem = arguments.problem;
  const TiledSequence& entry =
      findSequence(arguments.table, problem.sequenceCount, &TiledSequence::firstWeightTask, blockIdx.x);
  const Sequence& sequence = entry.sequence;
  const int task = static_cast<int>(blockIdx.x - entry.firstWeightTask);
  const int tilesPerHead = entry.weightRowTiles * entry.weightKeyTiles;
  const int kvHead = task / tilesPerHead, tile = task % tilesPerHead;
  const int rowTile = tile / entry.weightKeyTiles, keyTile = tile % entry.weightKeyTiles;
  const int firstRow = rowTile * standardQueryTile, firstKey = keyTile * standardKeyTile;
  const int rowCount = int(sequence.queryLength) * problem.groupSize(), keyLength = int(sequence.keyLength);
  const TileRange visibleTiles = tiledKeyTiles(problem, sequence, shape, rowTile);
  const bool visible = keyTile >= visibleTiles.begin && keyTile < visibleTiles.end;

  const auto load = [&](int stage, int column) {  // past the last column: nothing, but a group to count
    if (column >= problem.headDim) return ptx::commitCopies();
    auto query = queryRows<Element>(entry, 0);
    query.base += column * query.columnStride;
    const int64_t headStride = sequence.query.headStride;
    const int columnEnd = min(problem.headDim - column, depth);
    loadRows<standardThreads>(shared.query[stage], query, rowCount - firstRow, columnEnd, [&](auto& from, int row) {
#pragma unroll
      for (auto& at : from) {
        const PackedRow packed = packedRow(arguments, kvHead, firstRow + row);
        at = query.base + packed.head * headStride + packed.query * query.rowStride;
        row += standardThreads / 8;
      }
    });
    auto key = keyRows<Element>(problem, entry, kvHead);
    key.base += column * key.columnStride;
    loadRows<standardThreads>(shared.key[stage], key, firstKey, keyLength, columnEnd);
    ptx::commitCopies();
  };

  const int warpRow = warpIndex() / 2 * warpRows, warpColumn = warpIndex() % 2 * standardKeyBlock;
  const ScorePlace place{kvHead, firstRow + warpRow, firstKey + warpColumn};
  const bool hasWork = visible && place.row < rowCount && place.key < keyLength;
  typename Products<Element, weightShape.rowGroups, standardKeyBlock>::Tile products;
  clear(products);
  if (visible) {
    load(0, 0);
    load(1, depth);
    for (int column = 0, stage = 0; column < problem.headDim; column += depth, stage ^= 1) {
      ptx::waitCopies<1>();
      __syncthreads();  // this panel is there
      if (hasWork)
        multiplyPanels<Element>(products, shared.query[stage][0], warpRow, shared.key[stage][0], warpColumn,
                                problem.headDim - column);
      __syncthreads();  // nobody reads it any more
      load(stage, column + 2 * depth);
    }
    ptx::waitCopies<0>();
  }
  auto& scores = total(products);
  const auto isMasked = [&] { return bool(sequence.mask); };
  const float unit = hasWork ? applyRules(arguments, sequence, place, scores, isMasked) : 1.f;
  writeWeights(arguments, entry, place, unit, hasWork, scores);
}

#define FOVEA_TILED_WEIGHTS(suffix, Element)                                           \
  extern "C" __global__ void __launch_bounds__(standardThreads, 1)                     \
      fovea_tiled_weights_##suffix(const __grid_constant__ TiledArguments arguments) { \
    tiledWeights<Element>(arguments);                                                  \
  }
FOVEA_TILED_WEIGHTS(float32, float)
FOVEA_TILED_WEIGHTS(float16, Half)
FOVEA_TILED_WEIGHTS(bfloat16, BFloat)

}  // namespace fovea::cuda
