// Attention of very few rows against many keys: bound by reading keys and values, so each is read once, asked for ahead
// of its turn in the order of its use, and used for up to 8 rows at a time: the queries of a group share it, and those
// of sequences with a common prefix, of which a task has up to 64. A task takes several heads where their rows follow
// one another: a page at a time, or, where they lie side by side, a few keys at a time.
//
//   for each block of keys:   scores[row][key] = q_row . k_key, lanes along headDim
//                             online softmax per row, lanes along keys
//                             output[row] += p[row][key] v_key, lanes along valueDim
//
// Floor: (headDim + valueDim) * keys * element size / memory bandwidth.
#include "ahead.h"
#include "modifiers.h"
#include "pack.h"
#include "rows.h"
#include "tasks.h"

namespace fovea::cpu::FOVEA_ISA {
namespace {

constexpr int64_t rowGroup = 8;  // at most, of one visit of a key
constexpr int rowsTogether = 4;  // whose sums stay in registers

/// Rows of keys or values as whole vectors of a dtype, or staged as float32 when they are not.
struct Rows {
  const char* data;     // first row
  int64_t strideBytes;  // to the next
};

/// Bytes that are asked for ahead of their turn, and rows beside them: as many values of float32 are read in one strip.
constexpr int64_t aheadBytes = 6144, aheadRows = 8;

/// With more than sixteen registers more sums stay in them: keys and values are read, and converted, less often.
constexpr bool manyRegisters = lanes == 16;

/// scores[row][key] of R rows and K keys: the sums over lanes of their products, four at a time.
template <int R, int K>
FOVEA_INLINE void storeScores(const Vec (&sum)[R][K], float* scores, int64_t stride) {
  if constexpr (K == 4 && R % 4 == 0) {
#pragma GCC unroll 2
    for (int r = 0; r < R; r += 4) {
      const Vec four[4][4] = {{sum[r][0], sum[r][1], sum[r][2], sum[r][3]},
                              {sum[r + 1][0], sum[r + 1][1], sum[r + 1][2], sum[r + 1][3]},
                              {sum[r + 2][0], sum[r + 2][1], sum[r + 2][2], sum[r + 2][3]},
                              {sum[r + 3][0], sum[r + 3][1], sum[r + 3][2], sum[r + 3][3]}};
      storeSums(four, scores + r * stride, stride);
    }
  } else if constexpr (K == 4) {
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) storeAs(scores + r * stride, sumFour(sum[r][0], sum[r][1], sum[r][2], sum[r][3]));
  } else {
    const auto at = [&](int i) __attribute__((always_inline)) { return i < R * K ? sum[i / K][i % K] : zero(); };
#pragma GCC unroll 8
    for (int first = 0; first < R * K; first += 4) {
      const Quad sums = sumFour(at(first), at(first + 1), at(first + 2), at(first + 3));
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++)
        if (first + i < R * K) scores[(first + i) / K * stride + (first + i) % K] = sums[i];
    }
  }
}

/// Whether keys are read one after the other, as processors like it best. With more rows a few are read in step, which
/// share the loads of queries.
constexpr bool inTurn(int rows) { return rows < rowsTogether; }

