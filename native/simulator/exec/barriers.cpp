// bar / barrier: named barriers of a CTA, with reductions; bar.warp.sync; fences.
#include <algorithm>
#include <bit>

#include "exec/cta.h"
#include "exec/lanes.h"
#include "exec/memory.h"
#include "exec/registry.h"

namespace fovea::simulator {

// ---------------------------------------------------------------------------------------------- the barriers of a CTA

Outcome Cta::arrive(Warp& warp, uint32_t id, uint32_t expected, bool waits, const Instruction* reduction,
                    LaneMask predicate) {
  counters.barriers++;
  if (id >= barriers_.size()) {
    report(warp, -1, "barrier", "barrier number " + std::to_string(id) + ": there are 16");
    return Outcome::kNext;
  }
  if (expected % kLanes) {
    report(warp, -1, "barrier", "a barrier for " + std::to_string(expected) + " threads: must be a multiple of 32");
    return Outcome::kNext;
  }
  if (expected > (threads + kLanes - 1) / kLanes * kLanes) {
    report(warp, -1, "barrier",
           "a barrier for " + std::to_string(expected) + " threads in a CTA of " + std::to_string(threads));
  }
  Barrier& barrier = barriers_[id];
  if (barrier.arrived && barrier.expected != expected) {
    report(warp, -1, "barrier",
           "barrier " + std::to_string(id) + " is used for " + std::to_string(expected) + " threads while " +
               std::to_string(barrier.arrived) + " threads are in it for " + std::to_string(barrier.expected));
  }
  if (std::find(barrier.waiting.begin(), barrier.waiting.end(), warp.id) != barrier.waiting.end())
    report(warp, -1, "barrier", "the warp is already in barrier " + std::to_string(id));

  barrier.expected = expected;
  barrier.arrived += kLanes;
  warp.releaseTo(warp.live, barrier.known, barrier.proxied);
  // A fence followed by a barrier makes the fenced writes known to whoever acquires from any thread behind the barrier.
  if (warp.fences.hasCta) {
    barrier.fencedCta.join(warp.fences.fencedCta);
    barrier.hasFencedCta = true;
  }
  if (warp.fences.hasDevice) {
    barrier.fencedDevice.join(warp.fences.fencedDevice);
    barrier.hasFencedDevice = true;
  }
  if (reduction) {
    const LaneMask lanes = warp.mask;
    barrier.population += static_cast<uint32_t>(std::popcount(predicate & lanes));
    barrier.any |= (predicate & lanes) != 0;
    barrier.all &= (predicate & lanes) == lanes;
    barrier.poisoned |= (warp.poisonOf(reduction->operand[3]) & lanes) != 0;
    barrier.reductions.emplace_back(warp.id, reduction);
  }
  if (waits) {
    warp.synchronizeLanes();
    barrier.waiting.push_back(warp.id);
    warp.barrier = static_cast<int>(id);
  } else {
    warp.tick();  // accesses are ordered when the barrier completes, which these lanes do not wait for
  }
  completeBarriers();
  return waits && warp.barrier >= 0 ? Outcome::kBlocked : Outcome::kNext;
}

void Cta::completeBarriers() {
  uint32_t alive = 0;
  for (const Warp& warp : warps)
    if (!warp.isDone()) alive += kLanes;
  for (Barrier& barrier : barriers_)
    if (barrier.arrived && barrier.arrived >= (barrier.expected ? barrier.expected : alive)) release(barrier);
}

void Cta::release(Barrier& barrier) {
  for (int id : barrier.waiting) {
    Warp& warp = warps[static_cast<size_t>(id)];
    warp.barrier = -1;
    warp.known.join(barrier.known);
    warp.proxied.join(barrier.proxied);
    if (barrier.hasFencedCta) warp.fences.fencedCta.join(barrier.fencedCta);
    if (barrier.hasFencedDevice) warp.fences.fencedDevice.join(barrier.fencedDevice);
    warp.fences.hasCta |= barrier.hasFencedCta;
    warp.fences.hasDevice |= barrier.hasFencedDevice;
  }
  for (const auto& [id, instruction] : barrier.reductions) {
    Warp& warp = warps[static_cast<size_t>(id)];
    const Operand& result = instruction->operand[0];
    const LaneMask lanes = warp.mask;
    warp.setPoison(result, lanes, barrier.poisoned ? kAllLanes : 0);
    if (result.registerClass == RegisterClass::kPredicate) {
      const bool value = instruction->mode == 1 ? barrier.all : barrier.any;
      warp.setPredicate(result, lanes, value ? kAllLanes : 0);
    } else {
      auto* row = warp.write<uint32_t>(result);
      forLanes(lanes, [&](int lane) { row[lane] = barrier.population; });
    }
  }
  barrier = Barrier{};
}

namespace {

// ---------------------------------------------------------------------------------------------- instructions

uint32_t uniform(Cta& cta, Warp& warp, const Operand& operand, LaneMask mask, const char* what) {
  cta.checkDefined(warp, operand, mask, what);
  const auto* row = warp.read<uint32_t>(operand);
  const uint32_t first = row[std::countr_zero(mask)];
  forLanes(mask, [&](int lane) {
    if (row[lane] != first) cta.report(warp, lane, "divergence", std::string(what) + " differs between lanes");
  });
  return first;
}

enum BarrierMode : uint8_t { kPopulation, kAnd, kOr, kSync, kArrive };

Outcome barrier(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  // Operands: [result,] id, threads [, predicate].
  const bool reduces = instruction.mode < kSync;
  const int first = reduces ? 1 : 0;
  const uint32_t id = uniform(cta, warp, instruction.operand[first], mask, "the number of a barrier");
  const uint32_t expected = uniform(cta, warp, instruction.operand[first + 1], mask, "the thread count of a barrier");
  const LaneMask predicate = reduces ? warp.predicate(instruction.operand[3]) : 0;
  return cta.arrive(warp, id, expected, instruction.mode != kArrive, reduces ? &instruction : nullptr, predicate);
}

Outcome warpSync(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  if (!membersPresent(cta, warp, instruction.operand[0], mask)) return Outcome::kRetry;
  warp.synchronizeLanes();
  return Outcome::kNext;
}

void decodeBarrier(Decoder& d) {
  Instruction& instruction = d.instruction();
  instruction.propagatesPoison = false;
  instruction.hasEffect = true;
  if (d.has("warp")) {
    d.use(0, Type::kB32);
    instruction.execute = warpSync;
    return;
  }
  // A warp takes part as a whole, also in the form without .aligned.
  instruction.converged = true;
  instruction.execute = barrier;
  size_t next = 0;
  bool reduces = false;
  if (d.has("red")) {
    reduces = true;
    instruction.mode = d.has("popc") ? kPopulation : d.has("and") ? kAnd : kOr;
    d.define(next++, d.type());
  } else if (d.has("sync")) {
    instruction.mode = kSync;
  } else if (d.has("arrive")) {
    instruction.mode = kArrive;
  } else {
    d.unsupported();
  }
  d.use(next++, Type::kB32);
  const size_t left = d.argumentCount() - next - (reduces ? 1 : 0);
  if (left > 1) d.fail("too many arguments");
  if (left == 1) {
    d.use(next++, Type::kB32);
  } else {
    if (instruction.mode == kArrive) d.fail("needs a thread count");
    d.useConstant(0, Type::kB32);
  }
  if (reduces) d.use(next, Type::kPredicate);
}

Outcome fence(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask) {
  FenceState& fences = warp.fences;
  const bool device = instruction.mode != 0;
  Knowledge more;
  more.acquire(fences.pendingCta, cta.number);
  fences.pendingCta = {};
  if (device) {
    more.acquire(fences.pendingDevice, cta.number);
    fences.pendingDevice = {};
  }
  warp.learn(warp.live, more, {});
  fences.fencedCta = warp.knownTogether();
  fences.hasCta = true;
  if (device) {
    fences.fencedDevice = fences.fencedCta;
    fences.hasDevice = true;
  }
  warp.tick();
  return Outcome::kNext;
}

// What a thread knows becomes known to its asynchronous operations, and to those of whoever it tells.
Outcome proxyFence(Cta&, Warp& warp, const Instruction&, LaneMask mask) {
  Knowledge covered;
  LocalTime proxied;
  warp.releaseTo(mask, covered, proxied);
  warp.learn(mask, {}, covered.local);
  warp.tick();
  return Outcome::kNext;
}

Outcome mbarrierFence(Cta& cta, Warp& warp, const Instruction&, LaneMask mask) {
  for (auto& [address, barrier] : cta.mbarriers)
    barrier.initFenced |= barrier.initWarp == warp.id && (mask >> barrier.initLane & 1);
  return Outcome::kNext;
}

Outcome nothing(Cta&, Warp&, const Instruction&, LaneMask) { return Outcome::kNext; }

// fence.proxy.tensormap::generic.release: maps that these threads wrote may be acquired. It is noted for the whole
// warp, as memory does not remember which lane wrote it, and for no other, though PTX lets one release what others
// wrote.
Outcome releaseMaps(Cta& cta, Warp& warp, const Instruction&, LaneMask mask) {
  cta.launch.memory->releaseMaps(globalAccess(cta, warp, std::countr_zero(mask), false));
  warp.tick();
  return Outcome::kNext;
}

// fence.proxy.tensormap::generic.acquire: this thread's copies may use the map that lies there.
Outcome acquireMap(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  cta.checkDefined(warp, instruction.operand[0], mask, "the address of a tensor map");
  for (LaneMask rest = mask; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    cta.acquiredMaps.emplace(warp.id, lane, warp.bits(instruction.operand[0], lane));
  }
  return Outcome::kNext;
}

void decodeFence(Decoder& d) {
  if (d.has("tensormap::generic")) {
    d.instruction().hasEffect = true;
    d.instruction().execute = d.has("gpu") || d.has("sys") ? releaseMaps : nothing;
    if (!d.has("acquire")) return;
    d.address(0, Space::kGlobal);
    if (d.instruction().immediate || d.integer(1) != 128) d.unsupported();
    d.instruction().execute = acquireMap;
    return;
  }
  if (d.has("proxy") || d.has("mbarrier_init")) {
    if (d.has("proxy") && !d.has("async") && !d.has("alias")) d.unsupported();
    d.instruction().hasEffect = true;
    d.instruction().execute = d.has("mbarrier_init")               ? mbarrierFence
                              : d.has("async") && !d.has("global") ? proxyFence
                                                                   : nothing;
    return;
  }
  d.instruction().execute = fence;
  d.instruction().mode = !d.has("cta");
  d.instruction().hasEffect = true;
}

}  // namespace

void registerBarriers(Registry& registry) {
  registry["bar"] = decodeBarrier;
  registry["barrier"] = decodeBarrier;
  registry["membar"] = decodeFence;
  registry["fence"] = decodeFence;
}

}  // namespace fovea::simulator
