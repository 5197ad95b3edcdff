// Exponentials between the multiply-adds of a product. By themselves those of a tile took 7 % of the time at 64
// dims: each is a chain of dependent instructions, and a processor does not look far enough ahead to begin with the
// next product meanwhile.
#pragma once
#include "microkernel.h"

namespace fovea::cpu::FOVEA_ISA {
namespace {  // one user, panel.h

/// Whether there are registers for both: without AVX2's three operands it took a fifth more time, and NEON's are full.
constexpr bool betweenProducts = lanes >= 8;

/// A tile's scores, less their references. `done` of its `parts` are exponentiated and added to the rows' sums: a part
/// is four keys of a vector, so sums go by four keys.
template <int NV, int First, Words words>
struct Exponentials {
  float* sums;
  float *scores = nullptr, *probabilities = nullptr;  // [key][NV vectors], and by words; of floats the same place
  int parts = 0, done = 0;
};

/// The next part. `meanwhile(0)` to `meanwhile(3)` stand between its exponentials.
template <int NV, int First, Words words, class Meanwhile>
FOVEA_INLINE void exponentiatePart(Exponentials<NV, First, words>& exponentials, const Meanwhile& meanwhile) {
  const int part = exponentials.done++, v = First + part % (NV - First), tile = part / (NV - First);
  const float* from = exponentials.scores + (tile * tileRows * NV + v) * lanes;
  float* to = exponentials.probabilities + (tile * tileRows / perWord(words) * NV + v) * lanes;
  Vec sum = zero(), before = zero();
#pragma GCC unroll 4
  for (int i = 0; i < tileRows; i++) {
    meanwhile(i);
    const Vec p = exp2(load(from + i * NV * lanes));
    sum += p;
    if (words == Words::floats)
      store(to + i * NV * lanes, p);
    else if (i % 2 == 1)
      store(to + i / 2 * NV * lanes, makePairs(before, p));
    before = p;
  }
  float* total = exponentials.sums + v * lanes;
  store(total, load(total) + sum);
}

template <int NV, int First, Words words>
FOVEA_INLINE void finishExponentials(Exponentials<NV, First, words>& exponentials) {
  while (exponentials.done < exponentials.parts)
    exponentiatePart(exponentials, [](int) __attribute__((always_inline)){});
  exponentials.parts = exponentials.done = 0;
}

}  // namespace
}  // namespace fovea::cpu::FOVEA_ISA
