// Rows on their way into pages as a job of the thread pool: tasks are runs of tokens.
#pragma once
#include <vector>

#include "dispatch.h"
#include "execution_job.h"

namespace fovea::cpu {

/// Cancelled, it leaves some rows unwritten.
class StoreJob : public ExecutionJob {
 public:
  StoreJob(std::vector<RowStore> stores, std::function<void(Outcome)> settled);

  /// Bytes that are read and written.
  double bytes() const { return bytes_; }

 private:
  void runTask(int64_t task) override;

  const std::vector<RowStore> stores_;
  const KernelTable& kernels_;
  double bytes_ = 0;
};

}  // namespace fovea::cpu
