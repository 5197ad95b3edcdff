// Copies by the asynchronous proxy between global and shared memory (cp.async.bulk, TMA), from their issue until what
// they did is known to whoever waits for it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "async/tensor_map.h"
#include "check/clock.h"
#include "exec/atomic_operations.h"
#include "ptx/program.h"

namespace fovea::simulator {

class Allocation;

struct BulkCopy {
  const Instruction* instruction = nullptr;
  bool loads = false;  // into shared memory, counted by an mbarrier; otherwise a store, in its thread's bulk group
  bool isTensor = false;
  TensorMap map;
  std::array<int32_t, kMaxRank> coordinates{};
  uint64_t global = 0;  // unless it is a tensor
  uint32_t shared = 0;
  uint32_t bytes = 0;  // of shared memory
  uint32_t mbarrier = 0;
  std::optional<Atomic> reduction;
  int warp = 0;
  int lane = 0;
  uint32_t group = 0;
  uint64_t round = 0;  // of the scheduler, when it was issued
  Knowledge known;     // of its thread at that time
  LocalTime proxied;
  uint32_t lastSync = 0;

  // How far a store is.
  bool wasRead = false, wasWritten = false;
  bool readWaitedFor = false;
  std::vector<uint8_t> data;  // rows as they lie before the swizzle

  uint32_t rows() const { return isTensor ? map.rows() : 1; }
  uint32_t rowBytes() const { return isTensor ? map.rowBytes() : bytes; }
  Swizzle swizzle() const { return isTensor ? map.swizzle : Swizzle::kNone; }
  Type elementType() const { return isTensor ? map.type : instruction->type; }
  BoxRow row(uint32_t index) const { return isTensor ? rowOf(map, coordinates, index) : BoxRow{0, 0, bytes, global}; }
};

// The copies of one CTA. When they take effect is chosen within what the rules allow: at once (early), when somebody
// waits or nothing else can go on (late), or at any time between (random).
class BulkCopies {
 public:
  // Begins a checked copy; its place in shared memory may not be touched any more.
  void issue(Cta& cta, Warp& warp, BulkCopy copy);
  // Lets one copy take effect, perhaps; says whether one did. `progressed`: whether warps went on since the last call.
  bool advance(Cta& cta, bool progressed);
  // wait_group: all but the `keep` newest groups of these lanes have read their source (and, unless `readOnly`, have
  // written their destination).
  void wait(Cta& cta, Warp& warp, LaneMask lanes, int64_t keep, bool readOnly);
  // The CTA ends: reports what nobody waited for, and writes what is still to be written.
  void finish(Cta& cta);

 private:
  void land(Cta& cta, const BulkCopy& copy);
  void readShared(Cta& cta, BulkCopy& copy);
  void writeGlobal(Cta& cta, BulkCopy& copy);

  std::vector<BulkCopy> pending_;
  uint64_t round_ = 0;
};

}  // namespace fovea::simulator
