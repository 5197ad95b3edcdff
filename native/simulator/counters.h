// What a launch did, counted exactly: the same for every seed, schedule and number of threads.
#pragma once

#include <cstdint>
#include <string>

namespace fovea::simulator {

struct Counters {
  uint64_t warpInstructions = 0;
  uint64_t threadInstructions = 0;
  uint64_t divergentInstructions = 0;  // warp instructions executed by part of the warp's live lanes
  uint64_t tensorFlops = 0;            // 2·m·n·k per matrix instruction
  uint64_t exponentials = 0;           // ex2, per thread
  uint64_t globalBytes = 0;            // loaded, stored and copied, per thread
  uint64_t globalSectors = 0;          // 32-byte sectors touched, per warp instruction
  uint64_t asyncCopyBytes = 0;         // of globalBytes: cp.async
  uint64_t bulkBytes = 0;              // of shared memory: whole boxes of bulk copies, whatever part is in the tensor
  uint64_t sharedWavefronts = 0;       // passes through the shared-memory banks
  uint64_t sharedWavefrontsIdeal = 0;  // the same accesses without bank conflicts
  uint64_t barriers = 0;               // bar.sync, bar.arrive and bar.red, per warp
  uint64_t mbarrierWaits = 0;          // successful ones, per warp

  template <class Self, class Visit>
  static void each(Self& self, Visit visit) {
    visit("warpInstructions", self.warpInstructions);
    visit("threadInstructions", self.threadInstructions);
    visit("divergentInstructions", self.divergentInstructions);
    visit("tensorFlops", self.tensorFlops);
    visit("exponentials", self.exponentials);
    visit("globalBytes", self.globalBytes);
    visit("globalSectors", self.globalSectors);
    visit("asyncCopyBytes", self.asyncCopyBytes);
    visit("bulkBytes", self.bulkBytes);
    visit("sharedWavefronts", self.sharedWavefronts);
    visit("sharedWavefrontsIdeal", self.sharedWavefrontsIdeal);
    visit("barriers", self.barriers);
    visit("mbarrierWaits", self.mbarrierWaits);
  }
  void add(const Counters& other);
  // {"warpInstructions":12,…}
  std::string json() const;
};

}  // namespace fovea::simulator
