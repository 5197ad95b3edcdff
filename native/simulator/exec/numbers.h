// Number formats and roundings of the GPU in portable C++.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#ifdef __F16C__
#include <immintrin.h>  // g++ 12 calls library functions for single _Float16 conversions
#endif

namespace fovea::simulator {

enum class Rounding : uint8_t { kNearest, kZero, kDown, kUp, kNearestAway };

constexpr uint32_t kCanonicalNan = 0x7fffffffu;

// Arithmetic results that are NaN are the canonical one.
inline float canonical(float value) { return value == value ? value : std::bit_cast<float>(kCanonicalNan); }
inline double canonical(double value) { return value; }

// .ftz: subnormals become zero of the same sign.
inline float flush(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return (bits & 0x7f800000u) == 0 ? std::bit_cast<float>(bits & 0x80000000u) : value;
}
inline double flush(double value) { return value; }

// .sat: clamps to [0, 1]; NaN becomes 0.
template <class T>
T saturateToUnit(T value) {
  return value > T(0) ? (value < T(1) ? value : T(1)) : T(0);
}

// Rounds to float, but when inexact leaves the last bit odd, so that a second rounding to fewer bits is correct.
float roundToOdd(double value);

// Formats of 16 bits. A half is IEEE binary16; a bfloat is the upper half of a float.
struct Half {
  static constexpr uint16_t kNan = 0x7fff;
#ifdef __F16C__
  static float toFloat(uint16_t bits) { return _cvtsh_ss(bits); }
  static uint16_t fromFloat(float value) {
    return value == value ? static_cast<uint16_t>(_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT)) : kNan;
  }
  // `count` is a multiple of 8.
  static void toFloats(const uint16_t* bits, float* values, int count) {
    for (int i = 0; i < count; i += 8)
      _mm256_storeu_ps(values + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bits + i))));
  }
#else
  static float toFloat(uint16_t bits) { return static_cast<float>(std::bit_cast<_Float16>(bits)); }
  static uint16_t fromFloat(float value) {
    return value == value ? std::bit_cast<uint16_t>(static_cast<_Float16>(value)) : kNan;
  }
  static void toFloats(const uint16_t* bits, float* values, int count) {
    for (int i = 0; i < count; i++) values[i] = toFloat(bits[i]);
  }
#endif
  static uint16_t fromFloat(float value, Rounding rounding);
  static uint16_t fromDouble(double value) { return fromFloat(roundToOdd(value)); }
};
struct Bfloat {
  static constexpr uint16_t kNan = 0x7fff;
  static float toFloat(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
  static void toFloats(const uint16_t* bits, float* values, int count) {
    for (int i = 0; i < count; i++) values[i] = toFloat(bits[i]);
  }
  static uint16_t fromFloat(float value) {
    auto bits = std::bit_cast<uint32_t>(value);
    bits += 0x7fffu + (bits >> 16 & 1);
    return value == value ? static_cast<uint16_t>(bits >> 16) : kNan;
  }
  static uint16_t fromFloat(float value, Rounding rounding);
  static uint16_t fromDouble(double value) { return fromFloat(roundToOdd(value)); }
};

// Rounds a float to the 10-bit mantissa of tf32 (kept as float bits).
uint32_t toTf32(float value, Rounding rounding);

// IEEE operations with a directed rounding; in a file of their own, compiled with -frounding-math.
float addRounded(float a, float b, Rounding rounding);
float multiplyRounded(float a, float b, Rounding rounding);
float fusedRounded(float a, float b, float c, Rounding rounding);
float divideRounded(float a, float b, Rounding rounding);
float squareRootRounded(float a, Rounding rounding);
double addRounded(double a, double b, Rounding rounding);
double multiplyRounded(double a, double b, Rounding rounding);
double fusedRounded(double a, double b, double c, Rounding rounding);
double divideRounded(double a, double b, Rounding rounding);
double squareRootRounded(double a, Rounding rounding);
float narrowRounded(double a, Rounding rounding);
float integerToFloat(int64_t value, bool isSigned, Rounding rounding);
double integerToDouble(int64_t value, bool isSigned, Rounding rounding);

// 2^x as ex2.approx.ftz.f32 gives it, within its documented error.
inline float exp2Approximate(float x) {
  const float clamped = x < -127.f ? -127.f : x > 128.f ? 128.f : x;
  const float whole = std::nearbyint(clamped), f = clamped - whole;
  float p = 1.5353362e-4f;
  p = p * f + 1.3398874e-3f;
  p = p * f + 9.6184373e-3f;
  p = p * f + 5.5503299e-2f;
  p = p * f + 2.4022648e-1f;
  p = p * f + 6.9314720e-1f;
  p = p * f + 1.f;
  const auto exponent = static_cast<int32_t>(whole) + 127;
  const auto scale = static_cast<uint32_t>(exponent < 1 ? 0 : exponent > 254 ? 255 : exponent) << 23;
  const float y = p * std::bit_cast<float>(scale);
  return x < -126.f ? 0.f : x >= 128.f ? HUGE_VALF : x == x ? y : std::bit_cast<float>(kCanonicalNan);
}

}  // namespace fovea::simulator
