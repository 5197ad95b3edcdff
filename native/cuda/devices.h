// The process's GPUs: what they are, their contexts, and whether they still work.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "../attention/plan_cuda.h"
#include "driver.h"
#include "images.h"

namespace fovea::cuda {

/// Every GPU that the driver shows, usable or not. Empty when driver().unavailable says why there are none.
const std::vector<DeviceInfo>& deviceInfos();

/// Bytes of a device's memory, and of pinned host memory, that this process's tensors and calls hold.
struct MemoryUse {
  std::atomic<int64_t> device{0}, pinned{0};
};

/// One GPU in use. Thread-safe; never destroyed.
class Device {
 public:
  /// Throws Error (unavailable) with the reason if there is no such device or it cannot be used, Error (lost) if it
  /// failed.
  static Device& get(int index);
  /// Whether this process has got it before.
  static bool inUse(int index);

  const DeviceInfo& info() const { return info_; }
  DeviceLimits limits() const {
    return {info_.computeMajor, info_.computeMinor, info_.sharedPerMultiprocessor, info_.l2Bytes};
  }
  CUcontext context() const { return context_; }
  CUmemoryPool pool() const { return pool_; }  // null: not supported
  MemoryUse& memoryUse() { return memoryUse_; }
  /// Counts so many more bytes of device memory in memoryUse(), or fewer. The context must be current.
  void hold(int64_t bytes);

  /// Throws if `result` is an error, saying what was attempted. An error that the driver keeps returning for the rest
  /// of the process (a fault in a kernel) marks the device lost.
  void check(CUresult result, const char* attempt);
  /// Throws Error (lost) once the device is.
  void requireAlive();
  bool lost() const { return lost_.load(); }

  /// A kernel's function, loaded and given its shared memory at the first request. The context must be current.
  CUfunction function(const KernelImage& kernel);

 private:
  struct All {
    std::mutex mutex;
    std::unordered_map<int, Device*> devices;
  };
  static All& all();

  Device(const DeviceInfo& info, CUcontext context) : info_(info), context_(context) {}
  void findPool();
  void keepFreed();
  CUmodule module(const Image& image);

  const DeviceInfo info_;
  const CUcontext context_;
  CUmemoryPool pool_ = nullptr;
  MemoryUse memoryUse_;
  std::mutex keptMutex_;  // guards the pool's threshold
  std::atomic<int64_t> keptEighths_{0};
  std::atomic<bool> lost_{false};
  std::mutex lostMutex_;  // guards lostReason_
  std::string lostReason_;
  std::mutex mutex_;  // guards what follows
  std::unordered_map<std::string, CUmodule> modules_;
  std::unordered_map<std::string, CUfunction> functions_;
};

/// Makes a device's context current on this thread while it lives, and then leaves the thread as it was.
class CurrentContext {
 public:
  explicit CurrentContext(const Device& device) {
    driver().cuCtxGetCurrent(&before_);
    driver().cuCtxSetCurrent(device.context());  // if it fails, so does what follows, and is reported there
  }
  ~CurrentContext() { driver().cuCtxSetCurrent(before_); }
  CurrentContext(const CurrentContext&) = delete;
  CurrentContext& operator=(const CurrentContext&) = delete;

 private:
  CUcontext before_ = nullptr;
};

}  // namespace fovea::cuda
