#include "thread_pool.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

#include "processor.h"

namespace fovea::cpu {

namespace {

constexpr int maxThreads = 1024;

struct Instance {
  ThreadPool* pool = nullptr;
  std::string error;
};

}  // namespace

Job::Job(std::vector<int64_t> phaseEnds) : phaseEnds_(std::move(phaseEnds)) { ThreadPool::instance(); }

ThreadPool& ThreadPool::instance() {
  static const Instance* instance = new Instance([] {
    const char* wanted = std::getenv("FOVEA_NUM_THREADS");
    if (!wanted || !*wanted) return Instance{new ThreadPool(processorCount()), ""};
    const char* end = wanted + std::strlen(wanted);
    int count = 0;
    const auto [rest, error] = std::from_chars(wanted, end, count);
    if (rest != end || error != std::errc() || count < 1 || count > maxThreads)
      return Instance{nullptr,
                      std::string("FOVEA_NUM_THREADS: expected a number from 1 to 1024, got \"") + wanted + "\""};
    return Instance{new ThreadPool(count), ""};
  }());
  if (!instance->pool) throw std::runtime_error(instance->error);
  return *instance->pool;
}

ThreadPool::ThreadPool(int threads) : limit_(threads) {}

int ThreadPool::threads() const {
  std::lock_guard lock(mutex_);
  return limit_;
}

void ThreadPool::setThreads(int count) {
  std::lock_guard lock(mutex_);
  limit_ = std::clamp(count, 1, maxThreads);
  try {
    startThreads();
  } catch (const std::system_error&) {
    // the ones there are will do
  }
  wake_.notify_all();  // surplus workers leave, or there is room for more
}

bool ThreadPool::isOver(const Job& job) const {
  return job.running_ == 0 && (job.cancelled_ || job.phase_ == job.phaseEnds_.size());
}

bool ThreadPool::hasTask(const Job& job) const {
  return !job.cancelled_ && job.phase_ < job.phaseEnds_.size() && job.next_ < job.phaseEnds_[job.phase_];
}

std::shared_ptr<Job> ThreadPool::nextJob() const {
  // What only waits to be settled (cancelled while queued) does not wait for the work before it.
  for (const auto& job : jobs_)
    if (isOver(*job) && !job->joined_) return job;
  for (const auto& job : jobs_)
    if (hasTask(*job)) return job;
  return nullptr;
}

void ThreadPool::remove(const Job& job) {
  const auto at = std::find_if(jobs_.begin(), jobs_.end(), [&](const auto& other) { return other.get() == &job; });
  if (at != jobs_.end()) jobs_.erase(at);
}

void ThreadPool::runOne(std::unique_lock<std::mutex>& lock, Job& job) {
  const int64_t task = job.next_++;
  job.running_++, active_++;
  lock.unlock();
  job.runTask(task);
  lock.lock();
  job.running_--, active_--;
  job.finished_++;
  const size_t before = job.phase_;
  job.skipDonePhases();
  if (job.phase_ == before && !isOver(job)) return;
  wake_.notify_all();
  joined_.notify_all();
}

void ThreadPool::work(int index) {
  std::unique_lock lock(mutex_);
  while (true) {
    if (index >= limit_ && index == started_ - 1) {  // only the newest leaves, so that indices stay dense
      started_--;
      wake_.notify_all();
      return;
    }
    std::shared_ptr<Job> job = index < limit_ && active_ < limit_ ? nextJob() : nullptr;
    if (!job) {
      wake_.wait(lock);
      continue;
    }
    if (hasTask(*job)) runOne(lock, *job);
    if (!isOver(*job) || job->joined_ || job->settling_) continue;
    job->settling_ = true;
    remove(*job);
    lock.unlock();
    job->settled();
    job.reset();  // its memory may go with it: not under the lock
    lock.lock();
  }
}

void ThreadPool::enqueue(const std::shared_ptr<Job>& job, int64_t helpers, bool ahead) {
  jobs_.insert(ahead ? jobs_.begin() : jobs_.end(), job);
  try {
    startThreads(helpers);
  } catch (const std::system_error&) {
    if (started_ == 0 && !job->joined_) {  // else the ones there are will do
      remove(*job);
      throw;
    }
  }
  wake(helpers);
}

// With the first work that needs them, or when there may be more of them: beside those that are busy or about to be.
void ThreadPool::startThreads(int64_t least) {
  int64_t wanted = active_;
  for (const auto& job : jobs_) wanted += job->taskCount() - job->next_;
  while (started_ < std::min<int64_t>(limit_, std::max(wanted, least))) {
    std::thread(&ThreadPool::work, this, started_).detach();
    started_++;
  }
}

void ThreadPool::wake(int64_t count) {
  if (started_ > limit_ || count >= started_) {
    wake_.notify_all();  // a thread in surplus would sleep on with the news
  } else {
    for (int64_t i = 0; i < count; i++) wake_.notify_one();
  }
}

void ThreadPool::submit(const std::shared_ptr<Job>& job, bool ahead) {
  std::lock_guard lock(mutex_);
  job->skipDonePhases();
  enqueue(job, std::max<int64_t>(job->taskCount(), 1), ahead);
}

void ThreadPool::runWith(const std::shared_ptr<Job>& job) {
  {
    std::unique_lock lock(mutex_);
    job->joined_ = true;
    job->skipDonePhases();
    // The caller never waits for a free slot: it works at once, and pool threads make room at their next task.
    const int64_t helpers = std::min<int64_t>(job->taskCount(), limit_) - 1;
    if (helpers > 0) enqueue(job, helpers);
    while (!isOver(*job)) {
      if (hasTask(*job)) {
        runOne(lock, *job);
        continue;
      }
      wake(1);  // for the slot that this thread leaves
      joined_.wait(lock);
    }
    if (helpers > 0) remove(*job);
    if (active_ < limit_ && !jobs_.empty()) wake_.notify_all();
  }
  job->settled();
}

void ThreadPool::cancel(Job& job) {
  std::lock_guard lock(mutex_);
  __atomic_store_n(&job.cancelled_, true, __ATOMIC_RELAXED);
  wake_.notify_all();
  joined_.notify_all();
}

}  // namespace fovea::cpu
