// The state of one warp: registers as rows of 32 lanes, poison, fragments of a diverged warp, clocks, pending copies.
#pragma once

#include <array>
#include <bit>
#include <cstring>
#include <memory>
#include <vector>

#include "async/warpgroup_products.h"
#include "check/clock.h"
#include "ptx/program.h"

namespace fovea::simulator {

// A cp.async that was issued and not yet waited for.
struct PendingCopy {
  uint32_t destination = 0;
  uint8_t size = 0;
  uint8_t lane = 0;
  bool defined = true;
  bool late = false;   // data is read when the copy is waited for; otherwise `data` was read at once
  uint8_t valid = 0;   // bytes that come from `source`; the rest is zero
  uint32_t group = 0;  // of its lane
  uint64_t source = 0;
  std::array<uint8_t, 16> data{};
};

// Some lanes of a diverged warp, at one program counter.
struct Fragment {
  enum class Wait : uint8_t {
    kNothing,
    kConvergence,  // for the other lanes, at an instruction that needs them
    kRetry,        // for something that another fragment or warp must do
  };
  int32_t pc = 0;
  LaneMask mask = 0;
  Wait wait = Wait::kNothing;
};

// What some lanes of a warp know beyond what all know: one waited by itself for an mbarrier, or fenced.
struct LaneKnowledge {
  LaneMask lanes = 0;
  Knowledge known;
  LocalTime proxied;
};

struct Warp {
  int id = 0;
  LaneMask live = 0;    // lanes that have not exited
  LaneMask mask = 0;    // lanes of the current fragment
  LaneMask active = 0;  // lanes that execute the current instruction
  int32_t pc = 0;
  std::vector<Fragment> others;
  int barrier = -1;  // the barrier that it waits for

  std::vector<Row> rows;
  std::vector<LaneMask> poison;  // per row; a 64-bit register uses its first row's
  std::vector<LaneMask> predicates;
  std::vector<LaneMask> predicatePoison;
  const Row* constants = nullptr;
  LaneMask carry = 0;  // CC.CF
  LaneMask carryPoison = 0;

  std::vector<uint8_t> local;         // [lane][bytes]
  std::vector<uint8_t> localDefined;  // [lane][bytes]

  std::array<uint32_t, kLanes> committedGroups{};
  std::vector<PendingCopy> copies;
  std::array<uint32_t, kLanes> committedBulkGroups{};
  std::unique_ptr<WarpgroupProducts> products;  // of wgmma; null in kernels without it
  uint32_t registers = 0;                       // per thread: setmaxnreg
  size_t registerChanges = 0;                   // how many setmaxnreg it executed

  Knowledge known;                   // to all lanes
  LocalTime proxied;                 // the part of it that proxy fences made known to asynchronous operations
  std::vector<LaneKnowledge> ahead;  // of lanes that know more, each in one of these at most
  FenceState fences;
  uint32_t lastSync = 1;  // own time when the lanes were last synchronised with one another

  bool isDone() const { return live == 0; }
  uint32_t now() const { return known.local.at[id]; }
  void tick() {
    known.local.at[id]++;
    for (LaneKnowledge& some : ahead) some.known.local.at[id]++;
  }
  void synchronizeLanes();
  // What a lane, or kEveryLane, knows.
  const Knowledge& knownTo(int lane) const { return ahead.empty() ? known : knownAhead(lane); }
  const LocalTime& proxiedTo(int lane) const;
  // What these lanes hand on when they release.
  void releaseTo(LaneMask lanes, Knowledge& toKnown, LocalTime& toProxied) const;
  // All that one lane or another knows.
  Knowledge knownTogether() const;
  void learn(LaneMask lanes, const Knowledge& more, const LocalTime& moreProxied);

  // T has 4 or 8 bytes; the operand's register has the same size.
  template <class T>
  const T* read(const Operand& operand) const {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8);
    return reinterpret_cast<const T*>((operand.isConstant ? constants : rows.data()) + operand.row);
  }
  template <class T>
  T* write(const Operand& operand) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8);
    return reinterpret_cast<T*>(rows.data() + operand.row);
  }
  // One lane's bits, whatever the register's size.
  uint64_t bits(const Operand& operand, int lane) const {
    return operand.registerClass == RegisterClass::kDouble ? read<uint64_t>(operand)[lane]
                                                           : read<uint32_t>(operand)[lane];
  }
  void setBits(const Operand& operand, int lane, uint64_t value) {
    if (operand.registerClass == RegisterClass::kDouble) {
      write<uint64_t>(operand)[lane] = value;
    } else {
      write<uint32_t>(operand)[lane] = static_cast<uint32_t>(value);
    }
  }

  LaneMask predicate(const Operand& operand) const {
    const LaneMask value = operand.isConstant ? (operand.row ? kAllLanes : 0) : predicates[operand.row];
    return operand.negated ? ~value : value;
  }
  void setPredicate(const Operand& operand, LaneMask lanes, LaneMask value) {
    LaneMask& row = predicates[operand.row];
    row = (row & ~lanes) | (value & lanes);
  }

  LaneMask poisonOf(const Operand& operand) const {
    if (operand.isConstant) return 0;
    return operand.registerClass == RegisterClass::kPredicate ? predicatePoison[operand.row] : poison[operand.row];
  }
  void setPoison(const Operand& operand, LaneMask lanes, LaneMask value) {
    LaneMask& row =
        operand.registerClass == RegisterClass::kPredicate ? predicatePoison[operand.row] : poison[operand.row];
    row = (row & ~lanes) | (value & lanes);
  }

  // Divergence (warp.cpp). Merges fragments at the current pc and moves to the lowest runnable one.
  void reconverge();
  // The current fragment must wait; another takes its place. False when no other can run.
  bool park(Fragment::Wait why);
  // Splits the current fragment: `taken` lanes go to `target`, the others to the next instruction.
  void branch(LaneMask taken, int32_t target);
  void exitLanes(LaneMask lanes);

 private:
  const Knowledge& knownAhead(int lane) const;
  void mergeHere();
  int lowestRunnable() const;
};

// Calls f(lane) for the lanes of the mask; the full mask is a plain loop that the compiler vectorises.
template <class F>
inline __attribute__((always_inline)) void forLanes(LaneMask mask, F f) {
  if (mask == kAllLanes) {
#pragma GCC ivdep
    for (int lane = 0; lane < kLanes; lane++) f(lane);
  } else {
    for (; mask; mask &= mask - 1) f(std::countr_zero(mask));
  }
}

}  // namespace fovea::simulator
