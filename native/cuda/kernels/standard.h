// What the standard kernels are given: one Problem by value and a table of sequences in device memory, at the start of
// the call's workspace (table.h says how it gets there).
#pragma once
#include <vector_types.h>

#include "../../attention/tiles_cuda.h"

namespace fovea::cuda {

/// One entry of the table. "Tasks" are thread blocks: a launch has one row of them over all sequences and heads.
struct alignas(16) StandardSequence {
  Sequence sequence;  // with device pointers

  int64_t firstScoreTask, firstOutputTask, firstWeightTask;  // of this sequence's heads x tiles
  int32_t queryTiles;                                        // that the scores kernel and the product kernel visit
  int32_t keyTiles;                                // stored per query tile: the most that any of its query tiles visits
  int32_t tileRows;                                // stored of a query tile: 32, 64, 96 or 128, enough for queryRows
  int32_t weightTiles;                             // of the weights kernel
  int32_t queryAligned, keyAligned, valueAligned;  // whether 16-byte copies may be used
  int32_t unused;

  // In the workspace. A tile has two blocks of 64 keys, and block [head][queryTile][keyTile - first visited][0 | 1] has
  //   probabilities exp(score - the row's maximum in the block) [tileRows x 64], stored as products.cuh says,
  //   a (maximum, sum of those exponentials before rounding) for each of the tileRows rows.
  char* probabilities;
  float2* blockRows;
  float2* rows;  // [head][128 queryTiles]: the row's maximum, and one over its sum (0 for an empty row)
};

static_assert(sizeof(StandardSequence) == standardEntryBytes);

struct StandardArguments {
  Problem problem;       // its `sequences` is unused
  float scale, softcap;  // the problem's, so that no kernel computes in float64
  const StandardSequence* table;
};

/// Dynamic shared memory of the kernels.
constexpr int scoresSharedBytes = 2 * (standardQueryTile + standardKeyTile) * panelBytes;
constexpr int outputSharedBytes(int columns) {
  const int panel = standardQueryTile * panelBytes, values = columns / narrowValueTile * standardKeyBlock * panelBytes;
  const int rows = standardQueryTile * int(sizeof(float2));
  return 2 * (panel + values + rows) + 3 * rows;
}

}  // namespace fovea::cuda
