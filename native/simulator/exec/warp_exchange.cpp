// Exchange between the lanes of a warp: shfl, vote, match, redux, activemask, elect.
#include <algorithm>

#include "exec/lanes.h"
#include "exec/registry.h"

namespace fovea::simulator {
namespace {

LaneMask memberMask(const Warp& warp, const Operand& members, LaneMask mask) {
  return warp.read<uint32_t>(members)[std::countr_zero(mask)];
}

// ---------------------------------------------------------------------------------------------- shfl

enum class Shuffle : uint8_t { kUp, kDown, kButterfly, kIndex };

// Operands: d, p, a, b, c, membermask. c: clamp in bits 0-4, segment mask in bits 8-12.
Outcome shuffle(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const Operand &result = instruction.operand[0], &valid = instruction.operand[1], &source = instruction.operand[2];
  if (!membersPresent(cta, warp, instruction.operand[5], mask)) return Outcome::kRetry;
  std::array<uint32_t, kLanes> a{};
  std::copy_n(warp.read<uint32_t>(source), kLanes, a.begin());
  const auto* b = warp.read<uint32_t>(instruction.operand[3]);
  const auto* c = warp.read<uint32_t>(instruction.operand[4]);
  const LaneMask badSource = warp.poisonOf(source);
  const LaneMask badControl = warp.poisonOf(instruction.operand[3]) | warp.poisonOf(instruction.operand[4]);
  auto* d = warp.write<uint32_t>(result);
  LaneMask inRange = 0, bad = badControl;
  for (LaneMask rest = mask; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    const int offset = static_cast<int>(b[lane] & 31), clamp = static_cast<int>(c[lane] & 31);
    const int segment = static_cast<int>(c[lane] >> 8 & 31);
    const int maxLane = (lane & segment) | (clamp & ~segment), minLane = lane & segment;
    int from = lane;
    bool good = false;
    switch (static_cast<Shuffle>(instruction.mode)) {
      case Shuffle::kUp:
        from = lane - offset;
        good = from >= maxLane;
        break;
      case Shuffle::kDown:
        from = lane + offset;
        good = from <= maxLane;
        break;
      case Shuffle::kButterfly:
        from = lane ^ offset;
        good = from <= maxLane;
        break;
      case Shuffle::kIndex:
        from = minLane | (offset & ~segment);
        good = from <= maxLane;
        break;
    }
    if (!good) from = lane;
    inRange |= static_cast<LaneMask>(good) << lane;
    // The value of a lane that does not take part is undefined.
    bad |= ((badSource >> from & 1) | static_cast<LaneMask>(!(mask >> from & 1))) << lane;
    d[lane] = a[static_cast<size_t>(from)];
  }
  warp.setPoison(result, mask, bad);
  warp.setPoison(valid, mask, badControl);
  warp.setPredicate(valid, mask, inRange);
  return Outcome::kNext;
}

void decodeShuffle(Decoder& d) {
  Instruction& instruction = d.instruction();
  if (!d.has("sync")) d.fail("the form without .sync is not supported");
  instruction.mode = static_cast<uint8_t>(d.has("up")     ? Shuffle::kUp
                                          : d.has("down") ? Shuffle::kDown
                                          : d.has("bfly") ? Shuffle::kButterfly
                                                          : Shuffle::kIndex);
  instruction.propagatesPoison = false;
  instruction.hasEffect = true;
  d.define(0, Type::kB32);
  d.define(d.argument(0).second.empty() ? "_" : d.argument(0).second, Type::kPredicate);
  for (size_t i = 1; i < 5; i++) d.use(i, Type::kB32);
  instruction.execute = shuffle;
}

// ---------------------------------------------------------------------------------------------- vote

enum class Vote : uint8_t { kAll, kAny, kUniform, kBallot };

Outcome vote(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const Operand &result = instruction.operand[0], &source = instruction.operand[1], &members = instruction.operand[2];
  if (!membersPresent(cta, warp, members, mask)) return Outcome::kRetry;
  const LaneMask named = memberMask(warp, members, mask) & mask;
  const LaneMask votes = warp.predicate(source) & named;
  warp.setPoison(result, mask, warp.poisonOf(source) & named ? kAllLanes : 0);
  bool value = false;
  switch (static_cast<Vote>(instruction.mode)) {
    case Vote::kAll:
      value = votes == named;
      break;
    case Vote::kAny:
      value = votes != 0;
      break;
    case Vote::kUniform:
      value = votes == 0 || votes == named;
      break;
    case Vote::kBallot: {
      auto* d = warp.write<uint32_t>(result);
      forLanes(mask, [&](int lane) { d[lane] = votes; });
      return Outcome::kNext;
    }
  }
  warp.setPredicate(result, mask, value ? kAllLanes : 0);
  return Outcome::kNext;
}

void decodeVote(Decoder& d) {
  Instruction& instruction = d.instruction();
  if (!d.has("sync")) d.fail("the form without .sync is not supported");
  instruction.mode = static_cast<uint8_t>(d.has("all")   ? Vote::kAll
                                          : d.has("any") ? Vote::kAny
                                          : d.has("uni") ? Vote::kUniform
                                                         : Vote::kBallot);
  instruction.propagatesPoison = false;
  instruction.hasEffect = true;
  d.define(0, d.has("ballot") ? Type::kB32 : Type::kPredicate);
  d.use(1, Type::kPredicate);
  d.use(2, Type::kB32);
  instruction.execute = vote;
}

// ---------------------------------------------------------------------------------------------- match redux

// match.any: lanes with the same value; match.all: the members when all have it. Operands: d, p, a, membermask.
Outcome match(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const Operand &result = instruction.operand[0], &source = instruction.operand[2], &members = instruction.operand[3];
  if (!membersPresent(cta, warp, members, mask)) return Outcome::kRetry;
  const LaneMask named = memberMask(warp, members, mask) & mask;
  std::array<uint64_t, kLanes> values{};
  forLanes(named, [&](int lane) { values[static_cast<size_t>(lane)] = warp.bits(source, lane); });
  const bool wantsAll = instruction.mode;
  const LaneMask bad = warp.poisonOf(source) & named ? kAllLanes : 0;
  LaneMask equalAll = 0;
  for (LaneMask rest = mask; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    LaneMask same = 0;
    forLanes(named, [&](int i) {
      same |= static_cast<LaneMask>(values[static_cast<size_t>(i)] == values[static_cast<size_t>(lane)]) << i;
    });
    const bool all = same == named;
    equalAll |= static_cast<LaneMask>(all) << lane;
    warp.setBits(result, lane, wantsAll && !all ? 0 : same);
  }
  warp.setPoison(result, mask, bad);
  warp.setPoison(instruction.operand[1], mask, bad);
  warp.setPredicate(instruction.operand[1], mask, equalAll);
  return Outcome::kNext;
}
void decodeMatch(Decoder& d) {
  Instruction& instruction = d.instruction();
  instruction.mode = d.has("all");
  instruction.propagatesPoison = false;
  instruction.hasEffect = true;
  d.define(0, Type::kB32);
  d.define(d.argument(0).second.empty() ? "_" : d.argument(0).second, Type::kPredicate);
  d.use(1, d.type());
  d.use(2, Type::kB32);
  instruction.execute = match;
}

enum class Reduction : uint8_t { kAdd, kMin, kMax, kAnd, kOr, kXor };

Outcome reduce(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const Operand &result = instruction.operand[0], &source = instruction.operand[1], &members = instruction.operand[2];
  if (!membersPresent(cta, warp, members, mask)) return Outcome::kRetry;
  const LaneMask named = memberMask(warp, members, mask) & mask;
  const auto* a = warp.read<uint32_t>(source);
  const bool isSignedType = isSigned(instruction.type);
  uint32_t value = a[std::countr_zero(named)];
  for (LaneMask rest = named & (named - 1); rest; rest &= rest - 1) {
    const uint32_t next = a[std::countr_zero(rest)];
    const bool less = isSignedType ? static_cast<int32_t>(next) < static_cast<int32_t>(value) : next < value;
    switch (static_cast<Reduction>(instruction.mode)) {
      case Reduction::kAdd:
        value += next;
        break;
      case Reduction::kMin:
        value = less ? next : value;
        break;
      case Reduction::kMax:
        value = less ? value : next;
        break;
      case Reduction::kAnd:
        value &= next;
        break;
      case Reduction::kOr:
        value |= next;
        break;
      case Reduction::kXor:
        value ^= next;
        break;
    }
  }
  warp.setPoison(result, mask, warp.poisonOf(source) & named ? kAllLanes : 0);
  auto* d = warp.write<uint32_t>(result);
  forLanes(mask, [&](int lane) { d[lane] = value; });
  return Outcome::kNext;
}
void decodeReduce(Decoder& d) {
  Instruction& instruction = d.instruction();
  instruction.type = d.type();
  if (isFloating(instruction.type)) d.unsupported();
  instruction.mode = static_cast<uint8_t>(d.has("add")   ? Reduction::kAdd
                                          : d.has("min") ? Reduction::kMin
                                          : d.has("max") ? Reduction::kMax
                                          : d.has("and") ? Reduction::kAnd
                                          : d.has("or")  ? Reduction::kOr
                                                         : Reduction::kXor);
  instruction.propagatesPoison = false;
  instruction.hasEffect = true;
  d.define(0, Type::kB32);
  d.use(1, Type::kB32);
  d.use(2, Type::kB32);
  instruction.execute = reduce;
}

// ---------------------------------------------------------------------------------------------- activemask elect

Outcome activeMask(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  auto* d = warp.write<uint32_t>(instruction.operand[0]);
  forLanes(mask, [&](int lane) { d[lane] = mask; });
  return Outcome::kNext;
}
void decodeActiveMask(Decoder& d) {
  d.define(0, Type::kB32);
  d.instruction().execute = activeMask;
}

// Which member leads is unspecified, but the same for the same mask: the seed decides.
Outcome elect(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const Operand& members = instruction.operand[2];
  if (!membersPresent(cta, warp, members, mask)) return Outcome::kRetry;
  const LaneMask named = memberMask(warp, members, mask) & mask;
  auto skip = static_cast<int>((cta.launch.schedule.seed * 0x9e3779b97f4a7c15ull ^ named) %
                               static_cast<uint64_t>(std::popcount(named)));
  LaneMask rest = named;
  while (skip-- > 0) rest &= rest - 1;
  const int leader = std::countr_zero(rest);
  auto* d = warp.write<uint32_t>(instruction.operand[0]);
  forLanes(mask, [&](int lane) { d[lane] = static_cast<uint32_t>(leader); });
  warp.setPredicate(instruction.operand[1], mask, 1u << leader);
  warp.setPoison(instruction.operand[0], mask, 0);
  warp.setPoison(instruction.operand[1], mask, 0);
  return Outcome::kNext;
}
void decodeElect(Decoder& d) {
  d.instruction().propagatesPoison = false;
  d.instruction().hasEffect = true;
  d.define(0, Type::kB32);
  d.define(d.argument(0).second, Type::kPredicate);
  d.use(1, Type::kB32);
  d.instruction().execute = elect;
}

}  // namespace

void registerWarpExchange(Registry& registry) {
  registry["shfl"] = decodeShuffle;
  registry["vote"] = decodeVote;
  registry["match"] = decodeMatch;
  registry["redux"] = decodeReduce;
  registry["activemask"] = decodeActiveMask;
  registry["elect"] = decodeElect;
}

}  // namespace fovea::simulator
