// What to merge: attention of the same queries over disjoint sets of keys becomes attention over all of them, exactly.
// Plain data, as problem.h.
//
//   lse = ln sum over parts of e^lse_i;  output = sum over parts of e^(lse_i - lse) output_i
//
// A part whose lse is -inf saw no key and contributes nothing, whatever its output holds; without any other, output is
// 0 and lse -inf. Parts are summed in their order.
#pragma once
#include "problem.h"

namespace fovea {

/// A [batch, heads, rows, columns] array somewhere in memory; strides in elements, any value, 0 included.
template <class Element>
struct BatchView {
  Element* data = nullptr;
  int64_t batchStride = 0, headStride = 0, rowStride = 0, columnStride = 0;
};

struct MergePart {
  BatchView<const void> output;  // of Merge::dtype
  BatchView<const float> lse;    // columnStride unused
};

struct Merge {
  DType dtype = DType::float32;  // of all outputs
  int64_t batch = 0, heads = 0, rows = 0, dims = 0;
  BatchView<void> output;
  BatchView<float> lse;
  const MergePart* parts = nullptr;
  int64_t partCount = 0;

  constexpr int64_t rowCount() const { return batch * heads * rows; }
};

/// Which row of every view the row number `index` is: [batch, heads, rows] in this order.
struct MergeRow {
  int64_t batch, head, row;

  template <class View>
  constexpr int64_t offsetIn(const View& view) const {
    return batch * view.batchStride + head * view.headStride + row * view.rowStride;
  }
};

constexpr MergeRow mergeRow(const Merge& merge, int64_t index) {
  const int64_t row = index % merge.rows, matrix = index / merge.rows;
  return {matrix / merge.heads, matrix % merge.heads, row};
}

}  // namespace fovea
