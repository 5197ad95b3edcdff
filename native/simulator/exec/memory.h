// Access to the state spaces on behalf of one lane, with every check; and the counting of memory traffic.
#pragma once

#include <cstdint>

#include "exec/cta.h"

namespace fovea::simulator {

// Generic addresses of the spaces that are not global. Device allocations lie far below.
constexpr uint64_t kSharedWindow = 0x7000'0000'0000;
constexpr uint64_t kLocalWindow = 0x7100'0000'0000;
constexpr uint64_t kParameterWindow = 0x7200'0000'0000;
constexpr uint64_t kWindowsEnd = 0x7300'0000'0000;

constexpr uint64_t windowOf(Space space) {
  switch (space) {
    case Space::kShared:
      return kSharedWindow;
    case Space::kLocal:
      return kLocalWindow;
    case Space::kParameter:
      return kParameterWindow;
    default:
      return 0;
  }
}

// The space that a generic address lies in.
constexpr Space spaceOf(uint64_t address) {
  if (address < kSharedWindow || address >= kWindowsEnd) return Space::kGlobal;
  return address < kLocalWindow ? Space::kShared : address < kParameterWindow ? Space::kLocal : Space::kParameter;
}

// The same, and the address becomes relative to it.
inline Space resolveGeneric(uint64_t& address) {
  const Space space = spaceOf(address);
  address -= windowOf(space);
  return space;
}

struct MemoryAccess {
  bool write = false;
  bool strong = false;  // atomic, volatile, relaxed, acquire, release
  bool copy = false;    // the destination of an asynchronous copy
  const char* what = "access";
};

// How a lane accesses global memory now.
GlobalAccess globalAccess(const Cta& cta, const Warp& warp, int lane, bool strong);

// The bytes behind an address, after the checks of alignment, bounds and races; null after a report. A read sets
// `defined` to whether all of them are.
struct LaneBytes {
  uint8_t* data = nullptr;
  bool defined = true;
};
LaneBytes accessLane(Cta& cta, Warp& warp, int lane, Space space, uint64_t address, uint32_t size,
                     const MemoryAccess& access);
// The same for several lanes, one after the other: `data` gets where each one's bytes are. Returns the lanes that have
// bytes, all of them defined.
LaneMask accessLanes(Cta& cta, Warp& warp, LaneMask lanes, Space space, const uint64_t* addresses, uint32_t size,
                     const MemoryAccess& access, uint8_t** data);

// Marks bytes that were just written; shared memory knows already.
void markWritten(Cta& cta, Warp& warp, int lane, Space space, uint64_t address, uint32_t size, bool defined);
// Whether part of what accessLane found is defined.
bool isDefined(Cta& cta, Warp& warp, int lane, Space space, uint64_t address, uint32_t size);

// Counts one warp's access of `size` bytes at each lane's address.
void countGlobal(Cta& cta, const uint64_t* addresses, LaneMask mask, uint32_t size);
void countShared(Cta& cta, const uint64_t* addresses, LaneMask mask, uint32_t size);

// Releases and acquires through the word at an address.
SyncVariable& syncVariable(Cta& cta, Space space, uint64_t address);
void publish(Cta& cta, Warp& warp, SyncVariable& variable, bool release, Scope scope);
void observe(Cta& cta, Warp& warp, const SyncVariable& variable, bool acquire, Scope scope);

SharedAccess sharedAccess(const Warp& warp, int lane, bool atomic = false);

}  // namespace fovea::simulator
