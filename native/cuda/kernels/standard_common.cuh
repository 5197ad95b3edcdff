// What the three standard kernels share: finding a thread block's place, and the rows of a sequence's matrices.
#pragma once
#include "products.cuh"
#include "standard.h"

namespace fovea::cuda {

constexpr float log2e = 1.44269504088896340736f;
constexpr float ln2 = 0.69314718055994530942f;

FOVEA_DEVICE float negativeInfinity() { return __int_as_float(0xff800000); }

/// The sequence of the table's `count` that task blockIdx.x belongs to, by the first task of each.
FOVEA_DEVICE const StandardSequence& findSequence(const StandardArguments& arguments,
                                                  int64_t StandardSequence::*first) {
  int64_t low = 0, high = arguments.problem.sequenceCount;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (arguments.table[middle].*first <= static_cast<int64_t>(blockIdx.x))
      low = middle;
    else
      high = middle;
  }
  return arguments.table[low];
}

template <class Element>
FOVEA_DEVICE RowSource<Element> queryRows(const Problem& problem, const StandardSequence& entry, int head) {
  const auto& view = entry.sequence.query;
  return {static_cast<const Element*>(view.data) + head * view.headStride,
          view.rowStride,
          view.columnStride,
          0,
          nullptr,
          0,
          entry.queryAligned != 0};
}

template <class Element>
FOVEA_DEVICE RowSource<Element> keyRows(const Problem& problem, const StandardSequence& entry, int kvHead) {
  const auto& view = entry.sequence.key;
  return {static_cast<const Element*>(view.data) + kvHead * view.headStride,
          view.rowStride,
          view.columnStride,
          entry.sequence.keyPageStride,
          problem.pageSize > 0 ? entry.sequence.pageTable : nullptr,
          problem.pageSize,
          entry.keyAligned != 0};
}

template <class Element>
FOVEA_DEVICE RowSource<Element> valueRows(const Problem& problem, const StandardSequence& entry, int kvHead) {
  const auto& view = entry.sequence.value;
  return {static_cast<const Element*>(view.data) + kvHead * view.headStride,
          view.rowStride,
          view.columnStride,
          entry.sequence.valuePageStride,
          problem.pageSize > 0 ? entry.sequence.pageTable : nullptr,
          problem.pageSize,
          entry.valueAligned != 0};
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
