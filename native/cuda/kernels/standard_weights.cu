// Weights, in place: the scores kernel left scores where weights are wanted, the product kernel each row's maximum and
// sum.
//
//   w = exp(s - m) / l;  0 where no key was visible: tiles that were not visited, rows and columns past the lengths
//
// One warp per row, eight rows per thread block.
//
// Floor: the scores read and the weights written, 8 bytes a pair / bandwidth of device memory: of 128 x 128 pairs
// 128 KiB, some 9,300 cycles of an H100 SM's share of 3.35 TB/s, beside 1,024 of exponentials.
#include "standard_common.cuh"

namespace fovea::cuda {

extern "C" __global__ void __launch_bounds__(standardThreads)
    fovea_standard_weights(const __grid_constant__ StandardArguments arguments) {
  const Problem& problem = arguments.problem;
  const StandardSequence& entry = findSequence(arguments, &StandardSequence::firstWeightTask);
  const Sequence& sequence = entry.sequence;
  const int task = static_cast<int>(blockIdx.x) - static_cast<int>(entry.firstWeightTask);
  const int head = task / entry.weightTiles, row = task % entry.weightTiles * weightRows + warpIndex();
  if (row >= sequence.queryRows) return;

  const int queryTile = row / standardQueryTile;
  const TileRange keyTiles = visibleKeyTiles(problem, sequence, queryTile);
  const int64_t begin = keyTiles.begin * standardKeyTile;
  const int64_t end = row < sequence.queryLength ? min(keyTiles.end * standardKeyTile, sequence.keyLength) : 0;
  const float2 statistics = entry.rows[int64_t(head) * entry.queryTiles * standardQueryTile + row];
  float* weights = sequence.weights.data + head * sequence.weights.headStride + row * sequence.weights.rowStride;
  for (int64_t column = laneIndex(); column < sequence.keyColumns; column += 32) {
    float* weight = weights + column * sequence.weights.columnStride;
    const bool scored = column >= begin && column < end;
    *weight = scored ? ptx::exp2((*weight - statistics.x) * log2e) * statistics.y : 0.f;
  }
}

}  // namespace fovea::cuda
