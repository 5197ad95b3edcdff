// The vector type of one instruction set. Every file in this folder is compiled once per instruction set, with
// FOVEA_ISA as the namespace; the algorithms only use what stands here, so that they read the same for all.
//
// GNU vector extensions carry the arithmetic (+ - * / and comparisons are lane-wise); what they lack is named below.
// No standard containers in this folder: a template instantiated here would hold this instruction set's code, and the
// linker may hand it to callers that run on a lesser processor.
#pragma once
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "../../attention/problem.h"

#define FOVEA_INLINE static inline __attribute__((always_inline))
#define FOVEA_NOINLINE __attribute__((noinline))

namespace fovea::cpu::FOVEA_ISA {

#if defined(__AVX512F__)
constexpr int lanes = 16;
#elif defined(__AVX2__)
constexpr int lanes = 8;
#else
constexpr int lanes = 4;
#endif

/// Whether there are 32 vector registers, not 16: more sums stay in them, so numbers are read less often.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr bool manyRegisters = true;
#else
constexpr bool manyRegisters = false;
#endif

typedef float Vec __attribute__((vector_size(4 * lanes)));
typedef int32_t IntVec __attribute__((vector_size(4 * lanes)));
typedef uint32_t UintVec __attribute__((vector_size(4 * lanes)));  // where additions may wrap
typedef uint16_t HalfBits __attribute__((vector_size(2 * lanes)));
typedef float Quad __attribute__((vector_size(16)));  // four floats on every instruction set

constexpr float infinity = __builtin_inff();

template <class V>
FOVEA_INLINE V loadAs(const void* from) {
  V value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <class V>
FOVEA_INLINE void storeAs(void* to, V value) {
  std::memcpy(to, &value, sizeof value);
}

FOVEA_INLINE Vec load(const float* from) { return loadAs<Vec>(from); }
FOVEA_INLINE void store(float* to, Vec value) { storeAs(to, value); }
FOVEA_INLINE Vec zero() { return Vec{}; }
/// 0, 1, 2, ...
FOVEA_INLINE Vec iota() {
  Vec value;
#pragma GCC unroll 16
  for (int i = 0; i < lanes; i++) value[i] = float(i);
  return value;
}

FOVEA_INLINE IntVec bits(Vec value) { return (IntVec)value; }
FOVEA_INLINE Vec fromBits(IntVec value) { return (Vec)value; }

// ---- what each instruction set does in its own way

#if defined(__AVX512F__)

FOVEA_INLINE Vec broadcast(float value) { return _mm512_set1_ps(value); }
FOVEA_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
/// The larger one; `b` where either is NaN.
FOVEA_INLINE Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
/// The smaller one, likewise.
FOVEA_INLINE Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
FOVEA_INLINE Vec select(IntVec condition, Vec yes, Vec no) {
  return _mm512_mask_blend_ps(_mm512_movepi32_mask((__m512i)condition), no, yes);
}
FOVEA_INLINE bool anyTrue(IntVec condition) { return _mm512_movepi32_mask((__m512i)condition) != 0; }

/// Of 32 numbers those that the indices' low bits name.
FOVEA_INLINE IntVec lookUp(const uint32_t* table, IntVec index) {
  return (IntVec)_mm512_permutex2var_epi32(_mm512_load_si512(table), (__m512i)index, _mm512_load_si512(table + 16));
}

FOVEA_INLINE Vec loadHalf(const uint16_t* from) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)from)); }
FOVEA_INLINE void storeHalf(uint16_t* to, Vec value) {
  _mm256_storeu_si256((__m256i*)to, _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
}

#elif defined(__AVX2__)

FOVEA_INLINE Vec broadcast(float value) { return _mm256_set1_ps(value); }
FOVEA_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
/// The larger one; `b` where either is NaN.
FOVEA_INLINE Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
/// The smaller one, likewise.
FOVEA_INLINE Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
FOVEA_INLINE Vec select(IntVec condition, Vec yes, Vec no) { return _mm256_blendv_ps(no, yes, (Vec)condition); }
FOVEA_INLINE bool anyTrue(IntVec condition) { return _mm256_movemask_ps((Vec)condition) != 0; }

/// Of 8 numbers those that the indices' low bits name.
FOVEA_INLINE IntVec lookUp(const uint32_t* table, IntVec index) {
  return (IntVec)_mm256_permutevar8x32_epi32(_mm256_load_si256((const __m256i*)table), (__m256i)index);
}

FOVEA_INLINE Vec loadHalf(const uint16_t* from) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from)); }
FOVEA_INLINE void storeHalf(uint16_t* to, Vec value) {
  _mm_storeu_si128((__m128i*)to, _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
}

#elif defined(__aarch64__)

FOVEA_INLINE Vec broadcast(float value) { return vdupq_n_f32(value); }
FOVEA_INLINE Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
FOVEA_INLINE Vec select(IntVec condition, Vec yes, Vec no) { return vbslq_f32((uint32x4_t)condition, yes, no); }
/// The larger one; `b` where either is NaN.
FOVEA_INLINE Vec max(Vec a, Vec b) { return select(a > b, a, b); }
/// The smaller one, likewise.
FOVEA_INLINE Vec min(Vec a, Vec b) { return select(a < b, a, b); }
FOVEA_INLINE bool anyTrue(IntVec condition) { return vmaxvq_u32((uint32x4_t)condition) != 0; }

FOVEA_INLINE Vec loadHalf(const uint16_t* from) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from))); }
FOVEA_INLINE void storeHalf(uint16_t* to, Vec value) { vst1_u16(to, vreinterpret_u16_f16(vcvt_f16_f32(value))); }

