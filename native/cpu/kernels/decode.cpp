// Attention of very few rows against many keys: bound by reading keys and values, so each is read once, strictly in
// order (what hardware prefetchers like best), and used for up to 8 rows at a time: the queries of a group share it,
// and those of sequences with a common prefix, of which a task has up to 32. Where the rows of several heads lie side
// by side, a task takes several heads, a few keys at a time.
//
//   for each block of keys:   scores[row][key] = q_row . k_key, lanes along headDim
//                             online softmax per row, lanes along keys
//                             output[row] += p[row][key] v_key, lanes along valueDim
//
// Floor: (headDim + valueDim) * keys * element size / memory bandwidth.
#include "modifiers.h"
#include "pack.h"
#include "rows.h"
#include "tasks.h"

namespace fovea::cpu::FOVEA_ISA {
namespace {

constexpr int64_t rowGroup = 8;      // at most, of one visit of a key
constexpr int rowsTogether = 4;      // whose sums stay in registers
constexpr int64_t keysTogether = 8;  // whose rows are read before the next head's

/// Rows of keys or values as whole vectors of a dtype, or staged as float32 when they are not.
struct Rows {
  const char* data;     // first row
  int64_t strideBytes;  // to the next
};

constexpr int intoL1 = 3, intoL2 = 2;  // __builtin_prefetch's words for caches

/// Asks for `bytes` of row `index` ahead of its turn, if there is such a row.
template <int cache>
FOVEA_INLINE void prefetchRow(Rows rows, int64_t bytes, int64_t index, int64_t count) {
  if (index >= count) return;
  for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(rows.data + index * rows.strideBytes + at, 0, cache);
}

/// q . k for one key and R rows, lanes not yet summed.
template <DType type, int R>
FOVEA_INLINE void scoreKey(const char* key, const float* query, int64_t dims, Vec* sum) {
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) sum[r] = zero();
  for (int64_t d = 0; d < dims; d += lanes) {
    const Vec k = loadLanes<type>(key + d * byteSize(type));
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) sum[r] = fma(k, load(query + r * dims + d), sum[r]);
  }
}

/// scores[row][key] for `count` keys; rows are whole vectors, queries pre-scaled. Row after row of memory: two keys in
/// step share the loads of queries, which is faster from cache, but takes twice as long from memory. Four keys share
/// the sums over lanes: the fewer instructions per byte, the more bytes the processor has on their way at once.
template <DType type, int R>
FOVEA_NOINLINE void scoreKeys(Rows keys, int64_t count, const float* query, int64_t dims, float* scores,
                              int64_t scoreStride) {
  constexpr int together = R < rowsTogether ? R : rowsTogether;
  int64_t key = 0;
  for (; key + 4 <= count; key += 4)
#pragma GCC unroll 2
    for (int row = 0; row < R; row += together) {
      Vec sum[4][together];
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++)
        scoreKey<type, together>(keys.data + (key + i) * keys.strideBytes, query + row * dims, dims, sum[i]);
#pragma GCC unroll 8
      for (int r = 0; r < together; r++)
        storeAs(scores + (row + r) * scoreStride + key, sumFour(sum[0][r], sum[1][r], sum[2][r], sum[3][r]));
    }
  for (; key < count; key++)
    for (int r = 0; r < R; r++) {
      Vec sum;
      scoreKey<type, 1>(keys.data + key * keys.strideBytes, query + r * dims, dims, &sum);
      scores[r * scoreStride + key] = sumFour(sum, zero(), zero(), zero())[0];
    }
}

/// Keys whose values addValues takes for one strip of dims. The fewer, the more strictly in order memory is read, and
/// the more often sums are loaded and stored. With many rows the latter costs more; the next keys are then asked for in
/// order.
template <int R>
constexpr int64_t keysOfStrip = R < rowsTogether ? R : 8;

