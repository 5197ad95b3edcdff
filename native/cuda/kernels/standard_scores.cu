// Scores: one tile of 128 queries by 128 keys per thread block.
//
//   S = rules(scale · Q Kᵀ);  m = row maximum, P = exp(S - m), l = row sum of P, each over a block of 64 keys
//
// Q [128 x headDim] and K [128 x headDim] pass through shared memory a panel (128 bytes of columns) at a time, two
// panels of each in flight. The 8 warps hold S as 4 x 2 warp tiles of 32 x 64 in registers; a warp's 64 keys are one
// block, so no warp needs another's rows. P is rounded to the dtype and written once, with (m, l) beside it;
// standard_output.cu reads it.
//
// Floor on one H100 SM (headDim 128): 4.2 MFLOP per tile, about 1,600 cycles of mma.sync; 16,384 exponentials, 1,024
// cycles; 32 KiB written, about 2,300 cycles of the SM's share of 3.35 TB/s.
#include "rules.cuh"

namespace fovea::cuda {

union ScoresShared {
  struct {
    Panel<standardQueryTile> query[2];
    Panel<standardKeyTile> key[2];
  } panels;
  WarpBuffer buffers[standardThreads / 32];  // after the products, for the rules
};

static_assert(sizeof(ScoresShared) == scoresSharedBytes);

/// Row maxima and sums of a warp's block, with tile := exp(tile - maximum) in between.
template <class Tile>
FOVEA_DEVICE void exponentiate(Tile& tile, float2* statistics) {
  float maximum[Tile::rowsPerThread], sum[Tile::rowsPerThread], reference[Tile::rowsPerThread];
  rowMax(tile, maximum);
#pragma unroll
  for (int i = 0; i < Tile::rowsPerThread; i++) reference[i] = maximum[i] == negativeInfinity() ? 0.f : maximum[i];
  forEach(tile, [&](float& value, int i, int) { value = ptx::exp2((value - reference[i]) * log2e); });
  rowSum(tile, sum);
  if (laneIndex() % Tile::lanesPerRow == 0)
#pragma unroll
    for (int i = 0; i < Tile::rowsPerThread; i++) statistics[tile.row(i)] = {maximum[i], sum[i]};
}

template <class Element>
FOVEA_DEVICE void standardScores(const StandardArguments& arguments) {
  extern __shared__ __align__(1024) unsigned char sharedMemory[];
  auto& shared = *reinterpret_cast<ScoresShared*>(sharedMemory);
  constexpr int depth = panelColumns<Element>;

  const Problem& problem = arguments.problem;
  const StandardSequence& entry = findSequence(arguments, &StandardSequence::firstScoreTask);
  const Sequence& sequence = entry.sequence;
  const int task = static_cast<int>(blockIdx.x) - static_cast<int>(entry.firstScoreTask);
  const int tilesPerHead = entry.queryTiles * entry.keyTiles;
  const int head = task / tilesPerHead, tile = task % tilesPerHead;
  const int queryTile = tile / entry.keyTiles;
  const TileRange keyTiles = scoredKeyTiles(problem, sequence, queryTile);
  const int keyTile = tile % entry.keyTiles;  // from the first visited one
  if (keyTiles.begin + keyTile >= keyTiles.end) return;

  const int firstQuery = queryTile * standardQueryTile;
  const int firstKey = int(keyTiles.begin + keyTile) * standardKeyTile;
  const int queryLength = int(sequence.queryLength), keyLength = int(sequence.keyLength);
  const auto load = [&](int stage, int column) {  // past the last column: nothing, but a group to count
    // Nor without any key, whose scores are written all the same: there is no last row, nor a page of it.
    if (column >= problem.headDim || keyLength == 0) return ptx::commitCopies();
    // Where the rows are is read from the table each time: held in registers, it would push out accumulators.
    const auto query = queryRows<Element>(entry, head);
    loadPanel(shared.panels.query[stage], query, firstQuery, queryLength, column, problem.headDim);
    const auto key = keyRows<Element>(problem, entry, head / problem.groupSize());
    loadPanel(shared.panels.key[stage], key, firstKey, keyLength, column, problem.headDim);
    ptx::commitCopies();
  };

  const int warpRow = warpIndex() / 2 * warpRows, warpColumn = warpIndex() % 2 * standardKeyBlock;
  const bool hasWork = firstQuery + warpRow < queryLength && firstKey + warpColumn < keyLength;
  WarpTile<Element, standardKeyBlock> scores;
  clear(scores);

  load(0, 0);
  load(1, depth);
  for (int column = 0, stage = 0; column < problem.headDim; column += depth, stage ^= 1) {
    ptx::waitCopies<1>();
    __syncthreads();  // this panel is there
    if (hasWork)
      multiplyTransposed(scores, shared.panels.query[stage], warpRow, shared.panels.key[stage], warpColumn,
                         problem.headDim - column);
    __syncthreads();  // nobody reads it any more
    load(stage, column + 2 * depth);
  }

  ptx::waitCopies<0>();                   // the panels' memory becomes the buffers
  if (warpRow >= entry.tileRows) return;  // nobody wants these rows
  const TilePlace place{head, firstQuery + warpRow, firstKey + warpColumn};
  applyRules(arguments, sequence, place, scores, shared.buffers[warpIndex()]);

  const int64_t block = firstBlock(entry, head, queryTile, keyTile) + warpColumn / standardKeyBlock;
  exponentiate(scores, blockRowStatistics(entry, block) + warpRow);
  storeProbabilities(scores, warpRow, blockProbabilities<Element>(entry, block), entry.tileRows);
}

#define FOVEA_STANDARD_SCORES(suffix, Element)                                              \
  extern "C" __global__ void __launch_bounds__(standardThreads, 2)                          \
      fovea_standard_scores_##suffix(const __grid_constant__ StandardArguments arguments) { \
    standardScores<Element>(arguments);                                                     \
  }
FOVEA_STANDARD_SCORES(float32, float)
FOVEA_STANDARD_SCORES(float16, Half)
FOVEA_STANDARD_SCORES(bfloat16, BFloat)

}  // namespace fovea::cuda