#else

FOVEA_INLINE Vec broadcast(float value) { return Vec{value, value, value, value}; }
FOVEA_INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
FOVEA_INLINE Vec select(IntVec condition, Vec yes, Vec no) {
  return fromBits((condition & bits(yes)) | (~condition & bits(no)));
}
#if defined(__SSE2__)
FOVEA_INLINE Vec max(Vec a, Vec b) { return _mm_max_ps(a, b); }
FOVEA_INLINE Vec min(Vec a, Vec b) { return _mm_min_ps(a, b); }
FOVEA_INLINE bool anyTrue(IntVec condition) { return _mm_movemask_ps((Vec)condition) != 0; }
#else
FOVEA_INLINE Vec max(Vec a, Vec b) { return select(a > b, a, b); }
FOVEA_INLINE Vec min(Vec a, Vec b) { return select(a < b, a, b); }
FOVEA_INLINE bool anyTrue(IntVec condition) { return (condition[0] | condition[1] | condition[2] | condition[3]) != 0; }
#endif

// IEEE half to single: shift the fields into place, then mend the exponent of infinities, NaNs and subnormals.
FOVEA_INLINE Vec loadHalf(const uint16_t* from) {
  const IntVec half = __builtin_convertvector(loadAs<HalfBits>(from), IntVec);
  const IntVec magnitude = (half & 0x7fff) << 13, exponent = magnitude & 0x0f800000;
  const IntVec normal = magnitude + ((127 - 15) << 23);
  const IntVec special = normal + ((128 - 16) << 23);
  const Vec subnormal = fromBits(normal + (1 << 23)) - 6.103515625e-05f;  // 2^-14
  IntVec single = bits(select(exponent == 0x0f800000, fromBits(special), fromBits(normal)));
  single = bits(select(exponent == 0, subnormal, fromBits(single)));
  return fromBits(single | ((half & 0x8000) << 16));
}
// Single to half, to nearest even. Subnormal results come from an addition that shifts the bits out at the right place.
FOVEA_INLINE void storeHalf(uint16_t* to, Vec value) {
  const IntVec all = bits(value), sign = all & (int32_t)0x80000000, magnitude = all ^ sign;
  const IntVec odd = (magnitude >> 13) & 1;
  const IntVec normal = (magnitude - ((127 - 15) << 23) + 0xfff + odd) >> 13;
  const IntVec subnormal = bits(fromBits(magnitude) + 0.5f) - 0x3f000000;
  const IntVec overflow =
      bits(select(magnitude > 0x7f800000, fromBits(IntVec{} + 0x7e00), fromBits(IntVec{} + 0x7c00)));
  IntVec half = bits(select(magnitude < (113 << 23), fromBits(subnormal), fromBits(normal)));
  half = bits(select(magnitude >= (143 << 23), fromBits(overflow), fromBits(half)));
  storeAs(to, __builtin_convertvector(half | ((sign >> 16) & 0x8000), HalfBits));
}

#endif

/// A number that vectors are multiplied by, as products like it best: in all lanes, or where the instruction takes it
/// from one lane of a register, in one.
#if defined(__aarch64__)
typedef float Factor;

// Compilers make copies in all lanes of some of the numbers, if they are not told the instruction.
FOVEA_INLINE Vec fma(Factor a, Vec b, Vec c) {
  asm("fmla %0.4s, %1.4s, %2.s[0]" : "+w"(c) : "w"(b), "w"(a));
  return c;
}
#else
typedef Vec Factor;
#endif
FOVEA_INLINE Factor factor(float value) {
#if defined(__aarch64__)
  return value;
#else
  return broadcast(value);
#endif
}