/// scores[row][key] of R rows and K keys. Asks for `asked` rows meanwhile, one by one: of lines that are asked for in
/// their order processors see the next ones coming, and many at a time would have to wait.
template <DType type, int R, int K, bool oneByOne, int asked>
FOVEA_INLINE void scoreTile(Rows keys, const float* query, int64_t dims, float* scores, int64_t stride, Ahead& ahead) {
  Vec sum[R][K] = {};
  const auto add = [&](int first, int last, int64_t d) __attribute__((always_inline)) {
    Vec q[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) q[r] = load(query + r * dims + d);
#pragma GCC unroll 4
    for (int i = first; i < last; i++) {
      const Vec k = loadLanes<type>(keys.data + i * keys.strideBytes + d * byteSize(type));
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) sum[r][i] = fma(k, q[r], sum[r][i]);
    }
  };
  const auto addAll = [&](int first, int last) __attribute__((always_inline)) {
    int64_t d = 0;
    for (; d + 4 * lanes <= dims; d += 4 * lanes)  // a branch that is foreseen wrongly costs what is under way
#pragma GCC unroll 4
      for (int step = 0; step < 4; step++) add(first, last, d + step * lanes);
    for (; d < dims; d += lanes) add(first, last, d);
  };
  if constexpr (oneByOne) {
    static_assert(asked == K);
#pragma GCC unroll 4
    for (int i = 0; i < K; i++) {
      askRows<intoL1>(ahead, 1);
      addAll(i, i + 1);
    }
  } else if constexpr (asked == 0) {
    addAll(0, K);
  } else {
    const int64_t piece = asked > 1 ? roundUp(dims / asked, lanes) : dims;
    int64_t due = asked;
    for (int64_t begin = 0; begin < dims; begin += piece) {
      if (due > 0) askRows<intoL1>(ahead, 1), due--;
      for (int64_t d = begin; d < least(begin + piece, dims); d += lanes) add(0, K, d);
    }
    if (due > 0) askRows<intoL1>(ahead, due);
  }
  storeScores(sum, scores, stride);
}

/// Number `part` of `parts` about equal shares.
constexpr int shareOf(int number, int part, int parts) { return number * (part + 1) / parts - number * part / parts; }

/// scores[row][key] of R rows for `count` keys; rows are whole vectors, queries pre-scaled.
template <DType type, int R, bool brought>
FOVEA_NOINLINE void scoreKeys(Rows keys, int64_t count, const float* query, int64_t dims, float* scores, int64_t stride,
                              Ahead& ahead) {
  // As many rows at a time as there are registers for their sums.
  constexpr int parts = R < rowsTogether ? 1 : R == 8 && !manyRegisters ? 3 : 2, rows = (R + parts - 1) / parts;
  int64_t key = 0;
  const auto score = [&]<int K>() __attribute__((always_inline)) {
    const auto scorePart = [&]<int part>() __attribute__((always_inline)) {
      constexpr int first = part * rows, number = R - first < rows ? R - first : rows;
      scoreTile<type, number, K, inTurn(R), brought ? 0 : shareOf(K, part, parts)>(
          {keys.data + key * keys.strideBytes, keys.strideBytes}, query + first * dims, dims,
          scores + first * stride + key, stride, ahead);
    };
    scorePart.template operator()<0>();
    if constexpr (parts > 1) scorePart.template operator()<1>();
    if constexpr (parts > 2) scorePart.template operator()<2>();
    key += K;
  };
  while (key + 4 <= count) score.template operator()<4>();
  if (key + 2 <= count) score.template operator()<2>();
  if (key < count) score.template operator()<1>();
}

/// Keys whose values addValues takes for one strip of dims: the fewer, the more often sums are loaded and stored; the
/// more, the further a column of them reaches. `brought`: rows before these have read the values.
constexpr int64_t keysOfStrip(DType type, int rows, bool brought) {
  if (inTurn(rows) && type == DType::float32) return rows;
  return (manyRegisters && brought) || byteSize(type) < 4 ? 16 : 8;
}
/// Sums of a strip, which stay in registers. Values that are not brought yet come no faster.
constexpr int sumsOfStrip(DType type, int rows, bool brought) {
  return manyRegisters && rows == 8 && (brought || byteSize(type) < 4) ? 16 : 8;
}

