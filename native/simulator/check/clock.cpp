// Knowledge of other CTAs.
#include "check/clock.h"

#include <algorithm>

namespace fovea::simulator {

void LocalTime::joinLanes(const LocalTime& other) {
  for (const Lane& theirs : other.lanes) {
    const auto mine = std::find_if(lanes.begin(), lanes.end(), [&](const Lane& lane) {
      return lane.agent == theirs.agent && lane.lane == theirs.lane;
    });
    if (mine == lanes.end()) {
      lanes.push_back(theirs);
    } else {
      mine->time = std::max(mine->time, theirs.time);
    }
  }
  std::erase_if(lanes, [&](const Lane& lane) { return lane.time <= at[static_cast<size_t>(lane.agent)]; });
}

bool LocalTime::knowsLane(int agent, int lane, uint32_t time) const {
  const auto count = std::count_if(lanes.begin(), lanes.end(), [&](const Lane& known) {
    return known.agent == agent && known.time >= time && (known.lane == lane || lane >= kEveryLane);
  });
  return count >= (lane == kEveryLane ? kEveryLane : 1);
}

void CtaTimes::join(uint32_t cta, const LocalTime& time) {
  auto next = times_ ? std::make_shared<Map>(*times_) : std::make_shared<Map>();
  auto& entry = (*next)[cta];
  auto joined = std::make_shared<LocalTime>(time);
  if (entry) joined->join(*entry);
  entry = std::move(joined);
  times_ = std::move(next);
}

void CtaTimes::join(const CtaTimes& other) {
  if (times_ == other.times_ || !other.times_) return;
  if (!times_) {
    times_ = other.times_;
    return;
  }
  auto next = std::make_shared<Map>(*times_);
  for (const auto& [cta, time] : *other.times_) {
    auto& entry = (*next)[cta];
    if (entry == time) continue;
    auto joined = std::make_shared<LocalTime>(*time);
    if (entry) joined->join(*entry);
    entry = std::move(joined);
  }
  times_ = std::move(next);
}

const LocalTime* CtaTimes::find(uint32_t cta) const {
  if (!times_) return nullptr;
  const auto found = times_->find(cta);
  return found == times_->end() ? nullptr : found->second.get();
}

void Knowledge::acquire(const CtaTimes& published, uint32_t self) {
  if (published.empty()) return;
  if (const LocalTime* own = published.find(self)) local.join(*own);
  others.join(published);
}

CtaTimes Knowledge::publish(uint32_t self) const {
  CtaTimes all = others;
  all.join(self, local);
  return all;
}

}  // namespace fovea::simulator
