// cvt: between all integer and floating types, with rounding and saturation; and packing two floats into a pair.
#include <algorithm>
#include <limits>

#include "exec/lanes.h"
#include "exec/numbers.h"
#include "exec/registry.h"

namespace fovea::simulator {
namespace {

enum ConversionMode : uint8_t { kToInteger = 0x80 };  // .rni .rzi .rmi .rpi: rounds to an integral value

Rounding roundingOf(const Instruction& instruction) { return static_cast<Rounding>(instruction.mode & 0x7f); }

double roundToIntegral(double value, Rounding rounding) {
  switch (rounding) {
    case Rounding::kZero:
      return std::trunc(value);
    case Rounding::kDown:
      return std::floor(value);
    case Rounding::kUp:
      return std::ceil(value);
    default:
      return std::nearbyint(value);
  }
}

double floatOf(Type type, uint64_t bits, bool ftz) {
  switch (type) {
    case Type::kF16:
      return Half::toFloat(static_cast<uint16_t>(bits));
    case Type::kBf16:
      return Bfloat::toFloat(static_cast<uint16_t>(bits));
    case Type::kF64:
      return std::bit_cast<double>(bits);
    default: {
      const auto value = std::bit_cast<float>(static_cast<uint32_t>(bits));
      return ftz ? flush(value) : value;
    }
  }
}

// A float, double or half result of a value that the double holds exactly.
uint64_t storeFloat(const Instruction& instruction, double value) {
  const Rounding rounding = roundingOf(instruction);
  if (instruction.saturate && instruction.type != Type::kF64) value = saturateToUnit(value);
  if (instruction.relu && !(value > 0) && value == value) value = 0;
  switch (instruction.type) {
    case Type::kF64:
      return std::bit_cast<uint64_t>(value);
    case Type::kF32: {
      float result = rounding == Rounding::kNearest ? static_cast<float>(value) : narrowRounded(value, rounding);
      result = canonical(instruction.flushSubnormals ? flush(result) : result);
      return std::bit_cast<uint32_t>(result);
    }
    case Type::kF16:
      return Half::fromFloat(roundToOdd(value), rounding);
    case Type::kBf16:
      return Bfloat::fromFloat(roundToOdd(value), rounding);
    default:
      return toTf32(roundToOdd(value), rounding);
  }
}

// Out-of-range values clamp; NaN gives 0.
uint64_t storeInteger(Type type, double value) {
  if (!(value == value)) return 0;
  const int bits = 8 * sizeOf(type);
  if (isSigned(type)) {
    const double limit = std::ldexp(1., bits - 1);
    if (value >= limit) return static_cast<uint64_t>((1ull << (bits - 1)) - 1);
    if (value < -limit) return static_cast<uint64_t>(-(1ll << (bits - 2)) * 2);
    return static_cast<uint64_t>(static_cast<int64_t>(value));
  }
  if (value <= 0) return 0;
  if (value >= std::ldexp(1., bits)) return bits == 64 ? ~0ull : (1ull << bits) - 1;
  return static_cast<uint64_t>(value);
}

uint64_t convertInteger(const Instruction& instruction, uint64_t bits) {
  const Type from = instruction.sourceType, to = instruction.type;
  const int width = 8 * sizeOf(from);
  int64_t value = static_cast<int64_t>(width == 64 ? bits : bits & ((1ull << width) - 1));
  if (isSigned(from) && width < 64 && (value >> (width - 1) & 1)) value -= 1ll << width;
  if (isFloating(to)) {
    // Through the format itself: a detour over double would round twice.
    const Rounding rounding = roundingOf(instruction);
    if (to == Type::kF64) return std::bit_cast<uint64_t>(integerToDouble(value, isSigned(from), rounding));
    if (to == Type::kF32) return std::bit_cast<uint32_t>(integerToFloat(value, isSigned(from), rounding));
    const double exact =
        isSigned(from) ? static_cast<double>(value) : static_cast<double>(static_cast<uint64_t>(value));
    return storeFloat(instruction, exact);  // values beyond 2^53 are infinite or far coarser in 16 bits
  }
  const int target = 8 * sizeOf(to);
  if (instruction.saturate) {
    const bool negative = isSigned(from) && value < 0;
    if (isSigned(to)) {
      const auto high = static_cast<int64_t>(target == 64 ? ~0ull >> 1 : (1ull << (target - 1)) - 1);
      if (!negative && static_cast<uint64_t>(value) > static_cast<uint64_t>(high)) value = high;
      if (negative && value < -high - 1) value = -high - 1;
    } else {
      const uint64_t high = target == 64 ? ~0ull : (1ull << target) - 1;
      value = negative ? 0 : static_cast<int64_t>(std::min(static_cast<uint64_t>(value), high));
    }
  }
  auto result = static_cast<uint64_t>(value);
  if (target < 64) result &= (1ull << target) - 1;
  if (isSigned(to) && target < 64 && (result >> (target - 1) & 1)) result |= ~0ull << target;
  return result;
}

uint64_t convert(const Instruction& instruction, uint64_t bits) {
  const Type from = instruction.sourceType, to = instruction.type;
  if (!isFloating(from)) return convertInteger(instruction, bits);
  double value = floatOf(from, bits, instruction.flushSubnormals);
  if (instruction.mode & kToInteger) value = roundToIntegral(value, roundingOf(instruction));
  if (isFloating(to)) return storeFloat(instruction, value);
  const uint64_t result = storeInteger(to, value);
  const int width = 8 * sizeOf(to);
  if (width < 32 && isSigned(to))
    return static_cast<uint64_t>(static_cast<int64_t>(result << (64 - width)) >> (64 - width));
  return result;
}

Outcome convertLanes(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const Operand &d = instruction.operand[0], &a = instruction.operand[1];
  // A 16-bit register holds its 16 bits only.
  const uint64_t keep = instruction.vector == 2 ? 0xffff : ~0ull;
  forLanes(mask, [&](int i) { warp.setBits(d, i, convert(instruction, warp.bits(a, i)) & keep); });
  return Outcome::kNext;
}

// The conversions that kernels live on, as plain loops.
template <class From, class To, class F>
Outcome loop(Warp& warp, const Instruction& instruction, LaneMask mask, F f) {
  To* d = warp.write<To>(instruction.operand[0]);
  const From* a = warp.read<From>(instruction.operand[1]);
  forLanes(mask, [&](int i) { d[i] = f(a[i]); });
  return Outcome::kNext;
}
Outcome signExtend(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  return loop<int32_t, int64_t>(warp, instruction, mask, [](int32_t v) { return static_cast<int64_t>(v); });
}
Outcome zeroExtend(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  return loop<uint32_t, uint64_t>(warp, instruction, mask, [](uint32_t v) { return static_cast<uint64_t>(v); });
}
Outcome truncate(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  return loop<uint64_t, uint32_t>(warp, instruction, mask, [](uint64_t v) { return static_cast<uint32_t>(v); });
}
template <class Format>
Outcome widen(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  return loop<uint32_t, float>(warp, instruction, mask,
                               [](uint32_t v) { return canonical(Format::toFloat(static_cast<uint16_t>(v))); });
}
Outcome signedToFloat(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  return loop<int32_t, float>(warp, instruction, mask, [](int32_t v) { return static_cast<float>(v); });
}

Handler fastPath(const Instruction& instruction) {
  const Type from = instruction.sourceType, to = instruction.type;
  const bool isPlain = instruction.mode == 0 && !instruction.saturate && !instruction.flushSubnormals;
  if (!isPlain) return nullptr;
  if (from == Type::kS32 && sizeOf(to) == 8 && !isFloating(to)) return signExtend;
  if (from == Type::kU32 && sizeOf(to) == 8 && !isFloating(to)) return zeroExtend;
  if (sizeOf(from) == 8 && !isFloating(from) && sizeOf(to) == 4 && !isFloating(to)) return truncate;
  if (from == Type::kF16 && to == Type::kF32) return widen<Half>;
  if (from == Type::kBf16 && to == Type::kF32) return widen<Bfloat>;
  if (from == Type::kS32 && to == Type::kF32) return signedToFloat;
  return nullptr;
}

// cvt.rn.f16x2.f32 d, a, b: a goes to the upper half, b to the lower.
template <class Format>
Outcome packPair(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  auto* d = warp.write<uint32_t>(instruction.operand[0]);
  const auto* a = warp.read<float>(instruction.operand[1]);
  const auto* b = warp.read<float>(instruction.operand[2]);
  const Rounding rounding = roundingOf(instruction);
  const bool relu = instruction.relu;
  if (rounding == Rounding::kNearest && !relu) {
    forLanes(mask,
             [&](int i) { d[i] = static_cast<uint32_t>(Format::fromFloat(a[i])) << 16 | Format::fromFloat(b[i]); });
    return Outcome::kNext;
  }
  const auto half = [&](float value) -> uint32_t {
    return Format::fromFloat(relu && value < 0 ? 0.f : value, rounding);
  };
  forLanes(mask, [&](int i) { d[i] = half(a[i]) << 16 | half(b[i]); });
  return Outcome::kNext;
}

void decodeConvert(Decoder& d) {
  Instruction& instruction = d.instruction();
  const Type to = d.type(1), from = d.type();
  if (to == Type::kNone) d.fail("needs two types");
  instruction.type = to;
  instruction.sourceType = from;
  instruction.flushSubnormals = d.has("ftz");
  instruction.saturate = d.has("sat") || d.has("satfinite");
  instruction.relu = d.has("relu");
  const auto rounds = [&](const char* plain, const char* integral, Rounding rounding) {
    if (d.has(plain)) instruction.mode = static_cast<uint8_t>(rounding);
    if (d.has(integral)) instruction.mode = static_cast<uint8_t>(static_cast<uint8_t>(rounding) | kToInteger);
  };
  rounds("rn", "rni", Rounding::kNearest);
  rounds("rz", "rzi", Rounding::kZero);
  rounds("rm", "rmi", Rounding::kDown);
  rounds("rp", "rpi", Rounding::kUp);
  if (d.has("rna")) instruction.mode = static_cast<uint8_t>(Rounding::kNearestAway);
  if (isPacked(to)) {
    if (from != Type::kF32 || d.argumentCount() != 3 || d.has("satfinite")) d.unsupported();
    d.define(0, to);
    d.use(1, from);
    d.use(2, from);
    instruction.execute = to == Type::kF16x2 ? packPair<Half> : to == Type::kBf16x2 ? packPair<Bfloat> : nullptr;
    if (!instruction.execute) d.unsupported();
    return;
  }
  if (d.argumentCount() != 2 || d.has("satfinite")) d.unsupported();
  // Registers may be wider than the types.
  const bool exactWidths =
      d.classOfRegister(d.argument(0).text) == classOf(to) &&
      (!d.isRegister(d.argument(1).text) || d.classOfRegister(d.argument(1).text) == classOf(from));
  d.define(0, to, true);
  d.use(1, from, true);
  instruction.vector = static_cast<uint8_t>(sizeOf(to) == 2 ? 2 : 1);
  instruction.execute = exactWidths ? fastPath(instruction) : nullptr;
  if (!instruction.execute) instruction.execute = convertLanes;
}

}  // namespace

void registerConversions(Registry& registry) { registry["cvt"] = decodeConvert; }

}  // namespace fovea::simulator
