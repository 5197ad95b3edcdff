// Divergence: fragments of a warp, and how they come together again.
//
// The fragment with the lowest program counter runs first, so lanes that left a loop or a branch early wait for the
// rest at the common instruction behind it; fragments that meet at one pc become one.
#include "exec/warp.h"

#include <utility>

namespace fovea::simulator {

void Warp::mergeHere() {
  for (size_t i = 0; i < others.size();) {
    if (others[i].pc == pc) {
      mask |= others[i].mask;
      others[i] = others.back();
      others.pop_back();
    } else {
      i++;
    }
  }
}

int Warp::lowestRunnable() const {
  int best = -1;
  for (size_t i = 0; i < others.size(); i++) {
    if (others[i].wait != Fragment::Wait::kNothing) continue;
    if (best < 0 || others[i].pc < others[static_cast<size_t>(best)].pc) best = static_cast<int>(i);
  }
  return best;
}

void Warp::reconverge() {
  mergeHere();
  const int best = lowestRunnable();
  if (best < 0 || others[static_cast<size_t>(best)].pc >= pc) return;
  Fragment& next = others[static_cast<size_t>(best)];
  std::swap(pc, next.pc);
  std::swap(mask, next.mask);
  mergeHere();
}

bool Warp::park(Fragment::Wait why) {
  const int best = lowestRunnable();
  if (best < 0) return false;
  Fragment& next = others[static_cast<size_t>(best)];
  std::swap(pc, next.pc);
  std::swap(mask, next.mask);
  next.wait = why;
  mergeHere();
  return true;
}

void Warp::branch(LaneMask taken, int32_t target) {
  if (taken == mask) {
    pc = target;
  } else {
    if (taken) others.push_back({target, taken, Fragment::Wait::kNothing});
    mask &= ~taken;
    pc++;
  }
}

void Warp::exitLanes(LaneMask lanes) {
  live &= ~lanes;
  mask &= ~lanes;
  if (mask || others.empty()) return;
  size_t best = 0;
  for (size_t i = 1; i < others.size(); i++)
    if (others[i].pc < others[best].pc) best = i;
  pc = others[best].pc;
  mask = others[best].mask;
  others.erase(others.begin() + static_cast<std::ptrdiff_t>(best));
  // Whoever waited for the lanes that are gone looks again.
  for (Fragment& fragment : others) fragment.wait = Fragment::Wait::kNothing;
}

}  // namespace fovea::simulator
