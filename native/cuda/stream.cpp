#include "stream.h"

#include <utility>

namespace fovea::cuda {
namespace {

Outcome outcomeOf(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::outOfMemory:
      return Outcome::outOfMemory;
    case ErrorKind::lost:
      return Outcome::deviceLost;
    default:
      return Outcome::failed;
  }
}

}  // namespace

Stream::Stream(Device& device)
    : compute_(std::make_shared<StreamHandle>(device)),
      copies_(std::make_shared<StreamHandle>(device)),
      toDevice_(compute_),
      toHost_(copies_) {
  try {
    submitter_ = std::thread([this] { submitLoop(); });
    finisher_ = std::thread([this] { finishLoop(); });
  } catch (...) {  // the process may have no more threads
    stopThreads();
    throw;
  }
}

Stream::~Stream() {
  drain();
  stopThreads();
  const CurrentContext current(device());
  for (CUevent event : idleEvents_) driver().cuEventDestroy(event);
}

void Stream::stopThreads() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (std::thread* thread : {&submitter_, &finisher_})
    if (thread->joinable()) thread->join();
}

std::shared_ptr<Execution> Stream::post(Work work) {
  auto execution = std::make_shared<Execution>();
  const std::lock_guard lock(mutex_);
  queued_.push_back({execution, std::move(work)});
  unsettled_++;
  unsubmitted_++;
  changed_.notify_all();
  return execution;
}

void Stream::submitNow(const std::function<void()>& submit) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return unsubmitted_ == 0; });
  }
  device().requireAlive();
  const std::lock_guard order(submitting_);
  const CurrentContext current(device());
  submit();
}

void Stream::drain() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return unsettled_ == 0; });
}

Result Stream::attempt(const std::function<void()>& step) {
  try {
    device().requireAlive();
    step();
    return {};
  } catch (const Error& error) {
    return {outcomeOf(error.kind), error.what()};
  } catch (const std::bad_alloc&) {
    return {Outcome::outOfMemory, "out of host memory"};
  } catch (const std::exception& error) {
    return {Outcome::failed, error.what()};
  }
}

CUevent Stream::takeEvent() {
  {
    const std::lock_guard lock(mutex_);
    if (!idleEvents_.empty()) {
      CUevent event = idleEvents_.back();
      idleEvents_.pop_back();
      return event;
    }
  }
  CUevent event = nullptr;
  device().check(driver().cuEventCreate(&event, CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING), "making an event");
  return event;
}

/// Waits for the next item; false when the stream ends.
bool Stream::take(std::deque<Item>& from, Item& item) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stopping_ || !from.empty(); });
  if (from.empty()) return false;
  item = std::move(from.front());
  from.pop_front();
  return true;
}

void Stream::settle(Item item, const Result& result) {
  item.work.submit = nullptr;
  item.work.finish = nullptr;
  item.work.settled(result);
  const std::lock_guard lock(mutex_);
  if (item.submitted) idleEvents_.push_back(item.submitted);
  unsettled_--;
  changed_.notify_all();
}

void Stream::submitLoop() {
  const CurrentContext current(device());
  for (Item item; take(queued_, item); item = {}) {
    Result result{Outcome::aborted, {}};
    if (!item.execution->cancelled)
      result = attempt([&] {
        const std::lock_guard order(submitting_);
        item.submitted = takeEvent();
        item.work.submit();
        device().check(driver().cuEventRecord(item.submitted, compute_->get()), "recording an event");
      });
    const bool isSubmitted = result.outcome == Outcome::done;
    // What failed half-way may have left copies or kernels on the GPU that use its memory.
    if (!isSubmitted && result.outcome != Outcome::aborted) driver().cuStreamSynchronize(compute_->get());
    {
      const std::lock_guard lock(mutex_);
      unsubmitted_--;
      if (isSubmitted) submitted_.push_back(std::move(item));
      changed_.notify_all();
    }
    if (!isSubmitted) settle(std::move(item), result);
  }
}

void Stream::finishLoop() {
  const CurrentContext current(device());
  for (Item item; take(submitted_, item); item = {}) {
    const Result result = attempt([&] {
      device().check(driver().cuEventSynchronize(item.submitted), "running kernels");
      if (item.work.finish) item.work.finish();
    });
    // What failed half-way may have left kernels on the GPU, or copies, that use its memory.
    if (result.outcome != Outcome::done)
      for (const auto& stream : {compute_, copies_}) driver().cuStreamSynchronize(stream->get());
    settle(std::move(item), result);
  }
}

}  // namespace fovea::cuda
