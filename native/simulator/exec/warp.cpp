// Divergence: fragments of a warp, and how they come together again.
//
// The fragment with the lowest program counter runs first, so lanes that left a loop or a branch early wait for the
// rest at the common instruction behind it; fragments that meet at one pc become one. And what lanes know that were not
// synchronised with the others.
#include "exec/warp.h"

#include <algorithm>
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

// ---------------------------------------------------------------------------------------------- knowledge

// Keeps of a time what the other knows too, of whole warps.
static void meet(LocalTime& time, const LocalTime& other) {
  for (size_t i = 0; i < time.at.size(); i++) time.at[i] = std::min(time.at[i], other.at[i]);
  time.lanes.clear();
}

void Warp::synchronizeLanes() {
  for (const LaneKnowledge& some : ahead) {
    known.join(some.known);
    proxied.join(some.proxied);
  }
  ahead.clear();
  tick();
  lastSync = now();
}

const Knowledge& Warp::knownAhead(int lane) const {
  if (lane < kLanes)
    for (const LaneKnowledge& some : ahead)
      if (some.lanes >> lane & 1) return some.known;
  return known;
}

const LocalTime& Warp::proxiedTo(int lane) const {
  if (lane < kLanes)
    for (const LaneKnowledge& some : ahead)
      if (some.lanes >> lane & 1) return some.proxied;
  return proxied;
}

Knowledge Warp::knownTogether() const {
  Knowledge all = known;
  for (const LaneKnowledge& some : ahead) all.join(some.known);
  return all;
}

void Warp::releaseTo(LaneMask lanes, Knowledge& toKnown, LocalTime& toProxied) const {
  toProxied.join(proxied);
  for (const LaneKnowledge& some : ahead)
    if (some.lanes & lanes) toProxied.join(some.proxied);
  if (lanes == live) {
    toKnown.join(known);
    for (const LaneKnowledge& some : ahead) toKnown.join(some.known);
    return;
  }
  Knowledge part = known;
  for (const LaneKnowledge& some : ahead)
    if (some.lanes & lanes) part.join(some.known);
  part.local.at[id] = lastSync - 1;
  forLanes(lanes, [&](int lane) { part.local.lanes.push_back({id, lane, now()}); });
  toKnown.join(part);
}

void Warp::learn(LaneMask lanes, const Knowledge& more, const LocalTime& moreProxied) {
  LaneMask rest = lanes;
  const bool all = lanes == live;
  for (size_t i = 0, count = ahead.size(); i < count; i++) {
    const LaneMask common = ahead[i].lanes & lanes;
    if (!common) continue;
    rest &= ~common;
    size_t taker = i;
    if (common != ahead[i].lanes && !all) {
      ahead[i].lanes &= ~common;
      taker = ahead.size();
      ahead.push_back(ahead[i]);
      ahead[taker].lanes = common;
    }
    ahead[taker].known.join(more);
    ahead[taker].proxied.join(moreProxied);
  }
  if (all) {
    known.join(more);
    proxied.join(moreProxied);
    return;
  }
  if (rest) {
    ahead.push_back({rest, known, proxied});
    ahead.back().known.join(more);
    ahead.back().proxied.join(moreProxied);
  }
  // What every lane has learnt by now, if each by itself, all know.
  LaneMask learned = 0;
  for (const LaneKnowledge& some : ahead) learned |= some.lanes;
  if ((learned & live) != live) return;
  LocalTime every = ahead[0].known.local, everyProxied = ahead[0].proxied;
  for (const LaneKnowledge& some : ahead) {
    meet(every, some.known.local);
    meet(everyProxied, some.proxied);
  }
  known.local.join(every);
  proxied.join(everyProxied);
}

}  // namespace fovea::simulator
