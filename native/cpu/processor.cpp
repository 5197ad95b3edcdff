#include "processor.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace fovea::cpu {

#if defined(__linux__)
namespace {

/// What a container's CPU quota comes to (cgroup v2: "quota period" in microseconds, or "max"), rounded up; 0: none.
int quotaCount() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota = 0, period = 0;
  if (!(file >> quota >> period) || period <= 0) return 0;
  return int(std::ceil(quota / period));
}

}  // namespace
#endif

int processorCount() {
  int count = int(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;  // respects taskset and cpusets
  if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
  if (const int quota = quotaCount()) count = std::min(count, quota);
#endif
  return std::max(1, count);
}

}  // namespace fovea::cpu
