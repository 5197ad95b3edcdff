// Attention of very few rows against many keys: bound by reading keys and values, so each is read once, asked for ahead
// of its turn in the order of its use, for all rows of a task: the queries of a group share it, and those of sequences
// with a common prefix, of which a task has up to 64. A task takes several heads where their rows follow one another: a
// page at a time, or, where they lie side by side, a few keys at a time. Scores and sums of values are computed in
// decode_rows.h and decode_lanes.h.
//
//   for each block of keys:   scores[row][key] = q_row . k_key, lanes along headDim
//                             online softmax per row, lanes along keys
//                             output[row] += p[row][key] v_key, lanes along valueDim
//
// With many rows scores and softmax have their lanes along rows, and the same bits.
//
// Floor: (headDim + valueDim) * keys * element size / memory bandwidth.
#include "decode_lanes.h"
#include "modifiers.h"
#include "pack.h"
#include "rows.h"
#include "tasks.h"

namespace fovea::cpu::FOVEA_ISA {
namespace {

struct Scratch {
  float *output, *blockOutput;  // [head][row][valueDim], and those of a block of keys
  float *query, *scores;        // [head][...], as FewRows or ManyRows has them
  float *staging, *modifier, *rowScores;
};

int64_t layOut(const Problem& problem, const SequencePlan& plan, float* base, Scratch& scratch) {
  const int64_t headDims = roundUp(problem.headDim, lanes), valueDims = roundUp(problem.valueDim, lanes);
  int64_t used = 0;
  const auto take = [&](int64_t floats) {
    float* at = base + used;
    used += roundUp(floats, 16);
    return at;
  };
  const int64_t rows = plan.headBlock * roundUp(plan.queryBlock, plan.queryBlock > mostFewRows ? lanes : 1);
  scratch.query = take(rows * headDims);
  scratch.output = take(rows * valueDims);
  scratch.blockOutput = take(rows * valueDims);
  scratch.scores = take(rows * FewRows::scoreStride(0, plan.keyBlock));  // ManyRows needs fewer
  scratch.modifier = take(plan.keyBlock);
  scratch.rowScores = take(plan.keyBlock);
  scratch.staging = take(plan.keyBlock * most(headDims, valueDims));
  return used;
}

/// Keys whose rows are read before the next head's, where those of all heads lie side by side: few enough for the L1
/// cache, and the fewer, the more processors see ahead; but more where a visit costs much beside its bytes.
int64_t keysTogether(const Task& task, int64_t dims) {
  const int64_t size = byteSize(task.problem->kvDtype()), rows = FewRows::held(task.rowEnd - task.rowBegin);
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

/// Calls use(scales, first, count) for the scales of keys [begin, end) of a head, page by page (int8 pages).
template <class Use>
void forScales(const Task& task, int64_t kvHead, const float* scales, int64_t begin, int64_t end, Use use) {
  const Problem& problem = *task.problem;
  for (int64_t key = begin, next; key < end; key = next) {
    next = least(end, roundDown(key, problem.pageSize) + problem.pageSize);
    use(keyScale(problem, *task.sequence, scales, kvHead, key), key, next - key);
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

/// Plans what to ask for during a block of keys, in the order of its use: its values and the keys of the `next` one,
/// one row for each row that is scored or added, always the same number of rows ahead. Before the first block that many
/// are asked for.
void planAhead(const Task& task, KeyRange block, KeyRange next, bool first, Ahead& ahead) {
  const Problem& problem = *task.problem;
  const Sequence& sequence = *task.sequence;
  const auto addKeyRows = [&](int64_t from, int64_t to) {
    addKeys(ahead, task, sequence.key, sequence.keyPageStride, problem.headDim, task.kvHead, task.kvHeads, from, to);
  };
  if (first) {
    ahead.count = ahead.current = 0;
    addKeyRows(block.begin, block.end);
  } else {
    dropAsked(ahead);
  }
  addKeys(ahead, task, sequence.value, sequence.valuePageStride, problem.valueDim, task.kvHead, task.kvHeads,
          block.begin, block.end);
  addKeyRows(next.begin, next.end);
  if (first) {
    // Rows side by side are asked for key by key, and used a few keys of each head at a time: most of the fewer dims.
    const int64_t keys = keysTogether(task, least(problem.headDim, problem.valueDim));
    const int64_t sideBySide = task.kvHeads > 1 && problem.pageSize == 0 ? keys * task.kvHeads : 0;
    const int64_t bytes = most(problem.headDim, problem.valueDim) * byteSize(problem.kvDtype());
    askRows<intoL1>(ahead, sideBySide + aheadRows + aheadBytes / bytes);
  }
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

/// Whether mask and bias leave a row some key of `block`.
bool leavesSome(const Task& task, const RowOwner* owners, int64_t rows, KeyRange block, float* modifier) {
  const View<const uint8_t>& mask = task.sequence->mask;
  const View<const void>& bias = task.sequence->bias;
  if (!mask && !bias) return true;
  const bool sameForHeads = (!mask || mask.headStride == 0) && (!bias || bias.headStride == 0);
  for (int64_t head = 0; head < (sameForHeads ? 1 : task.kvHeads); head++)
    for (int64_t r = 0; r < rows; r++) {
      if (sameForHeads && r > 0 && owners[r].query == owners[r - 1].query) continue;
      const int64_t queryHead = owners[r].head + head * task.problem->groupSize();
      if (modifierRow(*task.problem, *task.sequence, queryHead, owners[r].query, block.begin, block.end, 1, modifier))
        return true;
    }
  return false;
}

/// The task, with its rows held as Form has them.
template <class Form>
void decodeAs(const Task& task, float* base) {
  const Problem& problem = *task.problem;
  const Sequence& sequence = *task.sequence;
  Scratch scratch;
  layOut(problem, *task.plan, base, scratch);
  const int64_t rows = task.rowEnd - task.rowBegin;
  const int64_t held = Form::held(rows), groupSize = problem.groupSize();
  const int64_t headDims = roundUp(problem.headDim, lanes), valueDims = roundUp(problem.valueDim, lanes);
  const int64_t keyBlock = task.plan->keyBlock, stride = Form::scoreStride(held, keyBlock);
  const auto scoresOf = [&](int64_t head) { return scratch.scores + head * held * FewRows::scoreStride(0, keyBlock); };

  const float factor = float(problem.softcap > 0 ? problem.scale : problem.scale * 1.4426950408889634);
  std::memset(scratch.query, 0, sizeof(float) * size_t(task.kvHeads * held * headDims));
  std::memset(scratch.output, 0, sizeof(float) * size_t(task.kvHeads * held * valueDims));
  float reference[maxHeadBlock][maxDecodeBlock], sum[maxHeadBlock][maxDecodeBlock];
  RowOwner owners[maxDecodeBlock];  // of the first head's rows
  ownersOf(task, task.rowBegin, rows, owners);
  for (int64_t head = 0; head < task.kvHeads; head++) {
    for (int64_t r = 0; r < held; r++) reference[head][r] = -infinity, sum[head][r] = 0;
    for (int64_t r = 0; r < rows; r++) {
      const View<const void>& query = owners[r].sequence->query;
      const int64_t at = (owners[r].head + head * groupSize) * query.headStride + owners[r].query * query.rowStride;
      readRow(elementAt(query.data, problem.dtype, at), problem.dtype, query.columnStride, problem.headDim,
              scratch.staging);
      for (int64_t d = 0; d < problem.headDim; d++) scratch.staging[d] *= factor;
      Form::putQuery(scratch.staging, problem.headDim, r, held, scratch.query + head * held * headDims, headDims);
    }
  }
  int64_t firstKey = INT64_MAX, lastKey = 0, innerBegin = 0, innerEnd = INT64_MAX;
  for (int64_t r = 0; r < rows; r++) {
    const KeyRange visible = visibleKeys(problem, *owners[r].sequence, owners[r].query);
    const int64_t begin = most(visible.begin, task.keyBegin), end = least(visible.end, task.keyEnd);
    innerBegin = most(innerBegin, begin), innerEnd = least(innerEnd, end);
    if (end > begin) firstKey = least(firstKey, begin), lastKey = most(lastKey, end);
  }

  const auto keysOf = [&](int64_t block) -> KeyRange {
    return {most(block, firstKey), least(block + keyBlock, lastKey)};
  };
  const auto blockFrom = [&](int64_t block) {  // the first one that is not hidden
    while (block < lastKey && !leavesSome(task, owners, rows, keysOf(block), scratch.modifier)) block += keyBlock;
    return block;
  };

  Ahead ahead;
  const int64_t firstBlock = blockFrom(roundDown(firstKey, keyBlock));
  for (int64_t block = firstBlock, next; block < lastKey; block = next) {
    if (isCancelled(task)) return;
    next = blockFrom(block + keyBlock);
    const int64_t begin = keysOf(block).begin, end = keysOf(block).end, count = end - begin;
    planAhead(task, {begin, end}, keysOf(next), block == firstBlock, ahead);
    forHeads(task, sequence.key, sequence.keyPageStride, problem.headDim, begin, end, scratch.staging,
             [&](int64_t head, Rows keys, DType type, int64_t first, int64_t number) {
               Form::score(keys, type, number, scratch.query + head * held * headDims, headDims, held,
                           scoresOf(head) + Form::scoreAt(first - begin, stride), stride, scratch.staging, ahead);
             });
    const auto scale = [&](const float* scales) {
      for (int64_t head = 0; scales && head < task.kvHeads; head++)
        forScales(task, task.kvHead + head, scales, begin, end,
                  [&](const float* factors, int64_t first, int64_t number) {
                    Form::scale(factors, number, held, scoresOf(head) + Form::scoreAt(first - begin, stride), stride);
                  });
    };
    scale(problem.keyScales);
    const bool plain = !hasModifiers(sequence) && problem.softcap == 0 && begin >= innerBegin && end <= innerEnd;
    for (int64_t head = 0; head < task.kvHeads; head++) {
      for (int64_t r = 0; r < rows && !plain; r++)
        Form::withRow(scoresOf(head), r, count, stride, scratch.rowScores, [&](float* scores) {
          modifyScores(ofHead(task, head), task.rowBegin + r, begin, count, scratch.modifier, scores);
        });
      Form::softmax(scoresOf(head), count, rows, stride, reference[head], sum[head],
                    scratch.output + head * held * valueDims, valueDims);
    }
    scale(problem.valueScales);
    // Summed from zero and then added: the error of many keys would grow with their number.
    std::memset(scratch.blockOutput, 0, sizeof(float) * size_t(task.kvHeads * held * valueDims));
    forHeads(task, sequence.value, sequence.valuePageStride, problem.valueDim, begin, end, scratch.staging,
             [&](int64_t head, Rows values, DType type, int64_t first, int64_t number) {
               Form::add(values, type, number, scoresOf(head) + Form::scoreAt(first - begin, stride), stride, held,
                         scratch.blockOutput + head * held * valueDims, valueDims, ahead);
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

}  // namespace

int64_t decodeScratch(const Problem& problem, const SequencePlan& plan) {
  Scratch scratch;
  return layOut(problem, plan, nullptr, scratch);
}

void decode(const Task& task, float* base) {
  const bool many = ManyRows::suits(task.rowEnd - task.rowBegin);
  many ? decodeAs<ManyRows>(task, base) : decodeAs<FewRows>(task, base);
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
