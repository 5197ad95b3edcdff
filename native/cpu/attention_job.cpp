#include "attention_job.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

namespace fovea::cpu {

namespace {

int64_t ceilDiv(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }
int64_t roundUp(int64_t value, int64_t multiple) { return ceilDiv(value, multiple) * multiple; }

/// Rows past queryLength: zeros, -inf for lse and for biased scores.
void fillPadding(const Problem& problem, const Sequence& sequence, const bool* cancelled) {
  const size_t size = size_t(byteSize(problem.dtype));
  const auto fillRow = [&](const View<float>& view, int64_t head, int64_t row, float value) {
    if (!view) return;
    float* to = view.data + head * view.headStride + row * view.rowStride;
    for (int64_t key = 0; key < sequence.keyColumns; key++) to[key * view.columnStride] = value;
  };
  for (int64_t head = 0; head < problem.heads; head++)
    for (int64_t row = sequence.queryLength; row < sequence.queryRows; row++) {
      if (__atomic_load_n(cancelled, __ATOMIC_RELAXED)) return;
      const View<void>& output = sequence.output;
      char* to = static_cast<char*>(output.data) + (head * output.headStride + row * output.rowStride) * int64_t(size);
      if (output.columnStride == 1)
        std::memset(to, 0, size * size_t(problem.valueDim));
      else
        for (int64_t d = 0; d < problem.valueDim; d++)
          std::memset(to + d * output.columnStride * int64_t(size), 0, size);
      if (sequence.lse) sequence.lse.data[head * sequence.lse.headStride + row * sequence.lse.rowStride] = -INFINITY;
      fillRow(sequence.weights, head, row, 0);
      fillRow(sequence.scores, head, row, problem.scoreStage == ScoreStage::biased ? -INFINITY : 0);
    }
}

}  // namespace

AttentionJob::AttentionJob(const Problem& problem, Plan plan, std::function<void(Outcome)> settled)
    : ExecutionJob(std::move(settled)), problem_(problem), plan_(std::move(plan)), kernels_(kernels()) {
  for (int64_t i = 0; i < problem_.sequenceCount; i++)
    if (problem_.sequences[i].queryRows > problem_.sequences[i].queryLength) padded_.push_back(&problem_.sequences[i]);
  if (plan_.algorithm == Algorithm::standard)
    planStandard();
  else
    planTiled();
}

/// Every (sequence, kv head, block of rows, split) at once, if the workspace holds all partials. The sequence with most
/// work comes first, and within a kv head the last block (under a causal mask the longest), so that the short tasks
/// fill the end.
void AttentionJob::planTiled() {
  std::vector<int64_t> order(plan_.sequences.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return plan_.sequences[size_t(a)].flops > plan_.sequences[size_t(b)].flops;
  });
  planSegments();
  for (const int64_t index : order) {
    const Sequence& sequence = problem_.sequences[index];
    const SequencePlan& plan = plan_.sequences[size_t(index)];
    if (plan.rows == 0) continue;
    if (plan.keyBegin > 0) mergers_[mergerOf_[size_t(index)]].pieces.push_back({parts_.size(), 0});
    addPart({&sequence, &plan, 0, 0, 0, sequence.keyLength, plan.keyBegin > 0, nullptr});
  }
  for (Merger& merger : mergers_)
    std::sort(merger.pieces.begin(), merger.pieces.end(), [&](const Merger::Piece& a, const Merger::Piece& b) {
      return parts_[a.part].plan->keyBegin < parts_[b.part].plan->keyBegin;
    });
  pending_ = std::vector<std::atomic<int64_t>>(partialsAt_.size());
  for (const Part& part : parts_)
    if (part.plan->splits > 1 && !part.merged)
      for (int64_t head = 0; head < problem_.kvHeads; head++)
        pending_[size_t(part.firstGroup + head)] = part.plan->splits;
  phaseEnds_.push_back(int64_t(padded_.size()) + taskCount_);
  if (!mergers_.empty()) phaseEnds_.push_back(phaseEnds_.back() + int64_t(mergers_.size()) * problem_.kvHeads);
  setPhases(phaseEnds_);
}