/// output[row][d] += sum over keys of p[row][key] v[key][d], a strip of dims at a time.
template <DType type, int R>
FOVEA_NOINLINE void addValues(Rows values, int64_t count, const float* probabilities, int64_t stride, float* output,
                              int64_t dims) {
  constexpr int together = R < rowsTogether ? R : rowsTogether, columns = 8 / together;
  const auto strip = [&]<int C>(int64_t row, int64_t key, int64_t stop, int64_t d) __attribute__((always_inline)) {
    Vec sum[together][C];
#pragma GCC unroll 8
    for (int r = 0; r < together; r++)
#pragma GCC unroll 8
      for (int c = 0; c < C; c++) sum[r][c] = load(output + (row + r) * dims + d + c * lanes);
    for (; key < stop; key++) {
      const char* at = values.data + key * values.strideBytes + d * byteSize(type);
      Vec p[together];
#pragma GCC unroll 8
      for (int r = 0; r < together; r++) p[r] = broadcast(probabilities[(row + r) * stride + key]);
#pragma GCC unroll 8
      for (int c = 0; c < C; c++) {
        const Vec v = loadLanes<type>(at + c * lanes * byteSize(type));
#pragma GCC unroll 8
        for (int r = 0; r < together; r++) sum[r][c] = fma(v, p[r], sum[r][c]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < together; r++)
#pragma GCC unroll 8
      for (int c = 0; c < C; c++) store(output + (row + r) * dims + d + c * lanes, sum[r][c]);
  };
  constexpr int64_t atOnce = keysOfStrip<R>;
  const int64_t strips = R / together * (dims / (columns * lanes));  // whole ones
  for (int64_t key = 0; key < count; key += atOnce) {
    const int64_t stop = least(count, key + atOnce);
    int64_t asked = 0, done = 0;
    const auto prefetch = [&] {  // evenly: a burst would fill the processor's queue of misses
      if constexpr (R >= rowsTogether)
        for (done++; asked * strips < done * atOnce; asked++)
          prefetchRow<intoL1>(values, dims * byteSize(type), stop + asked, count);
    };
    for (int64_t row = 0; row < R; row += together) {
      int64_t d = 0;
      for (; d + columns * lanes <= dims; d += columns * lanes)
        strip.template operator()<columns>(row, key, stop, d), prefetch();
      for (; d < dims; d += lanes) strip.template operator()<1>(row, key, stop, d);
    }
  }
}

using ScoreKeys = void (*)(Rows, int64_t, const float*, int64_t, float*, int64_t);
using AddValues = void (*)(Rows, int64_t, const float*, int64_t, float*, int64_t);

template <DType type>
ScoreKeys scoreKeysFor(int64_t rows) {
  return rows == 1   ? scoreKeys<type, 1>
         : rows == 2 ? scoreKeys<type, 2>
         : rows == 4 ? scoreKeys<type, 4>
                     : scoreKeys<type, 8>;
}
template <DType type>
AddValues addValuesFor(int64_t rows) {
  return rows == 1   ? addValues<type, 1>
         : rows == 2 ? addValues<type, 2>
         : rows == 4 ? addValues<type, 4>
                     : addValues<type, 8>;
}
ScoreKeys scoreKeysFor(DType type, int64_t rows) {
  return type == DType::float32   ? scoreKeysFor<DType::float32>(rows)
         : type == DType::float16 ? scoreKeysFor<DType::float16>(rows)
         : type == DType::int8    ? scoreKeysFor<DType::int8>(rows)
                                  : scoreKeysFor<DType::bfloat16>(rows);
}
AddValues addValuesFor(DType type, int64_t rows) {
  return type == DType::float32   ? addValuesFor<DType::float32>(rows)
         : type == DType::float16 ? addValuesFor<DType::float16>(rows)
         : type == DType::int8    ? addValuesFor<DType::int8>(rows)
                                  : addValuesFor<DType::bfloat16>(rows);
}

struct Scratch {
  float *query, *output, *scores;  // [head][row][...]
  float* blockOutput;              // likewise, of a block of keys
  float *staging, *modifier;
};

int64_t layOut(const Problem& problem, const SequencePlan& plan, float* base, Scratch& scratch) {
  const int64_t headDims = roundUp(problem.headDim, lanes), valueDims = roundUp(problem.valueDim, lanes);
  int64_t used = 0;
  const auto take = [&](int64_t floats) {
    float* at = base + used;
    used += roundUp(floats, 16);
    return at;
  };
  const int64_t rows = plan.headBlock * plan.queryBlock;
  scratch.query = take(rows * headDims);
  scratch.output = take(rows * valueDims);
  scratch.blockOutput = take(rows * valueDims);
  scratch.scores = take(rows * plan.keyBlock);
  scratch.modifier = take(plan.keyBlock);
  scratch.staging = take(plan.keyBlock * most(headDims, valueDims));
  return used;
}

/// Calls use(rows, dtype, first, count) for runs of keys [begin, end) that lie at one stride: all of them, or a page's.
/// Rows that are not whole vectors of neighbours are staged as float32 first.
template <class Use>
void forRuns(const Task& task, const View<const void>& view, int64_t pageStride, int64_t dims, int64_t begin,
             int64_t end, float* staging, Use use) {
  const Problem& problem = *task.problem;
  const bool inPlace = (view.columnStride == 1 || dims == 1) && dims % lanes == 0;
  const int64_t padded = roundUp(dims, lanes);
  if (!inPlace) {
    std::memset(staging, 0, sizeof(float) * size_t((end - begin) * padded));
    for (int64_t key = begin; key < end; key++)
      readRow(keyRow(problem, *task.sequence, view, pageStride, task.kvHead, key), problem.kvDtype(), view.columnStride,
              dims, staging + (key - begin) * padded);
    use(Rows{(const char*)staging, padded * 4}, DType::float32, begin, end - begin);
    return;
  }
  for (int64_t key = begin, next; key < end; key = next) {
    next = problem.pageSize > 0 ? least(end, roundDown(key, problem.pageSize) + problem.pageSize) : end;
    const char* first = (const char*)keyRow(problem, *task.sequence, view, pageStride, task.kvHead, key);
    use(Rows{first, view.rowStride * byteSize(problem.kvDtype())}, problem.kvDtype(), key, next - key);
  }
}

/// Numbers of `rows` rows, for keys [begin, end), times the scales of those keys (int8 pages).
void multiplyByScales(const Task& task, const float* scales, int64_t begin, int64_t end, int64_t rows, int64_t stride,
                      float* numbers) {
  const Problem& problem = *task.problem;
  for (int64_t key = begin, next; key < end; key = next) {
    next = least(end, roundDown(key, problem.pageSize) + problem.pageSize);
    const float* scale = keyScale(problem, *task.sequence, scales, task.kvHead, key);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < next - key; i++) numbers[r * stride + (key - begin) + i] *= scale[i];
  }
}

/// Calls use(head, rows, type, first, count) for keys [begin, end) of every head of the task, each head's rows as
/// forRuns has them, in the order in which they lie in memory.
template <class Use>
void forHeads(const Task& task, const View<const void>& view, int64_t pageStride, int64_t dims, int64_t begin,
              int64_t end, float* staging, Use use) {
  forRuns(task, view, pageStride, dims, begin, end, staging, [&](Rows rows, DType type, int64_t first, int64_t count) {
    if (task.kvHeads == 1) return use(0, rows, type, first, count);
    for (int64_t key = 0; key < count; key += keysTogether)  // the plan has several heads where rows are in place
      for (int64_t head = 0; head < task.kvHeads; head++) {
        const char* data = rows.data + key * rows.strideBytes + head * view.headStride * byteSize(type);
        const Rows own{data, rows.strideBytes};
        // The processor does not see a pattern in runs of many heads, a few keys each.
        for (int64_t next = keysTogether; next < 2 * keysTogether; next++)
          prefetchRow<intoL2>(own, dims * byteSize(type), next, count - key);
        use(head, own, type, first + key, least(keysTogether, count - key));
      }
  });
}

/// scores[0, count) of one row become probabilities; its reference, sum and output follow a new maximum.
void softmaxBlock(float* scores, int64_t count, float& reference, float& sum, float* output, int64_t dims) {
  int64_t padded = roundUp(count, lanes);
  for (int64_t i = count; i < padded; i++) scores[i] = -infinity;
  Vec highest = broadcast(-infinity);
  for (int64_t i = 0; i < padded; i += lanes) highest = max(highest, load(scores + i));
  const float top = maxLanes(highest);
  if (top > reference) {
    if (reference > -infinity) {  // else it is the first block with a key
      const Vec factor = exp2(broadcast(reference - top));
      for (int64_t d = 0; d < dims; d += lanes) store(output + d, load(output + d) * factor);
      sum *= factor[0];
    }
    reference = top;
  }
  const Vec base = broadcast(reference == -infinity ? 0 : reference);
  Vec total = zero();
  for (int64_t i = 0; i < padded; i += lanes) {
    const Vec p = exp2(load(scores + i) - base);
    store(scores + i, p);
    total += p;
  }
  sum += sumLanes(total);
}

/// The task for one of its heads alone.
Task ofHead(Task task, int64_t head) {
  task.kvHead += head, task.kvHeads = 1;
  return task;
}

/// Softcap, modifiers and bounds of one row's scores of keys [begin, begin + count).
void modifyScores(const Task& task, int64_t row, int64_t begin, int64_t count, float* modifier, float* scores) {
  const Problem& problem = *task.problem;
  if (problem.softcap > 0) {
    const float cap = float(problem.softcap);
    for (int64_t i = 0; i < count; i += lanes)  // scores are padded to whole vectors
      store(scores + i, tanh(load(scores + i) / cap) * (cap * log2e));
  }
  const RowOwner owner = ownerOf(task, row);
  modifierRow(problem, *owner.sequence, owner.head, owner.query, begin, begin + count, log2e, modifier);
  for (int64_t i = 0; i < count; i++) scores[i] = modifier[i] == -infinity ? -infinity : scores[i] + modifier[i];
}

}  // namespace

