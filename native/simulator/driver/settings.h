// What the simulated machine is and which of its failures to show, from environment variables (README.md lists them).
#pragma once

#include <cuda.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "exec/launch.h"

namespace fovea::simulator {

struct Settings {
  std::optional<int> devices;                   // default: as many as there are compute capabilities
  std::vector<int> computeCapabilities = {80};  // of each device, the last for the rest
  uint64_t memoryBytes = 16ull << 30;
  int multiprocessors = 4;
  int driverVersion = 13000;
  CUresult failInit = CUDA_SUCCESS;  // what cuInit returns
  bool memoryPools = true;
  std::string missing;  // a function that cuGetProcAddress does not find
  Schedule schedule;
  std::string countersPath;  // JSON lines, one per launch
  bool quiet = false;        // reports are kept but not printed
  std::string replacement;   // a PTX file that modules with the same kernels run instead of their own image
  // Countdowns: the nth operation of its kind after the setting was made fails, once. 0: none.
  std::atomic<int64_t> failAllocation{0};
  std::atomic<int64_t> failLaunch{0};
  std::atomic<int64_t> hangLaunch{0};
  std::atomic<int64_t> loseDevice{0};  // that launch loses its device for good
  std::atomic<CUresult> lostError{CUDA_ERROR_ECC_UNCORRECTABLE};
  std::atomic<int64_t> failCall{0};
  // A function of the driver and what that call of it returns, having done nothing. Any thread may call it while
  // another sets them; looked at only while the countdown is not 0, so that calls else stay as unordered as they come.
  std::mutex failingMutex;
  std::string failingCall;
  CUresult failedCall = CUDA_SUCCESS;
};

// Counts one operation down; true for the one that must fail.
inline bool mustFail(std::atomic<int64_t>& countdown) { return countdown > 0 && --countdown == 0; }

// Sets one variable by its name, "FOVEA_SIM_SEED" say. Throws std::invalid_argument.
void configure(Settings& settings, const std::string& name, const std::string& value);

// The settings of this process: the defaults and then the environment, read once, when first asked for.
Settings& settings();

// Sets what the file that FOVEA_SIM_SETTINGS names says, if it says something new. Before each launch and allocation.
void readSettingsFile();

}  // namespace fovea::simulator