/// anyTrue(a > b); with AVX-512 comparisons give masks, and a vector in between costs time.
FOVEA_INLINE bool anyAbove(Vec a, Vec b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0;
#else
  return anyTrue(a > b);
#endif
}

FOVEA_INLINE Vec loadBfloat(const uint16_t* from) {
#if defined(__AVX512F__)
  return (Vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from)), 16);
#elif defined(__AVX2__)
  return (Vec)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)from)), 16);
#else
  return fromBits(__builtin_convertvector(loadAs<HalfBits>(from), IntVec) << 16);
#endif
}
/// To nearest even; a NaN stays one.
FOVEA_INLINE void storeBfloat(uint16_t* to, Vec value) {
  const UintVec all = (UintVec)value, rounded = all + 0x7fff + ((all >> 16) & 1);
  const UintVec kept = (UintVec)select(value != value, (Vec)(all | 0x400000), (Vec)rounded);
  storeAs(to, __builtin_convertvector(kept >> 16, HalfBits));
}

FOVEA_INLINE Vec loadBytes(const int8_t* from) {
#if defined(__AVX512F__)
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)from)));
#elif defined(__AVX2__)
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)from)));
#elif defined(__aarch64__)
  const int8x8_t bytes = vreinterpret_s8_u32(vdup_n_u32(loadAs<uint32_t>(from)));
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))));
#else
  typedef int8_t Bytes __attribute__((vector_size(lanes)));
  return __builtin_convertvector(loadAs<Bytes>(from), Vec);
#endif
}

// ---- elements of a dtype: `lanes` neighbours to and from float32

template <DType type>
FOVEA_INLINE Vec loadLanes(const void* from) {
  if constexpr (type == DType::float32) return load((const float*)from);
  if constexpr (type == DType::float16) return loadHalf((const uint16_t*)from);
  if constexpr (type == DType::bfloat16) return loadBfloat((const uint16_t*)from);
  if constexpr (type == DType::int8) return loadBytes((const int8_t*)from);
}
template <DType type>
FOVEA_INLINE void storeLanes(void* to, Vec value) {
  if constexpr (type == DType::float32) store((float*)to, value);
  if constexpr (type == DType::float16) storeHalf((uint16_t*)to, value);
  if constexpr (type == DType::bfloat16) storeBfloat((uint16_t*)to, value);
}

// ---- pairs: two numbers of bfloat16 in each lane, the first one in the lower half

#if defined(__AVX512BF16__)
constexpr bool multipliesPairs = true;

/// Each lane's two products added to `sum`, the second one first. Subnormal numbers count as 0.
FOVEA_INLINE Vec addPairs(Vec a, Vec b, Vec sum) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
/// To nearest even.
FOVEA_INLINE Vec makePairs(Vec first, Vec second) {
  const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh(second, first);  // one vector after the other
  return (Vec)_mm512_permutexvar_epi16(_mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
                                                        23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0),
                                       halves);
}
/// `lanes` neighbours of each row.
FOVEA_INLINE Vec loadPairs(const uint16_t* first, const uint16_t* second) {
  const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)first));
  const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)second));
  return (Vec)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}
#else
constexpr bool multipliesPairs = false;

FOVEA_INLINE Vec addPairs(Factor, Vec, Vec sum) { return sum; }
FOVEA_INLINE Vec makePairs(Vec first, Vec) { return first; }
FOVEA_INLINE Vec loadPairs(const uint16_t*, const uint16_t*) { return zero(); }
#endif
FOVEA_INLINE Vec firstOf(Vec pairs) { return fromBits(bits(pairs) << 16); }
FOVEA_INLINE Vec secondOf(Vec pairs) { return fromBits(bits(pairs) & (int32_t)0xffff0000); }

// ---- quads: four neighbouring lanes

/// Four floats each of rows[0], rows[4], ..., from `at` on.
FOVEA_INLINE Vec loadQuads(const float* const* rows, int64_t at) {
  const auto quad = [&](int row) __attribute__((always_inline)) { return loadAs<Quad>(rows[row] + at); };
#if defined(__AVX512F__)
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_set_m128(quad(4), quad(0))),
                            _mm256_set_m128(quad(12), quad(8)), 1);
#elif defined(__AVX2__)
  return _mm256_set_m128(quad(4), quad(0));
#else
  return quad(0);
