// The arithmetic of scores that every kernel shares.
#pragma once
#include "../../attention/problem.h"
#include "ptx.cuh"

namespace fovea::cuda {

constexpr float log2e = 1.44269504088896340736f;
constexpr float largestFloat = 3.402823466e38f;
constexpr float ln2 = 0.69314718055994530942f;

FOVEA_DEVICE float negativeInfinity() { return __int_as_float(0xff800000); }

/// tanh to about 3e-7 relative: the series near 0, where the quotient would cancel.
FOVEA_DEVICE float tanhOf(float x) {
  const float square = x * x, decay = ptx::exp2(-2 * log2e * fabsf(x));
  const float quotient = __fdividef(1 - decay, 1 + decay);
  const float series = x * fmaf(square, fmaf(square, fmaf(square, -17.f / 315, 2.f / 15), -1.f / 3), 1.f);
  return fabsf(x) < 0.25f ? series : x < 0 ? -quotient : quotient;
}

FOVEA_DEVICE float loadBias(const void* bias, DType type, int64_t index) {
  if (type == DType::float32) return static_cast<const float*>(bias)[index];
  if (type == DType::float16) return ptx::toFloat(static_cast<const Half*>(bias)[index]);
  return ptx::toFloat(static_cast<const BFloat*>(bias)[index]);
}

}  // namespace fovea::cuda
