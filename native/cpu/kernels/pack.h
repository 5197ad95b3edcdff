// Bringing tensors of any dtype and stride into the float32 panels that the micro-kernels eat.
#pragma once
#include "simd.h"

namespace fovea::cpu::FOVEA_ISA {

FOVEA_INLINE const void* elementAt(const void* data, DType type, int64_t index) {
  return (const char*)data + index * byteSize(type);
}

template <DType type>
FOVEA_INLINE float loadOne(const void* from) {
  if constexpr (type == DType::float32) return *(const float*)from;
  if constexpr (type == DType::int8) return *(const int8_t*)from;
  uint16_t padded[lanes] = {*(const uint16_t*)from};
  return loadLanes<type>(padded)[0];
}
template <DType type>
FOVEA_INLINE void storeOne(void* to, float value) {
  if constexpr (type == DType::float32) {
    *(float*)to = value;
  } else {
    uint16_t padded[lanes];
    storeLanes<type>(padded, broadcast(value));
    *(uint16_t*)to = padded[0];
  }
}

template <DType type>
static void readRowOf(const void* from, int64_t stride, int64_t count, float* to) {
  int64_t i = 0;
  if (stride == 1)
    for (; i + lanes <= count; i += lanes) store(to + i, loadLanes<type>(elementAt(from, type, i)));
  for (; i < count; i++) to[i] = loadOne<type>(elementAt(from, type, i * stride));
}
template <DType type>
static void writeRowOf(const float* from, int64_t count, void* to, int64_t stride) {
  int64_t i = 0;
  if (stride == 1)
    for (; i + lanes <= count; i += lanes) storeLanes<type>((char*)to + i * byteSize(type), load(from + i));
  for (; i < count; i++) storeOne<type>((char*)to + i * stride * byteSize(type), from[i]);
}

/// `count` elements, `stride` apart, converted to contiguous float32.
static inline void readRow(const void* from, DType type, int64_t stride, int64_t count, float* to) {
  if (type == DType::float32) return readRowOf<DType::float32>(from, stride, count, to);
  if (type == DType::float16) return readRowOf<DType::float16>(from, stride, count, to);
  if (type == DType::int8) return readRowOf<DType::int8>(from, stride, count, to);  // without its scale
  readRowOf<DType::bfloat16>(from, stride, count, to);
}
/// The way back; rounds to nearest even.
static inline void writeRow(const float* from, int64_t count, void* to, DType type, int64_t stride) {
  if (type == DType::float32) return writeRowOf<DType::float32>(from, count, to, stride);
  if (type == DType::float16) return writeRowOf<DType::float16>(from, count, to, stride);
  writeRowOf<DType::bfloat16>(from, count, to, stride);
}

/// The row as contiguous float32: where it lies, if it is that already, else converted into `staging` (`count` floats).
FOVEA_INLINE const float* rowAsFloat(const void* from, DType type, int64_t stride, int64_t count, float* staging) {
  if (type == DType::float32 && (stride == 1 || count == 1)) return (const float*)from;
  readRow(from, type, stride, count, staging);
  return staging;
}

/// Where key `key` of a kv head lies, through the page table if there is one.
FOVEA_INLINE const void* keyRow(const Problem& problem, const Sequence& sequence, const View<const void>& view,
                                int64_t pageStride, int64_t kvHead, int64_t key) {
  int64_t index = kvHead * view.headStride;
  if (problem.pageSize > 0)
    index += sequence.pageTable[key / problem.pageSize] * pageStride + key % problem.pageSize * view.rowStride;
  else
    index += key * view.rowStride;
  return elementAt(view.data, problem.kvDtype(), index);
}

/// What int8 row `key` of a kv head is to be multiplied by.
FOVEA_INLINE const float* keyScale(const Problem& problem, const Sequence& sequence, const float* scales,
                                   int64_t kvHead, int64_t key) {
  const int64_t page = sequence.pageTable[key / problem.pageSize];
  return scales + (page * problem.kvHeads + kvHead) * problem.pageSize + key % problem.pageSize;
}

FOVEA_INLINE void multiplyRow(float* row, int64_t count, float factor) {
  for (int64_t i = 0; i < count; i++) row[i] *= factor;
}

/// A 4 x 4 transpose, of each four lanes by themselves.
FOVEA_INLINE void transposeQuads(Vec& a, Vec& b, Vec& c, Vec& d) {
  const Vec ab0 = pick<0, 4, 1, 5>(a, b), ab1 = pick<2, 6, 3, 7>(a, b);
  const Vec cd0 = pick<0, 4, 1, 5>(c, d), cd1 = pick<2, 6, 3, 7>(c, d);
  a = pick<0, 1, 4, 5>(ab0, cd0), b = pick<2, 3, 6, 7>(ab0, cd0);
  c = pick<0, 1, 4, 5>(ab1, cd1), d = pick<2, 3, 6, 7>(ab1, cd1);
}

/// Whether rows are transposed a whole vector at a time: addresses of 16 rows fit no registers, so each is to be used
/// for more than four floats.
constexpr bool wideTranspose = lanes == 16;

/// Of four vectors of four quads: quad p of vector q and quad q of vector p change places.
FOVEA_INLINE void exchangeQuads([[maybe_unused]] Vec& a, [[maybe_unused]] Vec& b, [[maybe_unused]] Vec& c,
                                [[maybe_unused]] Vec& d) {
#if defined(__AVX512F__)
  const Vec lowAb = _mm512_shuffle_f32x4(a, b, 0x44), highAb = _mm512_shuffle_f32x4(a, b, 0xee);
  const Vec lowCd = _mm512_shuffle_f32x4(c, d, 0x44), highCd = _mm512_shuffle_f32x4(c, d, 0xee);
  a = _mm512_shuffle_f32x4(lowAb, lowCd, 0x88), b = _mm512_shuffle_f32x4(lowAb, lowCd, 0xdd);
  c = _mm512_shuffle_f32x4(highAb, highCd, 0x88), d = _mm512_shuffle_f32x4(highAb, highCd, 0xdd);
#endif
}

/// A transpose of 16 vectors of 16 lanes.
FOVEA_INLINE void transposeLanes(Vec (&v)[lanes]) {
#pragma GCC unroll 4
  for (int q = 0; q + 4 <= lanes; q += 4) transposeQuads(v[q], v[q + 1], v[q + 2], v[q + 3]);
  if constexpr (wideTranspose)
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) exchangeQuads(v[i], v[4 + i], v[8 + i], v[12 + i]);
}

