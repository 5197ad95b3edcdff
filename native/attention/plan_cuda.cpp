#include "plan_cuda.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "costs_cuda.h"
#include "planner.h"
#include "tiles_sm90.h"

namespace fovea::cuda {
namespace {

constexpr int64_t maxLength = (int64_t{1} << 31) - 2 * standardKeyTile;  // kernels count rows and columns in 32 bits
constexpr int64_t maxTasks = (int64_t{1} << 31) - 1;

/// Whether scores can stay unwritten.
bool canBeTiled(const Problem& problem) {
  return problem.scoreStage == ScoreStage::none && problem.headDim <= maxTiledDim && problem.valueDim <= maxTiledDim;
}

void checkSupported(const Problem& problem) {
  if (problem.kvDtype() != problem.dtype && problem.kvDtype() != DType::int8)
    throw std::invalid_argument(
        "dtype: CUDA kernels take keys and values of the query's dtype or of int8; pages of another one are for the "
        "CPU");
  if (problem.kvDtype() == DType::int8 && (!canBeTiled(problem) || problem.algorithm == Algorithm::standard))
    throw std::invalid_argument(
        "dtype: int8 pages are for the \"tiled\" algorithm on CUDA, with headDim and valueDim up to " +
        std::to_string(maxTiledDim));
  if (problem.algorithm == Algorithm::tiled && problem.scoreStage != ScoreStage::none)
    throw std::invalid_argument(
        "algorithm: \"tiled\" never stores scores; returnScores takes \"auto\" or \"standard\"");
  if (problem.algorithm == Algorithm::tiled && !canBeTiled(problem))
    throw std::invalid_argument("algorithm: \"tiled\" takes headDim and valueDim up to " + std::to_string(maxTiledDim) +
                                " on CUDA, got " + std::to_string(problem.headDim) + " and " +
                                std::to_string(problem.valueDim) + "; use \"auto\" or \"standard\"");
  if (problem.headDim > maxHeadDim || problem.valueDim > maxHeadDim)
    throw std::invalid_argument("headDim and valueDim: CUDA kernels take up to " + std::to_string(maxHeadDim) +
                                ", got " + std::to_string(problem.headDim) + " and " +
                                std::to_string(problem.valueDim));
  for (int64_t i = 0; i < problem.sequenceCount; i++) {
    const Sequence& sequence = problem.sequences[i];
    if (problem.kvDtype() == DType::int8 && sequence.weights)
      throw std::invalid_argument("returnWeights: not with int8 pages on CUDA");
    if (std::max(sequence.queryRows, sequence.keyColumns) > maxLength)
      throw std::invalid_argument("queryLength and keyLength: CUDA kernels take up to " + std::to_string(maxLength));
    if (problem.algorithm != Algorithm::standard && sequence.queryRows * problem.groupSize() > maxLength)
      throw std::invalid_argument("queryLength times heads per kvHead: CUDA kernels take up to " +
                                  std::to_string(maxLength));
  }
}

bool allAligned(const Problem& problem, const Sequence& sequence) {
  return rowsAligned(sequence.query, 0, problem.dtype) &&
         rowsAligned(sequence.key, sequence.keyPageStride, problem.kvDtype()) &&
         rowsAligned(sequence.value, sequence.valuePageStride, problem.kvDtype());
}

}  // namespace

static SequencePlan planDecode(const Problem& problem, const Sequence& sequence, Plan& plan, bool sm90 = false) {
  const DecodeShape shape = sm90 ? sm90DecodeShape(problem) : decodeShape(problem);
  const DecodeWork work = decodeWork(problem, sequence);
  SequencePlan part;
  part.kernel = sm90 ? Kernel::cudaDecodeSm90 : Kernel::cudaDecode;
  part.rows = work.rows;
  part.queryBlock = sm90 ? warpgroupRows : decodeRows;
  part.keyBlock = sm90 ? shape.keys : int64_t{shape.keys} * decodeWarps;
  part.stages = sm90 ? 2 * shape.stages : shape.stages;
  part.keySplit = work.splits.keys;
  part.firstSplit = work.splits.first;
  part.splits = work.splits.count;
  // Slices begin at multiples of their size, and so do splits: no slice is visited twice.
  const KeyRange seen = visibleKeysOfRows(problem, sequence, 0, sequence.queryLength - 1);
  const int64_t keys = (ceilDivide(seen.end, shape.keys) - seen.begin / shape.keys) * shape.keys;
  const bool exact = problem.dtype == DType::float32;  // no matrix instructions, so nothing is padded but rows
  const int64_t rows = exact && work.rows <= decodeRows / 4 ? decodeRows / 4 : decodeRows;
  const int64_t panel = exact ? 4 : panelBytes / byteSize(problem.dtype);
  const int64_t dims = roundUp(problem.headDim, panel) + roundUp(problem.valueDim, exact ? 32 : panel);
  const int64_t products = sm90 ? int64_t{warpgroupRows} * 2 * shape.dims : rows * dims;  // of a key
  part.flops = 2.0 * problem.kvHeads * double(keys) * double(products);
  plan.tasks += work.tasks;
  plan.bytes += resultBytes(problem, work.tasks * work.rows);
  return part;
}

static SequencePlan planStandard(const Problem& problem, const Sequence& sequence, Plan& plan) {
  const StandardWork work = standardWork(problem, sequence);
  SequencePlan part;
  part.kernel = Kernel::cudaStandard;
  part.rows = sequence.queryLength;  // of one head: heads are tasks of their own
  part.queryBlock = standardQueryTile;
  part.keyBlock = standardKeyTile;
  part.keySplit = sequence.keyLength;
  part.flops = problem.heads * executedFlops(problem, sequence, work);
  plan.tasks += work.scoreTasks + work.outputTasks + work.weightTasks;
  plan.workspaceBytes += work.probabilityBytes + work.blockRowBytes + work.rowBytes;
  plan.bytes += matrixBytes(problem, sequence, work);
  return part;
}

static SequencePlan planTiledSm90(const Problem& problem, const Sequence& sequence, const Sm90Shape& shape,
                                  const TiledWork& tiled, Plan& plan) {
  const Sm90Work work = sm90Work(problem, sequence, shape);
  SequencePlan part;
  part.kernel = Kernel::cudaTiledSm90;
  part.rows = sequence.queryLength * problem.groupSize();
  part.queryBlock = shape.rows();
  part.keyBlock = shape.keys;
  part.stages = 2 * shape.stages;  // of keys, and of values
  part.keySplit = sequence.keyLength;
  part.flops = work.flops + problem.kvHeads * weightFlops(problem, sequence, tiled);
  plan.tasks += work.tasks;
  return part;
}

static SequencePlan tiledPart(const Problem& problem, const Sequence& sequence, const TiledShape& shape) {
  SequencePlan part;
  part.kernel = Kernel::cudaTiled;
  part.rows = sequence.queryLength * problem.groupSize();
  part.queryBlock = shape.rows();
  part.keyBlock = shape.keys;
  part.keySplit = sequence.keyLength;
  return part;
}

/// By the tiled kernel, which leaves results of each split in the workspace.
static SequencePlan planSplits(const Problem& problem, const Sequence& sequence, const KeySplits& splits, Plan& plan) {
  const TiledShape shape = tiledShape(problem);
  Sequence attending = sequence;
  attending.queryRows = sequence.queryLength;
  const TiledWork work = tiledWork(problem, attending);
  SequencePlan part = tiledPart(problem, sequence, shape);
  part.keySplit = splits.keys;
  part.splits = splits.count;
  part.flops = problem.kvHeads * executedFlops(problem, sequence, shape, work);
  plan.tasks += work.tasks * splits.count;
  plan.bytes += splitResultBytes(problem, sequence, splits);
  return part;
}

/// Unless its keys are worth splitting. `sm90`: where there is the kernel for Hopper.
static SequencePlan planTiled(const Problem& problem, const Sequence& sequence, const Sm90Shape* sm90, Plan& plan) {
  Sm90Refusal refusal = sm90 ? sm90Refusal(problem, sequence) : Sm90Refusal::none;
  if (refusal == Sm90Refusal::pages && hasWarpgroupRows(problem, sequence))
    refusal = sm90DecodeRefusal(problem, sequence);
  const bool onSm90 = sm90 && refusal == Sm90Refusal::none;
  if (const KeySplits splits = tiledSplits(problem, sequence, onSm90 ? sm90Speed : tiledSpeed); splits.count > 1) {
    SequencePlan part = planSplits(problem, sequence, splits, plan);
    part.refusal = onSm90 ? Sm90Refusal::splits : refusal;
    return part;
  }
  const TiledShape shape = tiledShape(problem);
  const TiledWork work = tiledWork(problem, sequence);
  plan.workspaceBytes += work.rowBytes;
  if (sequence.weights) plan.bytes += 4.0 * problem.heads * double(sequence.queryRows) * double(sequence.keyColumns);
  plan.tasks += work.weightTasks;
  if (onSm90) return planTiledSm90(problem, sequence, *sm90, work, plan);
  SequencePlan part = tiledPart(problem, sequence, shape);
  part.refusal = refusal;
  part.flops = problem.kvHeads * executedFlops(problem, sequence, shape, work);
  plan.tasks += work.tasks;
  return part;
}

/// Rows of one sequence against keys that it does not share, to be merged with others.
static SequencePlan planOwn(const Problem& problem, const Sequence& cut, Plan& plan) {
  if (hasFewRows(problem, cut)) return planDecode(problem, cut, plan);
  return planSplits(problem, cut, tiledSplits(problem, cut, tiledSpeed), plan);
}

/// A segment that all rows of its sequences see: a call without causality and window, of as many queries as there are.
static void planShared(const Problem& problem, SegmentPlan& segment, Plan& plan) {
  const Sequence& first = problem.sequences[segment.sequences[0]];
  const int64_t begin = segment.plan.keyBegin, keys = segment.keyEnd - begin;
  int64_t queries = 0;
  for (const int32_t owner : segment.sequences) queries += problem.sequences[owner].queryLength;
  Sequence cut = cutSequence(problem, first, begin, segment.keyEnd);
  cut.queryLength = queries;
  const KeySplits splits = segmentSplits(keys, hasFewRows(problem, first));
  segment.plan = planSplits(openProblem(problem), cut, splits, plan);
  segment.plan.keyBegin = begin;
  // What all but one of its sequences need not read again.
  plan.bytes -= double(segment.sequences.size() - 1) * keyBytes(problem, keys);
}

static void planSegments(const Problem& problem, Plan& plan) {
  for (SegmentPlan& segment : plan.segments) {
    const int64_t begin = segment.plan.keyBegin;
    if (segment.shareable) {
      planShared(problem, segment, plan);
    } else {
      const Sequence cut = cutSequence(problem, problem.sequences[segment.sequences[0]], begin, segment.keyEnd);
      segment.plan = planOwn(problem, cut, plan);
      segment.plan.keyBegin = begin;
    }
    plan.flops += segment.plan.flops;
  }
}

/// Where the keys of a sequence begin that no segment has, and its segments.
static int64_t cutSegments(const Problem& problem, int64_t index, KnownSegments& known, Plan& plan) {
  const Sequence& sequence = problem.sequences[index];
  const Segments& own = problem.segments[index];
  for (int64_t i = 0; i < own.count && problem.pageSize > 0; i++)
    if (own.data[i].end % problem.pageSize != 0)
      throw std::invalid_argument("segments: expected whole pages of " + std::to_string(problem.pageSize) +
                                  " tokens, got an end of " + std::to_string(own.data[i].end));
  return addSegments(problem, index, hasFewRows(problem, sequence), known, plan,
                     [&](const Sequence& first) { return sharesWith(sequence, first); });
}

Plan planCuda(const Problem& problem, const DeviceLimits& limits) {
  checkSupported(problem);
  const bool tiled = problem.algorithm != Algorithm::standard && canBeTiled(problem);
  const Sm90Shape sm90 = sm90Shape(problem, hasRules(problem));
  const bool hopper = limits.computeMajor == 9;
  Plan plan;
  plan.algorithm = tiled ? Algorithm::tiled : Algorithm::standard;
  plan.sequences.reserve(size_t(problem.sequenceCount));
  const auto fitToDevice = [&](SequencePlan& part, int64_t keys) {
    if (part.kernel == Kernel::cudaTiled) part.stages = tiledStages(problem, limits.sharedPerMultiprocessor);
    if (part.kernel == Kernel::cudaTiled || part.kernel == Kernel::cudaTiledSm90)
      part.sectionHeads = headsInL2(problem, part.splits > 1 ? part.keySplit : keys, limits.l2Bytes);
  };
  KnownSegments known;
  for (int64_t i = 0; i < problem.sequenceCount; i++) {
    const Sequence& sequence = problem.sequences[i];
    const int64_t begin = tiled && problem.segments && !sequence.weights ? cutSegments(problem, i, known, plan) : 0;
    SequencePlan part;
    if (!tiled)
      part = planStandard(problem, sequence, plan);
    else if (begin > 0)
      part = planOwn(problem, cutSequence(problem, sequence, begin, sequence.keyLength), plan);
    else if (isDecode(problem, sequence))
      part = planDecode(problem, sequence, plan);
    else if (hopper && hasWarpgroupRows(problem, sequence) && sm90DecodeRefusal(problem, sequence) == Sm90Refusal::none)
      part = planDecode(problem, sequence, plan, true);
    else
      part = planTiled(problem, sequence, hopper ? &sm90 : nullptr, plan);
    part.keyBegin = begin;
    fitToDevice(part, sequence.keyLength - begin);
    if (isMerged(part)) plan.tasks += ceilDivide(problem.heads * sequence.queryRows, decodeWarps);  // merge
    part.plainLoads = !allAligned(problem, sequence);
    plan.flops += part.flops;
    plan.usefulFlops += 2.0 * (problem.headDim + problem.valueDim) * problem.heads * visiblePairs(problem, sequence);
    plan.bytes += bytesTouched(problem, sequence);
    plan.sequences.push_back(part);
  }
  planSegments(problem, plan);
  for (SegmentPlan& segment : plan.segments) fitToDevice(segment.plan, segment.keyEnd - segment.plan.keyBegin);
  plan.tasksDiffer = sm90TasksDiffer(problem, plan);
  if (tiled) {
    const Pieces pieces = piecesOf(problem, plan);
    const int64_t merged = int64_t(pieces.merged.size()), others = problem.sequenceCount - merged;
    plan.workspaceBytes += sm90WorkspaceBytes(sm90Sequences(plan)) + piecesBytes(pieces);
    plan.workspaceBytes += tiledTableBytes(others + int64_t(pieces.tiled.size()));
    const TileMapWork maps = tileMapWork(problem, plan, pieces);
    plan.workspaceBytes += maps.bytes;
    plan.tasks += maps.tasks;
  } else {
    plan.workspaceBytes += standardTableBytes(problem.sequenceCount);
  }
  if (plan.tasks > maxTasks)
    throw std::invalid_argument("algorithm: \"" + std::string(tiled ? "tiled" : "standard") + "\" would take " +
                                std::to_string(plan.tasks) + " thread blocks, more than a launch can hold");
  return plan;
}

}  // namespace fovea::cuda
