// mbarrier: init, inval, arrive, arrive_drop, expect_tx, complete_tx, test_wait, try_wait.
#include "async/mbarriers.h"

#include <cstring>

#include "exec/lanes.h"
#include "exec/memory.h"
#include "exec/registry.h"

namespace fovea::simulator {
namespace {

constexpr uint32_t kBytes = 8;
constexpr int64_t kMaxCount = (1 << 20) - 1;  // of arrivals, and of bytes either way
constexpr int kPatience = 2;                  // a wait may give up so often in one phase when nothing else happens
constexpr int kSpuriousFailures = 64;         // try_wait of one CTA that give up early, in the random mode

// What the opaque bytes hold: nothing that a kernel would write there itself.
uint64_t contentOf(uint32_t address) { return 0x6d62617272696572ull ^ address; }

uint64_t addressOf(const Warp& warp, const Instruction& instruction, const Operand& operand, int lane) {
  uint64_t address = warp.bits(operand, lane) + static_cast<uint64_t>(instruction.immediate);
  if (operand.registerClass == RegisterClass::kDouble) resolveGeneric(address);
  return address;
}

// The lanes of `mask` that use the mbarrier at an address.
LaneMask lanesAt(uint64_t address, const Warp& warp, const Instruction& instruction, const Operand& base,
                 LaneMask mask) {
  LaneMask lanes = 0;
  for (LaneMask rest = mask; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    lanes |= static_cast<LaneMask>(addressOf(warp, instruction, base, lane) == address) << lane;
  }
  return lanes;
}

void completePhase(Cta& cta, Mbarrier& barrier) {
  if (barrier.pending > 0 || barrier.transactions != 0) return;
  barrier.completed = barrier.arrived;
  barrier.completed.local.at[barrier.agent] = barrier.agentTime;
  barrier.completedProxied = barrier.arrivedProxied;
  barrier.agentTime = ++cta.agentTimes[static_cast<size_t>(barrier.agent - kFirstAsyncAgent)];
  barrier.pending = barrier.expected;
  barrier.phase++;
}

// ---------------------------------------------------------------------------------------------- init inval

// Operands: address, count.
Outcome initialize(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const Operand &base = instruction.operand[0], &counts = instruction.operand[1];
  cta.checkDefined(warp, base, mask, "an address");
  cta.checkDefined(warp, counts, mask, "the count of an mbarrier");
  for (LaneMask rest = mask; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    const uint64_t address = addressOf(warp, instruction, base, lane);
    const uint32_t count = warp.read<uint32_t>(counts)[lane];
    if (count < 1 || count > kMaxCount)
      cta.report(warp, lane, "mbarrier", "a count of " + std::to_string(count) + ": must be 1 to 2^20 - 1");
    MemoryAccess access;
    access.write = true;
    access.what = "mbarrier.init";
    const LaneBytes bytes = accessLane(cta, warp, lane, Space::kShared, address, kBytes, access);
    if (!bytes.data) continue;
    const auto at = static_cast<uint32_t>(address);
    const uint64_t content = contentOf(at);
    std::memcpy(bytes.data, &content, kBytes);
    const auto [entry, isNew] = cta.mbarriers.try_emplace(at);
    if (!isNew) cta.report(warp, lane, "mbarrier", "there is an mbarrier at " + hexadecimal(at) + " already");
    Mbarrier& barrier = entry->second;
    barrier = {};
    barrier.expected = count;
    barrier.pending = count;
    // With more mbarriers than agents some share one, and races between their copies may go unnoticed.
    const auto agent = cta.mbarrierCount++ % cta.agentTimes.size();
    barrier.agent = kFirstAsyncAgent + static_cast<int>(agent);
    barrier.agentTime = ++cta.agentTimes[agent];
    barrier.initWarp = warp.id;
    barrier.initLane = lane;
    barrier.initTime = warp.now();
  }
  return Outcome::kNext;
}

Outcome invalidate(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  for (LaneMask rest = mask; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    const uint64_t address = addressOf(warp, instruction, instruction.operand[0], lane);
    if (findMbarrier(cta, warp, lane, address)) cta.mbarriers.erase(static_cast<uint32_t>(address));
  }
  return Outcome::kNext;
}

// ---------------------------------------------------------------------------------------------- arrive expect complete

enum ArriveMode : uint8_t { kArrives = 1, kExpects = 2, kCompletes = 4, kDrops = 8, kRelaxed = 16 };

// Operands: state, address, count, bytes.
Outcome arrive(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const Operand &state = instruction.operand[0], &base = instruction.operand[1];
  cta.checkDefined(warp, base, mask, "an address");
  for (int k = 2; k < 4; k++) cta.checkDefined(warp, instruction.operand[k], mask, "the count of an mbarrier");
  const auto* counts = warp.read<uint32_t>(instruction.operand[2]);
  const auto* bytes = warp.read<uint32_t>(instruction.operand[3]);
  Mbarrier* last = nullptr;
  for (LaneMask rest = mask; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    const uint64_t address = addressOf(warp, instruction, base, lane);
    Mbarrier* barrier = findMbarrier(cta, warp, lane, address);
    if (!barrier) continue;
    warp.setBits(state, lane, barrier->phase);
    if (instruction.mode & kExpects) {
      barrier->transactions += bytes[lane];
      if (barrier->transactions > kMaxCount)
        cta.report(warp, lane, "mbarrier", "more than 2^20 - 1 bytes are announced: " + describeMbarriers(cta));
    }
    if (instruction.mode & kArrives) {
      const int64_t count = counts[lane];
      if (count < 1 || count > barrier->pending) {
        cta.report(warp, lane, "mbarrier",
                   std::to_string(count) + " arrivals at an mbarrier whose phase needs " +
                       std::to_string(barrier->pending) + " more");
        continue;
      }
      const bool releases = !(instruction.mode & kRelaxed);
      if (releases && barrier != last) {
        warp.releaseTo(lanesAt(address, warp, instruction, base, mask), barrier->arrived, barrier->arrivedProxied);
        last = barrier;
      } else if (!releases && warp.fences.hasCta) {
        barrier->arrived.join(warp.fences.fencedCta);
      }
      barrier->pending -= count;
      if (instruction.mode & kDrops) barrier->expected -= static_cast<uint32_t>(count);
      completePhase(cta, *barrier);
    }
    if (instruction.mode & kCompletes) completeTransactions(cta, warp, lane, *barrier, bytes[lane]);
  }
  warp.setPoison(state, mask, 0);
  if (instruction.mode & kArrives) warp.tick();
  return Outcome::kNext;
}

// ---------------------------------------------------------------------------------------------- wait

enum WaitMode : uint8_t { kBlocks = 1, kParity = 2, kRelaxedWait = 4 };

// Whether a wait that cannot succeed comes back without success, as its time limit allows.
bool givesUp(Cta& cta, const Warp& warp, const Instruction& instruction, uint64_t address, uint64_t phase) {
  if (!(instruction.mode & kBlocks)) return true;
  if (cta.waitsExpire) {
    // Nothing else can go on: perhaps what follows an unsuccessful wait is what the wait needs.
    return ++cta.expiredWaits[{warp.id, instruction.line, address, phase}] <= kPatience;
  }
  if (cta.launch.schedule.completion != Completion::kRandom || cta.spuriousFailures >= kSpuriousFailures) return false;
  if (cta.random() % 8) return false;
  cta.spuriousFailures++;
  return true;
}

// Operands: result, address, state or parity.
Outcome wait(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const Operand &result = instruction.operand[0], &base = instruction.operand[1], &state = instruction.operand[2];
  cta.checkDefined(warp, base, mask, "an address");
  cta.checkDefined(warp, state, mask, "the phase to wait for");
  LaneMask done = 0, alike = 0;  // those that are done, of them those that waited for the last mbarrier
  const Mbarrier* last = nullptr;
  const auto learn = [&] {
    if (alike) warp.learn(alike, last->completed, last->completedProxied);
    alike = 0;
  };
  uint64_t address = 0, phase = 0;
  for (LaneMask rest = mask; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    address = addressOf(warp, instruction, base, lane);
    const Mbarrier* barrier = findMbarrier(cta, warp, lane, address);
    if (!barrier) return Outcome::kNext;
    phase = barrier->phase;
    const uint64_t wanted = warp.bits(state, lane);
    if ((instruction.mode & kParity) && wanted > 1)
      cta.report(warp, lane, "mbarrier", "a phase parity of " + std::to_string(wanted) + ": must be 0 or 1");
    if (!(instruction.mode & kParity) && (wanted > phase || phase - wanted > 1))
      cta.report(warp, lane, "mbarrier",
                 "a wait for phase " + std::to_string(wanted) + " of an mbarrier in phase " + std::to_string(phase) +
                     ": must be that phase or the one before");
    const bool isComplete = instruction.mode & kParity ? (phase & 1) != (wanted & 1) : phase != wanted;
    if (!isComplete) continue;
    done |= 1u << lane;
    if (instruction.mode & kRelaxedWait) {
      if (barrier != last) warp.fences.pendingCta.join(cta.number, barrier->completed.local);
      last = barrier;
      continue;
    }
    if (barrier != last) learn();
    last = barrier;
    alike |= 1u << lane;
  }
  learn();
  if (!done && !givesUp(cta, warp, instruction, address, phase)) return Outcome::kRetry;
  cta.counters.mbarrierWaits += done != 0;
  warp.setPredicate(result, mask, done);
  warp.setPoison(result, mask, 0);
  return Outcome::kNext;
}

// ---------------------------------------------------------------------------------------------- decoding

void decodeArrive(Decoder& d) {
  Instruction& instruction = d.instruction();
  const std::string_view what = d.part(1);
  if (what == "arrive" || what == "arrive_drop") instruction.mode |= kArrives;
  if (what == "arrive_drop") instruction.mode |= kDrops;
  if (d.has("expect_tx")) instruction.mode |= kExpects;
  if (what == "complete_tx") instruction.mode |= kCompletes;
  if (d.has("relaxed")) instruction.mode |= kRelaxed;
  if (d.has("noComplete")) d.unsupported();
  size_t next = 0;
  // arrive has a result, "_" for none; expect_tx and complete_tx by themselves have not.
  if (instruction.mode & kArrives) {
    d.define(next++, Type::kB64);
  } else {
    d.define("_", Type::kB64);
  }
  d.address(next++, Space::kShared);
  if (instruction.mode & (kExpects | kCompletes)) {
    d.useConstant(1, Type::kU32);
    d.use(next++, Type::kU32);
  } else {
    if (next < d.argumentCount()) {
      d.use(next++, Type::kU32);
    } else {
      d.useConstant(1, Type::kU32);
    }
    d.useConstant(0, Type::kU32);
  }
  if (next != d.argumentCount()) d.unsupported();
  instruction.execute = arrive;
}

void decodeWait(Decoder& d) {
  Instruction& instruction = d.instruction();
  if (d.part(1) == "try_wait") instruction.mode |= kBlocks;
  if (d.has("parity")) instruction.mode |= kParity;
  if (d.has("relaxed")) instruction.mode |= kRelaxedWait;
  d.define(0, Type::kPredicate);
  d.address(1, Space::kShared);
  d.use(2, instruction.mode & kParity ? Type::kU32 : Type::kB64);
  if (d.argumentCount() > 3) d.use(3, Type::kU32);  // the time limit
  instruction.execute = wait;
}

void decodeMbarrier(Decoder& d) {
  Instruction& instruction = d.instruction();
  instruction.propagatesPoison = false;
  instruction.hasEffect = true;
  const std::string_view what = d.part(1);
  if (what == "init") {
    d.address(0, Space::kShared);
    d.use(1, Type::kU32);
    instruction.execute = initialize;
  } else if (what == "inval") {
    d.address(0, Space::kShared);
    instruction.execute = invalidate;
  } else if (what == "arrive" || what == "arrive_drop" || what == "expect_tx" || what == "complete_tx") {
    decodeArrive(d);
  } else if (what == "test_wait" || what == "try_wait") {
    decodeWait(d);
  } else {
    d.unsupported();
  }
}

}  // namespace

Mbarrier* findMbarrier(Cta& cta, Warp& warp, int lane, uint64_t address) {
  const auto found = cta.mbarriers.find(static_cast<uint32_t>(address));
  if (address % kBytes || found == cta.mbarriers.end()) {
    cta.report(warp, lane, "mbarrier", "no mbarrier was initialised at " + hexadecimal(address));
    return nullptr;
  }
  // Ordered after its init? The operations themselves are atomic.
  Violation violation;
  cta.shared.read(found->first, kBytes, sharedAccess(warp, lane, true), violation);
  if (violation.kind)
    cta.report(warp, lane, "race-mbarrier",
               "the mbarrier's init comes with nothing that orders it: " + violation.message);
  uint64_t content = 0;
  std::memcpy(&content, cta.shared.at(found->first), kBytes);
  if (content != contentOf(found->first))
    cta.report(warp, lane, "mbarrier", "the mbarrier at " + hexadecimal(address) + " was overwritten");
  return &found->second;
}

void completeTransactions(Cta& cta, const Warp& warp, int lane, Mbarrier& barrier, int64_t bytes) {
  barrier.transactions -= bytes;
  if (barrier.transactions < -kMaxCount)
    cta.report(warp, lane, "mbarrier", "more than 2^20 - 1 bytes have come that nobody announced");
  completePhase(cta, barrier);
}

std::string describeMbarriers(const Cta& cta) {
  std::string text;
  for (const auto& [address, barrier] : cta.mbarriers)
    text += "\n    mbarrier " + hexadecimal(address) + ": phase " + std::to_string(barrier.phase) + ", " +
            std::to_string(barrier.pending) + " of " + std::to_string(barrier.expected) + " arrivals and " +
            std::to_string(barrier.transactions) + " bytes outstanding";
  return text;
}

void registerMbarriers(Registry& registry) { registry["mbarrier"] = decodeMbarrier; }

}  // namespace fovea::simulator