/// `lanes` rows of `count` floats become [count][stride], each row in its own column of `to`, changed on the way. Of
/// one dimension four are transposed at a time, of rows `lanes`: row 4 q + i goes as quad q of vector i.
template <class Change>
FOVEA_INLINE void interleaveChanged(const float* const rows[lanes], int64_t count, float* to, int64_t stride,
                                    const Change& change) {
  int64_t i = 0;
  for (; wideTranspose && i + lanes <= count; i += lanes) {
    Vec v[lanes];
#pragma GCC unroll 16
    for (int row = 0; row < lanes; row++) v[row] = load(rows[row] + i);
    transposeLanes(v);
#pragma GCC unroll 16
    for (int d = 0; d < lanes; d++) store(to + (i + d) * stride, change(v[d]));
  }
  for (; i + 4 <= count; i += 4) {
    Vec a = loadQuads(rows, i), b = loadQuads(rows + 1, i), c = loadQuads(rows + 2, i), d = loadQuads(rows + 3, i);
    transposeQuads(a, b, c, d);
    store(to + i * stride, change(a)), store(to + (i + 1) * stride, change(b));
    store(to + (i + 2) * stride, change(c)), store(to + (i + 3) * stride, change(d));
  }
  for (; i < count; i++) {
    float column[lanes];
    for (int row = 0; row < lanes; row++) column[row] = rows[row][i];
    store(to + i * stride, change(load(column)));
  }
}
/// The same, times `factor`.
static inline void interleaveRows(const float* const rows[lanes], int64_t count, float* to, int64_t stride,
                                  float factor) {
  interleaveChanged(
      rows, count, to, stride, [&](Vec value) __attribute__((always_inline)) { return value * factor; });
}

/// The inverse of interleaveRows: `lanes` neighbouring columns of [count][stride] become rows, each times its own
/// factor.
static inline void separateRows(const float* from, int64_t count, int64_t stride, float* const rows[lanes],
                                Vec factors) {
  int64_t i = 0;
  for (; wideTranspose && i + lanes <= count; i += lanes) {
    Vec v[lanes];
#pragma GCC unroll 16
    for (int d = 0; d < lanes; d++) v[d] = load(from + (i + d) * stride) * factors;
    transposeLanes(v);
#pragma GCC unroll 16
    for (int row = 0; row < lanes; row++) store(rows[row] + i, v[row]);
  }
  for (; i + 4 <= count; i += 4) {
    Vec a = load(from + i * stride) * factors, b = load(from + (i + 1) * stride) * factors;
    Vec c = load(from + (i + 2) * stride) * factors, d = load(from + (i + 3) * stride) * factors;
    transposeQuads(a, b, c, d);
    storeQuads(rows, i, a), storeQuads(rows + 1, i, b), storeQuads(rows + 2, i, c), storeQuads(rows + 3, i, d);
  }
  for (; i < count; i++)
    for (int row = 0; row < lanes; row++) rows[row][i] = from[i * stride + row] * factors[row];
}

}  // namespace fovea::cpu::FOVEA_ISA
