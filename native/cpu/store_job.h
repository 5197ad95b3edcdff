// Rows on their way into pages as a job of the thread pool: tasks are runs of tokens.
#pragma once
#include <atomic>
#include <vector>

#include "backend.h"
#include "dispatch.h"
#include "thread_pool.h"

namespace fovea::cpu {

class StoreJob : public Job, public Execution {
 public:
  StoreJob(std::vector<RowStore> stores, std::function<void(Outcome)> settled);

  /// Leaves some rows unwritten.
  void cancel() override;
  /// All tasks one after the other on this thread; settles.
  void runInline();
  /// Bytes that are read and written.
  double bytes() const { return bytes_; }
  Outcome outcome() const { return outcome_.load(); }

 private:
  void runTask(int64_t task) override;
  void settled() override;

  const std::vector<RowStore> stores_;
  const KernelTable& kernels_;
  std::function<void(Outcome)> settled_;
  std::atomic<Outcome> outcome_{Outcome::done};
  int64_t tasks_ = 0;
  double bytes_ = 0;
};

}  // namespace fovea::cpu
