// Which tile a block works on next. One thread of the loading warpgroup decides; the others read it from shared memory.
#pragma once
#include "pipeline_sm90.cuh"
#include "tiled_rules.cuh"
#include "tiled_sm90.h"

namespace fovea::cuda {

/// A block's tile of queries, and the key tiles that some of them see.
struct Work {
  int entry;  // of the table; -1: no more work
  int group;  // of packed heads
  int firstQuery;
  int firstTile, tiles;
};

/// Tasks are blocks' tiles in the order in which they should begin.
template <Sm90Shape shape>
FOVEA_DEVICE Work workOf(const TiledSm90Arguments& arguments, int task) {
  if (task >= arguments.tasks) return {-1, 0, 0, 0, 0};
  const Problem& problem = arguments.tiled.problem;
  const TiledSequence* table = arguments.tiled.table;
  const TiledSequence& entry = findSequence(table, problem.sequenceCount, &TiledSequence::firstTask, task);
  const TiledPlace place = placeOf(entry, problem.kvHeads, task);
  const int queries = int(tileQueries(problem, shape)), firstQuery = place.rowTile * queries;
  const TileRange tiles = sm90KeyTiles(problem, entry.sequence, shape, firstQuery, queries);
  return {int(&entry - table), place.kvHead, firstQuery, int(tiles.begin), int(tiles.end - tiles.begin)};
}

/// The task after `task` for this block. Tasks of one length are dealt out; of others, whoever is free takes the next.
FOVEA_DEVICE int nextTask(const TiledSm90Arguments& arguments, int task) {
  const int blocks = int(gridDim.x);
  return arguments.counter ? blocks + atomicAdd(&arguments.counter->next, 1) : task + blocks;
}

}  // namespace fovea::cuda
