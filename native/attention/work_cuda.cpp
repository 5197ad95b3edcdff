// How much work kernels have: what planner and launches share.
#include <algorithm>

#include "plan_cuda.h"
#include "tile_map_cuda.h"

namespace fovea::cuda {

StandardWork standardWork(const Problem& problem, const Sequence& sequence) {
  StandardWork work;
  work.queryTiles = ceilDivide(sequence.queryRows, standardQueryTile);
  work.tileRows = std::min<int64_t>(roundUp(sequence.queryRows, warpRows), standardQueryTile);
  for (int64_t tile = 0; tile < work.queryTiles; tile++) {
    const TileRange keys = scoredKeyTiles(problem, sequence, tile);
    work.keyTiles = std::max(work.keyTiles, keys.end - keys.begin);
  }
  const int64_t heads = problem.heads, stored = heads * work.queryTiles * work.keyTiles;
  work.scoreTasks = stored;
  work.outputTasks = heads * work.queryTiles * ceilDivide(problem.valueDim, valueTile(problem.valueDim));
  if (sequence.weights) {
    work.weightTiles = ceilDivide(sequence.queryRows, weightRows);
    work.weightTasks = heads * work.weightTiles;
  }
  work.probabilityBytes = stored * work.tileRows * standardKeyTile * byteSize(problem.dtype);
  work.blockRowBytes = stored * (standardKeyTile / standardKeyBlock) * work.tileRows * int64_t(2 * sizeof(float));
  work.rowBytes = heads * work.queryTiles * standardQueryTile * int64_t(2 * sizeof(float));
  return work;
}

int64_t standardTableBytes(int64_t sequenceCount) {
  return roundUp(sequenceCount * standardEntryBytes, workspaceAlignment);
}

TiledWork tiledWork(const Problem& problem, const Sequence& sequence) {
  TiledWork work;
  const int64_t rows = sequence.queryRows * problem.groupSize();
  work.rowTiles = ceilDivide(rows, tiledShape(problem).rows());
  work.tasks = work.rowTiles * problem.kvHeads;
  if (sequence.weights) {
    work.weightRowTiles = ceilDivide(rows, standardQueryTile);
    work.weightKeyTiles = ceilDivide(sequence.keyColumns, standardKeyTile);
    work.weightTasks = work.weightRowTiles * work.weightKeyTiles * problem.kvHeads;
    work.rowBytes = roundUp(problem.kvHeads * rows * int64_t(2 * sizeof(float)), workspaceAlignment);
  }
  return work;
}

int64_t sm90Sequences(const Plan& plan) {
  return std::count_if(plan.sequences.begin(), plan.sequences.end(),
                       [](const SequencePlan& part) { return part.kernel == Kernel::cudaTiledSm90; });
}

bool sm90TasksDiffer(const Problem& problem, const Plan& plan) {
  int64_t first = -1;
  for (int64_t i = 0; i < problem.sequenceCount; i++) {
    if (plan.sequences[size_t(i)].kernel != Kernel::cudaTiledSm90) continue;
    if (problem.causal || problem.windowLeft >= 0 || problem.windowRight >= 0) return true;
    const Sequence& sequence = problem.sequences[i];
    if (tileMapOf(problem, sequence, Kernel::cudaTiledSm90).words > 0) return true;  // it may hide tiles
    const int64_t keys = sequence.keyLength;
    if (first < 0) first = keys;
    if (keys != first) return true;
  }
  return false;
}

int64_t headsInL2(const Problem& problem, int64_t keys, int64_t l2Bytes) {
  const int64_t perHead = keys * (problem.headDim + problem.valueDim) * byteSize(problem.kvDtype());
  return clampTo(l2Bytes / 2 / std::max<int64_t>(perHead, 1), 1, problem.kvHeads);
}

Problem openProblem(const Problem& problem) {
  Problem open = problem;
  open.causal = false;
  open.windowLeft = open.windowRight = -1;
  return open;
}

int64_t tiledTableBytes(int64_t sequenceCount) { return roundUp(sequenceCount * tiledEntryBytes, workspaceAlignment); }

TileMapWork tileMapWork(const Problem& problem, const Plan& plan, const Pieces& pieces) {
  TileMapPlaces places;
  for (size_t i = 0; i < plan.sequences.size(); i++)
    if (!isMerged(plan.sequences[i])) places.add(problem, problem.sequences[i], plan.sequences[i].kernel);
  for (const Piece& piece : pieces.tiled) places.add(problem, piece.sequence, Kernel::cudaTiled);
  return {places.tasks, roundUp(places.bytes, workspaceAlignment)};
}

DecodeWork decodeWork(const Problem& problem, const Sequence& sequence) {
  DecodeWork work;
  work.splits = decodeSplits(problem, sequence);
  work.rows = sequence.queryLength * problem.groupSize();
  work.tasks = problem.kvHeads * work.splits.count;
  return work;
}

}  // namespace fovea::cuda
