// The standard algorithm, as textbooks write it: S = scale Q K^T (+ modifiers), W = softmax(S), O = W V, with S and W
// in memory for all heads of a batch entry. A plain, vectorised baseline to measure the tiled kernel against, and the
// one that can show its scores. Three stages, each over blocks of rows of one head.
#include "modifiers.h"
#include "pack.h"
#include "rows.h"
#include "tasks.h"

namespace fovea::cpu::FOVEA_ISA {
namespace {

constexpr int64_t rowsAtOnce = 4, keysStaged = 64;
/// Sums of more keys are added up by themselves, or the error would grow with the number of keys.
constexpr int64_t keysSummed = 4096;

float* scoreRow(const StandardTask& task, int64_t row) {
  return task.scores + (task.head * task.sequence->queryLength + row) * task.sequence->keyLength;
}

int64_t kvHeadOf(const StandardTask& task) { return task.head / task.problem->groupSize(); }

/// Copies a finished row of scores or weights to the caller's matrix; `beyond` fills the columns past keyLength.
void showRow(const StandardTask& task, const View<float>& matrix, int64_t row, const float* values, float beyond) {
  float* to = matrix.data + task.head * matrix.headStride + row * matrix.rowStride;
  for (int64_t key = 0; key < task.sequence->keyLength; key++) to[key * matrix.columnStride] = values[key];
  for (int64_t key = task.sequence->keyLength; key < task.sequence->keyColumns; key++)
    to[key * matrix.columnStride] = beyond;
}

/// One row of keys (or values) staged as float32, padded to whole vectors with zeros.
void stageRows(const StandardTask& task, const View<const void>& view, int64_t pageStride, int64_t dims, int64_t begin,
               int64_t end, float* staging) {
  const int64_t padded = roundUp(dims, lanes);
  for (int64_t key = begin; key < end; key++) {
    float* to = staging + (key - begin) * padded;
    readRow(keyRow(*task.problem, *task.sequence, view, pageStride, kvHeadOf(task), key), task.problem->kvDtype(),
            view.columnStride, dims, to);
    for (int64_t d = dims; d < padded; d++) to[d] = 0;
  }
}

bool isEmpty(const float* weights, int64_t keys) {
  for (int64_t key = 0; key < keys; key++)
    if (weights[key] != 0) return false;
  return true;
}

}  // namespace

int64_t standardScratch(const Problem& problem) {
  const int64_t dims = roundUp(most(problem.headDim, problem.valueDim), lanes);
  return (keysStaged + 2 * rowsAtOnce) * dims;
}

/// S: products, softcap, and the modifiers; the stage that `scoreStage` names is shown on the way.
void standardScores(const StandardTask& task, float* scratch) {
  const Problem& problem = *task.problem;
  const Sequence& sequence = *task.sequence;
  const int64_t dims = roundUp(problem.headDim, lanes), keys = sequence.keyLength;
  float *query = scratch, *staging = scratch + rowsAtOnce * dims;
  const float cap = float(problem.softcap);

  for (int64_t row = task.rowBegin; row < task.rowEnd; row += rowsAtOnce) {
    const int64_t count = least(rowsAtOnce, task.rowEnd - row);
    std::memset(query, 0, sizeof(float) * size_t(rowsAtOnce * dims));
    for (int64_t r = 0; r < count; r++) {
      const int64_t at = task.head * sequence.query.headStride + (row + r) * sequence.query.rowStride;
      readRow(elementAt(sequence.query.data, problem.dtype, at), problem.dtype, sequence.query.columnStride,
              problem.headDim, query + r * dims);
      for (int64_t d = 0; d < problem.headDim; d++) query[r * dims + d] *= float(problem.scale);
    }
    for (int64_t begin = 0; begin < keys; begin += keysStaged) {
      if (__atomic_load_n(task.cancelled, __ATOMIC_RELAXED)) return;
      const int64_t end = least(keys, begin + keysStaged);
      stageRows(task, sequence.key, sequence.keyPageStride, problem.headDim, begin, end, staging);
      for (int64_t r = 0; r < count; r++)
        for (int64_t key = begin; key < end; key += 4) {  // four keys share the sums over lanes
          const float* rows = staging + (key - begin) * dims;
          Vec sum[4] = {};
          for (int64_t d = 0; d < dims; d += lanes) {
            const Vec q = load(query + r * dims + d);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) sum[i] = fma(q, load(rows + i * dims + d), sum[i]);
          }
          const Quad four = sumFour(sum[0], sum[1], sum[2], sum[3]);
          std::memcpy(scoreRow(task, row + r) + key, &four, sizeof(float) * size_t(least(4, end - key)));
        }
    }
    for (int64_t r = 0; r < count; r++) {
      float* scores = scoreRow(task, row + r);
      if (problem.scoreStage == ScoreStage::scaled) showRow(task, sequence.scores, row + r, scores, 0);
      if (cap > 0) {
        for (int64_t key = 0; key < keys; key += lanes) {
          float part[lanes] = {};
          const int64_t length = least(lanes, keys - key);
          std::memcpy(part, scores + key, sizeof(float) * size_t(length));
          store(part, tanh(load(part) / cap) * cap);
          std::memcpy(scores + key, part, sizeof(float) * size_t(length));
        }
      }
      if (problem.scoreStage == ScoreStage::capped) showRow(task, sequence.scores, row + r, scores, 0);
      for (int64_t begin = 0; begin < keys; begin += keysStaged) {
        const int64_t end = least(keys, begin + keysStaged);
        float modifier[keysStaged];
        modifierRow(problem, sequence, task.head, row + r, begin, end, 1, modifier);
        for (int64_t key = begin; key < end; key++)
          scores[key] = modifier[key - begin] == -infinity ? -infinity : scores[key] + modifier[key - begin];
      }
      if (problem.scoreStage == ScoreStage::biased) showRow(task, sequence.scores, row + r, scores, -infinity);
    }
  }
}

