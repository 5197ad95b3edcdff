// What is added to a row of scores: bias, ALiBi, and -inf wherever the row may not attend.
#pragma once
#include "pack.h"
#include "rows.h"

namespace fovea::cpu::FOVEA_ISA {

FOVEA_INLINE IntVec isFinite(Vec value) { return fromBits(bits(value) & 0x7fffffff) <= broadcast(__FLT_MAX__); }
FOVEA_INLINE Vec inRange(Vec value, Vec limit) {
  return select(value > limit, limit, select(value < -limit, -limit, value));
}

/// A finite term stays finite: the lowest float, say, is no mask.
FOVEA_INLINE Vec inUnit(Vec value, float unit) {
  const Vec product = value * unit;
  const IntVec overflows = ~isFinite(product) & isFinite(value);
  return select(overflows, select(value > 0, broadcast(__FLT_MAX__), broadcast(-__FLT_MAX__)), product);
}

/// ALiBi's slope of a head, or of each lane's; a term is finite unless the slope is not.
struct Slope {
  Vec slope, limit;
};
FOVEA_INLINE Slope alibiSlope(Vec slope, float unit) {
  slope = inUnit(slope, unit);
  return {slope, select(isFinite(slope), broadcast(__FLT_MAX__), broadcast(infinity))};
}
FOVEA_INLINE Vec alibiTerm(const Slope& slope, Vec steps, Vec before) {
  return inRange(before - slope.slope * fromBits(bits(steps) & 0x7fffffff), slope.limit);
}

/// row[i] = change(row[i], i), `lanes` at a time.
template <class Change>
FOVEA_INLINE void changeRow(float* row, int64_t count, const Change& change) {
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store(row + i, change(load(row + i), i));
  if (i == count) return;
  float rest[lanes] = {};
  std::memcpy(rest, row + i, sizeof(float) * size_t(count - i));
  store(rest, change(load(rest), i));
  std::memcpy(row + i, rest, sizeof(float) * size_t(count - i));
}

/// -inf where a byte is 0.
FOVEA_INLINE void maskRow(const uint8_t* allowed, int64_t stride, int64_t count, float* row) {
  int64_t i = 0;
  if (stride == 1)
    for (; i + lanes <= count; i += lanes) {
      const IntVec yes = loadBytes((const int8_t*)allowed + i) != 0;
      store(row + i, select(yes, load(row + i), broadcast(-infinity)));
    }
  for (; i < count; i++) row[i] = allowed[i * stride] ? row[i] : -infinity;
}

/// Masks of `lanes` rows become [count][stride], each row in its own column of `to`: -inf where a byte is 0, else 0.
/// `count` is a multiple of four: four keys' bytes are one number of each row.
static inline void interleaveMask(const uint8_t* const rows[lanes], int64_t count, float* to, int64_t stride) {
  for (int64_t i = 0; i < count; i += 4) {
    IntVec four;
#pragma GCC unroll 16
    for (int row = 0; row < lanes; row++) std::memcpy((int32_t*)&four + row, rows[row] + i, 4);
#pragma GCC unroll 4
    for (int key = 0; key < 4; key++) {
      const IntVec hidden = (four & int32_t(255u << 8 * key)) == 0;
      store(to + (i + key) * stride, fromBits(hidden & bits(broadcast(-infinity))));
    }
  }
}

/// Whether any term of a row hides no key.
FOVEA_INLINE bool anyVisible(const float* row, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    if (row[i] != -infinity) return true;
  return false;
}

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
    if (unit != 1)
      changeRow(
          row, count, [&](Vec term, int64_t) __attribute__((always_inline)) { return inUnit(term, unit); });
  } else {
    changeRow(
        row, count, [&](Vec, int64_t) __attribute__((always_inline)) { return zero(); });
  }
  if (sequence.alibiSlopes) {
    const Slope slope = alibiSlope(broadcast(sequence.alibiSlopes[head]), unit);
    const Vec first = broadcast(float(query + sequence.queryOffset - begin));
    // What overflows stays finite: no term hides a key but -inf itself.
    changeRow(
        row, count, [&](Vec term, int64_t i) __attribute__((always_inline)) {
          return select(isFinite(term), alibiTerm(slope, first - (iota() + float(i)), term), term);
        });
  }
  if (sequence.mask) {
    const auto& mask = sequence.mask;
    maskRow(mask.data + head * mask.headStride + query * mask.rowStride + begin * mask.columnStride, mask.columnStride,
            count, row);
  }
  if (!sequence.bias && !sequence.mask) return count > 0;
  return anyVisible(row, count);
}

/// Whether scores need more than the product and the bounds of each row.
FOVEA_INLINE bool hasModifiers(const Sequence& sequence) {
  return sequence.bias || sequence.mask || sequence.alibiSlopes;
}

}  // namespace fovea::cpu::FOVEA_ISA
