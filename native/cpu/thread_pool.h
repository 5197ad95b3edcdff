// One persistent pool of threads per process, shared by all calls.
//
// Work comes as jobs: numbered tasks in phases (a phase starts when the one before is done). Jobs are served in the
// order they came (but for those that go ahead), a later one as soon as the earlier have no task left to start. At most
// `threads` tasks run at a time, counting threads from outside that work on their own job, so concurrent calls share
// the processors instead of oversubscribing them.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

namespace fovea::cpu {

class Job {
 public:
  virtual ~Job() = default;

  bool isCancelled() const { return __atomic_load_n(&cancelled_, __ATOMIC_RELAXED); }

 protected:
  /// `phaseEnds[i]`: the number of tasks of phases 0..i. Throws where there can be no pool (FOVEA_NUM_THREADS is
  /// wrong), also for a job that is too small to need one.
  explicit Job(std::vector<int64_t> phaseEnds = {});
  void setPhases(std::vector<int64_t> phaseEnds) { phaseEnds_ = std::move(phaseEnds); }
  const bool* cancelledFlag() const { return &cancelled_; }
  int64_t taskCount() const { return phaseEnds_.empty() ? 0 : phaseEnds_.back(); }
  virtual void runTask(int64_t task) = 0;
  /// Once, when no task runs any more and none will.
  virtual void settled() = 0;

 private:
  friend class ThreadPool;
  void skipDonePhases() {
    while (phase_ < phaseEnds_.size() && finished_ >= phaseEnds_[phase_]) phase_++;
  }

  // All below under the pool's mutex, but for the flag's reads.
  std::vector<int64_t> phaseEnds_;
  size_t phase_ = 0;
  int64_t next_ = 0, finished_ = 0;
  int running_ = 0;
  bool cancelled_ = false;
  bool joined_ = false;    // a thread outside the pool waits for it, and settles it
  bool settling_ = false;  // a pool thread has taken it upon itself
};

class ThreadPool {
 public:
  /// The process's pool. Never destroyed: its threads may outlive static destruction. Throws std::runtime_error when
  /// FOVEA_NUM_THREADS is not a number from 1 to 1024.
  static ThreadPool& instance();

  int threads() const;
  void setThreads(int count);

  /// Runs the job on pool threads. `ahead`: before the jobs that are there, as far as these have tasks yet to start.
  void submit(const std::shared_ptr<Job>& job, bool ahead = false);
  /// Runs the job on the calling thread and on pool threads; returns when it has settled.
  void runWith(const std::shared_ptr<Job>& job);
  /// Starts no further task of the job. It settles on a pool thread when those that run have ended.
  void cancel(Job& job);

 private:
  explicit ThreadPool(int threads);
  void work(int index);
  bool hasTask(const Job& job) const;
  bool isOver(const Job& job) const;
  void enqueue(const std::shared_ptr<Job>& job, int64_t helpers, bool ahead = false);
  /// Starts threads up to `least`, or as many as the jobs in hand have work for. Throws std::system_error.
  void startThreads(int64_t least = 0);
  /// Wakes so many threads that may run.
  void wake(int64_t count);
  /// Runs one task of the job with the lock released.
  void runOne(std::unique_lock<std::mutex>& lock, Job& job);
  void remove(const Job& job);
  std::shared_ptr<Job> nextJob() const;

  mutable std::mutex mutex_;
  std::condition_variable wake_;    // workers: a task may be there, or a slot free
  std::condition_variable joined_;  // threads in runWith: a phase of their job ended
  std::deque<std::shared_ptr<Job>> jobs_;
  int limit_ = 1, started_ = 0, active_ = 0;  // tasks that may run, threads that live, tasks that run
};

}  // namespace fovea::cpu
