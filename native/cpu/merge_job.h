// A Merge as a job of the thread pool: one phase, a task for every few rows.
#pragma once
#include "dispatch.h"
#include "execution_job.h"

namespace fovea::cpu {

class MergeJob : public ExecutionJob {
 public:
  MergeJob(const Merge& merge, std::function<void(Outcome)> settled);

 private:
  void runTask(int64_t task) override;

  const Merge merge_;
  const KernelTable& kernels_;
  int64_t rowsPerTask_ = 1;
};

}  // namespace fovea::cpu