#endif
}
FOVEA_INLINE void storeQuads(float* const* rows, int64_t at, Vec value) {
  Quad quads[lanes / 4];
  store((float*)quads, value);
#pragma GCC unroll 4
  for (int q = 0; q < lanes / 4; q++) storeAs(rows[4 * q] + at, quads[q]);
}

/// Of each quad of a and of b the lanes that `from` names: 0 to 3 of a's, 4 to 7 of b's.
template <int... from, int... lane>
FOVEA_INLINE Vec pickLanes(Vec a, Vec b, std::integer_sequence<int, lane...>) {
  constexpr int picked[] = {from...};
  return __builtin_shufflevector(a, b, (lane / 4 * 4 + picked[lane % 4] % 4 + picked[lane % 4] / 4 * lanes)...);
}
template <int... from>
FOVEA_INLINE Vec pick(Vec a, Vec b) {
  return pickLanes<from...>(a, b, std::make_integer_sequence<int, lanes>());
}

// ---- reductions (in a fixed order: results do not depend on the compiler's mood)

FOVEA_INLINE float sumLanes(Vec value) {
  float part[lanes];
  store(part, value);
  for (int width = lanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) part[i] += part[i + width];
  return part[0];
}
/// The sums of four vectors' lanes, in a few instructions.
FOVEA_INLINE Quad sumFour(Vec a, Vec b, Vec c, Vec d) {
#if defined(__AVX512F__)
  const auto halves = [](Vec x) { return _mm512_castps512_ps256(x) + _mm512_extractf32x8_ps(x, 1); };
  const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(halves(a), halves(b)), _mm256_hadd_ps(halves(c), halves(d)));
  return _mm256_castps256_ps128(pairs) + _mm256_extractf128_ps(pairs, 1);
#elif defined(__AVX2__)
  const Vec pairs = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  return _mm256_castps256_ps128(pairs) + _mm256_extractf128_ps(pairs, 1);
#elif defined(__aarch64__)
  return vpaddq_f32(pick<0, 1, 4, 5>(a, b) + pick<2, 3, 6, 7>(a, b), pick<0, 1, 4, 5>(c, d) + pick<2, 3, 6, 7>(c, d));
#else
  return Quad{sumLanes(a), sumLanes(b), sumLanes(c), sumLanes(d)};
#endif
}
/// sumFour of four rows of four vectors each, stored `stride` apart: the same sums, in the same order.
FOVEA_INLINE void storeSums(const Vec (&rows)[4][4], float* to, int64_t stride) {
#if defined(__AVX512F__)
  Vec sums[2];  // of rows 0 and 1, 2 and 3: quads of their lower lanes' and of their higher ones'
#pragma GCC unroll 2
  for (int pair = 0; pair < 2; pair++) {
    Vec halves[4], twos[2];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      const Vec a = rows[2 * pair][i], b = rows[2 * pair + 1][i];
      halves[i] = _mm512_shuffle_f32x4(a, b, 0x44) + _mm512_shuffle_f32x4(a, b, 0xee);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
      twos[i] = pick<0, 2, 4, 6>(halves[2 * i], halves[2 * i + 1]) + pick<1, 3, 5, 7>(halves[2 * i], halves[2 * i + 1]);
    sums[pair] = pick<0, 2, 4, 6>(twos[0], twos[1]) + pick<1, 3, 5, 7>(twos[0], twos[1]);
  }
  const __m512 all = _mm512_shuffle_f32x4(sums[0], sums[1], 0x88) + _mm512_shuffle_f32x4(sums[0], sums[1], 0xdd);
  storeAs(to, _mm512_castps512_ps128(all)), storeAs(to + stride, _mm512_extractf32x4_ps(all, 1));
  storeAs(to + 2 * stride, _mm512_extractf32x4_ps(all, 2)), storeAs(to + 3 * stride, _mm512_extractf32x4_ps(all, 3));
#else
#pragma GCC unroll 4
  for (int row = 0; row < 4; row++)
    storeAs(to + row * stride, sumFour(rows[row][0], rows[row][1], rows[row][2], rows[row][3]));
#endif
}
FOVEA_INLINE float maxLanes(Vec value) {
  float part[lanes];
  store(part, value);
  float top = part[0];
  for (int i = 1; i < lanes; i++) top = part[i] > top ? part[i] : top;
  return top;
}

// ---- elementary functions