/// output[row][d] += sum over keys of p[row][key] v[key][d], a strip of dims at a time.
template <DType type, int R, bool brought>
FOVEA_NOINLINE void addValues(Rows values, int64_t count, const float* probabilities, int64_t stride, float* output,
                              int64_t dims, Ahead& ahead) {
  constexpr int together = R < rowsTogether ? R : rowsTogether, columns = sumsOfStrip(type, R, brought) / together;
  const auto strip = [&]<int C>(int64_t row, int64_t key, int64_t stop, int64_t d) __attribute__((always_inline)) {
    Vec sum[together][C];
#pragma GCC unroll 8
    for (int r = 0; r < together; r++)
#pragma GCC unroll 8
      for (int c = 0; c < C; c++) sum[r][c] = load(output + (row + r) * dims + d + c * lanes);
    for (; key < stop; key++) {
      const char* at = values.data + key * values.strideBytes + d * byteSize(type);
      const auto p = [&](int r) __attribute__((always_inline)) {
        return broadcast(probabilities[(row + r) * stride + key]);
      };
      const auto v = [&](int c) __attribute__((always_inline)) {
        return loadLanes<type>(at + c * lanes * byteSize(type));
      };
      // All of the fewer ones are held: the others pass by.
      if constexpr (C > together) {
        Vec held[together];
#pragma GCC unroll 8
        for (int r = 0; r < together; r++) held[r] = p(r);
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) {
          const Vec value = v(c);
#pragma GCC unroll 8
          for (int r = 0; r < together; r++) sum[r][c] = fma(value, held[r], sum[r][c]);
        }
      } else {
        Vec held[C];
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) held[c] = v(c);
#pragma GCC unroll 8
        for (int r = 0; r < together; r++) {
          const Vec probability = p(r);
#pragma GCC unroll 8
          for (int c = 0; c < C; c++) sum[r][c] = fma(held[c], probability, sum[r][c]);
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < together; r++)
#pragma GCC unroll 8
      for (int c = 0; c < C; c++) store(output + (row + r) * dims + d + c * lanes, sum[r][c]);
  };
  constexpr int64_t atOnce = keysOfStrip(type, R, brought);
  const int64_t strips = R / together * (dims / (columns * lanes));  // whole ones
  for (int64_t key = 0; key < count; key += atOnce) {
    const int64_t stop = least(count, key + atOnce);
    int64_t asked = key, done = 0;
    for (int64_t row = 0; row < R; row += together) {
      int64_t d = 0;
      for (; d + columns * lanes <= dims; d += columns * lanes) {
        strip.template operator()<columns>(row, key, stop, d);
        if constexpr (atOnce > rowsTogether) {  // evenly: a burst would fill the processor's queue of misses
          done += stop - key;
          const int64_t due = least(stop, key + done / strips);
          if (due > asked) askRows<intoL1>(ahead, due - asked), asked = due;
        }
      }
      for (; d < dims; d += lanes) strip.template operator()<1>(row, key, stop, d);
    }
    askRows<intoL1>(ahead, stop - asked);
  }
}

using ScoreKeys = void (*)(Rows, int64_t, const float*, int64_t, float*, int64_t, Ahead&);
using AddValues = void (*)(Rows, int64_t, const float*, int64_t, float*, int64_t, Ahead&);

template <DType type>
ScoreKeys scoreKeysFor(int64_t rows, bool brought) {
  return rows == 1   ? scoreKeys<type, 1, false>
         : rows == 2 ? scoreKeys<type, 2, false>
         : rows == 4 ? scoreKeys<type, 4, false>
         : brought   ? scoreKeys<type, 8, true>
                     : scoreKeys<type, 8, false>;
}
template <DType type>
AddValues addValuesFor(int64_t rows, bool brought) {
  return rows == 1   ? addValues<type, 1, false>
         : rows == 2 ? addValues<type, 2, false>
         : rows == 4 ? addValues<type, 4, false>
         : brought   ? addValues<type, 8, true>
                     : addValues<type, 8, false>;
}
ScoreKeys scoreKeysFor(DType type, int64_t rows, bool brought) {
  return type == DType::float32   ? scoreKeysFor<DType::float32>(rows, brought)
         : type == DType::float16 ? scoreKeysFor<DType::float16>(rows, brought)
         : type == DType::int8    ? scoreKeysFor<DType::int8>(rows, brought)
                                  : scoreKeysFor<DType::bfloat16>(rows, brought);
}
AddValues addValuesFor(DType type, int64_t rows, bool brought) {
  return type == DType::float32   ? addValuesFor<DType::float32>(rows, brought)
         : type == DType::float16 ? addValuesFor<DType::float16>(rows, brought)
         : type == DType::int8    ? addValuesFor<DType::int8>(rows, brought)
                                  : addValuesFor<DType::bfloat16>(rows, brought);
}

