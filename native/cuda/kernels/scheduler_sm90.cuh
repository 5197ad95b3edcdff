// Which tile a block works on next. One thread of the loading warpgroup decides; the others read it from shared memory.
#pragma once
#include "pipeline_sm90.cuh"
#include "tiled_rules.cuh"
#include "tiled_sm90.h"

namespace fovea::cuda {

/// A block's tile of queries, and the key tiles that some of them see: from `firstTile` on, so many that are left.
/// These are counted as if they followed one another, from the first one's number on.
struct WorkTiles {
  int entry;  // of the table; -1: no more work
  int group;  // of packed heads
  int firstQuery;
  int firstTile, tiles;
};

/// And what the loading thread looks up with rules, since these leave the others no registers for it.
struct Work : WorkTiles {
  LeftTiles left;
  int2 own[3];  // each warpgroup's tiles [x, y)
};

/// Those that a warpgroup's queries see.
FOVEA_DEVICE int2 ownTiles(const Problem& problem, const Sequence& sequence, const Sm90Shape& shape, int firstQuery) {
  const TileRange own = sm90KeyTiles(problem, sequence, shape, firstQuery, warpgroupQueries(problem));
  return {int(own.begin), int(own.end)};
}

/// Tasks are blocks' tiles in the order in which they should begin.
template <Sm90Shape shape, bool ruled>
FOVEA_DEVICE Work workOf(const TiledSm90Arguments& arguments, int task) {
  if (task >= arguments.tasks) return {{-1}};
  const Problem& problem = arguments.tiled.problem;
  const TiledSequence* table = arguments.tiled.table;
  const TiledSequence& entry = findSequence(table, problem.sequenceCount, &TiledSequence::firstTask, task);
  const TiledPlace place = placeOf(entry, problem.kvHeads, task);
  const int queries = int(tileQueries(problem, shape)), firstQuery = place.rowTile * queries;
  const TileRange tiles = sm90KeyTiles(problem, entry.sequence, shape, firstQuery, queries);
  const int first = int(tiles.begin), count = int(tiles.end) - first;
  Work work{{int(&entry - table), place.kvHead, firstQuery, first, count}};
  if (!ruled) return work;
  work.left = leftTiles(entry, place.kvHead, place.rowTile);
  work.tiles = work.left.placeOf(int(tiles.end), first) - first;
#pragma unroll
  for (int i = 0; i < shape.consumers; i++) {
    const int2 own = ownTiles(problem, entry.sequence, shape, firstQuery + i * warpgroupQueries(problem));
    const bool all = own.x == first && own.y == first + count;
    work.own[i] =
        all ? int2{first, first + work.tiles} : int2{work.left.placeOf(own.x, first), work.left.placeOf(own.y, first)};
  }
  return work;
}

/// The task after `task` for this block. Tasks of one length are dealt out; of others, whoever is free takes the next.
FOVEA_DEVICE int nextTask(const TiledSm90Arguments& arguments, int task) {
  const int blocks = int(gridDim.x);
  return arguments.counter ? blocks + atomicAdd(&arguments.counter->next, 1) : task + blocks;
}

}  // namespace fovea::cuda
