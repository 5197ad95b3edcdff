// How the warpgroups of a block wait for one another: rings of places in shared memory that one thread fills and others
// empty, and the turn to begin products.
#pragma once
#include "tile_sm90.cuh"

namespace fovea::cuda {

/// Two barriers for each place of a ring: filled, and emptied.
template <int stages>
struct Ring {
  uint64_t filled[stages], emptied[stages];

  /// By one thread, before any other uses it. `releases`: how often each place is released.
  FOVEA_DEVICE void init(int releases) {
#pragma unroll
    for (int i = 0; i < stages; i++) {
      ptx::initBarrier(ptx::sharedAddress(&filled[i]), 1);
      ptx::initBarrier(ptx::sharedAddress(&emptied[i]), releases);
    }
  }
};

/// A place in a ring by how many were filled before it, which all that use the ring count alike.
template <int stages>
struct RingPlace {
  static_assert((stages & (stages - 1)) == 0);
  uint32_t count;

  FOVEA_DEVICE uint32_t stage() const { return count % stages; }
  FOVEA_DEVICE uint32_t parity() const { return count / stages % 2; }  // of the round
  FOVEA_DEVICE uint32_t filled(const Ring<stages>& ring) const { return ptx::sharedAddress(&ring.filled[stage()]); }

  /// The thread that fills: waits until all have released what was there a round ago.
  FOVEA_DEVICE void waitEmptied(const Ring<stages>& ring) const {
    ptx::waitPhase(ptx::sharedAddress(&ring.emptied[stage()]), parity() ^ 1);
  }
  /// Those that read.
  FOVEA_DEVICE void waitFilled(const Ring<stages>& ring) const { ptx::waitPhase(filled(ring), parity()); }
  FOVEA_DEVICE void release(const Ring<stages>& ring) const { ptx::arrive(ptx::sharedAddress(&ring.emptied[stage()])); }
};

/// Warpgroups take turns in beginning products, so that one makes probabilities while the other's products keep the
/// tensor cores at work. Each warpgroup takes as many turns as the others.
template <int consumers>
struct Turns {
  static constexpr int threads = 2 * warpgroupThreads, firstBarrier = 1;

  /// Once: gives the first turn, as if the last warpgroup had had one.
  FOVEA_DEVICE static void begin(int consumer) {
    if (consumer == consumers - 1) ptx::arriveNamed(firstBarrier, threads);
  }
  FOVEA_DEVICE static void take(int consumer) { ptx::syncNamed(firstBarrier + consumer, threads); }
  FOVEA_DEVICE static void pass(int consumer) {
    ptx::arriveNamed(firstBarrier + (consumer == consumers - 1 ? 0 : consumer + 1), threads);
  }
  /// Once: takes the turn that the last one passed on.
  FOVEA_DEVICE static void end(int consumer) {
    if (consumer == 0) ptx::syncNamed(firstBarrier, threads);
  }
};

/// Waits for the other threads of a consumer's warpgroup.
template <int consumers>
FOVEA_DEVICE void syncWarpgroup(int consumer) {
  ptx::syncNamed(Turns<consumers>::firstBarrier + consumers + consumer, warpgroupThreads);
}

}  // namespace fovea::cuda
