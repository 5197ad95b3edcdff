// cp.async.bulk, cp.reduce.async.bulk, their tensor forms, bulk groups, and prefetches of maps.
#include <cstring>

#include "async/bulk_copies.h"
#include "async/mbarriers.h"
#include "exec/lanes.h"
#include "exec/memory.h"
#include "exec/registry.h"
#include "ptx/body.h"

namespace fovea::simulator {
namespace {

constexpr uint32_t kTensorAlignment = 128;  // of shared memory
constexpr uint32_t kLinearAlignment = 16;

// A map in the kernel's parameters or in global memory; false after a report.
bool readMap(Cta& cta, Warp& warp, int lane, uint64_t address, int rank, TensorMap& map) {
  const auto fail = [&](const std::string& message) {
    cta.report(warp, lane, "tensor-map", message);
    return false;
  };
  const Space space = resolveGeneric(address);
  // cuda.h aligns maps to 128 bytes since CUDA 13, and the fence for those in global memory is for as many; parameters
  // of older code have 64.
  const uint32_t alignment = space == Space::kGlobal ? kTensorMapBytes : kTensorMapBytes / 2;
  if (address % alignment)
    return fail("the tensor map at " + hexadecimal(address) + ": must be a multiple of " + std::to_string(alignment));
  if (space == Space::kShared || space == Space::kLocal)
    return fail("the tensor map must be a parameter of the kernel or lie in global or constant memory");
  // Parameters are constant; what lies elsewhere was written by something, through another proxy.
  if (space == Space::kGlobal && !cta.acquiredMaps.contains({warp.id, lane, address}))
    return fail("the tensor map at " + hexadecimal(address) +
                " lies in global memory, and this thread has no fence.proxy.tensormap::generic.acquire for it");
  Allocation* const allocation = space == Space::kGlobal ? cta.launch.findAllocation(address) : nullptr;
  if (allocation && allocation->contains(address, kTensorMapBytes) &&
      !cta.launch.memory->isMapReleased(*allocation, address, kTensorMapBytes))
    return fail("the tensor map at " + hexadecimal(address) +
                " was written by a kernel that has no fence.proxy.tensormap::generic.release behind it");
  uint8_t bytes[kTensorMapBytes];
  MemoryAccess access;
  access.what = "read of a tensor map";
  constexpr uint32_t kHalf = kTensorMapBytes / 2;
  for (uint32_t at = 0; at < kTensorMapBytes; at += kHalf) {
    const LaneBytes half = accessLane(cta, warp, lane, space, address + at, kHalf, access);
    if (!half.data) return false;
    if (!half.defined) return fail("the tensor map at " + hexadecimal(address) + " is not initialised");
    std::memcpy(bytes + at, half.data, kHalf);
  }
  std::memcpy(&map, bytes, sizeof map);
  if (map.magic != TensorMap::kMagic)
    return fail("what lies at " + hexadecimal(address) + " is not what cuTensorMapEncodeTiled made");
  if (map.rank != rank)
    return fail("a map of " + std::to_string(map.rank) + " dimensions in an instruction for " + std::to_string(rank));
  if (map.swizzle != Swizzle::kNone && map.rowBytes() != spanOf(map.swizzle))
    return fail("a box of " + std::to_string(map.rowBytes()) + " bytes along dimension 0 under a swizzle of " +
                std::to_string(spanOf(map.swizzle)) + ": how its rows lie is not simulated");
  return true;
}

// Counts what the copy moves, so that the sums do not depend on when it happens.
void count(Cta& cta, const BulkCopy& copy) {
  cta.counters.bulkBytes += copy.bytes;
  for (uint32_t r = 0; r < copy.rows(); r++) {
    const BoxRow row = copy.row(r);
    if (row.begin >= row.end) continue;
    const uint64_t bytes = row.end - row.begin;
    cta.counters.globalBytes += bytes;
    cta.counters.globalSectors += (row.global + bytes - 1) / 32 - row.global / 32 + 1;
  }
}

// The mbarrier must be known to the asynchronous proxy.
void checkInitFence(Cta& cta, const Warp& warp, int lane, const Mbarrier& barrier) {
  if (barrier.initFenced || warp.proxiedTo(lane).knows(barrier.initWarp, barrier.initLane, barrier.initTime)) return;
  cta.report(warp, lane, "missing-proxy-fence",
             "a copy counts on an mbarrier whose init has no fence.mbarrier_init or fence.proxy.async behind it");
}

enum BulkMode : uint8_t { kLoads = 1, kTensor = 2, kReduces = 4 };

// Operands: shared address, then map and coordinates or global address and size, then the mbarrier's address (loads).
Outcome issue(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  for (int i = 0; i < instruction.operandCount; i++)
    cta.checkDefined(warp, instruction.operand[i], mask, "an argument of a bulk copy");
  const Operand* next = instruction.operand;
  const Operand &shared = *next++, &global = *next++;
  for (LaneMask rest = mask; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    BulkCopy copy;
    copy.instruction = &instruction;
    copy.loads = instruction.mode & kLoads;
    copy.isTensor = instruction.mode & kTensor;
    if (instruction.mode & kReduces) copy.reduction = static_cast<Atomic>(instruction.modifier);
    copy.lane = lane;
    copy.group = warp.committedBulkGroups[static_cast<size_t>(lane)];
    uint64_t address = warp.bits(shared, lane) + static_cast<uint64_t>(instruction.immediate);
    if (shared.registerClass == RegisterClass::kDouble) resolveGeneric(address);
    const Operand* argument = next;
    if (copy.isTensor) {
      if (!readMap(cta, warp, lane, warp.bits(global, lane), instruction.vector, copy.map)) continue;
      for (size_t i = 0; i < instruction.vector; i++)
        copy.coordinates[i] = static_cast<int32_t>(warp.bits(*argument++, lane));
      copy.bytes = copy.map.boxBytes();
    } else {
      copy.global = warp.bits(global, lane);
      copy.bytes = static_cast<uint32_t>(warp.bits(*argument++, lane));
      if (copy.bytes == 0 || copy.bytes % kLinearAlignment || copy.global % kLinearAlignment) {
        cta.report(warp, lane, "misaligned",
                   "a bulk copy of " + std::to_string(copy.bytes) + " bytes at " + hexadecimal(copy.global) +
                       ": both must be multiples of 16");
        continue;
      }
    }
    const uint32_t alignment = copy.isTensor ? kTensorAlignment : kLinearAlignment;
    if (address % alignment) {
      cta.report(warp, lane, "misaligned",
                 "a bulk copy at shared memory " + hexadecimal(address) + ": must be a multiple of " +
                     std::to_string(alignment));
      continue;
    }
    if (address < kSharedBase || address + copy.bytes > cta.shared.end()) {
      cta.report(warp, lane, "out-of-bounds-shared",
                 "a bulk copy of " + std::to_string(copy.bytes) + " bytes at " + hexadecimal(address) +
                     "; the CTA's shared memory ends at " + hexadecimal(cta.shared.end()));
      continue;
    }
    copy.shared = static_cast<uint32_t>(address);
    if (copy.loads) {
      uint64_t barrier = warp.bits(*argument, lane) + static_cast<uint64_t>(static_cast<int64_t>(instruction.target));
      if (argument->registerClass == RegisterClass::kDouble) resolveGeneric(barrier);
      const Mbarrier* found = findMbarrier(cta, warp, lane, barrier);
      if (!found) continue;
      checkInitFence(cta, warp, lane, *found);
      copy.mbarrier = static_cast<uint32_t>(barrier);
      SharedAccess access = sharedAccess(warp, lane);
      access.proxied = &warp.proxiedTo(lane);
      Violation violation;
      cta.shared.beginCopy(copy.shared, copy.bytes, access, violation);
      if (violation.kind) cta.report(warp, lane, violation);
    }
    count(cta, copy);
    cta.bulk.issue(cta, warp, std::move(copy));
  }
  return Outcome::kNext;
}

Outcome commit(Cta&, Warp& warp, const Instruction&, LaneMask mask) {
  forLanes(mask, [&](int lane) { warp.committedBulkGroups[static_cast<size_t>(lane)]++; });
  return Outcome::kNext;
}

Outcome waitGroup(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  cta.bulk.wait(cta, warp, mask, instruction.immediate, instruction.mode);
  return Outcome::kNext;
}

Outcome nothing(Cta&, Warp&, const Instruction&, LaneMask) { return Outcome::kNext; }

// The address of the map or of global memory; offsets are only where instructions have room for them.
void useGlobal(Decoder& d, size_t index) {
  d.address(index, Space::kGlobal);
  if (d.instruction().immediate) d.fail("an offset to a global address or map is not known to the simulator");
}

void decodeIssue(Decoder& d) {
  Instruction& instruction = d.instruction();
  // The destination's state space comes first.
  const bool isLoad = d.has("shared::cluster") || (d.has("global") && d.has("mbarrier::complete_tx::bytes"));
  const bool isStore = d.has("bulk_group");
  if (isLoad == isStore || d.has("multicast::cluster") || d.has("cp_mask")) d.unsupported();
  if (!d.has("global") || (d.part(1) == "reduce" && isLoad)) d.unsupported();
  if (isLoad) instruction.mode |= kLoads;
  if (d.has("tensor")) {
    instruction.mode |= kTensor;
    for (int rank = 1; rank <= kMaxRank; rank++)
      if (d.has(std::to_string(rank) + "d")) instruction.vector = static_cast<uint8_t>(rank);
    for (std::string_view part : d.statement().parts)
      if (part.starts_with("im2col") || part.starts_with("tile::")) d.unsupported();
  }
  if (d.part(1) == "reduce") {
    instruction.mode |= kReduces;
    std::optional<Atomic> operation;
    for (std::string_view part : d.statement().parts)
      if (const auto parsed = parseAtomic(part)) operation = parsed;
    if (!operation || *operation == Atomic::kExchange || *operation == Atomic::kCompareAndSwap) d.unsupported();
    instruction.modifier = static_cast<uint8_t>(*operation);
    instruction.type = d.type();
    d.markCommunicating();
  }
  const size_t shared = isLoad ? 0 : 1, global = isLoad ? 1 : 0;
  d.address(shared, Space::kShared);
  const int64_t offset = instruction.immediate;
  useGlobal(d, global);
  size_t next = 2;
  if (instruction.mode & kTensor) {
    const auto& coordinates = d.argument(global).coordinates;
    if (coordinates.size() != instruction.vector) d.fail("needs one coordinate for each dimension");
    for (const std::string& text : coordinates) d.use(text, Type::kS32);
  } else {
    d.use(next++, Type::kU32);
  }
  if (isLoad) {
    d.address(next++, Space::kShared);
    instruction.target = static_cast<int32_t>(instruction.immediate);
  }
  instruction.immediate = offset;
  if (d.has("L2::cache_hint")) next++;
  if (next != d.argumentCount()) d.unsupported();
  instruction.execute = issue;
}

}  // namespace

void decodeBulk(Decoder& d) {
  Instruction& instruction = d.instruction();
  instruction.propagatesPoison = false;
  instruction.hasEffect = true;
  if (d.has("prefetch")) {
    instruction.execute = nothing;
  } else if (d.has("commit_group")) {
    instruction.execute = commit;
  } else if (d.has("wait_group")) {
    instruction.immediate = d.integer(0);
    instruction.mode = d.has("read");
    instruction.execute = waitGroup;
  } else {
    decodeIssue(d);
  }
}

}  // namespace fovea::simulator
