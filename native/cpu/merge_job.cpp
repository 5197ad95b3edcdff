#include "merge_job.h"

#include <algorithm>

#include "memory.h"

namespace fovea::cpu {
namespace {

/// Elements that a task reads, some 10 microseconds: enough to be worth a thread's while.
constexpr int64_t elementsPerTask = 1 << 16;

}  // namespace

MergeJob::MergeJob(const Merge& merge, std::function<void(Outcome)> settled)
    : ExecutionJob(std::move(settled)), merge_(merge), kernels_(kernels()) {
  const int64_t rows = merge.rowCount(), perRow = std::max<int64_t>(merge.partCount * merge.dims, 1);
  rowsPerTask_ = std::max<int64_t>(elementsPerTask / perRow, 1);
  setPhases({(rows + rowsPerTask_ - 1) / rowsPerTask_});
}

void MergeJob::runTask(int64_t task) {
  float* scratch = threadScratch(size_t(kernels_.mergePartsScratch(merge_)));
  if (!scratch) return end(Outcome::outOfMemory);
  const int64_t begin = task * rowsPerTask_;
  kernels_.mergeParts(merge_, begin, std::min(merge_.rowCount(), begin + rowsPerTask_), scratch);
}

}  // namespace fovea::cpu
