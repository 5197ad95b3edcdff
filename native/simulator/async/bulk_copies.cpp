// How bulk copies take effect.
#include "async/bulk_copies.h"

#include <algorithm>
#include <cstring>

#include "async/mbarriers.h"
#include "exec/cta.h"
#include "exec/memory.h"

namespace fovea::simulator {
namespace {

constexpr uint32_t kChunk = 16;      // what a swizzle moves
constexpr uint64_t kMaxRounds = 64;  // that a late copy waits while warps go on: they may be polling for it

// The bytes of global memory behind a row, after the checks; null after a report.
Allocation* globalRow(Cta& cta, const BulkCopy& copy, const BoxRow& row) {
  const uint32_t bytes = row.end - row.begin;
  const Warp& warp = cta.warps[static_cast<size_t>(copy.warp)];
  Allocation* allocation = cta.launch.findAllocation(row.global);
  if (!allocation || !allocation->contains(row.global, bytes)) {
    cta.report(warp, copy.lane, "out-of-bounds-global",
               std::string("asynchronous ") + (copy.loads ? "read of " : "write of ") + std::to_string(bytes) +
                   " bytes at " + hexadecimal(row.global) + ", " + cta.launch.memory->describe(row.global));
    return nullptr;
  }
  GlobalAccess access;
  access.launch = cta.launch.number;
  access.cta = cta.number;
  access.warp = copy.warp;
  access.known = &copy.known;
  access.strong = copy.reduction.has_value();
  Violation violation;
  if (copy.loads) {
    checkGlobalRead(*allocation, row.global, bytes, access, violation);
  } else {
    checkGlobalWrite(*allocation, row.global, bytes, access, violation);
  }
  if (violation.kind) cta.report(warp, copy.lane, violation);
  return allocation;
}

// The part of the chunk at `offset` of a row that lies in the tensor.
struct Part {
  uint32_t begin = 0, end = 0;  // in the row
  bool empty() const { return begin >= end; }
};
Part partOf(const BoxRow& row, uint32_t offset) {
  return {std::max(row.begin, offset), std::min(row.end, offset + kChunk)};
}

void reduce(const BulkCopy& copy, uint8_t* to, const uint8_t* from, uint32_t bytes) {
  const auto width = static_cast<uint32_t>(sizeOf(copy.elementType()));
  for (uint32_t at = 0; at < bytes; at += width) {
    uint64_t old = 0, value = 0;
    std::memcpy(&old, to + at, width);
    std::memcpy(&value, from + at, width);
    old = combine(*copy.reduction, copy.elementType(), old, value);
    std::memcpy(to + at, &old, width);
  }
}

}  // namespace

void BulkCopies::issue(Cta& cta, Warp& warp, BulkCopy copy) {
  copy.warp = warp.id;
  copy.known = warp.knownTo(copy.lane);
  copy.proxied = warp.proxiedTo(copy.lane);
  copy.lastSync = warp.lastSync;
  copy.round = round_;
  warp.tick();
  const bool early = cta.launch.schedule.completion == Completion::kEarly;
  if (copy.loads) {
    if (early) {
      land(cta, copy);
      return;
    }
  } else if (early) {
    readShared(cta, copy);
    writeGlobal(cta, copy);
  }
  pending_.push_back(std::move(copy));
}

bool BulkCopies::advance(Cta& cta, bool progressed) {
  if (pending_.empty()) return false;
  round_++;
  const bool random = cta.launch.schedule.completion == Completion::kRandom;
  if (progressed && random && cta.random() % 4) return false;
  // Late stores do nothing before their thread waits for them.
  std::vector<size_t> candidates;
  for (size_t i = 0; i < pending_.size(); i++)
    if (pending_[i].loads || (random && !pending_[i].wasWritten)) candidates.push_back(i);
  if (candidates.empty()) return false;
  if (progressed && !random && round_ - pending_[candidates[0]].round < kMaxRounds) return false;
  const size_t chosen = candidates[cta.launch.schedule.seed ? cta.random() % candidates.size() : 0];
  BulkCopy& copy = pending_[chosen];
  if (!copy.loads) {
    copy.wasRead ? writeGlobal(cta, copy) : readShared(cta, copy);
    return true;
  }
  const BulkCopy landing = std::move(copy);
  pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(chosen));
  land(cta, landing);
  return true;
}

void BulkCopies::wait(Cta& cta, Warp& warp, LaneMask lanes, int64_t keep, bool readOnly) {
  std::erase_if(pending_, [&](BulkCopy& copy) {
    if (copy.loads || copy.warp != warp.id || !(lanes >> copy.lane & 1)) return false;
    const int64_t age = static_cast<int64_t>(warp.committedBulkGroups[static_cast<size_t>(copy.lane)]) - copy.group;
    if (age <= keep) return false;  // 0: not committed
    copy.readWaitedFor = true;
    if (!copy.wasRead) readShared(cta, copy);
    if (readOnly) return false;
    if (!copy.wasWritten) writeGlobal(cta, copy);
    return true;
  });
  warp.tick();
}