/// W: each row minus its maximum, exponentiated, divided by its sum (and sink).
void standardSoftmax(const StandardTask& task) {
  const Sequence& sequence = *task.sequence;
  const int64_t keys = sequence.keyLength;
  for (int64_t row = task.rowBegin; row < task.rowEnd; row++) {
    if (__atomic_load_n(task.cancelled, __ATOMIC_RELAXED)) return;
    float* scores = scoreRow(task, row);
    float top = -infinity;
    for (int64_t key = 0; key < keys; key++) top = scores[key] > top ? scores[key] : top;
    const float base = top == -infinity ? 0 : top;
    float total = 0;
    for (int64_t begin = 0; begin < keys; begin += keysSummed) {
      Vec sum = zero();
      const int64_t end = least(keys, begin + keysSummed);
      for (int64_t key = begin; key < end; key += lanes) {
        float part[lanes];
        const int64_t length = least(lanes, end - key);
        for (int i = 0; i < lanes; i++) part[i] = -infinity;
        std::memcpy(part, scores + key, sizeof(float) * size_t(length));
        const Vec p = exp2((load(part) - base) * log2e);
        sum += p;
        store(part, p);
        std::memcpy(scores + key, part, sizeof(float) * size_t(length));
      }
      total += sumLanes(sum);
    }
    const RowResult result = finishRow(sequence, task.head, total, base);
    storeLse(sequence, task.head, row, result.lse);
    for (int64_t key = 0; key < keys; key++) scores[key] *= result.factor;
    if (sequence.weights) showRow(task, sequence.weights, row, scores, 0);
  }
}

/// O: every value row times its weight. A row without keys is 0, even where masked values are NaN.
void standardOutput(const StandardTask& task, float* scratch) {
  const Problem& problem = *task.problem;
  const Sequence& sequence = *task.sequence;
  const int64_t dims = roundUp(problem.valueDim, lanes), keys = sequence.keyLength;
  float *output = scratch, *part = scratch + rowsAtOnce * dims, *staging = scratch + 2 * rowsAtOnce * dims;
  const auto addPart = [&] {
    for (int64_t i = 0; i < rowsAtOnce * dims; i += lanes)
      store(output + i, load(output + i) + load(part + i)), store(part + i, zero());
  };

  for (int64_t row = task.rowBegin; row < task.rowEnd; row += rowsAtOnce) {
    const int64_t count = least(rowsAtOnce, task.rowEnd - row);
    const float* weights[rowsAtOnce];
    for (int64_t r = 0; r < rowsAtOnce; r++) weights[r] = scoreRow(task, row + least(r, count - 1));
    std::memset(output, 0, sizeof(float) * size_t(2 * rowsAtOnce * dims));
    for (int64_t begin = 0; begin < keys; begin += keysStaged) {
      if (__atomic_load_n(task.cancelled, __ATOMIC_RELAXED)) return;
      if (begin % keysSummed == 0) addPart();
      const int64_t end = least(keys, begin + keysStaged);
      stageRows(task, sequence.value, sequence.valuePageStride, problem.valueDim, begin, end, staging);
      for (int64_t d = 0; d < dims; d += lanes) {
        Vec sum[rowsAtOnce] = {};
        for (int64_t key = begin; key < end; key++) {
          const Vec v = load(staging + (key - begin) * dims + d);
#pragma GCC unroll 4
          for (int r = 0; r < rowsAtOnce; r++) sum[r] = fma(broadcast(weights[r][key]), v, sum[r]);
        }
        for (int64_t r = 0; r < count; r++) store(part + r * dims + d, load(part + r * dims + d) + sum[r]);
      }
    }
    addPart();
    for (int64_t r = 0; r < count; r++) {
      if (isEmpty(weights[r], keys)) std::memset(output + r * dims, 0, sizeof(float) * size_t(dims));
      const int64_t at = task.head * sequence.output.headStride + (row + r) * sequence.output.rowStride;
      writeRow(output + r * dims, problem.valueDim, (char*)sequence.output.data + at * byteSize(problem.dtype),
               problem.dtype, sequence.output.columnStride);
    }
  }
}

}  // namespace fovea::cpu::FOVEA_ISA
