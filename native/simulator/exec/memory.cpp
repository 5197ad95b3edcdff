// Checked access to global, shared, local and parameter memory.
#include "exec/memory.h"

#include <algorithm>
#include <utility>

#include "ptx/body.h"

namespace fovea::simulator {

GlobalAccess globalAccess(const Cta& cta, const Warp& warp, int lane, bool strong) {
  GlobalAccess access;
  access.launch = cta.launch.number;
  access.cta = cta.number;
  access.warp = warp.id;
  access.known = &warp.knownTo(lane);
  access.strong = strong;
  return access;
}

namespace {

constexpr int kBanks = 32;  // of shared memory

std::string describe(const MemoryAccess& access, uint32_t size, uint64_t address) {
  return std::string(access.what) + " of " + std::to_string(size) + " bytes at " + hexadecimal(address);
}

int reported(int lane) { return lane == kEveryLane ? -1 : lane; }

Allocation* findAllocation(Cta& cta, uint64_t address) {
  auto& recent = cta.recentAllocations;
  for (size_t i = 0; i < recent.size(); i++) {
    if (!recent[i] || !recent[i]->contains(address, 1)) continue;
    if (i) std::swap(recent[i], recent[i - 1]);
    return i ? recent[i - 1] : recent[i];
  }
  Allocation* found = cta.launch.findAllocation(address);
  if (found) recent.back() = found;
  return found;
}

bool isAligned(uint64_t address, uint32_t size) { return (address & (size - 1)) == 0; }  // sizes are powers of 2

LaneBytes reportMisaligned(Cta& cta, const Warp& warp, int lane, uint64_t address, uint32_t size,
                           const MemoryAccess& access) {
  cta.report(warp, reported(lane), "misaligned",
             describe(access, size, address) + ": must be a multiple of " + std::to_string(size));
  return {};
}

LaneBytes reportOutOfBounds(Cta& cta, const Warp& warp, int lane, Space space, uint64_t address, uint32_t size,
                            const MemoryAccess& access) {
  const std::string what = describe(access, size, address);
  if (space == Space::kShared) {
    cta.report(
        warp, reported(lane), "out-of-bounds-shared",
        what + "; the CTA's shared memory is " + hexadecimal(kSharedBase) + " to " + hexadecimal(cta.shared.end()));
  } else {
    cta.report(warp, lane, "out-of-bounds-global", what + ", " + cta.launch.memory->describe(address));
  }
  return {};
}

LaneBytes accessGlobal(Cta& cta, const Warp& warp, int lane, uint64_t address, uint32_t size,
                       const MemoryAccess& access, const GlobalAccess& global, Violation& violation) {
  Allocation* allocation = findAllocation(cta, address);
  if (!allocation || !allocation->contains(address, size))
    return reportOutOfBounds(cta, warp, lane, Space::kGlobal, address, size, access);
  if (access.write) {
    checkGlobalWrite(*allocation, address, size, global, violation);
  } else {
    checkGlobalRead(*allocation, address, size, global, violation);
  }
  if (violation.kind) cta.report(warp, lane, std::exchange(violation, {}));
  return {allocation->data(address), access.write || allocation->isDefined(address, size)};
}

LaneBytes accessShared(Cta& cta, const Warp& warp, uint64_t address, uint32_t size, const MemoryAccess& access,
                       const SharedAccess& shared, Violation& violation) {
  const int lane = shared.lane;
  if (address < kSharedBase || address + size > cta.shared.end())
    return reportOutOfBounds(cta, warp, lane, Space::kShared, address, size, access);
  const auto at = static_cast<uint32_t>(address);
  bool defined = true;
  if (access.copy) {
    cta.shared.beginCopy(at, size, shared, violation);
  } else if (access.write) {
    cta.shared.write(at, size, shared, true, violation);
  } else {
    defined = cta.shared.read(at, size, shared, violation);
  }
  if (violation.kind) cta.report(warp, reported(lane), std::exchange(violation, {}));
  return {cta.shared.at(at), defined};
}

}  // namespace

SharedAccess sharedAccess(const Warp& warp, int lane, bool atomic) {
  SharedAccess access;
  access.warp = warp.id;
  access.lane = lane;
  access.lastSync = warp.lastSync;
  access.known = &warp.knownTo(lane).local;
  access.atomic = atomic;
  return access;
}

static LaneBytes accessAligned(Cta& cta, Warp& warp, int lane, Space space, uint64_t address, uint32_t size,
                               const MemoryAccess& access) {
  Violation violation;
  switch (space) {
    case Space::kShared:
      return accessShared(cta, warp, address, size, access, sharedAccess(warp, lane, access.strong), violation);
    case Space::kLocal: {
      const auto bytes = static_cast<uint64_t>(cta.kernel.localBytes);
      if (address < kLocalBase || address + size > kLocalBase + bytes) {
        cta.report(warp, lane, "out-of-bounds-local", describe(access, size, address));
        return {};
      }
      uint8_t* data = warp.local.data() + static_cast<uint64_t>(lane) * bytes + (address - kLocalBase);
      return {data, access.write || isDefined(cta, warp, lane, space, address, size)};
    }
    case Space::kParameter: {
      auto& parameters = cta.launch.parameters;
      if (access.write || address + size > parameters.size()) {
        cta.report(warp, lane, "out-of-bounds-parameter", describe(access, size, address));
        return {};
      }
      return {parameters.data() + address, true};
    }
    default:
      return accessGlobal(cta, warp, lane, address, size, access, globalAccess(cta, warp, lane, access.strong),
                          violation);
  }
}

LaneBytes accessLane(Cta& cta, Warp& warp, int lane, Space space, uint64_t address, uint32_t size,
                     const MemoryAccess& access) {
  if (!isAligned(address, size)) return reportMisaligned(cta, warp, lane, address, size, access);
  return accessAligned(cta, warp, lane, space, address, size, access);
}

LaneMask accessLanes(Cta& cta, Warp& warp, LaneMask lanes, Space space, const uint64_t* addresses, uint32_t size,
                     const MemoryAccess& access, uint8_t** data) {
  LaneMask good = 0;
  const auto each = [&](auto accessOne) {
    for (LaneMask rest = lanes; rest; rest &= rest - 1) {
      const int lane = std::countr_zero(rest);
      const LaneBytes bytes = isAligned(addresses[lane], size)
                                  ? accessOne(lane, addresses[lane])
                                  : reportMisaligned(cta, warp, lane, addresses[lane], size, access);
      data[lane] = bytes.data;
      good |= static_cast<LaneMask>(bytes.data && bytes.defined) << lane;
    }
  };
  // Nearly always all lanes know the same, and what the checks must know is put together once.
  const bool alike = warp.ahead.empty();
  const int first = std::countr_zero(lanes);
  if (alike && space == Space::kShared) {
    Violation violation;
    SharedAccess shared = sharedAccess(warp, first, access.strong);
    each([&](int lane, uint64_t address) {
      shared.lane = lane;
      return accessShared(cta, warp, address, size, access, shared, violation);
    });
  } else if (alike && (space == Space::kGlobal || space == Space::kConstant)) {
    Violation violation;
    const GlobalAccess global = globalAccess(cta, warp, first, access.strong);
    each([&](int lane, uint64_t address) {
      return accessGlobal(cta, warp, lane, address, size, access, global, violation);
    });
  } else {
    each([&](int lane, uint64_t address) { return accessAligned(cta, warp, lane, space, address, size, access); });
  }
  return good;
}

void markWritten(Cta& cta, Warp& warp, int lane, Space space, uint64_t address, uint32_t size, bool defined) {
  if (space == Space::kLocal) {
    const auto bytes = static_cast<uint64_t>(cta.kernel.localBytes);
    std::fill_n(warp.localDefined.begin() +
                    static_cast<std::ptrdiff_t>(static_cast<uint64_t>(lane) * bytes + (address - kLocalBase)),
                size, defined);
  } else if (space == Space::kShared) {
    if (!defined) cta.shared.endCopy(static_cast<uint32_t>(address), size, sharedAccess(warp, lane), false);
  } else if (space == Space::kGlobal || space == Space::kConstant) {
    findAllocation(cta, address)->setDefined(address, size, defined);
  }
}

bool isDefined(Cta& cta, Warp& warp, int lane, Space space, uint64_t address, uint32_t size) {
  if (space == Space::kShared) return cta.shared.isDefined(static_cast<uint32_t>(address), size);
  if (space == Space::kParameter) return true;
  if (space == Space::kLocal) {
    const auto bytes = static_cast<uint64_t>(cta.kernel.localBytes);
    const auto begin = warp.localDefined.begin() +
                       static_cast<std::ptrdiff_t>(static_cast<uint64_t>(lane) * bytes + (address - kLocalBase));
    return std::all_of(begin, begin + size, [](uint8_t flag) { return flag != 0; });
  }
  return findAllocation(cta, address)->isDefined(address, size);
}

// ---------------------------------------------------------------------------------------------- counting

void countGlobal(Cta& cta, const uint64_t* addresses, LaneMask mask, uint32_t size) {
  uint64_t sectors[kLanes];
  int count = 0;
  for (LaneMask rest = mask; rest; rest &= rest - 1) {
    const uint64_t sector = addresses[std::countr_zero(rest)] / 32;
    // Neighbouring lanes usually share sectors, so the search from the end is short.
    bool known = false;
    for (int i = count - 1; i >= 0 && !known; i--) known = sectors[i] == sector;
    if (!known) sectors[count++] = sector;
  }
  cta.counters.globalBytes += static_cast<uint64_t>(std::popcount(mask)) * size;
  cta.counters.globalSectors += static_cast<uint64_t>(count);
}

// Whether all lanes access one address, or one piece of memory in order, so that a group has 128 bytes at most.
static bool isOnePiece(const uint64_t* addresses, LaneMask mask, uint32_t size) {
  if (mask != kAllLanes || size > 16) return false;
  uint64_t apart = 0, from = 0;
  for (int lane = 0; lane < kLanes; lane++) {
    from |= addresses[lane] ^ addresses[0];
    apart |= addresses[lane] ^ (addresses[0] + static_cast<uint64_t>(lane) * size);
  }
  return !from || !apart;
}

// Whether no bank holds two words that these lanes access: the usual case, and quickly seen.
static bool withoutConflict(const uint64_t* addresses, LaneMask lanes, int wordsPerLane) {
  uint64_t held[kBanks];
  uint32_t used = 0;
  for (; lanes; lanes &= lanes - 1) {
    const uint64_t first = addresses[std::countr_zero(lanes)] / 4;
    for (int k = 0; k < wordsPerLane; k++) {
      const uint64_t word = first + static_cast<uint64_t>(k);
      const auto bank = static_cast<int>(word % kBanks);
      if (!(used >> bank & 1)) {
        used |= 1u << bank;
        held[bank] = word;
      } else if (held[bank] != word) {
        return false;
      }
    }
  }
  return true;
}

// 32 banks of 4 bytes. Accesses of 8 bytes go by half warps and of 16 bytes by quarter warps; each group takes as many
// wavefronts as different words fall into its fullest bank.
void countShared(Cta& cta, const uint64_t* addresses, LaneMask mask, uint32_t size) {
  const int lanesPerGroup = size <= 4 ? 32 : size == 8 ? 16 : 8;
  const auto wordsPerLane = static_cast<int>((size + 3) / 4);
  if (isOnePiece(addresses, mask, size)) {
    // No bank holds two words of a group.
    cta.counters.sharedWavefronts += static_cast<uint64_t>(kLanes / lanesPerGroup);
    cta.counters.sharedWavefrontsIdeal += static_cast<uint64_t>(kLanes / lanesPerGroup);
    return;
  }
  for (int group = 0; group < kLanes; group += lanesPerGroup) {
    const LaneMask lanes = mask & (kAllLanes >> (kLanes - lanesPerGroup) << group);
    if (withoutConflict(addresses, lanes, wordsPerLane)) {
      cta.counters.sharedWavefronts += lanes != 0;
      cta.counters.sharedWavefrontsIdeal += lanes != 0;
      continue;
    }
    uint64_t words[kBanks][kLanes];
    int filled[kBanks] = {};
    int worst = 0;
    for (int lane = group; lane < group + lanesPerGroup; lane++) {
      if (!(mask >> lane & 1)) continue;
      for (int k = 0; k < wordsPerLane; k++) {
        const uint64_t word = addresses[lane] / 4 + static_cast<uint64_t>(k);
        const auto bank = static_cast<int>(word % kBanks);
        bool known = false;
        for (int i = 0; i < filled[bank] && !known; i++) known = words[bank][i] == word;
        if (!known) words[bank][filled[bank]++] = word;
        worst = std::max(worst, filled[bank]);
      }
    }
    cta.counters.sharedWavefronts += static_cast<uint64_t>(worst);
    cta.counters.sharedWavefrontsIdeal += worst > 0;
  }
}

// ---------------------------------------------------------------------------------------------- synchronisation

SyncVariable& syncVariable(Cta& cta, Space space, uint64_t address) {
  if (space == Space::kShared) return cta.syncVariables[static_cast<uint32_t>(address) & ~3u];
  return cta.launch.syncVariables[address & ~3ull];
}

// A release publishes all that the warp knows; a relaxed write what its last fence covered. Here, as in global memory,
// the lanes of a warp are taken as one.
void publish(Cta& cta, Warp& warp, SyncVariable& variable, bool release, Scope scope) {
  if (release) {
    const CtaTimes all = warp.knownTogether().publish(cta.number);
    variable.cta.join(all);
    if (scope == Scope::kDevice) variable.device.join(all);
    warp.tick();
    return;
  }
  const FenceState& fences = warp.fences;
  if (fences.hasCta) variable.cta.join(fences.fencedCta.publish(cta.number));
  if (fences.hasDevice) variable.device.join(fences.fencedDevice.publish(cta.number));
}

// An acquire takes in what was published; after a relaxed read it takes a fence.
void observe(Cta& cta, Warp& warp, const SyncVariable& variable, bool acquire, Scope scope) {
  // What was published at CTA scope counts for threads of the same CTA only.
  CtaTimes own;
  if (const LocalTime* time = variable.cta.find(cta.number)) own.join(cta.number, *time);
  if (acquire) {
    Knowledge more;
    more.acquire(own, cta.number);
    if (scope == Scope::kDevice) more.acquire(variable.device, cta.number);
    warp.learn(warp.live, more, {});
    return;
  }
  warp.fences.pendingCta.join(own);
  warp.fences.pendingDevice.join(variable.device);
}

}  // namespace fovea::simulator
