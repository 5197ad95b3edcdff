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

/// A 4 x 4 transpose.
FOVEA_INLINE void transposeQuads(Quad& a, Quad& b, Quad& c, Quad& d) {
  const Quad ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Quad cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  a = __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5);
  b = __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7);
  c = __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5);
  d = __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7);
}

/// Four rows of `count` floats become [count][stride], each row in its own column of `to`, times `factor`.
static inline void interleaveFour(const float* const rows[4], int64_t count, float* to, int64_t stride, float factor) {
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    Quad a = loadAs<Quad>(rows[0] + i) * factor, b = loadAs<Quad>(rows[1] + i) * factor;
    Quad c = loadAs<Quad>(rows[2] + i) * factor, d = loadAs<Quad>(rows[3] + i) * factor;
    transposeQuads(a, b, c, d);
    storeAs(to + i * stride, a), storeAs(to + (i + 1) * stride, b);
    storeAs(to + (i + 2) * stride, c), storeAs(to + (i + 3) * stride, d);
  }
  for (; i < count; i++)
    for (int row = 0; row < 4; row++) to[i * stride + row] = rows[row][i] * factor;
}

/// The inverse of interleaveFour: four neighbouring columns of [count][stride] become four rows, each times its own
/// factor.
static inline void separateFour(const float* from, int64_t count, int64_t stride, float* const rows[4],
                                const float factors[4]) {
  const Quad factor = loadAs<Quad>(factors);
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    Quad a = loadAs<Quad>(from + i * stride) * factor, b = loadAs<Quad>(from + (i + 1) * stride) * factor;
    Quad c = loadAs<Quad>(from + (i + 2) * stride) * factor, d = loadAs<Quad>(from + (i + 3) * stride) * factor;
    transposeQuads(a, b, c, d);
    storeAs(rows[0] + i, a), storeAs(rows[1] + i, b), storeAs(rows[2] + i, c), storeAs(rows[3] + i, d);
  }
  for (; i < count; i++)
    for (int row = 0; row < 4; row++) rows[row][i] = from[i * stride + row] * factors[row];
}

}  // namespace fovea::cpu::FOVEA_ISA
