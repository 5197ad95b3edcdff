// Binary floating-point formats by their parameters, for expectations.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace fovea::test::calibration {

struct Format {
  int mantissaBits, minExponent;
  uint32_t signBit, infinity, nan;  // nan: the one that PTX writes
};
constexpr Format float16{10, -14, 0x8000, 0x7c00, 0x7fff};
constexpr Format bfloat16{7, -126, 0x8000, 0x7f80, 0x7fff};
constexpr Format tf32{10, -126, 0x40000, 0x3fc00, 0x3ffff};  // the upper 19 bits of a word
constexpr Format float32{23, -126, 0x80000000, 0x7f800000, 0x7fffffff};

enum class Rounding { nearestEven, nearestAway, towardsZero };

inline double decode(const Format& format, uint32_t bits) {
  const uint32_t magnitude = bits & (format.signBit - 1), exponent = magnitude >> format.mantissaBits;
  if (magnitude > format.infinity) return std::numeric_limits<double>::quiet_NaN();
  double value = INFINITY;
  if (magnitude < format.infinity) {
    const uint32_t mantissa = magnitude & ((1u << format.mantissaBits) - 1);
    value = exponent == 0 ? std::ldexp(mantissa, format.minExponent - format.mantissaBits)
                          : std::ldexp(mantissa + (1u << format.mantissaBits),
                                       format.minExponent - format.mantissaBits + int(exponent) - 1);
  }
  return bits & format.signBit ? -value : value;
}

inline uint32_t encode(const Format& format, double value, Rounding rounding = Rounding::nearestEven) {
  if (std::isnan(value)) return format.nan;
  const uint32_t sign = std::signbit(value) ? format.signBit : 0;
  const double magnitude = std::abs(value);
  if (std::isinf(value)) return sign | format.infinity;
  if (magnitude == 0) return sign;
  int exponent;
  std::frexp(magnitude, &exponent);
  exponent = std::max(exponent - 1, format.minExponent);
  const double scaled = std::ldexp(magnitude, format.mantissaBits - exponent);
  const double whole = rounding == Rounding::nearestEven   ? std::nearbyint(scaled)
                       : rounding == Rounding::nearestAway ? std::floor(scaled + 0.5)
                                                           : std::floor(scaled);
  // The leading bit of `whole` counts as one exponent, so subnormal numbers and carries come out right.
  const double code = std::ldexp(exponent - format.minExponent, format.mantissaBits) + whole;
  if (code >= format.infinity) return sign | (format.infinity - (rounding == Rounding::towardsZero ? 1 : 0));
  return sign | uint32_t(code);
}

/// a + b rounded to odd, which another rounding to fewer bits cannot tell from the exact sum.
inline double addToOdd(double a, double b) {
  const double sum = a + b;
  if (!std::isfinite(sum) || sum == 0) return sum;
  const double part = sum - a, error = (a - (sum - part)) + (b - part);
  const auto bits = std::bit_cast<uint64_t>(sum);
  if (error == 0 || bits % 2 == 1) return sum;
  return std::bit_cast<double>((error > 0) == (sum > 0) ? bits + 1 : bits - 1);
}

inline float asFloat(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t asBits(float value) { return std::isnan(value) ? float32.nan : std::bit_cast<uint32_t>(value); }
/// Subnormal numbers become zeros of their sign.
inline float flush(float value) { return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.f, value) : value; }

}  // namespace fovea::test::calibration
