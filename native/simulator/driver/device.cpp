// The engine thread and the state of a device.
#include "driver/device.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace fovea::simulator {
namespace {

constexpr auto kIdle = std::chrono::milliseconds(2);  // after this, late operations run unasked
constexpr int kMaxWaitDepth = 64;
constexpr double kSecondsPerWarpInstruction = 1e-9;  // simulated time: only its order means anything

}  // namespace

std::vector<std::unique_ptr<Device>>& devices() {
  static auto* all = new std::vector<std::unique_ptr<Device>>;  // never destroyed: engines outlive main
  return *all;
}

Device::Device(int ordinal)
    : ordinal(ordinal), memory(static_cast<uint64_t>(ordinal + 1) << 40), default_(std::make_unique<Stream>()) {
  default_->device = this;
  default_->isDefault = true;
  random_ = settings().schedule.seed * 0x9e3779b97f4a7c15ull + static_cast<uint64_t>(ordinal) + 1;
  engine_ = std::thread([this] { run(); });
  engineId_ = engine_.get_id();
  engine_.detach();
}

int Device::computeCapability() const {
  const auto& all = settings().computeCapabilities;
  return all[std::min(static_cast<size_t>(ordinal), all.size() - 1)];
}

// ---------------------------------------------------------------------------------------------- streams

Stream* Device::createStream(unsigned flags, int priority) {
  std::lock_guard lock(mutex_);
  auto stream = std::make_unique<Stream>();
  stream->device = this;
  stream->blocksDefault = !(flags & CU_STREAM_NON_BLOCKING);
  stream->priority = priority;
  streams_.push_back(std::move(stream));
  return streams_.back().get();
}

bool Device::ownsStream(const Stream* stream) {
  std::lock_guard lock(mutex_);
  return stream == default_.get() ||
         std::any_of(streams_.begin(), streams_.end(), [&](const auto& own) { return own.get() == stream; });
}

void Device::destroyStream(Stream* stream) {
  synchronize(*stream);
  std::lock_guard lock(mutex_);
  std::erase_if(streams_, [&](const auto& own) { return own.get() == stream; });
}

void Device::leaveCapture(const std::shared_ptr<Capture>& capture) {
  std::lock_guard lock(mutex_);
  for (const auto& stream : streams_)
    if (stream->capture == capture) stream->capture = nullptr;
}

MilestonePointer Device::enqueue(Stream& stream, Operation operation) {
  MilestonePointer milestone = std::make_shared<Milestone>();
  {
    std::lock_guard lock(mutex_);
    operation.milestone = milestone;
    // The default stream waits for the blocking ones, and they for it.
    if (stream.isDefault) {
      for (const auto& other : streams_)
        if (other->blocksDefault && other->last) operation.waitsFor.push_back(other->last);
    } else if (stream.blocksDefault && default_->last) {
      operation.waitsFor.push_back(default_->last);
    }
    stream.last = milestone;
    stream.queue.push_back(std::move(operation));
  }
  wake_.notify_one();
  if (settings().schedule.completion == Completion::kEarly && std::this_thread::get_id() != engineId_) {
    std::unique_lock lock(mutex_);
    wait(milestone, lock);
  }
  return milestone;
}

CUresult Device::wait(const MilestonePointer& milestone) {
  std::unique_lock lock(mutex_);
  if (milestone && !milestone->reached) wait(milestone, lock);
  return status_;
}

void Device::wait(const MilestonePointer& milestone, std::unique_lock<std::mutex>& lock) {
  wanted_.push_back(milestone);
  wake_.notify_one();
  done_.wait(lock, [&] { return milestone->reached; });
  wanted_.erase(std::find(wanted_.begin(), wanted_.end(), milestone));  // one: others may want the same
}

CUresult Device::synchronize(Stream& stream) {
  MilestonePointer last;
  {
    std::lock_guard lock(mutex_);
    last = stream.last;
  }
  return wait(last);
}

CUresult Device::synchronize() {
  std::vector<MilestonePointer> all;
  {
    std::lock_guard lock(mutex_);
    all.push_back(default_->last);
    for (const auto& stream : streams_) all.push_back(stream->last);
  }
  CUresult result = status();
  for (const MilestonePointer& last : all) result = wait(last);
  return result;
}

CUresult Device::query(const MilestonePointer& milestone) {
  std::unique_lock lock(mutex_);
  if (status_ != CUDA_SUCCESS) return status_;
  if (!milestone || milestone->reached) return CUDA_SUCCESS;
  poked_ = true;
  wake_.notify_one();
  return CUDA_ERROR_NOT_READY;
}

CUresult Device::query(Stream& stream) {
  MilestonePointer last;
  {
    std::lock_guard lock(mutex_);
    last = stream.last;
  }
  return query(last);
}

// ---------------------------------------------------------------------------------------------- the engine

bool Device::mayRun(const Stream& stream) const {
  if (stream.queue.empty()) return false;
  const auto& waits = stream.queue.front().waitsFor;
  return std::all_of(waits.begin(), waits.end(), [](const MilestonePointer& m) { return m->reached; });
}

