// Conversions to narrow formats with any rounding.
#include "exec/numbers.h"

namespace fovea::simulator {
namespace {

// Drops the low `bits` bits of a float's magnitude, rounding as asked. Works across exponent boundaries because the
// encoding is monotonic.
uint32_t roundBits(uint32_t value, int bits, Rounding rounding) {
  const uint32_t sign = value & 0x80000000u;
  uint32_t magnitude = value & 0x7fffffffu;
  const uint32_t unit = 1u << bits, rest = magnitude & (unit - 1);
  magnitude -= rest;
  bool up = false;
  switch (rounding) {
    case Rounding::kNearest:
      up = rest > unit / 2 || (rest == unit / 2 && (magnitude & unit));
      break;
    case Rounding::kNearestAway:
      up = rest >= unit / 2;
      break;
    case Rounding::kZero:
      break;
    case Rounding::kDown:
      up = sign && rest;
      break;
    case Rounding::kUp:
      up = !sign && rest;
      break;
  }
  return sign | (magnitude + (up ? unit : 0));
}

}  // namespace

float roundToOdd(double value) {
  const auto nearest = static_cast<float>(value);
  if (!(value == value) || static_cast<double>(nearest) == value || std::isinf(nearest)) return nearest;
  auto bits = std::bit_cast<uint32_t>(nearest);
  if (std::fabs(static_cast<double>(nearest)) > std::fabs(value)) bits--;
  return std::bit_cast<float>(bits | 1);
}

uint16_t Half::fromFloat(float value, Rounding rounding) {
  if (rounding == Rounding::kNearest || !(value == value) || std::isinf(value)) return fromFloat(value);
  const uint16_t nearest = fromFloat(value);
  const float back = toFloat(nearest);
  if (back == value) return nearest;
  // `nearest` is one of the two neighbours; step to the other where the direction asks for it.
  const bool negative = std::signbit(value);
  const bool isAway = std::fabs(back) > std::fabs(value);
  const bool wantsAway = rounding == Rounding::kUp ? !negative : rounding == Rounding::kDown && negative;
  if (isAway == wantsAway) return nearest;
  return static_cast<uint16_t>(isAway ? nearest - 1 : nearest + 1);
}

uint16_t Bfloat::fromFloat(float value, Rounding rounding) {
  if (!(value == value)) return kNan;
  if (std::isinf(value)) return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
  return static_cast<uint16_t>(roundBits(std::bit_cast<uint32_t>(value), 16, rounding) >> 16);
}

uint32_t toTf32(float value, Rounding rounding) {
  if (!(value == value)) return kCanonicalNan;
  if (std::isinf(value)) return std::bit_cast<uint32_t>(value);
  return roundBits(std::bit_cast<uint32_t>(value), 13, rounding);
}

}  // namespace fovea::simulator
