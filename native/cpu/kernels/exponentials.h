// Exponentials between the multiply-adds of a product. By themselves those of a tile took 7 % of the time at 64
// dims: each is a chain of dependent instructions, and a processor does not look far enough ahead to begin with the
// next product meanwhile.
#pragma once
#include "microkernel.h"

namespace fovea::cpu::FOVEA_ISA {
namespace {  // one user, panel.h

/// Whether there are registers for both: without AVX2's three operands it took a fifth more time.
constexpr bool betweenProducts = lanes >= 8;

/// A tile's scores, less their references, that lie where its probabilities will. `done` of its `parts` are
/// exponentiated and added to the rows' sums: a part is four keys of a vector, so sums go by four keys.
template <int NV, int First>
struct Exponentials {
  float* sums;
  float* tile = nullptr;  // [key][NV vectors]
  int parts = 0, done = 0;
};

/// The next part. `meanwhile(0)` to `meanwhile(3)` stand between its exponentials.
template <int NV, int First, class Meanwhile>
FOVEA_INLINE void exponentiatePart(Exponentials<NV, First>& exponentials, const Meanwhile& meanwhile) {
  const int part = exponentials.done++, v = First + part % (NV - First);
  float* at = exponentials.tile + (part / (NV - First) * tileRows * NV + v) * lanes;
  Vec sum = zero();
#pragma GCC unroll 4
  for (int i = 0; i < tileRows; i++) {
    meanwhile(i);
    const Vec p = exp2(load(at + i * NV * lanes));
    store(at + i * NV * lanes, p);
    sum += p;
  }
  float* total = exponentials.sums + v * lanes;
  store(total, load(total) + sum);
}

template <int NV, int First>
FOVEA_INLINE void finishExponentials(Exponentials<NV, First>& exponentials) {
  while (exponentials.done < exponentials.parts)
    exponentiatePart(exponentials, [](int) __attribute__((always_inline)){});
  exponentials.parts = exponentials.done = 0;
}

}  // namespace
}  // namespace fovea::cpu::FOVEA_ISA