// The stream whose first operation brings `milestone` nearer.
Stream* Device::neededFor(const MilestonePointer& milestone, int depth) {
  if (milestone->reached || depth > kMaxWaitDepth) return nullptr;
  const auto look = [&](Stream& stream) -> Stream* {
    const bool holds = std::any_of(stream.queue.begin(), stream.queue.end(),
                                   [&](const Operation& operation) { return operation.milestone == milestone; });
    if (!holds) return nullptr;
    if (mayRun(stream)) return &stream;
    for (const MilestonePointer& earlier : stream.queue.front().waitsFor)
      if (Stream* found = neededFor(earlier, depth + 1)) return found;
    return nullptr;
  };
  if (Stream* found = look(*default_)) return found;
  for (const auto& stream : streams_)
    if (Stream* found = look(*stream)) return found;
  return nullptr;
}

Stream* Device::choose(std::unique_lock<std::mutex>& lock) {
  const auto ready = [&] {
    std::vector<Stream*> list;
    if (mayRun(*default_)) list.push_back(default_.get());
    for (const auto& stream : streams_)
      if (mayRun(*stream)) list.push_back(stream.get());
    return list;
  };
  while (true) {
    if (settings().schedule.completion != Completion::kRandom) {
      for (const MilestonePointer& milestone : wanted_)
        if (Stream* stream = neededFor(milestone)) return stream;
    }
    const std::vector<Stream*> list = ready();
    if (list.empty()) {
      wake_.wait(lock);
      continue;
    }
    const bool waits = settings().schedule.completion == Completion::kLate && !poked_ &&
                       wake_.wait_for(lock, kIdle) == std::cv_status::no_timeout;
    if (waits) continue;
    poked_ = false;
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    // The wait let go of the lock: look again.
    const std::vector<Stream*> now = ready();
    if (!now.empty()) return now[random_ % now.size()];
  }
}

void Device::execute(Stream& stream, std::unique_lock<std::mutex>& lock) {
  Operation operation = std::move(stream.queue.front());
  stream.queue.pop_front();
  if (operation.work && (status_ == CUDA_SUCCESS || operation.ignoresErrors)) {
    lock.unlock();
    const CUresult result = operation.work(*this);
    lock.lock();
    if (result != CUDA_SUCCESS && status_ == CUDA_SUCCESS) status_ = result;
  }
  operation.milestone->seconds = seconds_;
  operation.milestone->reached = true;
  done_.notify_all();
}

void Device::run() {
  std::unique_lock lock(mutex_);
  while (true) execute(*choose(lock), lock);
}

// ---------------------------------------------------------------------------------------------- state and memory

CUresult Device::status() {
  std::lock_guard lock(mutex_);
  return status_;
}

void Device::fail(CUresult result) {
  std::lock_guard lock(mutex_);
  if (status_ == CUDA_SUCCESS) status_ = result;
}

void Device::reset() {
  synchronize();
  forgetLastReport();
  std::lock_guard lock(mutex_);
  status_ = lost_;
  for (const auto& allocation : memory.all()) {
    used_ -= allocation->size;
    memory.free(allocation->address);
  }
}

CUresult Device::reserve(uint64_t bytes, CUdeviceptr* address, Stream* order) {
  readSettingsFile();
  if (mustFail(settings().failAllocation)) return CUDA_ERROR_OUT_OF_MEMORY;
  const auto fits = [&] {
    std::lock_guard lock(mutex_);
    if (used_ + bytes > settings().memoryBytes) return false;
    used_ += bytes;
    return true;
  };
  if (!fits()) {
    if (bytes > settings().memoryBytes) return CUDA_ERROR_OUT_OF_MEMORY;
    order ? synchronize(*order) : synchronize();
    if (!fits()) return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *address = memory.reserve(bytes);
  return CUDA_SUCCESS;
}

CUresult Device::release(CUdeviceptr address) {
  const auto allocation = memory.find(address);
  if (!allocation || allocation->address != address || !memory.free(address)) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(mutex_);
  used_ -= allocation->size;
  return CUDA_SUCCESS;
}

uint64_t Device::usedBytes() {
  std::lock_guard lock(mutex_);
  return used_;
}

CUresult Device::launch(Launch& launch) {
  if (mustFail(settings().loseDevice)) return lost_ = settings().lostError;
  if (mustFail(settings().hangLaunch)) std::this_thread::sleep_for(std::chrono::hours(24 * 365));
  if (mustFail(settings().failLaunch)) return CUDA_ERROR_LAUNCH_FAILED;
  launch.memory = &memory;
  if (++launches_ % kLaunchNumbers == 0) {
    // Numbers begin again: forget who accessed what under the old ones.
    memory.forgetAccesses();
    launches_++;
  }
  launch.number = launches_ % kLaunchNumbers;
  LaunchResult result = simulator::run(launch);
  seconds_ += 1e-6 + kSecondsPerWarpInstruction * static_cast<double>(result.counters.warpInstructions);
  recordLaunch(
      {launch.kernel->name, launch.grid, launch.block, launch.dynamicSharedBytes, result.counters, result.reports});
  return result.reports.empty() ? CUDA_SUCCESS : CUDA_ERROR_LAUNCH_FAILED;
}

}  // namespace fovea::simulator
