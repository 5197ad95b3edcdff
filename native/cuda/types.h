// What callers of the CUDA backend see of it. No CUDA headers here: code that includes this builds without the toolkit.
#pragma once
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

namespace fovea::cuda {

/// What went wrong, so that callers need not read messages.
enum class ErrorKind : uint8_t {
  unavailable,  // no driver, no device, no kernel for it: nothing was attempted
  outOfMemory,  // everything is as before and usable
  lost,         // the device failed and cannot be used again in this process
  failed,       // anything else
};

struct Error : std::runtime_error {
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind(kind) {}
  ErrorKind kind;
};

struct DeviceInfo {
  int index = 0;
  std::string name;
  int computeMajor = 0, computeMinor = 0;
  int64_t memoryBytes = 0;
  int multiprocessors = 0;
  int sharedPerMultiprocessor = 0;  // bytes
  int l2Bytes = 0;
  bool memoryPools = false;  // stream-ordered allocation
  std::string unusable;      // why it cannot be used; empty if it can
};

/// How a call ended.
enum class Outcome : uint8_t { done, aborted, outOfMemory, deviceLost, failed };

struct Result {
  Outcome outcome = Outcome::done;
  std::string message;  // empty when done or aborted
};

using Settled = std::function<void(const Result&)>;

/// Which of a problem's pointers are the host's; the others are the device's.
struct Residence {
  bool tensors = false;  // query, key, value, mask, bias and all outputs
  bool pageTable = false, alibiSlopes = false, sinks = false;
};

constexpr Residence allOnHost{true, true, true, true};

}  // namespace fovea::cuda
