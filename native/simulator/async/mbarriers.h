// mbarrier objects: barriers in shared memory that count arrivals of threads and bytes of asynchronous copies.
#pragma once

#include <cstdint>
#include <string>

#include "check/clock.h"

namespace fovea::simulator {

class Cta;
struct Warp;

// Agents of the clocks from here on are the asynchronous copies of mbarriers; below are warps.
constexpr int kFirstAsyncAgent = 32;

// The state behind the eight opaque bytes of one mbarrier. A phase completes when no arrival and no byte is
// outstanding; then the next begins with `expected` arrivals.
struct Mbarrier {
  uint32_t expected = 0;
  int64_t pending = 0;       // arrivals that the current phase still needs
  int64_t transactions = 0;  // bytes announced and not yet copied; below zero while a copy overtakes its announcement
  uint64_t phase = 0;        // of which the parity is phase % 2
  Knowledge arrived;         // what arrivals released so far …
  LocalTime arrivedProxied;
  Knowledge completed;  // … and what a wait for the last completed phase hands on
  LocalTime completedProxied;
  // Copies that count here write as an agent of their own, at the time of the phase that they complete in.
  int agent = 0;
  uint32_t agentTime = 0;
  int initWarp = 0, initLane = 0;
  uint32_t initTime = 0;
  bool initFenced = false;  // by fence.mbarrier_init
};

// The mbarrier at an address, for an operation of the lane; null after a report.
Mbarrier* findMbarrier(Cta& cta, Warp& warp, int lane, uint64_t address);

// Bytes of a copy have arrived.
void completeTransactions(Cta& cta, const Warp& warp, int lane, Mbarrier& barrier, int64_t bytes);

// The state of every mbarrier, for the deadlock report.
std::string describeMbarriers(const Cta& cta);

}  // namespace fovea::simulator