int64_t decodeScratch(const Problem& problem, const SequencePlan& plan) {
  Scratch scratch;
  return layOut(problem, plan, nullptr, scratch);
}

void decode(const Task& task, float* base) {
  const Problem& problem = *task.problem;
  const Sequence& sequence = *task.sequence;
  Scratch scratch;
  layOut(problem, *task.plan, base, scratch);
  const int64_t rows = task.rowEnd - task.rowBegin;
  const int64_t held = task.plan->queryBlock;
  const auto forGroups = [&](auto use) {
    for (int64_t first = 0; first < rows; first += rowGroup) {
      const int64_t count = rows - first;
      use(first, count <= 2 ? count : count <= 4 ? 4 : rowGroup);  // kernels exist for 1, 2, 4 and 8 rows
    }
  };
  const int64_t headDims = roundUp(problem.headDim, lanes), valueDims = roundUp(problem.valueDim, lanes);
  const int64_t keyBlock = task.plan->keyBlock, groupSize = problem.groupSize();

  const float factor = float(problem.softcap > 0 ? problem.scale : problem.scale * 1.4426950408889634);
  std::memset(scratch.query, 0, sizeof(float) * size_t(task.kvHeads * held * headDims));
  std::memset(scratch.output, 0, sizeof(float) * size_t(task.kvHeads * held * valueDims));
  float reference[maxHeadBlock][maxDecodeBlock], sum[maxHeadBlock][maxDecodeBlock];
  RowOwner owners[maxDecodeBlock];  // of the first head's rows
  ownersOf(task, task.rowBegin, rows, owners);
  for (int64_t head = 0; head < task.kvHeads; head++)
    for (int64_t r = 0; r < rows; r++) {
      const View<const void>& query = owners[r].sequence->query;
      reference[head][r] = -infinity, sum[head][r] = 0;
      float* to = scratch.query + (head * held + r) * headDims;
      const int64_t at = (owners[r].head + head * groupSize) * query.headStride + owners[r].query * query.rowStride;
      readRow(elementAt(query.data, problem.dtype, at), problem.dtype, query.columnStride, problem.headDim, to);
      for (int64_t d = 0; d < problem.headDim; d++) to[d] *= factor;
    }
  int64_t firstKey = INT64_MAX, lastKey = 0, innerBegin = 0, innerEnd = INT64_MAX;
  for (int64_t r = 0; r < rows; r++) {
    const KeyRange visible = visibleKeys(problem, *owners[r].sequence, owners[r].query);
    const int64_t begin = most(visible.begin, task.keyBegin), end = least(visible.end, task.keyEnd);
    innerBegin = most(innerBegin, begin), innerEnd = least(innerEnd, end);
    if (end > begin) firstKey = least(firstKey, begin), lastKey = most(lastKey, end);
  }

  for (int64_t block = roundDown(firstKey, keyBlock); block < lastKey; block += keyBlock) {
    if (isCancelled(task)) return;
    const int64_t begin = most(block, firstKey), end = least(block + keyBlock, lastKey), count = end - begin;
    forHeads(task, sequence.key, sequence.keyPageStride, problem.headDim, begin, end, scratch.staging,
             [&](int64_t head, Rows keys, DType type, int64_t first, int64_t number) {
               forGroups([&](int64_t group, int64_t computed) {
                 const int64_t row = head * held + group;
                 scoreKeysFor(type, computed)(keys, number, scratch.query + row * headDims, headDims,
                                              scratch.scores + row * keyBlock + (first - begin), keyBlock);
               });
             });
    // Scales are of pages, whose rows are no neighbours of other heads': one head.
    if (problem.keyScales) multiplyByScales(task, problem.keyScales, begin, end, rows, keyBlock, scratch.scores);
    const bool plain = !hasModifiers(sequence) && problem.softcap == 0 && begin >= innerBegin && end <= innerEnd;
    for (int64_t head = 0; head < task.kvHeads; head++)
      for (int64_t r = 0; r < rows; r++) {
        float* scores = scratch.scores + (head * held + r) * keyBlock;
        if (!plain) modifyScores(ofHead(task, head), task.rowBegin + r, begin, count, scratch.modifier, scores);
        softmaxBlock(scores, count, reference[head][r], sum[head][r], scratch.output + (head * held + r) * valueDims,
                     valueDims);
      }
    if (problem.valueScales) multiplyByScales(task, problem.valueScales, begin, end, rows, keyBlock, scratch.scores);
    // Summed from zero and then added: the error of many keys would grow with their number.
    std::memset(scratch.blockOutput, 0, sizeof(float) * size_t(task.kvHeads * held * valueDims));
    forHeads(task, sequence.value, sequence.valuePageStride, problem.valueDim, begin, end, scratch.staging,
             [&](int64_t head, Rows values, DType type, int64_t first, int64_t number) {
               forGroups([&](int64_t group, int64_t computed) {
                 const int64_t row = head * held + group;
                 addValuesFor(type, computed)(values, number, scratch.scores + row * keyBlock + (first - begin),
                                              keyBlock, scratch.blockOutput + row * valueDims, valueDims);
               });
             });
    for (int64_t i = 0; i < task.kvHeads * held * valueDims; i += lanes)
      store(scratch.output + i, load(scratch.output + i) + load(scratch.blockOutput + i));
  }

  for (int64_t head = 0; head < task.kvHeads; head++)
    for (int64_t r = 0; r < rows; r++) {
      float* output = scratch.output + (head * held + r) * valueDims;
      const float total = sum[head][r], at = total == 0 ? 0 : reference[head][r];
      if (task.partial.output) {
        const int64_t shift = head * task.partialHeadStride;
        task.partial.sum[shift + r] = total, task.partial.reference[shift + r] = at;
        std::memcpy(task.partial.output + shift + r * problem.valueDim, output,
                    sizeof(float) * size_t(problem.valueDim));
        continue;
      }
      writeResultRow(problem, sequence, owners[r].head + head * groupSize, owners[r].query, total, at, output);
    }
}

void merge(const Task& task, const Partial* partials, int64_t splits, float* total) {
  const Problem& problem = *task.problem;
  const int64_t valueDim = problem.valueDim;
  for (int64_t row = task.rowBegin; row < task.rowEnd; row++) {
    const int64_t at = row - task.rowBegin;
    float reference = -infinity;
    for (int64_t split = 0; split < splits; split++)
      if (partials[split].sum[at] != 0 && !(partials[split].reference[at] <= reference))
        reference = partials[split].reference[at];
    float sum = 0;
    for (int64_t d = 0; d < valueDim; d++) total[d] = 0;
    for (int64_t split = 0; split < splits; split++) {
      if (partials[split].sum[at] == 0) continue;
      const float factor = exp2(broadcast(partials[split].reference[at] - reference))[0];
      const float* output = partials[split].output + at * valueDim;
      sum += partials[split].sum[at] * factor;
      for (int64_t d = 0; d < valueDim; d++) total[d] += output[d] * factor;
    }
    writeResultRow(problem, *task.sequence, headOfRow(problem, task.kvHead, row), queryOfRow(problem, row), sum,
                   sum == 0 ? 0 : reference, total);
  }
}

}  // namespace fovea::cpu::FOVEA_ISA
