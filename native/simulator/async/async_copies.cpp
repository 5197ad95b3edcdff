// cp.async: copies from global to shared memory that are pending until their thread waits for them.
//
// From issue to wait the destination holds NaN patterns that nobody may touch. The data is read at the wait (late), at
// the issue (early), or either by chance.
#include <algorithm>
#include <cstring>

#include "exec/lanes.h"
#include "exec/memory.h"
#include "exec/registry.h"

namespace fovea::simulator {
namespace {

// Operands: destination, source, source size [, ignore predicate].
Outcome issue(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const Operand &to = instruction.operand[0], &from = instruction.operand[1], &sizes = instruction.operand[2];
  const uint32_t size = instruction.vector;
  cta.checkDefined(warp, to, mask, "an address");
  cta.checkDefined(warp, sizes, mask, "the size of a copy");
  LaneMask ignored = 0;
  if (instruction.operandCount > 3) {
    cta.checkDefined(warp, instruction.operand[3], mask, "whether a copy reads its source");
    ignored = warp.predicate(instruction.operand[3]);
  }
  uint64_t sources[kLanes], destinations[kLanes];
  LaneMask reads = 0, writes = 0;
  for (LaneMask rest = mask; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    PendingCopy copy;
    uint64_t destination = warp.bits(to, lane) + static_cast<uint64_t>(instruction.immediate);
    if (to.registerClass == RegisterClass::kDouble) resolveGeneric(destination);
    copy.source = warp.bits(from, lane) + static_cast<uint64_t>(static_cast<int64_t>(instruction.target));
    uint32_t valid = warp.read<uint32_t>(sizes)[lane];
    if (valid > size) {
      cta.report(warp, lane, "copy",
                 "cp.async with a source size of " + std::to_string(valid) + " of " + std::to_string(size) + " bytes");
      valid = size;
    }
    if (ignored >> lane & 1) valid = 0;

    MemoryAccess write;
    write.write = write.copy = true;
    write.what = "asynchronous write";
    if (!accessLane(cta, warp, lane, Space::kShared, destination, size, write).data) continue;
    destinations[lane] = destination;
    writes |= 1u << lane;
    LaneBytes source;
    if (valid) {
      // With nothing to read, the address is not looked at.
      if (copy.source % size)
        cta.report(
            warp, lane, "misaligned",
            "asynchronous read at " + hexadecimal(copy.source) + ": must be a multiple of " + std::to_string(size));
      cta.checkDefined(warp, from, 1u << lane, "an address");
      MemoryAccess read;
      read.what = "asynchronous read";
      // Alignment was checked against the full size; the bytes read may be fewer.
      uint8_t* first = nullptr;
      copy.defined = true;
      for (uint32_t at = 0; at < valid && copy.source % size == 0;) {
        const uint32_t piece = valid == size ? size : 1;
        source = accessLane(cta, warp, lane, Space::kGlobal, copy.source + at, piece, read);
        if (!source.data) break;
        if (!first) first = source.data;
        copy.defined &= source.defined;
        at += piece;
      }
      source.data = source.data ? first : nullptr;
      if (!source.data) valid = 0;
    }
    if (valid) {
      sources[lane] = copy.source;
      reads |= 1u << lane;
      cta.counters.asyncCopyBytes += valid;
      copy.late = cta.completesLate();
      std::memcpy(copy.data.data(), source.data, valid);
    }
    copy.destination = static_cast<uint32_t>(destination);
    copy.size = static_cast<uint8_t>(size);
    copy.valid = static_cast<uint8_t>(valid);
    copy.lane = static_cast<uint8_t>(lane);
    copy.group = warp.committedGroups[static_cast<size_t>(lane)];
    warp.copies.push_back(copy);
  }
  countGlobal(cta, sources, reads, size);
  countShared(cta, destinations, writes, size);
  return Outcome::kNext;
}

Outcome commit(Cta&, Warp& warp, const Instruction&, LaneMask mask) {
  forLanes(mask, [&](int lane) { warp.committedGroups[static_cast<size_t>(lane)]++; });
  return Outcome::kNext;
}

void complete(Cta& cta, Warp& warp, PendingCopy& copy) {
  if (copy.late && copy.valid) {
    if (Allocation* allocation = cta.launch.findAllocation(copy.source))
      std::memcpy(copy.data.data(), allocation->data(copy.source), copy.valid);
  }
  std::memcpy(cta.shared.at(copy.destination), copy.data.data(), copy.size);
  cta.shared.endCopy(copy.destination, copy.size, sharedAccess(warp, copy.lane), copy.defined);
}

// wait_group n: all but the n newest committed groups of each thread; wait_all: also what was not committed.
Outcome wait(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  std::erase_if(warp.copies, [&](PendingCopy& copy) {
    if (!(mask >> copy.lane & 1)) return false;
    const int64_t age = static_cast<int64_t>(warp.committedGroups[copy.lane]) - copy.group;  // 0: not committed
    const bool done = instruction.mode ? true : age > instruction.immediate;
    if (done) complete(cta, warp, copy);
    return done;
  });
  return Outcome::kNext;
}

void decodeAsync(Decoder& d) {
  Instruction& instruction = d.instruction();
  instruction.propagatesPoison = false;
  instruction.hasEffect = true;
  if (d.has("bulk")) {
    decodeBulk(d);
    return;
  }
  if (d.part(1) != "async" || d.has("mbarrier")) d.unsupported();
  if (d.part(2) == "commit_group") {
    instruction.execute = commit;
  } else if (d.part(2) == "wait_group" || d.part(2) == "wait_all") {
    instruction.mode = d.part(2) == "wait_all";
    instruction.immediate = instruction.mode ? 0 : d.integer(0);
    instruction.execute = wait;
  } else if (d.has("shared") || d.has("shared::cta")) {
    // cp.async.cop.shared.global [dst], [src], size {, source size | , ignore predicate} {, cache policy}
    d.address(0, Space::kShared);
    const int64_t offset = instruction.immediate;
    d.address(1, Space::kGlobal);
    instruction.target = static_cast<int32_t>(instruction.immediate);  // the source's offset
    instruction.immediate = offset;
    const int64_t size = d.integer(2);
    if (size != 4 && size != 8 && size != 16) d.fail("copies 4, 8 or 16 bytes");
    if (d.has("cg") && size != 16) d.fail(".cg copies 16 bytes");
    instruction.vector = static_cast<uint8_t>(size);
    const bool hasPolicy = d.has("L2::cache_hint");
    const bool hasExtra = d.argumentCount() > (hasPolicy ? 4u : 3u);
    const bool isPredicate = hasExtra && d.isRegister(d.argument(3).text) &&
                             d.classOfRegister(d.argument(3).text) == RegisterClass::kPredicate;
    if (hasExtra && !isPredicate) {
      d.use(3, Type::kU32);
    } else {
      d.useConstant(static_cast<uint64_t>(size), Type::kU32);
    }
    if (isPredicate) d.use(3, Type::kPredicate);
    instruction.execute = issue;
  } else {
    d.unsupported();
  }
}

}  // namespace

void registerAsyncCopies(Registry& registry) { registry["cp"] = decodeAsync; }

}  // namespace fovea::simulator
