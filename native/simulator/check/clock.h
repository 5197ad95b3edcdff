// Vector clocks: what a warp knows to have happened before its next instruction.
//
// Every warp counts its own time. A barrier, or a release that another warp acquires, hands one warp's knowledge to the
// other; an access at time t of warp w is ordered before what a warp does next exactly when that warp knows w up to t.
// Lanes have no clocks of their own: one that releases by itself is known further than its warp, for which it vouches
// only up to where the lanes were last synchronised.
// Knowledge of other CTAs comes only through global atomics and is rare, so it is a shared, sparse map.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace fovea::simulator {

// Agents of one CTA: its warps (32 at most), and room for asynchronous agents.
constexpr int kAgents = 64;

// In place of a lane: all lanes of a warp, each for itself; or whichever, for what they do together.
constexpr int kEveryLane = 32, kAnyLane = 33;

struct LocalTime {
  std::array<uint32_t, kAgents> at{};
  struct Lane {
    int agent = 0, lane = 0;
    uint32_t time = 0;
  };
  std::vector<Lane> lanes;  // that are known further than their warps: few

  void join(const LocalTime& other) {
    for (int i = 0; i < kAgents; i++) at[i] = at[i] > other.at[i] ? at[i] : other.at[i];
    if (!lanes.empty() || !other.lanes.empty()) joinLanes(other);
  }
  bool knows(int agent, int lane, uint32_t time) const {
    return time <= at[static_cast<size_t>(agent)] || (!lanes.empty() && knowsLane(agent, lane, time));
  }

 private:
  void joinLanes(const LocalTime& other);
  bool knowsLane(int agent, int lane, uint32_t time) const;
};

// CTA number → what is known of it. Values are shared and never changed in place.
class CtaTimes {
 public:
  bool empty() const { return !times_ || times_->empty(); }
  void join(uint32_t cta, const LocalTime& time);
  void join(const CtaTimes& other);
  const LocalTime* find(uint32_t cta) const;
  template <class Visit>
  void each(Visit visit) const {
    if (times_)
      for (const auto& [cta, time] : *times_) visit(cta, *time);
  }

 private:
  using Map = std::map<uint32_t, std::shared_ptr<const LocalTime>>;
  std::shared_ptr<const Map> times_;
};

// What one warp knows: its own CTA, and others.
struct Knowledge {
  LocalTime local;
  CtaTimes others;
  void join(const Knowledge& other) {
    local.join(other.local);
    if (!other.others.empty()) others.join(other.others);
  }
  // Takes in what was published, from the point of view of CTA `self`.
  void acquire(const CtaTimes& published, uint32_t self);
  // Everything known, as other CTAs take it in.
  CtaTimes publish(uint32_t self) const;
};

enum class Scope : uint8_t { kCta, kDevice };

// A memory location used for synchronisation (by atomics, volatile, release or acquire).
struct SyncVariable {
  CtaTimes device;  // published at device scope
  CtaTimes cta;     // published at CTA scope: counts only for the same CTA
};

// The fence state of one warp.
struct FenceState {
  Knowledge fencedCta, fencedDevice;  // what the last fence of each scope covers
  bool hasCta = false, hasDevice = false;
  CtaTimes pendingDevice, pendingCta;  // observed by relaxed reads; a fence makes it known
};

}  // namespace fovea::simulator