#if defined(__AVX2__)
constexpr int tableBits = lanes == 16 ? 5 : 3;
/// 2^(j / 32).
constexpr float thirtySecondPowers[] = {
    0x1p0f,        0x1.059b0ep0f, 0x1.0b5586p0f, 0x1.11301ep0f, 0x1.172b84p0f, 0x1.1d4874p0f, 0x1.2387a6p0f,
    0x1.29e9ep0f,  0x1.306fep0f,  0x1.371a74p0f, 0x1.3dea64p0f, 0x1.44e086p0f, 0x1.4bfdaep0f, 0x1.5342b6p0f,
    0x1.5ab07ep0f, 0x1.6247ecp0f, 0x1.6a09e6p0f, 0x1.71f75ep0f, 0x1.7a1148p0f, 0x1.82589ap0f, 0x1.8ace54p0f,
    0x1.93737cp0f, 0x1.9c4918p0f, 0x1.a5503cp0f, 0x1.ae89fap0f, 0x1.b7f77p0f,  0x1.c199bep0f, 0x1.cb720ep0f,
    0x1.d5818ep0f, 0x1.dfc974p0f, 0x1.ea4afap0f, 0x1.f50766p0f};
/// For each j the bits that j / 2^tableBits, shifted to the exponent, lacks of 2^(j / 2^tableBits - 127).
struct PowerTable {
  alignas(64) uint32_t bits[1 << tableBits];
};
constexpr PowerTable powers = [] {
  PowerTable table{};
  for (uint32_t j = 0; j < 1 << tableBits; j++)
    table.bits[j] =
        __builtin_bit_cast(uint32_t, thirtySecondPowers[j << (5 - tableBits)]) - (127 << 23) - (j << (23 - tableBits));
  return table;
}();
#else
constexpr int tableBits = 0;
#endif

/// 2^x, within 2.4 ulp; 0 for x <= -127 (exactly, so a masked score needs no further AND), NaN stays NaN. Valid below
/// 127.5. Adding a large number rounds x to n + j / 2^tableBits; 2^n 2^(j / 2^tableBits) is put together from bits, and
/// the rest f gets a polynomial whose coefficients are the best float32 ones near the minimax fit: the finer the table,
/// the fewer multiply-adds, which are what products need as well. Without a table (there is no instruction for it) 2^n
/// is multiplied: adding n to the exponent of a polynomial would make numbers of some NaNs.
FOVEA_INLINE Vec exp2(Vec x) {
  const Vec magic = broadcast(1.5f * (1 << (23 - tableBits)) + 127);
  x = max(broadcast(-127.f), x);
  const Vec shifted = x + magic, f = x - (shifted - magic);
  const UintVec exponent = (UintVec)shifted << (23 - tableBits);
#if defined(__AVX2__)
  const Vec power = (Vec)((UintVec)lookUp(powers.bits, bits(shifted)) + exponent);
  Vec r = lanes == 16 ? fma(broadcast(0x1.ebfc02p-3f), f, broadcast(0x1.62e584p-1f))
                      : fma(broadcast(0x1.c6a004p-5f), f, broadcast(0x1.ec0c32p-3f));
  if constexpr (lanes == 8) r = fma(r, f, broadcast(0x1.62e432p-1f));
  return fma(power, r * f, power);
#else
  Vec r = fma(broadcast(0x1.5c0ba2p-10f), f, broadcast(0x1.3d0bc8p-7f));
  r = fma(r, f, broadcast(0x1.c6b75ep-5f));
  r = fma(r, f, broadcast(0x1.ebf93cp-3f));
  r = fma(r, f, broadcast(0x1.62e424p-1f));
  r = fma(r, f, broadcast(1.f));
  return r * (Vec)exponent;
#endif
}

/// tanh x, within a few ulp: x P(x^2) / Q(x^2), both of degree 4, the best ratio for the relative error up to 9 (2e-8,
/// by Remez' exchange); from there on tanh rounds to 1.
FOVEA_INLINE Vec tanh(Vec x) {
  x = max(broadcast(-9.f), min(broadcast(9.f), x));  // a NaN stays one
  const Vec z = x * x;
  Vec p = fma(broadcast(0x1.cadcaap-27f), z, broadcast(0x1.59c346p-16f));
  Vec q = fma(broadcast(0x1.a18016p-21f), z, broadcast(0x1.58860cp-12f));
  p = fma(p, z, broadcast(0x1.ca2c72p-9f)), q = fma(q, z, broadcast(0x1.a7f7eap-6f));
  p = fma(p, z, broadcast(0x1.120b1cp-3f)), q = fma(q, z, broadcast(0x1.de5ad8p-2f));
  p = fma(p, z, broadcast(1.f)), q = fma(q, z, broadcast(1.f));
  return x * p / q;
}

constexpr float log2e = 1.4426950408889634f;

}  // namespace fovea::cpu::FOVEA_ISA