void BulkCopies::finish(Cta& cta) {
  for (BulkCopy& copy : pending_) {
    const Cta::Executing executing(cta, copy.instruction);
    const Warp& warp = cta.warps[static_cast<size_t>(copy.warp)];
    if (copy.loads) {
      cta.report(warp, copy.lane, "copy-left", "the CTA ends while this copy into its shared memory is in flight");
      continue;
    }
    if (!copy.readWaitedFor)
      cta.report(warp, copy.lane, "copy-left",
                 "the CTA ends with nothing that waits until this store has read its shared memory");
    if (!copy.wasRead) readShared(cta, copy);
    if (!copy.wasWritten) writeGlobal(cta, copy);
  }
  pending_.clear();
}

void BulkCopies::land(Cta& cta, const BulkCopy& copy) {
  const Cta::Executing executing(cta, copy.instruction);
  const Warp& warp = cta.warps[static_cast<size_t>(copy.warp)];
  const auto found = cta.mbarriers.find(copy.mbarrier);
  if (found == cta.mbarriers.end()) {
    cta.report(warp, copy.lane, "mbarrier", "the mbarrier was invalidated while this copy was in flight");
    return;
  }
  Mbarrier& barrier = found->second;
  LocalTime times;
  times.at[static_cast<size_t>(barrier.agent)] = barrier.agentTime;
  SharedAccess access;
  access.warp = barrier.agent;
  access.lane = kEveryLane;
  access.known = &times;
  cta.shared.endCopy(copy.shared, copy.bytes, access, true);

  for (uint32_t r = 0; r < copy.rows(); r++) {
    BoxRow row = copy.row(r);
    Allocation* allocation = row.begin < row.end ? globalRow(cta, copy, row) : nullptr;
    if (!allocation) row.begin = row.end = 0;
    const bool defined = !allocation || allocation->isDefined(row.global, row.end - row.begin);
    for (uint32_t offset = 0; offset < copy.rowBytes(); offset += kChunk) {
      const uint32_t to = swizzled(copy.shared + row.offset + offset, copy.swizzle());
      std::memset(cta.shared.at(to), 0, kChunk);
      const Part part = partOf(row, offset);
      if (part.empty()) continue;
      const uint64_t from = row.global + (part.begin - row.begin);
      std::memcpy(cta.shared.at(to + (part.begin - offset)), allocation->data(from), part.end - part.begin);
      if (defined) continue;
      for (uint32_t i = 0; i < part.end - part.begin; i++)
        if (!allocation->isDefined(from + i, 1)) cta.shared.endCopy(to + (part.begin - offset) + i, 1, access, false);
    }
  }
  completeTransactions(cta, warp, copy.lane, barrier, copy.bytes);
}

void BulkCopies::readShared(Cta& cta, BulkCopy& copy) {
  const Cta::Executing executing(cta, copy.instruction);
  const Warp& warp = cta.warps[static_cast<size_t>(copy.warp)];
  copy.wasRead = true;
  copy.data.resize(copy.bytes);
  SharedAccess access;
  access.warp = copy.warp;
  access.lane = copy.lane;
  access.lastSync = copy.lastSync;
  access.known = &copy.known.local;
  access.proxied = &copy.proxied;
  Violation violation;
  for (uint32_t r = 0; r < copy.rows(); r++) {
    const BoxRow row = copy.row(r);
    for (uint32_t offset = 0; offset < copy.rowBytes(); offset += kChunk) {
      const Part part = partOf(row, offset);
      if (part.empty()) continue;
      const uint32_t from = swizzled(copy.shared + row.offset + offset, copy.swizzle());
      const uint32_t first = from + (part.begin - offset), bytes = part.end - part.begin;
      cta.shared.readAsync(from, kChunk, access, warp.now() + 1, violation);
      if (!cta.shared.isDefined(first, bytes))
        cta.report(warp, copy.lane, "uninitialized",
                   "uninitialised shared memory at " + hexadecimal(first) + " is written to global memory");
      std::memcpy(&copy.data[row.offset + part.begin], cta.shared.at(first), bytes);
    }
  }
  if (violation.kind) cta.report(warp, copy.lane, violation);
}

void BulkCopies::writeGlobal(Cta& cta, BulkCopy& copy) {
  const Cta::Executing executing(cta, copy.instruction);
  copy.wasWritten = true;
  for (uint32_t r = 0; r < copy.rows(); r++) {
    const BoxRow row = copy.row(r);
    if (row.begin >= row.end) continue;
    Allocation* allocation = globalRow(cta, copy, row);
    if (!allocation) continue;
    const uint8_t* from = &copy.data[row.offset + row.begin];
    const uint32_t bytes = row.end - row.begin;
    if (copy.reduction) {
      reduce(copy, allocation->data(row.global), from, bytes);
    } else {
      std::memcpy(allocation->data(row.global), from, bytes);
      allocation->setDefined(row.global, bytes, true);
    }
  }
}

}  // namespace fovea::simulator
