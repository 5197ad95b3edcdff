// mov: registers, constants, addresses, special registers, packing and unpacking; cvta and isspacep.
#include <unordered_map>

#include "exec/lanes.h"
#include "exec/memory.h"
#include "exec/registry.h"

namespace fovea::simulator {
namespace {

template <class T>
Outcome move(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  unary<T>(warp, instruction, mask, [](T a) { return a; });
  return Outcome::kNext;
}
Outcome movePredicate(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  warp.setPredicate(instruction.operand[0], mask, warp.predicate(instruction.operand[1]));
  return Outcome::kNext;
}

// ---------------------------------------------------------------------------------------------- special registers

enum class Special : uint8_t {
  kTidX,
  kTidY,
  kTidZ,
  kNtidX,
  kNtidY,
  kNtidZ,
  kCtaidX,
  kCtaidY,
  kCtaidZ,
  kNctaidX,
  kNctaidY,
  kNctaidZ,
  kLaneId,
  kWarpId,
  kNwarpId,
  kSmId,
  kNsmId,
  kGridId,
  kMaskEq,
  kMaskLe,
  kMaskLt,
  kMaskGe,
  kMaskGt,
  kClock,
  kTimer,
  kDynamicShared,
  kTotalShared,
  kZero,
  kOne,
};

const std::unordered_map<std::string_view, Special>& specialRegisters() {
  static const std::unordered_map<std::string_view, Special> all = {
      {"%tid.x", Special::kTidX},
      {"%tid.y", Special::kTidY},
      {"%tid.z", Special::kTidZ},
      {"%ntid.x", Special::kNtidX},
      {"%ntid.y", Special::kNtidY},
      {"%ntid.z", Special::kNtidZ},
      {"%ctaid.x", Special::kCtaidX},
      {"%ctaid.y", Special::kCtaidY},
      {"%ctaid.z", Special::kCtaidZ},
      {"%nctaid.x", Special::kNctaidX},
      {"%nctaid.y", Special::kNctaidY},
      {"%nctaid.z", Special::kNctaidZ},
      {"%laneid", Special::kLaneId},
      {"%warpid", Special::kWarpId},
      {"%nwarpid", Special::kNwarpId},
      {"%smid", Special::kSmId},
      {"%nsmid", Special::kNsmId},
      {"%gridid", Special::kGridId},
      {"%lanemask_eq", Special::kMaskEq},
      {"%lanemask_le", Special::kMaskLe},
      {"%lanemask_lt", Special::kMaskLt},
      {"%lanemask_ge", Special::kMaskGe},
      {"%lanemask_gt", Special::kMaskGt},
      {"%clock", Special::kClock},
      {"%clock64", Special::kClock},
      {"%clock_hi", Special::kZero},
      {"%globaltimer", Special::kTimer},
      {"%globaltimer_lo", Special::kTimer},
      {"%dynamic_smem_size", Special::kDynamicShared},
      {"%total_smem_size", Special::kTotalShared},
      // Every CTA is a cluster of its own.
      {"%cluster_ctarank", Special::kZero},
      {"%cluster_nctarank", Special::kOne},
      {"%cluster_ctaid.x", Special::kZero},
      {"%cluster_ctaid.y", Special::kZero},
      {"%cluster_ctaid.z", Special::kZero},
      {"%cluster_nctaid.x", Special::kOne},
      {"%cluster_nctaid.y", Special::kOne},
      {"%cluster_nctaid.z", Special::kOne},
  };
  return all;
}

uint64_t specialValue(const Cta& cta, const Warp& warp, Special which, int lane) {
  const auto bit = 1u << lane;
  switch (which) {
    case Special::kTidX:
    case Special::kTidY:
    case Special::kTidZ:
      return cta.threadIndex(warp.id, lane)[static_cast<size_t>(which) - static_cast<size_t>(Special::kTidX)];
    case Special::kNtidX:
    case Special::kNtidY:
    case Special::kNtidZ:
      return cta.launch.block[static_cast<size_t>(which) - static_cast<size_t>(Special::kNtidX)];
    case Special::kCtaidX:
    case Special::kCtaidY:
    case Special::kCtaidZ:
      return cta.index[static_cast<size_t>(which) - static_cast<size_t>(Special::kCtaidX)];
    case Special::kNctaidX:
    case Special::kNctaidY:
    case Special::kNctaidZ:
      return cta.launch.grid[static_cast<size_t>(which) - static_cast<size_t>(Special::kNctaidX)];
    case Special::kLaneId:
      return static_cast<uint64_t>(lane);
    case Special::kWarpId:
      return static_cast<uint64_t>(warp.id);
    case Special::kNwarpId:
      return cta.warps.size();
    case Special::kSmId:
      return cta.number % cta.launch.multiprocessors;
    case Special::kNsmId:
      return cta.launch.multiprocessors;
    case Special::kGridId:
      return cta.launch.number;
    case Special::kMaskEq:
      return bit;
    case Special::kMaskLe:
      return bit | (bit - 1);
    case Special::kMaskLt:
      return bit - 1;
    case Special::kMaskGe:
      return ~(bit - 1);
    case Special::kMaskGt:
      return ~(bit | (bit - 1));
    case Special::kClock:
    case Special::kTimer:
      return cta.counters.warpInstructions;
    case Special::kDynamicShared:
      return cta.launch.dynamicSharedBytes;
    case Special::kTotalShared:
      return static_cast<uint64_t>(cta.kernel.staticSharedBytes) + cta.launch.dynamicSharedBytes;
    case Special::kZero:
      return 0;
    case Special::kOne:
      return 1;
  }
  return 0;
}

Outcome moveSpecial(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const auto which = static_cast<Special>(instruction.mode);
  forLanes(mask, [&](int lane) { warp.setBits(instruction.operand[0], lane, specialValue(cta, warp, which, lane)); });
  return Outcome::kNext;
}

// ---------------------------------------------------------------------------------------------- packing

// mov.b64 d, {a, b} and the like: the first element is the lowest.
Outcome pack(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const int count = instruction.operandCount - 1, width = instruction.mode;
  const uint64_t ones = width == 64 ? ~0ull : (1ull << width) - 1;
  forLanes(mask, [&](int lane) {
    uint64_t value = 0;
    for (int k = 0; k < count; k++) value |= (warp.bits(instruction.operand[1 + k], lane) & ones) << (k * width);
    warp.setBits(instruction.operand[0], lane, value);
  });
  return Outcome::kNext;
}
Outcome unpack(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const int count = instruction.operandCount - 1, width = instruction.mode;
  const uint64_t ones = width == 64 ? ~0ull : (1ull << width) - 1;
  forLanes(mask, [&](int lane) {
    const uint64_t value = warp.bits(instruction.operand[count], lane);
    for (int k = 0; k < count; k++) warp.setBits(instruction.operand[k], lane, value >> (k * width) & ones);
  });
  return Outcome::kNext;
}

void decodeMove(Decoder& d) {
  const Type type = d.type();
  Instruction& instruction = d.instruction();
  instruction.type = type;
  const Argument &to = d.argument(0), &from = d.argument(1);
  const auto elementType = [&](size_t count) {
    const auto bytes = sizeOf(type) / static_cast<int>(count);
    instruction.mode = static_cast<uint8_t>(8 * bytes);
    return bytes == 1 ? Type::kB8 : bytes == 2 ? Type::kB16 : bytes == 4 ? Type::kB32 : Type::kB64;
  };
  if (from.kind == Argument::Kind::kVector) {
    const Type element = elementType(from.elements.size());
    d.define(0, type);
    for (const std::string& text : from.elements) d.use(text, element);
    instruction.execute = pack;
  } else if (to.kind == Argument::Kind::kVector) {
    const Type element = elementType(to.elements.size());
    for (const std::string& text : to.elements) d.define(text, element);
    d.use(1, type);
    instruction.execute = unpack;
  } else if (const auto special = specialRegisters().find(from.text); special != specialRegisters().end()) {
    d.define(0, type);
    instruction.mode = static_cast<uint8_t>(special->second);
    instruction.execute = moveSpecial;
  } else if (type == Type::kPredicate) {
    d.define(0, type);
    d.use(1, type);
    instruction.execute = movePredicate;
  } else {
    d.define(0, type);
    d.use(1, type);
    instruction.execute = sizeOf(type) == 8 ? move<uint64_t> : move<uint32_t>;
  }
}

// ---------------------------------------------------------------------------------------------- address spaces

Outcome convertAddress(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const uint64_t window = windowOf(instruction.space);
  const bool toSpace = instruction.mode;
  forLanes(mask, [&](int lane) {
    const uint64_t address = warp.bits(instruction.operand[1], lane);
    warp.setBits(instruction.operand[0], lane, toSpace ? address - window : address + window);
  });
  return Outcome::kNext;
}
Space spaceNamed(const Decoder& d) {
  return d.has("shared") || d.has("shared::cta")   ? Space::kShared
         : d.has("local")                          ? Space::kLocal
         : d.has("param") || d.has("param::entry") ? Space::kParameter
                                                   : Space::kGlobal;
}
void decodeConvertAddress(Decoder& d) {
  d.instruction().space = spaceNamed(d);
  d.instruction().mode = d.has("to");
  d.define(0, Type::kB64, true);
  d.use(1, Type::kB64, true);
  d.instruction().execute = convertAddress;
}

Outcome isInSpace(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  LaneMask result = 0;
  forLanes(mask, [&](int lane) {
    uint64_t address = warp.bits(instruction.operand[1], lane);
    result |= static_cast<LaneMask>(resolveGeneric(address) == instruction.space) << lane;
  });
  warp.setPredicate(instruction.operand[0], mask, result);
  return Outcome::kNext;
}
void decodeIsInSpace(Decoder& d) {
  d.instruction().space = spaceNamed(d);
  d.define(0, Type::kPredicate);
  d.use(1, Type::kB64);
  d.instruction().execute = isInSpace;
}

}  // namespace

void registerMoves(Registry& registry) {
  registry["mov"] = decodeMove;
  registry["cvta"] = decodeConvertAddress;
  registry["isspacep"] = decodeIsInSpace;
}

}  // namespace fovea::simulator
