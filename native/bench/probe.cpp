#include "probe.h"

#include <chrono>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace fovea::bench {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

#if defined(__x86_64__)

// Twelve named registers: an array would live in memory under some compilers. Two operations for each float of a
// vector.
#define FOVEA_FMA(n) asm volatile("vfmadd213ps %2,%1,%0" : "+v"(a##n) : "v"(x), "v"(y))
#define FOVEA_FMA_RUN(name, isa, Vector, broadcast)                                                          \
  __attribute__((target(isa))) static double name(int iterations) {                                          \
    const Vector x = broadcast(0.999f), y = broadcast(1e-3f), z = broadcast(0);                              \
    Vector a0 = z, a1 = z, a2 = z, a3 = z, a4 = z, a5 = z, a6 = z, a7 = z, a8 = z, a9 = z, a10 = z, a11 = z; \
    const double begin = now();                                                                              \
    for (int i = 0; i < iterations; i++) {                                                                   \
      FOVEA_FMA(0);                                                                                          \
      FOVEA_FMA(1);                                                                                          \
      FOVEA_FMA(2);                                                                                          \
      FOVEA_FMA(3);                                                                                          \
      FOVEA_FMA(4);                                                                                          \
      FOVEA_FMA(5);                                                                                          \
      FOVEA_FMA(6);                                                                                          \
      FOVEA_FMA(7);                                                                                          \
      FOVEA_FMA(8);                                                                                          \
      FOVEA_FMA(9);                                                                                          \
      FOVEA_FMA(10);                                                                                         \
      FOVEA_FMA(11);                                                                                         \
    }                                                                                                        \
    return double(iterations) * 12 * 2 * (sizeof(Vector) / sizeof(float)) / (now() - begin);                 \
  }
FOVEA_FMA_RUN(fmaRun256, "avx2,fma", __m256, _mm256_set1_ps)
FOVEA_FMA_RUN(fmaRun512, "avx512f", __m512, _mm512_set1_ps)
#undef FOVEA_FMA_RUN
#undef FOVEA_FMA

static double fmaRun(int iterations) {
  if (__builtin_cpu_supports("avx512f")) return fmaRun512(iterations);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return fmaRun256(iterations);
  return 0;
}

double fmaPeak(double seconds) { return fmaRun(int(seconds * 5e8) + 1); }

__attribute__((target("avx2"))) double readBandwidth(const float* data, size_t bytes) {
  __m256 a = _mm256_setzero_ps(), b = a, c = a, d = a;
  const double begin = now();
  for (size_t i = 0; i + 32 <= bytes / 4; i += 32) {
    a = _mm256_max_ps(a, _mm256_loadu_ps(data + i)), b = _mm256_max_ps(b, _mm256_loadu_ps(data + i + 8));
    c = _mm256_max_ps(c, _mm256_loadu_ps(data + i + 16)), d = _mm256_max_ps(d, _mm256_loadu_ps(data + i + 24));
  }
  const double seconds = now() - begin;
  volatile float sink = _mm256_cvtss_f32(_mm256_max_ps(_mm256_max_ps(a, b), _mm256_max_ps(c, d)));
  (void)sink;
  return double(bytes) / seconds;
}

#else

#if defined(__aarch64__)

// Likewise, and sixteen: four may begin a cycle, and take four.
#define FOVEA_FMA(n) asm volatile("fmla %0.4s, %1.4s, %2.4s" : "+w"(a##n) : "w"(x), "w"(y))
double fmaPeak(double seconds) {
  const int iterations = int(seconds * 1e9 / 4) + 1;
  const float32x4_t x = vdupq_n_f32(0.999f), y = vdupq_n_f32(1e-3f), z = vdupq_n_f32(0);
  float32x4_t a0 = z, a1 = z, a2 = z, a3 = z, a4 = z, a5 = z, a6 = z, a7 = z;
  float32x4_t a8 = z, a9 = z, a10 = z, a11 = z, a12 = z, a13 = z, a14 = z, a15 = z;
  const double begin = now();
  for (int i = 0; i < iterations; i++) {
    FOVEA_FMA(0);
    FOVEA_FMA(1);
    FOVEA_FMA(2);
    FOVEA_FMA(3);
    FOVEA_FMA(4);
    FOVEA_FMA(5);
    FOVEA_FMA(6);
    FOVEA_FMA(7);
    FOVEA_FMA(8);
    FOVEA_FMA(9);
    FOVEA_FMA(10);
    FOVEA_FMA(11);
    FOVEA_FMA(12);
    FOVEA_FMA(13);
    FOVEA_FMA(14);
    FOVEA_FMA(15);
  }
  return double(iterations) * 16 * 2 * 4 / (now() - begin);
}
#undef FOVEA_FMA

#else

double fmaPeak(double) { return 0; }

#endif

double readBandwidth(const float* data, size_t bytes) {
  const double begin = now();
  uint64_t sum = 0;
  const uint64_t* words = reinterpret_cast<const uint64_t*>(data);
  for (size_t i = 0; i < bytes / 8; i++) sum ^= words[i];
  const double seconds = now() - begin;
  volatile uint64_t sink = sum;
  (void)sink;
  return double(bytes) / seconds;
}

#endif

}  // namespace fovea::bench
