// Elements of every dtype, to and from float64.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "../../../native/attention/problem.h"

namespace fovea::test {

inline const char* nameOf(DType type) {
  return type == DType::float32   ? "float32"
         : type == DType::float16 ? "float16"
         : type == DType::int8    ? "int8"
                                  : "bfloat16";
}

inline float bitsToFloat(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// Rounds to a binary format with `mantissaBits` explicit bits and exponents from `minExponent`, to nearest even.
inline double roundToFormat(double value, int mantissaBits, int minExponent, double largest) {
  if (!std::isfinite(value) || value == 0) return value;
  int exponent;
  std::frexp(value, &exponent);
  const double unit = std::ldexp(1.0, std::max(exponent - 1, minExponent) - mantissaBits);
  const double rounded = std::nearbyint(value / unit) * unit;
  return std::abs(rounded) > largest ? std::copysign(INFINITY, value) : rounded;
}

inline double roundTo(DType type, double value) {
  switch (type) {
    case DType::float32:
      return static_cast<double>(static_cast<float>(value));
    case DType::float16:
      return roundToFormat(value, 10, -14, 65504);
    case DType::bfloat16:
      return roundToFormat(value, 7, -126, bitsToFloat(0x7f7f0000));
    case DType::int8:
      return std::nearbyint(value);
    case DType::unset:
      break;
  }
  return value;
}

inline double load(DType type, const void* data, int64_t index) {
  if (type == DType::float32) return static_cast<const float*>(data)[index];
  if (type == DType::int8) return static_cast<const int8_t*>(data)[index];
  const uint16_t bits = static_cast<const uint16_t*>(data)[index];
  if (type == DType::bfloat16) return bitsToFloat(uint32_t(bits) << 16);
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  double value = exponent == 31  ? (mantissa ? NAN : INFINITY)
                 : exponent == 0 ? std::ldexp(mantissa, -24)
                                 : std::ldexp(1024 + mantissa, exponent - 25);
  return bits & 0x8000 ? -value : value;
}

/// `value` must be representable, or is rounded.
inline void store(DType type, void* data, int64_t index, double value) {
  value = roundTo(type, value);
  if (type == DType::float32) {
    static_cast<float*>(data)[index] = static_cast<float>(value);
    return;
  }
  if (type == DType::int8) {
    static_cast<int8_t*>(data)[index] = static_cast<int8_t>(value);
    return;
  }
  uint16_t bits;
  const float single = static_cast<float>(value);
  uint32_t singleBits;
  std::memcpy(&singleBits, &single, sizeof single);
  if (type == DType::bfloat16) {
    bits = uint16_t(singleBits >> 16);
    if (std::isnan(value)) bits |= 0x40;
  } else if (std::isnan(value)) {
    bits = 0x7e00;
  } else {
    const double magnitude = std::abs(value);
    if (std::isinf(value)) {
      bits = 0x7c00;
    } else if (magnitude < std::ldexp(1.0, -14)) {
      bits = uint16_t(std::ldexp(magnitude, 24));
    } else {
      int exponent;
      const double fraction = std::frexp(magnitude, &exponent);
      bits = uint16_t((exponent + 14) << 10) + uint16_t(std::ldexp(fraction, 11) - 1024);
    }
    if (std::signbit(value)) bits |= 0x8000;
  }
  static_cast<uint16_t*>(data)[index] = bits;
}

/// Uniform and normal numbers from a seed (splitmix64).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  double uniform() { return double(bits() >> 11) * 0x1p-53; }
  double normal() { return std::sqrt(-2 * std::log(1 - uniform())) * std::cos(6.283185307179586 * uniform()); }

 private:
  uint64_t state_;
};

}  // namespace fovea::test
