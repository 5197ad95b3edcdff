// Small arithmetic that the kernels share.
#pragma once
#include "pack.h"
#include "tasks.h"

namespace fovea::cpu::FOVEA_ISA {

FOVEA_INLINE int64_t roundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }
FOVEA_INLINE int64_t roundDown(int64_t value, int64_t multiple) { return value / multiple * multiple; }
FOVEA_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
FOVEA_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
FOVEA_INLINE int64_t clamp(int64_t value, int64_t low, int64_t high) { return most(low, least(value, high)); }

/// What a row's sum and reference come to, the sink included.
struct RowResult {
  float factor;  // of the unnormalised output; 0 for a row without keys
  float lse;     // natural logarithm; for who asked for it
};

constexpr double ln2 = 0.6931471805599453;

/// `sum` = sum of e^(s - reference) over the row's keys. In double: once per row, and a sink may lie far from
/// the scores. A NaN sum stays one.
static inline RowResult finishRow(const Sequence& sequence, int64_t head, float sum, double reference) {
  const bool empty = sum == 0;
  if (!sequence.sinks) {
    if (empty) return {0, -infinity};
    return {float(1.0 / sum), sequence.lse ? float(reference + __builtin_log(double(sum))) : 0};
  }
  const double sink = sequence.sinks[head];
  if (empty) return {0, float(sink)};
  const double total = sum + __builtin_exp(sink - reference);
  if (total == double(__builtin_inf())) return {0, float(sink)};
  return {float(1.0 / total), sequence.lse ? float(reference + __builtin_log(total)) : 0};
}

FOVEA_INLINE int64_t headOfRow(const Problem& problem, int64_t kvHead, int64_t row) {
  return kvHead * problem.groupSize() + row % problem.groupSize();
}
FOVEA_INLINE int64_t queryOfRow(const Problem& problem, int64_t row) { return row / problem.groupSize(); }

/// Whose query a row is, and of which head.
struct RowOwner {
  const Sequence* sequence;
  int64_t head, query;
};

FOVEA_INLINE RowOwner ownerOf(const Task& task, int64_t row) {
  const int64_t head = headOfRow(*task.problem, task.kvHead, row), query = queryOfRow(*task.problem, row);
  if (!task.owners) return {task.sequence, head, query};
  return {task.owners[query].sequence, head, task.owners[query].query};
}

/// The same of `count` rows, the first of which is `row`, with one division for all.
static inline void ownersOf(const Task& task, int64_t row, int64_t count, RowOwner* owners) {
  const int64_t group = task.problem->groupSize(), firstHead = task.kvHead * group;
  int64_t query = row / group, head = row % group;
  for (int64_t i = 0; i < count; i++) {
    owners[i] = {task.sequence, firstHead + head, query};
    if (task.owners) owners[i].sequence = task.owners[query].sequence, owners[i].query = task.owners[query].query;
    if (++head == group) head = 0, query++;
  }
}

static inline void storeLse(const Sequence& sequence, int64_t head, int64_t query, float lse) {
  if (sequence.lse) sequence.lse.data[head * sequence.lse.headStride + query * sequence.lse.rowStride] = lse;
}

/// Normalises `output` (valueDim floats, in place), and writes it and the lse.
static inline void writeResultRow(const Problem& problem, const Sequence& sequence, int64_t head, int64_t query,
                                  float sum, float reference, float* output) {
  const RowResult result = finishRow(sequence, head, sum, reference * ln2);
  for (int64_t d = 0; d < problem.valueDim; d++) output[d] = result.factor == 0 ? 0 : output[d] * result.factor;
  const int64_t at = head * sequence.output.headStride + query * sequence.output.rowStride;
  writeRow(output, problem.valueDim, (char*)sequence.output.data + at * byteSize(problem.dtype), problem.dtype,
           sequence.output.columnStride);
  storeLse(sequence, head, query, result.lse);
}

}  // namespace fovea::cpu::FOVEA_ISA
