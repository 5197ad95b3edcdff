// A kernel launch: its configuration, and running the grid.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "check/clock.h"
#include "check/global_memory.h"
#include "check/report.h"
#include "counters.h"
#include "ptx/module.h"

namespace fovea::simulator {

enum class Completion : uint8_t { kEarly, kLate, kRandom };  // of asynchronous copies, within what the rules allow

struct Schedule {
  uint64_t seed = 1;
  Completion completion = Completion::kLate;
  int quantum = 200;                          // most instructions of a warp before another may run
  int threads = 1;                            // of this process, for CTAs that do not communicate
  uint64_t instructionLimit = 2'000'000'000;  // warp instructions of one CTA before it counts as endless
};

using Dim3 = std::array<uint32_t, 3>;

struct Launch {
  const Kernel* kernel = nullptr;
  const Module* module = nullptr;
  GlobalMemory* memory = nullptr;
  Dim3 grid{1, 1, 1};
  Dim3 block{1, 1, 1};
  uint32_t dynamicSharedBytes = 0;
  std::vector<uint8_t> parameters;
  uint32_t number = 1;        // 1 … kLaunchNumbers - 1
  uint32_t residentCtas = 1;  // how many run at a time when CTAs communicate
  uint32_t multiprocessors = 1;
  uint32_t registers = 0;  // per thread
  Schedule schedule;

  // Set while it runs.
  std::vector<std::shared_ptr<Allocation>> allocations;  // by address
  std::map<uint64_t, SyncVariable> syncVariables;        // used only when the kernel communicates

  Allocation* findAllocation(uint64_t address) const;
};

struct LaunchResult {
  Counters counters;
  std::vector<Report> reports;  // of the first CTA (by number) that has any
};

// Runs the grid to its end, or to the first CTA with a report. CTAs of a kernel that does not communicate through
// global memory run on several threads; others run interleaved on one, as many at a time as would be resident. Either
// way the result is a function of the launch and the seed.
LaunchResult run(Launch& launch);

}  // namespace fovea::simulator
