// Running a grid: in parallel, or interleaved when CTAs communicate.
#include "exec/launch.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <mutex>
#include <thread>

#include "exec/cta.h"

namespace fovea::simulator {
namespace {

constexpr uint64_t kNone = std::numeric_limits<uint64_t>::max();

// Advances the CTA once. Returns false when it is over, well or badly.
bool advance(Cta& cta) {
  try {
    return cta.advance();
  } catch (const FatalReport& fatal) {
    cta.fail(fatal);
    return false;
  }
}

// CTAs that know nothing of one another. A report stops those with higher numbers, never those with lower ones, so that
// the reports are those of the first faulty CTA whatever the number of threads.
LaunchResult runApart(Launch& launch, uint64_t count) {
  LaunchResult result;
  std::mutex mutex;
  std::atomic<uint64_t> next{0};
  std::atomic<uint64_t> firstFaulty{kNone};
  const auto work = [&] {
    Counters counters;
    for (uint64_t number; (number = next++) < count && number < firstFaulty;) {
      Cta cta(launch, static_cast<uint32_t>(number));
      while (number < firstFaulty && advance(cta)) {
        if (!cta.stalled()) continue;
        cta.reportDeadlock();
        break;
      }
      counters.add(cta.counters);
      if (cta.reports().empty()) continue;
      std::lock_guard lock(mutex);
      if (number > firstFaulty) continue;
      firstFaulty = number;
      result.reports = std::move(cta.reports());
    }
    std::lock_guard lock(mutex);
    result.counters.add(counters);
  };
  const auto threads = std::min<uint64_t>(static_cast<uint64_t>(std::max(launch.schedule.threads, 1)), count);
  std::vector<std::thread> helpers;
  for (uint64_t i = 1; i < threads; i++) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
  return result;
}

// CTAs that may wait for one another: as many as would be resident, interleaved by the seed on this thread.
LaunchResult runTogether(Launch& launch, uint64_t count) {
  LaunchResult result;
  std::vector<std::unique_ptr<Cta>> resident;
  uint64_t state = launch.schedule.seed * 0x9e3779b97f4a7c15ull + 1;
  const auto random = [&] {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
  };
  uint64_t next = 0;
  while (true) {
    while (next < count && resident.size() < std::max<uint64_t>(launch.residentCtas, 1))
      resident.push_back(std::make_unique<Cta>(launch, static_cast<uint32_t>(next++)));
    if (resident.empty()) return result;
    bool progress = false;
    const size_t start = launch.schedule.seed ? random() % resident.size() : 0;
    for (size_t i = 0; i < resident.size(); i++) {
      auto& cta = resident[(start + i) % resident.size()];
      const bool goesOn = advance(*cta);
      progress |= !goesOn || !cta->stalled();
      if (goesOn && cta->reports().empty()) continue;
      if (!goesOn) {
        result.counters.add(cta->counters);
        if (cta->reports().empty()) {
          cta.reset();
          continue;
        }
      }
      result.reports = std::move(cta->reports());
      return result;
    }
    std::erase_if(resident, [](const std::unique_ptr<Cta>& cta) { return !cta; });
    if (!progress && !resident.empty()) {
      resident.front()->reportDeadlock();
      result.reports = std::move(resident.front()->reports());
      return result;
    }
  }
}

}  // namespace

Allocation* Launch::findAllocation(uint64_t address) const {
  auto above = std::upper_bound(allocations.begin(), allocations.end(), address,
                                [](uint64_t at, const std::shared_ptr<Allocation>& a) { return at < a->address; });
  if (above == allocations.begin()) return nullptr;
  Allocation* allocation = std::prev(above)->get();
  return allocation->contains(address, 1) ? allocation : nullptr;
}

LaunchResult run(Launch& launch) {
  launch.allocations = launch.memory->all();
  const uint64_t count = static_cast<uint64_t>(launch.grid[0]) * launch.grid[1] * launch.grid[2];
  return launch.kernel->communicates ? runTogether(launch, count) : runApart(launch, count);
}

}  // namespace fovea::simulator
