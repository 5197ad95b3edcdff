// The GPUs that one Node environment uses: a stream for each, and the handles by which JavaScript holds device memory.
#pragma once
#include <napi.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "cuda/backend.h"
#include "problem_reader.h"

namespace fovea::addon {

/// What a DeviceMemory of binding.d.ts holds.
struct DeviceMemory {
  std::shared_ptr<cuda::DeviceBuffer> buffer;  // null once released
  int device;
  int64_t bytes;
  int64_t weight;  // bytes of it that are ours, as the garbage collector is told

  /// Throws BoundsError after its release.
  uint64_t address() const;
};

class Gpus {
 public:
  explicit Gpus(Napi::Env env);
  ~Gpus() = default;

  /// The environment's stream of a GPU, opened when first asked for. Throws cuda::Error when the GPU cannot be used.
  cuda::Stream& stream(int device);

  /// The first GPU that has not done by then what it was given; -1 if all have.
  int busyAfter(std::chrono::steady_clock::time_point deadline);

 private:
  std::map<int, std::shared_ptr<cuda::Stream>> streams_;
};

/// A new handle. The memory goes with `release`, or else with the handle.
Napi::Value newDeviceMemory(Napi::Env env, DeviceMemory memory);

/// The memory of a handle. Throws BoundsError for anything else.
DeviceMemory& deviceMemoryOf(Napi::Env env, napi_value value, const char* name);

/// None if `value` is no handle.
std::optional<Memory> deviceBytesOf(Napi::Env env, napi_value value);

void release(Napi::Env env, DeviceMemory& memory);

}  // namespace fovea::addon