/// Partials that are merged within their task's phase make room for those of the next.
void AttentionJob::addPart(Part part) {
  const SequencePlan& plan = *part.plan;
  part.firstTask = taskCount_, part.blocks = ceilDiv(plan.rows, plan.queryBlock);
  part.firstGroup = int64_t(partialsAt_.size());
  const bool partials = plan.splits > 1 || part.merged;
  const int64_t perHead = partials ? plan.partialFloats * plan.splits : 0;
  for (int64_t first = 0; first < problem_.kvHeads; first += plan.headBlock) {
    const int64_t last = std::min(first + plan.headBlock, int64_t(problem_.kvHeads));
    if (workspaceFloats_ > 0 && 4 * (workspaceFloats_ + (last - first) * perHead) > plan_.workspaceBytes) {
      phaseEnds_.push_back(int64_t(padded_.size()) + taskCount_);
      workspaceFloats_ = 0;
    }
    for (int64_t head = first; partials && head < last; head++, workspaceFloats_ += perHead)
      partialsAt_.push_back(workspaceFloats_);
    taskCount_ += part.blocks * plan.splits;
  }
  parts_.push_back(part);
}

/// Segments come first: most rows wait for them.
void AttentionJob::planSegments() {
  if (plan_.segments.empty()) return;
  mergerOf_.resize(plan_.sequences.size());
  for (size_t i = 0; i < plan_.sequences.size(); i++) {
    if (plan_.sequences[i].keyBegin == 0 || plan_.sequences[i].rows == 0) continue;
    mergerOf_[i] = mergers_.size();
    mergers_.push_back({&problem_.sequences[i], &plan_.sequences[i], {}});
  }
  size_t queries = 0;
  for (const SegmentPlan& segment : plan_.segments) queries += size_t(segment.plan.rows / problem_.groupSize());
  owners_.reserve(queries);  // parts point into it
  for (const SegmentPlan& segment : plan_.segments) {
    const QueryOwner* owners = owners_.data() + owners_.size();
    int64_t firstRow = 0;
    for (const int32_t index : segment.sequences) {
      const Sequence& sequence = problem_.sequences[index];
      mergers_[mergerOf_[size_t(index)]].pieces.push_back({parts_.size(), firstRow});
      firstRow += plan_.sequences[size_t(index)].rows;
      for (int64_t query = 0; query < sequence.queryLength; query++) owners_.push_back({&sequence, query});
    }
    const Sequence& first = problem_.sequences[segment.sequences[0]];
    addPart({&first, &segment.plan, 0, 0, 0, segment.keyEnd, true, owners});
  }
}

/// Three phases per sequence (scores, softmax, output), one sequence after the other: they share one matrix of scores.
/// Padding is filled in the first phase.
void AttentionJob::planStandard() {
  const int64_t padding = int64_t(padded_.size());
  for (size_t i = 0; i < plan_.sequences.size(); i++) {
    const SequencePlan& plan = plan_.sequences[i];
    const int64_t blocks = ceilDiv(plan.rows, plan.queryBlock);
    if (blocks == 0) continue;
    for (int stage = 0; stage < 3; stage++) {
      parts_.push_back({&problem_.sequences[i], &plan, taskCount_, blocks, 0, 0, false, nullptr});
      taskCount_ += blocks * problem_.heads;
      phaseEnds_.push_back(padding + taskCount_);
    }
  }
  if (phaseEnds_.empty()) phaseEnds_.push_back(padding);
  setPhases(phaseEnds_);
}

void AttentionJob::settled() {
  workspace_.release();  // here rather than wherever the last reference goes
  ExecutionJob::settled();
}

bool AttentionJob::prepareWorkspace() {
  if (plan_.workspaceBytes == 0) return true;
  // With the first task that runs: queued calls hold no memory.
  std::call_once(workspaceOnce_, [&] { workspace_.allocate(size_t(plan_.workspaceBytes)); });
  return workspace_.data() != nullptr;
}

void AttentionJob::runTask(int64_t task) {
  const int64_t padding = int64_t(padded_.size());
  if (task < padding) return fillPadding(problem_, *padded_[size_t(task)], cancelledFlag());
  task -= padding;
  if (!prepareWorkspace()) return end(Outcome::outOfMemory);
  if (task >= taskCount_) return runMerge(task - taskCount_);
  const auto after = std::upper_bound(parts_.begin(), parts_.end(), task,
                                      [](int64_t number, const Part& part) { return number < part.firstTask; });
  const size_t index = size_t(after - parts_.begin()) - 1;
  if (plan_.algorithm == Algorithm::standard)
    runStandard(task - parts_[index].firstTask, parts_[index], int(index % 3));
  else
    runTiled(task - parts_[index].firstTask, parts_[index]);
}

