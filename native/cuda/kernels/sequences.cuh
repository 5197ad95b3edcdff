// Finding a thread block's sequence in the table, and the rows of a sequence's matrices. `Entry` is a table's entry.
#pragma once
#include "tile.cuh"

namespace fovea::cuda {

/// The entry, of `count` in ascending order of their first tasks, that a task belongs to.
template <class Entry, class Number>
FOVEA_DEVICE const Entry& findSequence(const Entry* table, int64_t count, Number Entry::*first, int64_t task) {
  int64_t low = 0, high = count;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (table[middle].*first <= task)
      low = middle;
    else
      high = middle;
  }
  return table[low];
}

template <class Element, class Entry>
FOVEA_DEVICE RowSource<Element> queryRows(const Entry& entry, int head) {
  const auto& view = entry.sequence.query;
  return {static_cast<const Element*>(view.data) + head * view.headStride,
          view.rowStride,
          view.columnStride,
          0,
          nullptr,
          Divisor(1),
          entry.queryAligned != 0};
}

template <class Element, class Entry>
FOVEA_DEVICE RowSource<Element> keyRows(const Problem& problem, const Entry& entry, int kvHead) {
  const auto& view = entry.sequence.key;
  return {static_cast<const Element*>(view.data) + kvHead * view.headStride,
          view.rowStride,
          view.columnStride,
          entry.sequence.keyPageStride,
          problem.pageSize > 0 ? entry.sequence.pageTable : nullptr,
          Divisor(problem.pageSize > 0 ? problem.pageSize : 1),
          entry.keyAligned != 0};
}

template <class Element, class Entry>
FOVEA_DEVICE RowSource<Element> valueRows(const Problem& problem, const Entry& entry, int kvHead) {
  const auto& view = entry.sequence.value;
  return {static_cast<const Element*>(view.data) + kvHead * view.headStride,
          view.rowStride,
          view.columnStride,
          entry.sequence.valuePageStride,
          problem.pageSize > 0 ? entry.sequence.pageTable : nullptr,
          Divisor(problem.pageSize > 0 ? problem.pageSize : 1),
          entry.valueAligned != 0};
}

/// Keys and values as they are stored: elements, or int8 with scales.
template <class Stored, class Entry>
FOVEA_DEVICE auto storedKeys(const Problem& problem, const Entry& entry, int kvHead) {
  const auto rows = keyRows<Stored>(problem, entry, kvHead);
  if constexpr (sizeof(Stored) == 1)
    return ScaledRows{rows, problem.keyScales + int64_t(kvHead) * problem.pageSize,
                      int64_t(problem.kvHeads) * problem.pageSize};
  else
    return rows;
}

template <class Stored, class Entry>
FOVEA_DEVICE auto storedValues(const Problem& problem, const Entry& entry, int kvHead) {
  const auto rows = valueRows<Stored>(problem, entry, kvHead);
  if constexpr (sizeof(Stored) == 1)
    return ScaledRows{rows, problem.valueScales + int64_t(kvHead) * problem.pageSize,
                      int64_t(problem.kvHeads) * problem.pageSize};
  else
    return rows;
}

}  // namespace fovea::cuda
