// A call as a job of the thread pool: how it ends, and who is told.
#pragma once
#include <atomic>
#include <functional>

#include "backend.h"
#include "thread_pool.h"

namespace fovea::cpu {

class ExecutionJob : public Job, public Execution {
 public:
  void cancel() override { end(Outcome::aborted); }
  /// All tasks one after the other on this thread, without the pool; settles.
  void runInline() {
    for (int64_t task = 0; task < taskCount() && !isCancelled(); task++) runTask(task);
    settled();
  }
  Outcome outcome() const { return outcome_.load(); }

 protected:
  /// `settled`: null for who asks for the outcome.
  explicit ExecutionJob(std::function<void(Outcome)> settled) : settled_(std::move(settled)) {}
  /// Before its time, by what comes first. Tasks that have not begun never do.
  void end(Outcome outcome) {
    Outcome expected = Outcome::done;
    outcome_.compare_exchange_strong(expected, outcome);
    ThreadPool::instance().cancel(*this);
  }
  void settled() override {
    if (settled_) settled_(outcome_);
  }

 private:
  std::function<void(Outcome)> settled_;
  std::atomic<Outcome> outcome_{Outcome::done};
};

}  // namespace fovea::cpu
