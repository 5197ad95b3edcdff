// What the tiled kernels are given: one Problem by value and a table of sequences in device memory, as the standard
// ones (table.h says how the table gets there).
#pragma once
#include <vector_types.h>

#include "../../attention/tile_map_cuda.h"

namespace fovea::cuda {

/// A query of a shared segment: where its row is, in elements from the first owner's query, and its place among the
/// keys.
struct QueryOwner {
  int64_t query, place;
};

static_assert(sizeof(QueryOwner) == ownerEntryBytes);

/// One entry of the table. "Tasks" are thread blocks: a launch has one row of them over all sequences.
struct alignas(16) TiledSequence {
  Sequence sequence;  // with device pointers

  int64_t firstTask, firstWeightTask;  // of this sequence's kv heads x tiles
  int32_t rowTiles;                    // of TiledShape::rows() rows, enough for queryRows
  int32_t sectionHeads;                // kv heads whose tiles run together, so that their keys and values stay in L2
  int32_t weightRowTiles, weightKeyTiles;                         // of weightShape, enough for queryRows and keyColumns
  int32_t queryAligned, keyAligned, valueAligned, outputAligned;  // whether 16-byte copies may be used

  // In the workspace, when weights are wanted: [kvHeads][rows], each row's reference in base 2, and one over its sum of
  // 2^(score - reference), 0 for a row that sees nothing.
  float2* rows;

  // In the workspace, when results are to be merged: as decode's (decode.h), [kvHeads][splits][rows].
  float* results;
  float2* statistics;
  int32_t splits, splitTiles;  // how many, and key tiles of each (splitTiles())
  const QueryOwner* owners;    // of each query, where they are several sequences'

  // In the workspace, where masks or biases may hide tiles (TileMap): [mapHeads][mapRowTiles][some, all][mapWords].
  uint32_t* tileMap;
  int32_t firstMapTask;
  int32_t mapHeads, mapRowTiles, mapWords;
};

static_assert(sizeof(TiledSequence) == tiledEntryBytes);

/// Dynamic shared memory of the kernel that recomputes weights.
constexpr int weightSharedBytes = 2 * (standardQueryTile + standardKeyTile) * panelBytes;

/// What the rules of scores go by.
struct RuleArguments {
  Problem problem;       // its `sequences` is unused
  float scale, softcap;  // the problem's, so that no kernel computes in float64
  Divisor group;         // the problem's groupSize()
};

inline RuleArguments ruleArguments(const Problem& problem) {
  return {problem, float(problem.scale), float(problem.softcap), Divisor(problem.groupSize())};
}

struct TiledArguments : RuleArguments {
  const TiledSequence* table;
  int stages = 0;  // tiledStages(), for sm_80's kernel
};

/// Of the kernel that makes tile maps; `grid` and `problem` are those of the kernel that looks them up.
struct TileMapArguments {
  Problem problem;
  const TiledSequence* table;
  TileGrid grid;
};

}  // namespace fovea::cuda
