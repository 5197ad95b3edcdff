#include "costs_cuda.h"

#include <algorithm>

#include "planner.h"

namespace fovea::cuda {

/// Rows of tiles that some warp works on: whole warps.
static double rowsExecuted(int64_t rowsLeft, const TiledShape& shape) {
  return double(roundUp(clampTo(rowsLeft, 0, shape.rows()), shape.warpRows()));
}

double executedFlops(const Problem& problem, const Sequence& sequence, const StandardWork& work) {
  const int64_t columns = valueTile(problem.valueDim), warpColumns = columns / 2;
  const int64_t depth = roundUp(problem.headDim, problem.dtype == DType::float32 ? 1 : 16);
  const int64_t width = roundUp(problem.valueDim, warpColumns);
  double products = 0;
  for (int64_t tile = 0; tile < work.queryTiles; tile++) {
    const int64_t left = sequence.queryLength - tile * standardQueryTile;
    const auto rows = double(roundUp(clampTo(left, 0, standardQueryTile), warpRows));
    const TileRange scored = scoredKeyTiles(problem, sequence, tile),
                    visible = visibleKeyTiles(problem, sequence, tile);
    const int64_t keysEnd = std::min(scored.end * standardKeyTile, roundUp(sequence.keyLength, standardKeyBlock));
    products += rows * double(std::max<int64_t>(keysEnd - scored.begin * standardKeyTile, 0)) * double(depth);
    products += rows * double((visible.end - visible.begin) * standardKeyTile) * double(width);
  }
  return 2 * products;
}

double bytesTouched(const Problem& problem, const Sequence& sequence) {
  const double size = double(byteSize(problem.dtype)), heads = problem.heads;
  double bytes = size * heads * double(sequence.queryLength) * problem.headDim;
  bytes += size * heads * double(sequence.queryRows) * problem.valueDim;
  const KeyRange keys =
      sequence.queryLength > 0 ? visibleKeysOfRows(problem, sequence, 0, sequence.queryLength - 1) : KeyRange{0, 0};
  bytes += keyBytes(problem, keys.end - keys.begin);
  if (sequence.lse) bytes += 4 * heads * double(sequence.queryRows);
  const double pairs = heads * visiblePairs(problem, sequence);
  if (sequence.mask) bytes += pairs;
  if (sequence.bias) bytes += double(byteSize(problem.biasDtype)) * pairs;
  return bytes;
}

double matrixBytes(const Problem& problem, const Sequence& sequence, const StandardWork& work) {
  const double size = double(byteSize(problem.dtype)), heads = problem.heads;
  const double matrix = heads * double(sequence.queryRows) * double(sequence.keyColumns);
  double bytes = 0;
  for (int64_t tile = 0; tile < work.queryTiles; tile++) {
    const TileRange visible = visibleKeyTiles(problem, sequence, tile);
    const double elements = double(visible.end - visible.begin) * double(work.tileRows) * standardKeyTile;
    bytes += 2 * heads * elements * (size + 8.0 / standardKeyBlock);
  }
  if (sequence.weights) bytes += 3 * 4 * matrix;  // written as scores, read, written as weights
  if (sequence.scores) bytes += 4 * matrix;
  return bytes;
}

double weightFlops(const Problem& problem, const Sequence& sequence, const TiledWork& work) {
  const int64_t rows = sequence.queryLength * problem.groupSize();
  const auto depth = double(roundUp(problem.headDim, problem.dtype == DType::float32 ? 8 : 16));
  double products = 0;
  for (int64_t tile = 0; tile < work.weightRowTiles; tile++) {
    const TileRange keys = tiledKeyTiles(problem, sequence, weightShape, tile);
    const int64_t begin = keys.begin * standardKeyTile;
    const int64_t end = std::min(keys.end * standardKeyTile, roundUp(sequence.keyLength, standardKeyBlock));
    products +=
        rowsExecuted(rows - tile * standardQueryTile, weightShape) * double(std::max(end - begin, int64_t{0})) * depth;
  }
  return 2 * products * (problem.dtype == DType::float32 ? splitProducts : 1);
}

double executedFlops(const Problem& problem, const Sequence& sequence, const TiledShape& shape, const TiledWork& work) {
  const int panel = panelBytes / int(byteSize(problem.dtype));
  const auto dims = double(roundUp(problem.headDim, panel) + roundUp(problem.valueDim, panel));
  const int64_t rows = sequence.queryLength * problem.groupSize();
  double products = 0;
  for (int64_t tile = 0; tile < work.rowTiles; tile++) {
    const TileRange keys = tiledKeyTiles(problem, sequence, shape, tile);
    products += rowsExecuted(rows - tile * shape.rows(), shape) * double((keys.end - keys.begin) * shape.keys) * dims;
  }
  return 2 * products * (problem.dtype == DType::float32 ? splitProducts : 1) + weightFlops(problem, sequence, work);
}

double resultBytes(const Problem& problem, int64_t rows) {
  return 2.0 * double(rows) * (problem.valueDim + 2) * sizeof(float);
}

double splitResultBytes(const Problem& problem, const Sequence& sequence, const KeySplits& splits) {
  const TiledShape shape = tiledShape(problem);
  const int64_t rows = sequence.queryLength * problem.groupSize();
  int64_t written = 0;
  for (int64_t tile = 0; tile * shape.rows() < rows; tile++) {
    const TileRange keys = tiledKeyTiles(problem, sequence, shape, tile);
    written += std::min<int64_t>(rows - tile * shape.rows(), shape.rows()) *
               ceilDivide((keys.end - keys.begin) * shape.keys, splits.keys);
  }
  return resultBytes(problem, written * problem.kvHeads);
}

}  // namespace fovea::cuda
