// Chooses how to compute a Problem. Pure functions of the Problem and the target; every sequence is planned by itself,
// so that the same sequence gives the same bits alone or in any batch, on any number of threads.
#pragma once
#include "plan.h"

namespace fovea {

struct CpuTarget {
  int lanes;  // float32 per vector
};

Plan planCpu(const Problem& problem, const CpuTarget& target);

/// Allowed (query, key) pairs of one head by length, causality and window (mask and bias are not looked at).
double visiblePairs(const Problem& problem, const Sequence& sequence);

}  // namespace fovea