/// From row `row` of the part on.
Partial AttentionJob::partialOf(const Part& part, int64_t kvHead, int64_t split, int64_t row) const {
  const SequencePlan& plan = *part.plan;
  float* base = workspace_.data() + partialsAt_[size_t(part.firstGroup + kvHead)] + split * plan.partialFloats;
  float* sum = base + roundUp(plan.rows * problem_.valueDim, 16);
  return {base + row * problem_.valueDim, sum + row, sum + roundUp(plan.rows, 16) + row};
}

void AttentionJob::runTiled(int64_t number, const Part& part) {
  const SequencePlan& plan = *part.plan;
  const bool decode = plan.kernel == Kernel::cpuDecode;
  const int64_t split = number % plan.splits, rest = number / plan.splits;
  const int64_t block = part.blocks - 1 - rest % part.blocks, kvHead = rest / part.blocks * plan.headBlock;

  Task task{};
  task.problem = &problem_, task.sequence = part.sequence, task.owners = part.owners, task.plan = &plan;
  task.kvHead = kvHead, task.kvHeads = std::min(plan.headBlock, problem_.kvHeads - kvHead);
  task.rowBegin = block * plan.queryBlock;
  task.rowEnd = std::min(plan.rows, task.rowBegin + plan.queryBlock);
  const int64_t splitBegin = (plan.firstSplit + split) * plan.keySplit;
  task.keyBegin = std::max(plan.keyBegin, splitBegin);
  task.keyEnd = std::min(part.keyEnd, splitBegin + plan.keySplit);
  task.cancelled = cancelledFlag();
  if (plan.splits > 1 || part.merged) task.partial = partialOf(part, kvHead, split, task.rowBegin);
  task.partialHeadStride = plan.splits * plan.partialFloats;

  const int64_t floats = decode ? kernels_.decodeScratch(problem_, plan) : kernels_.tiledScratch(problem_, plan);
  float* scratch = threadScratch(size_t(floats));
  if (!scratch) return end(Outcome::outOfMemory);
  (decode ? kernels_.decode : kernels_.tiled)(task, scratch);

  if (plan.splits == 1 || part.merged || isCancelled()) return;
  // Whoever ends last merges, always in the order of the splits.
  task.partial = {};
  for (const int64_t end = kvHead + task.kvHeads; task.kvHead < end; task.kvHead++) {
    if (pending_[size_t(part.firstGroup + task.kvHead)].fetch_sub(1, std::memory_order_acq_rel) != 1) continue;
    Partial partials[maxSplits];
    for (int64_t i = 0; i < plan.splits; i++) partials[i] = partialOf(part, task.kvHead, i, 0);
    kernels_.merge(task, partials, plan.splits, scratch);
  }
}

void AttentionJob::runMerge(int64_t number) {
  const Merger& merger = mergers_[size_t(number / problem_.kvHeads)];
  Task task{};
  task.problem = &problem_, task.sequence = merger.sequence, task.plan = merger.plan;
  task.kvHead = number % problem_.kvHeads;
  task.rowEnd = merger.plan->rows;
  std::vector<Partial> partials;
  for (const auto& [index, firstRow] : merger.pieces) {
    const Part& part = parts_[index];
    for (int64_t split = 0; split < part.plan->splits; split++)
      partials.push_back(partialOf(part, task.kvHead, split, firstRow));
  }
  float* scratch = threadScratch(size_t(problem_.valueDim));
  if (!scratch) return end(Outcome::outOfMemory);
  kernels_.merge(task, partials.data(), int64_t(partials.size()), scratch);
}

void AttentionJob::runStandard(int64_t number, const Part& part, int stage) {
  const SequencePlan& plan = *part.plan;
  StandardTask task{};
  task.problem = &problem_, task.sequence = part.sequence;
  task.head = number / part.blocks;
  task.rowBegin = number % part.blocks * plan.queryBlock;
  task.rowEnd = std::min(plan.rows, task.rowBegin + plan.queryBlock);
  task.scores = workspace_.data();
  task.cancelled = cancelledFlag();
  float* scratch = threadScratch(size_t(kernels_.standardScratch(problem_)));
  if (!scratch) return end(Outcome::outOfMemory);
  if (stage == 0) kernels_.standardScores(task, scratch);
  if (stage == 1) kernels_.standardSoftmax(task);
  if (stage == 2) kernels_.standardOutput(task, scratch);
}

}  // namespace fovea::cpu
