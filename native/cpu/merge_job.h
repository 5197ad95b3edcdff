// A Merge as a job of the thread pool: one phase, a task for every few rows.
#pragma once
#include <atomic>

#include "backend.h"
#include "dispatch.h"
#include "thread_pool.h"

namespace fovea::cpu {

class MergeJob : public Job, public Execution {
 public:
  MergeJob(const Merge& merge, std::function<void(Outcome)> settled);

  void cancel() override;
  /// All tasks one after the other on this thread, without the pool; settles.
  void runInline();
  Outcome outcome() const { return outcome_.load(); }

 private:
  void runTask(int64_t task) override;
  void settled() override;
  void end(Outcome outcome);

  const Merge merge_;
  const KernelTable& kernels_;
  std::function<void(Outcome)> settled_;
  std::atomic<Outcome> outcome_{Outcome::done};
  int64_t rowsPerTask_ = 1, tasks_ = 0;
};

}  // namespace fovea::cpu
