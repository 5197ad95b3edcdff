// Chooses how to compute a Problem. Pure functions of the Problem and the target. Whatever decides a bit of a
// sequence's result (the kernel, where its keys are cut) is planned by that sequence alone: it gives the same bits
// alone or in any batch, on any number of threads. How many of its rows and heads a task has decides none.
#pragma once
#include <functional>
#include <map>
#include <utility>

#include "plan.h"

namespace fovea {

struct CpuTarget {
  int lanes;                     // float32 per vector
  int threads;                   // that share the tasks
  bool multipliesPairs = false;  // of bfloat16, in one instruction
};

Plan planCpu(const Problem& problem, const CpuTarget& target);

/// Where in a plan the segments of an id are whose sequences have few rows, or many: kernels differ.
using KnownSegments = std::map<std::pair<int32_t, bool>, size_t>;

/// Adds the sequence's segments to the plan: to those of sequences before it where it shares them, and `mayJoin` the
/// first of these. Returns where the rest of its keys begins. `few`: by the sequence's own rows, since who else shares
/// a segment must not change its kernel.
int64_t addSegments(const Problem& problem, int64_t index, bool few, KnownSegments& known, Plan& plan,
                    const std::function<bool(const Sequence& first)>& mayJoin);

/// Bytes of `keys` keys and their values, of all kv heads.
double keyBytes(const Problem& problem, int64_t keys);

/// Allowed (query, key) pairs of one head by length, causality and window (mask and bias are not looked at).
double visiblePairs(const Problem& problem, const Sequence& sequence);

}  // namespace fovea
