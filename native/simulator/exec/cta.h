// One cooperative thread array: warps, shared memory, barriers, and a seeded scheduler that runs them.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "async/bulk_copies.h"
#include "async/mbarriers.h"
#include "async/warpgroup_products.h"
#include "check/shared_memory.h"
#include "exec/launch.h"
#include "exec/warp.h"

namespace fovea::simulator {

// A named barrier (0 … 15).
struct Barrier {
  uint32_t arrived = 0;      // threads
  uint32_t expected = 0;     // threads; 0: every thread of the CTA that has not exited
  std::vector<int> waiting;  // warps
  Knowledge known;
  LocalTime proxied;
  Knowledge fencedCta, fencedDevice;
  bool hasFencedCta = false, hasFencedDevice = false;
  // bar.red: the reduction so far, and who wants the result.
  uint32_t population = 0;
  bool all = true, any = false;
  bool poisoned = false;
  std::vector<std::pair<int, const Instruction*>> reductions;
};

class Cta {
 public:
  Cta(Launch& launch, uint32_t number);

  // Runs every warp that can run for a while. False when the CTA has finished.
  // A CTA that cannot go on by itself sets stalled().
  bool advance();
  bool stalled() const { return stalled_; }
  // No warp can ever run again: adds the deadlock report.
  void reportDeadlock();
  // Adds the report of what ended the CTA early.
  void fail(const FatalReport& fatal);

  // For instructions. ---------------------------------------------------------------------------------------

  Launch& launch;
  const Kernel& kernel;
  const uint32_t number;
  const Dim3 index;
  const uint32_t threads;
  Counters counters;
  SharedMemory shared;
  std::deque<Warp> warps;
  std::map<uint32_t, SyncVariable> syncVariables;         // of shared memory
  std::map<uint32_t, Mbarrier> mbarriers;                 // by address
  std::set<std::tuple<int, int, uint64_t>> acquiredMaps;  // warp, lane, address: by a proxy fence
  uint32_t mbarrierCount = 0;                             // inits so far
  std::array<uint32_t, kAgents - kFirstAsyncAgent> agentTimes{};
  BulkCopies bulk;
  OperandCache operands;                                           // of wgmma
  std::map<int, WarpgroupOrder> warpgroups;                        // that issue wgmma
  uint32_t freeRegisters = 0;                                      // that setmaxnreg.dec gave back
  std::map<int, std::vector<const Instruction*>> registerChanges;  // setmaxnreg, by warpgroup
  std::array<Allocation*, 4> recentAllocations{};                  // that were accessed last: a cache

  std::array<uint32_t, 3> threadIndex(int warp, int lane) const;
  uint64_t random();
  // Whether an asynchronous operation takes effect as late as it may.
  bool completesLate();
  // Nothing goes on: waits with a time limit come back unsuccessful. How often each has, and those that did by chance.
  bool waitsExpire = false;
  std::map<std::tuple<int, uint32_t, uint64_t, uint64_t>, int> expiredWaits;
  int spuriousFailures = 0;

  // Adds a report for the current instruction; lane -1 means the warp.
  void report(const Warp& warp, int lane, const std::string& kind, const std::string& message);
  void report(const Warp& warp, int lane, const Violation& violation) {
    report(warp, lane, violation.kind, violation.message);
  }
  std::vector<Report>& reports() { return reports_; }
  // Reports when a lane's operand is poison; says whether one is.
  bool checkDefined(const Warp& warp, const Operand& operand, LaneMask lanes, const char* what);

  // While it exists, reports name this instruction: for what happens after its issue.
  class Executing {
   public:
    Executing(Cta& cta, const Instruction* instruction) : cta_(cta), before_(cta.current_) {
      cta.current_ = instruction;
    }
    ~Executing() { cta_.current_ = before_; }
    Executing(const Executing&) = delete;
    Executing& operator=(const Executing&) = delete;

   private:
    Cta& cta_;
    const Instruction* before_;
  };

  // Barriers (exec/barriers.cpp).
  Outcome arrive(Warp& warp, uint32_t id, uint32_t expected, bool waits, const Instruction* reduction,
                 LaneMask predicate);
  void completeBarriers();

  const std::array<Barrier, 16>& barriers() const { return barriers_; }

 private:
  // Every warp that can go on does for a while; says whether one did.
  bool runWarps();
  bool step(Warp& warp, int quantum);
  // Executes the current instruction; false when the warp cannot go on now.
  bool execute(Warp& warp);
  bool waitForConvergence(Warp& warp, const Instruction& instruction);
  void release(Barrier& barrier);
  void finish();
  Report makeReport(int warp, int lane, const Instruction* instruction, const std::string& kind,
                    const std::string& message);
  std::string describeWaits() const;

  std::array<Barrier, 16> barriers_;
  std::vector<Report> reports_;
  const Instruction* current_ = nullptr;
  uint64_t randomState_ = 0;
  uint64_t executed_ = 0;
  bool stalled_ = false;
  bool finished_ = false;
};

}  // namespace fovea::simulator
