// What is added to a row of scores: bias, ALiBi, and -inf wherever the row may not attend.
#pragma once
#include "pack.h"
#include "rows.h"

namespace fovea::cpu::FOVEA_ISA {

FOVEA_INLINE float inUnit(float value, float unit) {
  const float product = value * unit, magnitude = __builtin_fabsf(value);
  return magnitude <= __FLT_MAX__ && __builtin_fabsf(product) > __FLT_MAX__ ? (value > 0 ? __FLT_MAX__ : -__FLT_MAX__)
                                                                            : product;
}

FOVEA_INLINE float inRange(float value, float limit) { return value > limit ? limit : value < -limit ? -limit : value; }

/// Fills to[0, keyEnd - keyBegin) for keys [keyBegin, keyEnd) of one query row. Bias and mask are read for visible keys
/// only. `unit`: 1 for natural scores, log2 e for base 2. Returns whether any key is left.
static bool modifierRow(const Problem& problem, const Sequence& sequence, int64_t head, int64_t query, int64_t keyBegin,
                        int64_t keyEnd, float unit, float* to) {
  const KeyRange visible = visibleKeys(problem, sequence, query);
  const int64_t begin = clamp(visible.begin, keyBegin, keyEnd), end = clamp(visible.end, begin, keyEnd);
  const int64_t count = end - begin;
  float* row = to + (begin - keyBegin);

  for (int64_t key = keyBegin; key < begin; key++) to[key - keyBegin] = -infinity;
  for (int64_t key = end; key < keyEnd; key++) to[key - keyBegin] = -infinity;
  if (sequence.bias) {
    const auto& bias = sequence.bias;
    const int64_t at = head * bias.headStride + query * bias.rowStride + begin * bias.columnStride;
    readRow(elementAt(bias.data, problem.biasDtype, at), problem.biasDtype, bias.columnStride, count, row);
    // A finite bias stays finite: the lowest float, say, is no mask.
    for (int64_t i = 0; i < count; i++) row[i] = inUnit(row[i], unit);
  } else {
    for (int64_t i = 0; i < count; i++) row[i] = 0;
  }
  if (sequence.alibiSlopes) {
    const float slope = inUnit(sequence.alibiSlopes[head], unit);
    const float distance = float(query + sequence.queryOffset - begin);
    // What overflowed stays finite: no term hides a key but -inf itself.
    const float limit = __builtin_fabsf(slope) <= __FLT_MAX__ ? __FLT_MAX__ : infinity;
    for (int64_t i = 0; i < count; i++) {
      const float sum = row[i] - slope * __builtin_fabsf(distance - float(i));
      row[i] = __builtin_fabsf(row[i]) <= __FLT_MAX__ ? inRange(sum, limit) : row[i];
    }
  }
  if (sequence.mask) {
    const auto& mask = sequence.mask;
    const uint8_t* allowed = mask.data + head * mask.headStride + query * mask.rowStride + begin * mask.columnStride;
    const int64_t stride = mask.columnStride;
    if (stride == 1)
      for (int64_t i = 0; i < count; i++) row[i] = allowed[i] ? row[i] : -infinity;
    else
      for (int64_t i = 0; i < count; i++) row[i] = allowed[i * stride] ? row[i] : -infinity;
  }
  if (!sequence.bias && !sequence.mask) return count > 0;
  int any = 0;
  for (int64_t i = 0; i < count; i++) any |= !(row[i] == -infinity);
  return any != 0;
}

/// Whether scores need more than the product and the bounds of each row.
FOVEA_INLINE bool hasModifiers(const Sequence& sequence) {
  return sequence.bias || sequence.mask || sequence.alibiSlopes;
}

}  // namespace fovea::cpu::FOVEA_ISA
