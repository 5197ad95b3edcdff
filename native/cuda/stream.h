// One owner's ordered work on one GPU: a Node environment has one Stream per GPU that it uses.
//
// Work is submitted by one thread and finished by another, in order. The submitting thread stages host memory and
// enqueues on the GPU; the finishing thread waits for events, copies results to host memory and calls back. So the
// owner's thread never waits, and the GPU has the next call's work before the present one ends.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "memory.h"
#include "staging.h"

namespace fovea::cuda {

/// Both steps run at most once, on the stream's threads, and may throw. What they hold is released before `settled` is
/// called.
struct Work {
  std::function<void()> submit;  // enqueues on the GPU
  std::function<void()> finish;  // optional: once the GPU is done with what submit enqueued
  Settled settled;               // called exactly once
};

/// Work in flight.
class Execution {
 public:
  /// Drops the work if it is not on the GPU yet; what is there finishes first. Returns at once; `settled` still comes.
  void cancel() { cancelled = true; }

 private:
  friend class Stream;
  std::atomic<bool> cancelled{false};
};

class Stream {
 public:
  /// Throws Error, or std::system_error when no thread can be started.
  explicit Stream(Device& device);
  /// Waits until everything is settled; so not from `settled`.
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Device& device() const { return compute_->device(); }
  /// The CUDA stream on which kernels and allocations are ordered.
  const std::shared_ptr<StreamHandle>& compute() const { return compute_; }
  /// For the submitting step (and submitNow's) and for the finishing step: host memory to and from the device.
  Staging& toDevice() { return toDevice_; }
  Staging& toHost() { return toHost_; }

  std::shared_ptr<Execution> post(Work work);
  /// Waits until all work posted so far is on the GPU, then runs `submit` on this thread. Throws what it throws.
  void submitNow(const std::function<void()>& submit);
  /// Waits until everything is settled.
  void drain();

 private:
  struct Item {
    std::shared_ptr<Execution> execution;
    Work work;
    CUevent submitted = nullptr;
  };

  void submitLoop();
  void finishLoop();
  void stopThreads();
  bool take(std::deque<Item>& from, Item& item);
  Result attempt(const std::function<void()>& step);
  void settle(Item item, const Result& result);
  CUevent takeEvent();

  std::shared_ptr<StreamHandle> compute_, copies_;
  Staging toDevice_, toHost_;
  std::mutex submitting_;  // held while something is being enqueued on the GPU

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<Item> queued_, submitted_;
  std::vector<CUevent> idleEvents_;
  int64_t unsettled_ = 0, unsubmitted_ = 0;
  bool stopping_ = false;

  std::thread submitter_, finisher_;
};

}  // namespace fovea::cuda
