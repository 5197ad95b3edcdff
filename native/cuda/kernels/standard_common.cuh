// What the three standard kernels share: finding a thread block's place, and where its blocks are in the workspace.
#pragma once
#include "products.cuh"
#include "scores.cuh"
#include "sequences.cuh"
#include "standard.h"

namespace fovea::cuda {

FOVEA_DEVICE const StandardSequence& findSequence(const StandardArguments& arguments,
                                                  int64_t StandardSequence::*first) {
  return findSequence(arguments.table, arguments.problem.sequenceCount, first, blockIdx.x);
}

/// Number of a tile's first block of 64 keys. `keyTile` counts from the first visited one.
FOVEA_DEVICE int64_t firstBlock(const StandardSequence& entry, int head, int queryTile, int64_t keyTile) {
  const int64_t row = int64_t(head) * entry.queryTiles + queryTile;
  return (row * entry.keyTiles + keyTile) * (standardKeyTile / standardKeyBlock);
}

template <class Element>
FOVEA_DEVICE char* blockProbabilities(const StandardSequence& entry, int64_t block) {
  return entry.probabilities + block * entry.tileRows * int64_t(standardKeyBlock * sizeof(Element));
}

FOVEA_DEVICE float2* blockRowStatistics(const StandardSequence& entry, int64_t block) {
  return entry.blockRows + block * entry.tileRows;
}

}  // namespace fovea::cuda
