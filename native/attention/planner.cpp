#include "planner.h"

#include <algorithm>

namespace fovea {

const char* kernelName(Kernel kernel) {
  switch (kernel) {
    case Kernel::cpuStandard:
      return "cpu.standard";
    case Kernel::cpuTiled:
      return "cpu.tiled";
    case Kernel::cpuDecode:
      return "cpu.decode";
    case Kernel::cudaStandard:
      return "cuda.standard";
    case Kernel::cudaTiled:
      return "cuda.tiled";
    case Kernel::cudaTiledSm90:
      return "cuda.tiled_sm90";
    case Kernel::cudaDecode:
      return "cuda.decode";
    case Kernel::cudaDecodeSm90:
      return "cuda.decode_sm90";
  }
  return "?";
}

namespace {

int64_t roundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }
int64_t ceilDiv(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

// Up to this many rows per kv head are the decode kernel's: where the tiled one would compute a good part of its panel
// in vain (24 rows of 48 from memory: decode is 1.4 to 1.9 times as fast). Against keys of a single block, which a
// cache holds, only those that visit each key once: with 16 rows and keys the tiled one is 1.5 times as fast.
constexpr int64_t mostDecodeRows(int lanes) { return lanes == 16 ? 24 : 16; }
constexpr int64_t rowsPerVisit = 8;  // of a key, by decode
// Rows that share one visit of the keys. Where keys or values are converted or packed on the way that takes up to 18 %
// of the time at 192 rows: so more of them there, as long as their queries and sums fit a cache and each thread has
// some tasks.
constexpr int64_t rowsInPlace = 192, rowsStaged = 1152, stagedPanelBytes = 1 << 20, tasksPerThread = 16;
// P^T of a panel is 128 keys x 24 rows x 4 bytes = 12 KiB, in L1 with its query panel; with AVX-512 24 KiB.
constexpr int64_t tiledKeyBlock = 128;
// A column of values wider than this meets few of the L1 cache's sets: their tiles are packed. With AVX-512 so are
// others of more than one block, since a block's do not fit the cache beside P^T (2 to 4 %; of one block the first
// reading counts, which products hide).
constexpr int64_t widestInPlace = 64;
constexpr int64_t decodeKeyBlock = 256;
constexpr int64_t standardRowBlock = 16;
// Where the rows of one head lie far apart and those of neighbouring heads side by side ([batch, length, heads, dim]),
// decode reads this many bytes in one go, of several heads; of one or two rows up to twice as many.
constexpr int64_t decodeRunBytes = 4096;
constexpr int64_t decodeTasksPerThread = 4;  // at least, where several heads are taken together
// Few rows are split over their keys, so that more than one thread can work on them. Their number and the length are
// constants (not made from the number of threads) for the same bits everywhere; merging costs one output row per split.
constexpr int64_t decodeSplit = 1024;
constexpr int64_t tiledSplit = 2048;
constexpr int64_t maxTiledSplits = 8;   // of many rows each
constexpr int64_t mostSplitRows = 192;  // more of them are work enough

// Splits that are merged make room for others, so their results never take more than this (or than one task's heads).
constexpr int64_t mostPartialBytes = 6 << 20;

/// Exact up to 2^53, and no overflow beyond: more than there is, in any case.
int64_t wholeBytes(double bytes) { return bytes < 9e15 ? int64_t(bytes) : int64_t(9e15); }

/// What sequences are planned for.
struct Target {
  int lanes;
  bool pairs;        // cpu.tiled multiplies two numbers of bfloat16 in one instruction
  int64_t taskRows;  // at most, so that there are tasks for all threads
  double taskPairs;  // likewise of (row, key)
};

Target targetOf(const Problem& problem, const CpuTarget& target) {
  double rows = 0, pairs = 0;  // of a head
  for (int64_t i = 0; i < problem.sequenceCount; i++) {
    rows += double(problem.sequences[i].queryLength);
    pairs += visiblePairs(problem, problem.sequences[i]);
  }
  const double share = double(problem.heads) / double(tasksPerThread * target.threads);
  return {target.lanes, target.multipliesPairs && takesPairs(problem), int64_t(std::min(rows * share, 1e9)),
          pairs * share};
}

/// Keys that any row of the sequence sees; it has one at least.
KeyRange visibleToAny(const Problem& problem, const Sequence& sequence) {
  return visibleKeysOfRows(problem, sequence, 0, sequence.queryLength - 1);
}

/// By the sequence's own rows and keys: whoever else shares a segment must not change its kernel. With tiled for all
/// segments, a sequence that has one alone took 2 to 4 times as long.
bool takesDecode(const Problem& problem, const Sequence& sequence, const Target& target) {
  // weights take a second visit, which the tiled kernel has
  const int64_t most = sequence.keyLength <= tiledKeyBlock ? rowsPerVisit : mostDecodeRows(target.lanes);
  return sequence.queryLength * problem.groupSize() <= most && !sequence.weights;
}

/// Whether decode can read rows where they lie, and those of neighbouring heads follow one another: a page's in turn,
/// or side by side for each key.
bool hasHeadsInTurn(const Problem& problem, const View<const void>& view, int64_t dims, const Target& target) {
  if (view.columnStride != 1 || dims % target.lanes != 0) return false;
  if (problem.pageSize > 0)
    return decodeKeyBlock % problem.pageSize == 0 && view.headStride == problem.pageSize * view.rowStride;
  return !isCompact(view, dims) && view.headStride >= 0 && view.headStride <= 2 * dims;
}

/// kv heads for a task of decode: of several in turn, memory is read in longer runs. No more than leave each thread
/// some tasks. Of rows side by side a few heads at least, since the next key's are far away, and no more than fit the
/// L1 cache with a few keys of each.
int64_t decodeHeads(const Problem& problem, const Sequence& sequence, const Target& target, const SequencePlan& plan,
                    int64_t keys) {
  // Queries and sums of more rows, of all heads, would leave the L1 cache at each page.
  const int64_t mostRows = problem.pageSize > 0 ? rowsPerVisit : mostDecodeRows(target.lanes);
  if (plan.rows > mostRows || !hasHeadsInTurn(problem, sequence.key, problem.headDim, target) ||
      !hasHeadsInTurn(problem, sequence.value, problem.valueDim, target))
    return 1;
  const double pairs = std::max(double(plan.rows) * double(std::min(keys, plan.keySplit)), 1.0);
  int64_t heads = int64_t(std::min(target.taskPairs * tasksPerThread / decodeTasksPerThread / pairs, 1e9));
  if (problem.pageSize == 0) {
    const int64_t bytes = problem.headDim * byteSize(problem.kvDtype());
    heads = std::clamp(heads, decodeRunBytes / bytes, (plan.rows <= 2 ? 2 : 1) * decodeRunBytes / bytes);
  }
  return std::clamp<int64_t>(heads, 1, std::min<int64_t>(problem.kvHeads, maxHeadBlock));
}

/// Kernel and blocks for `rows` rows of the sequence's kind.
void planBlocks(const Problem& problem, const Sequence& sequence, const Target& target, SequencePlan& plan) {
  const bool decode = takesDecode(problem, sequence, target);
  plan.kernel = decode ? Kernel::cpuDecode : Kernel::cpuTiled;
  plan.keyBlock = decode ? decodeKeyBlock : target.pairs ? 2 * tiledKeyBlock : tiledKeyBlock;
  if (decode) {
    plan.queryBlock = std::clamp(roundUp(plan.rows, rowsPerVisit), rowsPerVisit, maxDecodeBlock);
    return;
  }
  plan.packValues =
      target.pairs || problem.valueDim > widestInPlace || (target.lanes == 16 && sequence.keyLength > tiledKeyBlock);
  const bool staged = problem.kvDtype() != DType::float32 || problem.pageSize > 0 || plan.packValues ||
                      !isCompact(sequence.key, problem.headDim) || !isCompact(sequence.value, problem.valueDim);
  int64_t most = rowsInPlace;
  if (staged) {
    const int64_t fit = stagedPanelBytes / (int64_t(sizeof(float)) * (problem.headDim + problem.valueDim));
    most = std::clamp(std::min(target.taskRows, fit), rowsInPlace, rowsStaged);
  }
  const int64_t panel = 3 * target.lanes, blocks = std::max<int64_t>(ceilDiv(plan.rows, most), 1);
  plan.queryBlock = std::max(roundUp(ceilDiv(plan.rows, blocks), panel), panel);
}

/// Splits keys [begin, end), by their number alone; and how many heads decode takes of each split.
void planSplits(const Problem& problem, const Sequence& sequence, const Target& target, int64_t begin, int64_t end,
                SequencePlan& plan) {
  const bool decode = plan.kernel == Kernel::cpuDecode;
  const int64_t shortest = decode ? decodeSplit : tiledSplit, most = decode ? maxSplits : maxTiledSplits;
  const int64_t split = std::max(shortest, roundUp(ceilDiv(end - begin, most - 1), shortest));
  const int64_t splits = end > begin ? ceilDiv(end, split) - begin / split : 1;
  if (splits > 1) plan.keySplit = split, plan.splits = splits, plan.firstSplit = begin / split;
  if (decode) plan.headBlock = decodeHeads(problem, sequence, target, plan, end - begin);
}

SequencePlan planSequence(const Problem& problem, const Sequence& sequence, const Target& target, Algorithm algorithm,
                          int64_t keyBegin) {
  SequencePlan plan;
  plan.rows = sequence.queryLength * problem.groupSize();
  plan.keyBegin = keyBegin;
  plan.keySplit = std::max<int64_t>(sequence.keyLength, 1);
  if (algorithm == Algorithm::standard) {
    plan.kernel = Kernel::cpuStandard;
    plan.rows = sequence.queryLength;
    plan.queryBlock = standardRowBlock;
    plan.keyBlock = sequence.keyLength;
    return plan;
  }
  planBlocks(problem, sequence, target, plan);
  if (plan.rows <= mostSplitRows && !sequence.weights && sequence.queryLength > 0) {
    const KeyRange keys = visibleToAny(problem, sequence);
    planSplits(problem, sequence, target, std::max(keys.begin, keyBegin), keys.end, plan);
  }
  // Short sequences: while one head is computed, the next one's rows are on their way from memory. Not where there are
  // partial results: the kernel writes one head's.
  if (plan.kernel == Kernel::cpuTiled && plan.splits == 1 && keyBegin == 0) {
    const double pairs = std::max(visiblePairs(problem, sequence) * problem.groupSize(), 1.0);
    const int64_t heads = int64_t(std::min(target.taskPairs / pairs, 1e9));
    plan.headBlock =
        std::clamp<int64_t>(std::min(target.taskRows / std::max<int64_t>(plan.rows, 1), heads), 1, problem.kvHeads);
  }
  return plan;
}

/// Once all their rows are known.
void planSegments(const Problem& problem, const Target& target, Plan& plan) {
  for (SegmentPlan& segment : plan.segments) {
    const Sequence& first = problem.sequences[segment.sequences[0]];
    for (const int32_t index : segment.sequences)
      segment.plan.rows += problem.sequences[index].queryLength * problem.groupSize();
    segment.plan.keySplit = std::max<int64_t>(segment.keyEnd, 1);
    planBlocks(problem, first, target, segment.plan);
    planSplits(problem, first, target, segment.plan.keyBegin, segment.keyEnd, segment.plan);
    const double pairs = double(segment.plan.rows) * double(segment.keyEnd - segment.plan.keyBegin);
    segment.plan.flops = 2.0 * (problem.headDim + problem.valueDim) * pairs * problem.kvHeads;
  }
}

/// Multiply-adds of whole tiles, times two: what the kernel executes for one sequence.
double executedFlops(const Problem& problem, const Sequence& sequence, const SequencePlan& plan, const Target& target) {
  const double perPair = 2.0 * (problem.headDim + problem.valueDim);
  if (plan.kernel == Kernel::cpuStandard)
    return perPair * problem.heads * double(sequence.queryLength) * double(sequence.keyLength);
  const bool decode = plan.kernel == Kernel::cpuDecode;
  // Where scores are modified, all of a panel's vectors are computed to its last key.
  const bool ends = !decode && !sequence.mask && !sequence.bias && problem.softcap == 0;
  const int64_t group = problem.groupSize();
  double pairs = 0;
  for (int64_t row = 0, rows = 0; row < plan.rows; row += rows) {
    const int64_t left = plan.queryBlock - row % plan.queryBlock, rest = std::min(left, plan.rows - row);
    rows = decode ? rest : rowsOfPanel(rest, target.lanes);
    const auto keysTo = [&](int64_t last) { return visibleKeysOfRows(problem, sequence, row / group, last / group); };
    const KeyRange keys = keysTo(row + rows - 1);
    const int64_t begin = std::max(keys.begin, plan.keyBegin) / 4 * 4, together = decode ? rows : target.lanes;
    // A vector's keys end where those of its rows and of the ones before do.
    for (int64_t first = 0; first < rows; first += together) {
      const int64_t end = ends ? keysTo(row + std::min(first + together, rows) - 1).end : keys.end;
      if (end > begin) pairs += double(together) * double(roundUp(end - begin, 4));
    }
  }
  return perPair * pairs * problem.kvHeads;
}

double bytesTouched(const Problem& problem, const Sequence& sequence) {
  const double size = double(byteSize(problem.dtype));
  const KeyRange keys = sequence.queryLength > 0 ? visibleToAny(problem, sequence) : KeyRange{0, 0};
  const int64_t visited = std::max<int64_t>(keys.end - keys.begin, 0);
  double bytes = keyBytes(problem, visited);
  bytes += size * problem.heads * double(sequence.queryLength) * problem.headDim;
  bytes += size * problem.heads * double(sequence.queryRows) * problem.valueDim;
  const double matrix = double(problem.heads) * double(sequence.queryRows) * double(sequence.keyColumns);
  if (sequence.lse) bytes += 4.0 * problem.heads * double(sequence.queryRows);
  if (sequence.weights) bytes += 4 * matrix;
  if (sequence.scores) bytes += 4 * matrix;
  const double pairs = problem.heads * visiblePairs(problem, sequence);
  if (sequence.mask) bytes += pairs;
  if (sequence.bias) bytes += double(byteSize(problem.biasDtype)) * pairs;
  return bytes;
}

}  // namespace

double keyBytes(const Problem& problem, int64_t keys) {
  const double stored = double(byteSize(problem.kvDtype())), scales = problem.keyScales ? 2 * sizeof(float) : 0;
  return double(keys) * problem.kvHeads * (stored * (problem.headDim + problem.valueDim) + scales);
}

/// Whether every row of the sequence sees all of keys [begin, end): then its rows are as good as another sequence's.
static bool seesAll(const Problem& problem, const Sequence& sequence, int64_t begin, int64_t end) {
  const KeyRange first = visibleKeys(problem, sequence, 0);
  const KeyRange last = visibleKeys(problem, sequence, sequence.queryLength - 1);
  return first.begin <= begin && last.begin <= begin && first.end >= end && last.end >= end;
}

int64_t addSegments(const Problem& problem, int64_t index, bool few, KnownSegments& known, Plan& plan,
                    const std::function<bool(const Sequence& first)>& mayJoin) {
  const Sequence& sequence = problem.sequences[index];
  const Segments& own = problem.segments[index];
  int64_t begin = 0;
  for (int64_t i = 0; i < own.count && sequence.queryLength > 0; begin = own.data[i++].end) {
    const int64_t end = own.data[i].end;
    const bool shareable = seesAll(problem, sequence, begin, end);
    const auto found = known.find({own.data[i].id, few});
    if (shareable && found != known.end()) {
      SegmentPlan& segment = plan.segments[found->second];
      if (mayJoin(problem.sequences[segment.sequences[0]])) {
        segment.sequences.push_back(int32_t(index));
        continue;
      }
    }
    if (shareable && found == known.end()) known[{own.data[i].id, few}] = plan.segments.size();
    SegmentPlan& added = plan.segments.emplace_back();
    added.plan.keyBegin = begin;
    added.keyEnd = end;
    added.shareable = shareable;
    added.sequences.push_back(int32_t(index));
  }
  return begin;
}

/// Sum over queries 0 .. count - 1 of clamp(query + shift, 0, limit).
static double clampedSum(int64_t count, int64_t shift, int64_t limit) {
  const int64_t rising = std::clamp<int64_t>(-shift, 0, count);            // from here on above 0
  const int64_t flat = std::clamp<int64_t>(limit - shift, rising, count);  // from here on at the limit
  const double steps = double(flat - rising);
  return steps * double(rising + shift) + steps * (steps - 1) / 2 + double(count - flat) * double(limit);
}

double visiblePairs(const Problem& problem, const Sequence& sequence) {
  const int64_t count = sequence.queryLength, keys = sequence.keyLength;
  // Row i sees the keys below its end and not those below its begin; both are clamped lines, and begin <= end.
  int64_t ahead = -1;  // keys after its own place
  if (problem.windowRight >= 0) ahead = problem.windowRight;
  if (problem.causal) ahead = 0;
  const double ends =
      ahead < 0 ? double(count) * double(keys) : clampedSum(count, sequence.queryOffset + ahead + 1, keys);
  const double begins = problem.windowLeft < 0 ? 0 : clampedSum(count, sequence.queryOffset - problem.windowLeft, keys);
  return std::max(0.0, ends - begins);
}

/// The work of a part, and the partial results of its splits (of all its rows, if they are merged with others').
static void addPart(const Problem& problem, bool merged, SequencePlan& part, Plan& plan) {
  if (part.splits > 1 || merged) {
    // Every split's unnormalised output, sum and reference, whole cache lines each.
    part.partialFloats = roundUp(part.rows * problem.valueDim, 16) + 2 * roundUp(part.rows, 16);
    const int64_t bytes = 4 * part.partialFloats * part.splits;  // of a kv head
    part.headBlock = std::clamp<int64_t>(mostPartialBytes / std::max<int64_t>(bytes, 1), 1, part.headBlock);
    plan.workspaceBytes = wholeBytes(double(plan.workspaceBytes) + double(bytes) * problem.kvHeads);
  }
  plan.flops += part.flops;
  plan.tasks += ceilDiv(part.rows, part.queryBlock) * part.splits * ceilDiv(problem.kvHeads, part.headBlock);
}

static void boundPartials(const Problem& problem, Plan& plan) {
  int64_t most = mostPartialBytes;
  for (const SequencePlan& part : plan.sequences)
    most = std::max(most, 4 * part.partialFloats * part.splits * std::min<int64_t>(part.headBlock, problem.kvHeads));
  plan.workspaceBytes = std::min(plan.workspaceBytes, most);
}

Plan planCpu(const Problem& problem, const CpuTarget& cpu) {
  const Target target = targetOf(problem, cpu);
  Plan plan;
  plan.algorithm = problem.algorithm;
  if (plan.algorithm == Algorithm::automatic)
    plan.algorithm = problem.scoreStage == ScoreStage::none ? Algorithm::tiled : Algorithm::standard;
  const bool cut = problem.segments && plan.algorithm == Algorithm::tiled;
  KnownSegments known;
  const auto anybody = [](const Sequence&) { return true; };
  plan.sequences.reserve(size_t(problem.sequenceCount));
  for (int64_t i = 0; i < problem.sequenceCount; i++) {
    const Sequence& sequence = problem.sequences[i];
    const int64_t keyBegin =
        cut ? addSegments(problem, i, takesDecode(problem, sequence, target), known, plan, anybody) : 0;
    SequencePlan part = planSequence(problem, sequence, target, plan.algorithm, keyBegin);
    part.flops = executedFlops(problem, sequence, part, target);
    plan.usefulFlops += 2.0 * (problem.headDim + problem.valueDim) * problem.heads * visiblePairs(problem, sequence);
    plan.bytes += bytesTouched(problem, sequence);
    if (part.kernel == Kernel::cpuStandard) {
      plan.flops += part.flops;
      plan.tasks += ceilDiv(part.rows, part.queryBlock) * problem.heads;
      // One sequence at a time: the largest one's scores.
      plan.workspaceBytes =
          std::max(plan.workspaceBytes,
                   wholeBytes(4.0 * problem.heads * double(sequence.queryLength) * double(sequence.keyLength)));
    } else {
      addPart(problem, keyBegin > 0, part, plan);
    }
    plan.sequences.push_back(part);
  }
  planSegments(problem, target, plan);
  for (SegmentPlan& segment : plan.segments) {
    addPart(problem, true, segment.plan, plan);
    // What all but one of its sequences need not read again.
    plan.bytes -= double(segment.sequences.size() - 1) * keyBytes(problem, segment.keyEnd - segment.plan.keyBegin);
  }
  if (plan.algorithm == Algorithm::tiled && plan.segments.empty()) boundPartials(problem, plan);
  return plan;
}

}  // namespace fovea
