// Merges attention over disjoint sets of keys (attention/merge.h): each row's weights in float64, its outputs summed in
// float32 part by part, a row at a time so that the sum stays in the L1 cache.
//
// Floor: every output read once and one written / memory bandwidth.
#include "../../attention/merge.h"
#include "pack.h"
#include "rows.h"
#include "tasks.h"

namespace fovea::cpu::FOVEA_ISA {
namespace {

/// e^(lse - largest); 1 where both are infinite, and a NaN stays one.
double weightOf(float lse, float largest) {
  if (lse == -infinity) return 0;
  return lse == largest ? 1 : __builtin_exp(double(lse) - double(largest));
}

}  // namespace

int64_t mergePartsScratch(const Merge& merge) { return 2 * roundUp(merge.dims, 16) + merge.partCount; }

void mergeParts(const Merge& merge, int64_t begin, int64_t end, float* scratch) {
  float *sum = scratch, *staging = sum + roundUp(merge.dims, 16), *lses = staging + roundUp(merge.dims, 16);
  for (int64_t index = begin; index < end; index++) {
    const MergeRow row = mergeRow(merge, index);
    float largest = -infinity;
    for (int64_t i = 0; i < merge.partCount; i++) {
      lses[i] = merge.parts[i].lse.data[row.offsetIn(merge.parts[i].lse)];
      if (lses[i] > largest) largest = lses[i];
    }
    double total = 0;
    for (int64_t i = 0; i < merge.partCount; i++) total += weightOf(lses[i], largest);
    std::memset(sum, 0, sizeof(float) * size_t(merge.dims));
    for (int64_t i = 0; i < merge.partCount; i++) {
      if (lses[i] == -infinity) continue;  // not where the factor is 0 by underflow: a NaN counts even there
      const float factor = float(weightOf(lses[i], largest) / total);
      const auto& output = merge.parts[i].output;
      const float* from = rowAsFloat(elementAt(output.data, merge.dtype, row.offsetIn(output)), merge.dtype,
                                     output.columnStride, merge.dims, staging);
      for (int64_t d = 0; d < merge.dims; d++) sum[d] += factor * from[d];
    }
    writeRow(sum, merge.dims, (char*)merge.output.data + row.offsetIn(merge.output) * byteSize(merge.dtype),
             merge.dtype, merge.output.columnStride);
    merge.lse.data[row.offsetIn(merge.lse)] = total == 0 ? -infinity : float(double(largest) + __builtin_log(total));
  }
}

}  // namespace fovea::cpu::FOVEA_ISA