struct Scratch {
  float *query, *output, *scores;  // [head][row][...]
  float* blockOutput;              // likewise, of a block of keys
  float *staging, *modifier;
};

/// Floats from one row's scores to the next one's: not a power of two, or those of many rows would meet in few of the
/// L1 cache's sets.
int64_t scoresOfRow(const SequencePlan& plan) { return plan.keyBlock + 16; }

/// Rows that a visit computes for `count` of them: kernels exist for 1, 2, 4 and 8.
int64_t computedRows(int64_t count) { return count <= 2 ? count : count <= 4 ? 4 : rowGroup; }

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
  scratch.scores = take(rows * scoresOfRow(plan));
  scratch.modifier = take(plan.keyBlock);
  scratch.staging = take(plan.keyBlock * most(headDims, valueDims));
  return used;
}

/// Keys whose rows are read before the next head's, where those of all heads lie side by side: few enough for the L1
/// cache, and the fewer, the more processors see ahead; but more where a visit costs much beside its bytes.
int64_t keysTogether(const Task& task, int64_t dims) {
  const int64_t size = byteSize(task.problem->kvDtype()), rows = computedRows(task.rowEnd - task.rowBegin);
  const int64_t bytes = (rows < 2 * size ? 16 : 32) << 10;
  const int64_t keys = bytes / (task.kvHeads * dims * size);
  return keys < 2 ? 1 : keys < 4 ? 2 : roundDown(keys, 4);
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

/// Numbers of `rows` rows of a head, for keys [begin, end), times the scales of those keys (int8 pages).
void multiplyByScales(const Task& task, int64_t kvHead, const float* scales, int64_t begin, int64_t end, int64_t rows,
                      int64_t stride, float* numbers) {
  const Problem& problem = *task.problem;
  for (int64_t key = begin, next; key < end; key = next) {
    next = least(end, roundDown(key, problem.pageSize) + problem.pageSize);
    const float* scale = keyScale(problem, *task.sequence, scales, kvHead, key);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < next - key; i++) numbers[r * stride + (key - begin) + i] *= scale[i];
  }
}

/// Calls use(head, rows, type, first, count) for keys [begin, end) of every head of the task, each head's rows as
/// forRuns has them: page by page, or a few keys at a time, of all heads.
template <class Use>
void forHeads(const Task& task, const View<const void>& view, int64_t pageStride, int64_t dims, int64_t begin,
              int64_t end, float* staging, Use use) {
  forRuns(task, view, pageStride, dims, begin, end, staging, [&](Rows rows, DType type, int64_t first, int64_t count) {
    const int64_t atOnce = task.kvHeads == 1 || task.problem->pageSize > 0 ? count : keysTogether(task, dims);
    for (int64_t key = 0; key < count; key += atOnce)
      for (int64_t head = 0; head < task.kvHeads; head++) {
        const char* data = rows.data + key * rows.strideBytes + head * view.headStride * byteSize(type);
        use(head, Rows{data, rows.strideBytes}, type, first + key, least(atOnce, count - key));
      }
  });
}

/// Plans what to ask for during block [begin, end) of keys [.., last), in the order of its use: one row for each row
/// that is scored or added, always the same number of rows ahead. Before the first block that many are asked for.
void planAhead(const Task& task, int64_t begin, int64_t end, int64_t last, bool first, Ahead& ahead) {
  const Problem& problem = *task.problem;
  const Sequence& sequence = *task.sequence;
  const auto addKeyRows = [&](int64_t from, int64_t to) {
    addKeys(ahead, task, sequence.key, sequence.keyPageStride, problem.headDim, task.kvHead, task.kvHeads, from, to);
  };
  if (first) {
    ahead.count = ahead.current = 0;
    addKeyRows(begin, end);
  } else {
    dropAsked(ahead);
  }
  addKeys(ahead, task, sequence.value, sequence.valuePageStride, problem.valueDim, task.kvHead, task.kvHeads, begin,
          end);
  if (end < last) addKeyRows(end, least(end + task.plan->keyBlock, last));
  if (first) {
    // Rows side by side are asked for key by key, and used a few keys of each head at a time: most of the fewer dims.
    const int64_t keys = keysTogether(task, least(problem.headDim, problem.valueDim));
    const int64_t sideBySide = task.kvHeads > 1 && problem.pageSize == 0 ? keys * task.kvHeads : 0;
    const int64_t bytes = most(problem.headDim, problem.valueDim) * byteSize(problem.kvDtype());
    askRows<intoL1>(ahead, sideBySide + aheadRows + aheadBytes / bytes);
  }
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
  const int64_t held = rows <= rowGroup ? computedRows(rows) : roundUp(rows, rowGroup);
  const auto forGroups = [&](auto use) {
    for (int64_t first = 0; first < rows; first += rowGroup) use(first, computedRows(least(rows - first, rowGroup)));
  };
  const int64_t headDims = roundUp(problem.headDim, lanes), valueDims = roundUp(problem.valueDim, lanes);
  const int64_t keyBlock = task.plan->keyBlock, scoreStride = scoresOfRow(*task.plan), groupSize = problem.groupSize();

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

  Ahead ahead, nothing;
  for (int64_t block = roundDown(firstKey, keyBlock); block < lastKey; block += keyBlock) {
    if (isCancelled(task)) return;
    const int64_t begin = most(block, firstKey), end = least(block + keyBlock, lastKey), count = end - begin;
    planAhead(task, begin, end, lastKey, begin == firstKey, ahead);
    forHeads(task, sequence.key, sequence.keyPageStride, problem.headDim, begin, end, scratch.staging,
             [&](int64_t head, Rows keys, DType type, int64_t first, int64_t number) {
               forGroups([&](int64_t group, int64_t computed) {
                 const int64_t row = head * held + group;
                 scoreKeysFor(type, computed, group > 0)(keys, number, scratch.query + row * headDims, headDims,
                                                         scratch.scores + row * scoreStride + (first - begin),
                                                         scoreStride, group == 0 ? ahead : nothing);
               });
             });
    const auto scale = [&](const float* scales) {
      for (int64_t head = 0; scales && head < task.kvHeads; head++)
        multiplyByScales(task, task.kvHead + head, scales, begin, end, rows, scoreStride,
                         scratch.scores + head * held * scoreStride);
    };
    scale(problem.keyScales);
    const bool plain = !hasModifiers(sequence) && problem.softcap == 0 && begin >= innerBegin && end <= innerEnd;
    for (int64_t head = 0; head < task.kvHeads; head++)
      for (int64_t r = 0; r < rows; r++) {
        float* scores = scratch.scores + (head * held + r) * scoreStride;
        if (!plain) modifyScores(ofHead(task, head), task.rowBegin + r, begin, count, scratch.modifier, scores);
        softmaxBlock(scores, count, reference[head][r], sum[head][r], scratch.output + (head * held + r) * valueDims,
                     valueDims);
      }
    scale(problem.valueScales);
    // Summed from zero and then added: the error of many keys would grow with their number.
    std::memset(scratch.blockOutput, 0, sizeof(float) * size_t(task.kvHeads * held * valueDims));
    forHeads(task, sequence.value, sequence.valuePageStride, problem.valueDim, begin, end, scratch.staging,
             [&](int64_t head, Rows values, DType type, int64_t first, int64_t number) {
               forGroups([&](int64_t group, int64_t computed) {
                 const int64_t row = head * held + group;
                 addValuesFor(type, computed, group > 0)(
                     values, number, scratch.scores + row * scoreStride + (first - begin), scoreStride,
                     scratch.blockOutput + row * valueDims, valueDims, group == 0 ? ahead : nothing);
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
