// Every line of inline PTX, each behind a name. Nothing here knows about attention.
#pragma once
#include <cstdint>

#define FOVEA_DEVICE __device__ __forceinline__

namespace fovea::cuda {

/// 16-bit floating-point numbers as they lie in memory.
struct Half {
  uint16_t bits;
};
struct BFloat {
  uint16_t bits;
};

namespace ptx {

/// The same value, of which the compiler knows nothing: what is made from it is made anew, not kept in registers.
FOVEA_DEVICE int anew(int value) {
  asm volatile("" : "+r"(value));
  return value;
}

template <class Element>
FOVEA_DEVICE const Element* anew(const Element* value) {
  asm volatile("" : "+l"(value));
  return value;
}

FOVEA_DEVICE uint32_t sharedAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Asynchronous copies, global to shared memory ----------------------------------------------------------------------

/// Copies `bytes` (0 to 16) and fills the rest of the 16 with zeros. Both addresses are multiples of 16.
FOVEA_DEVICE void copyAsync(uint32_t shared, const void* global, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(bytes) : "memory");
}

/// The same of all 16.
FOVEA_DEVICE void copyAsync(uint32_t shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(global) : "memory");
}

/// The same of 4 bytes, or of 4 zeros.
FOVEA_DEVICE void copyFourAsync(uint32_t shared, const void* global, bool exists) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared), "l"(global), "r"(exists ? 4 : 0)
               : "memory");
}

/// Closes a group of this thread's copies.
FOVEA_DEVICE void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Waits until at most `pending` of this thread's newest groups are in flight.
template <int pending>
FOVEA_DEVICE void waitCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// Matrix fragments (16-bit) -----------------------------------------------------------------------------------------
// With g = lane / 4 and t = lane % 4, register i of a loaded 8 x 8 matrix holds its elements [g][2t] and [g][2t + 1].

/// Loads four 8 x 8 matrices; lane 8i + r gives the address of row r of matrix i.
FOVEA_DEVICE void loadMatrices(uint32_t (&registers)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(address)
               : "memory");
}

/// The same, each matrix transposed.
FOVEA_DEVICE void loadMatricesTransposed(uint32_t (&registers)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(address)
               : "memory");
}

#define FOVEA_MMA(type)                                                     \
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type       \
               ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" \
               : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])     \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))

/// sum[16 x 8] += a[16 x 16] b[16 x 8]. sum: [g][2t], [g][2t+1], [g+8][2t], [g+8][2t+1]; a: [g][2t..], [g+8][2t..],
/// [g][2t+8..], [g+8][2t+8..]; b: [2t..][g], [2t+8..][g].
template <class Element>
FOVEA_DEVICE void multiplyAdd(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
template <>
FOVEA_DEVICE void multiplyAdd<Half>(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  FOVEA_MMA("f16");
}
template <>
FOVEA_DEVICE void multiplyAdd<BFloat>(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  FOVEA_MMA("bf16");
}
#undef FOVEA_MMA

/// sum[16 x 8] += a[16 x 8] b[8 x 8] of tf32: float32 whose 13 low bits do not count. sum: as above; a: [g][t],
/// [g+8][t], [g][t+4], [g+8][t+4]; b: [t][g], [t+4][g].
FOVEA_DEVICE void multiplyAddTf32(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Conversions and arithmetic on pairs of 16-bit numbers -------------------------------------------------------------

/// Two numbers rounded to nearest even, `low` in the low half.
template <class Element>
FOVEA_DEVICE uint32_t pack(float low, float high);
template <>
FOVEA_DEVICE uint32_t pack<Half>(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
template <>
FOVEA_DEVICE uint32_t pack<BFloat>(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

/// Products of both halves.
template <class Element>
FOVEA_DEVICE uint32_t multiplyPair(uint32_t a, uint32_t b);
template <>
FOVEA_DEVICE uint32_t multiplyPair<Half>(uint32_t a, uint32_t b) {
  uint32_t product;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(product) : "r"(a), "r"(b));
  return product;
}
template <>
FOVEA_DEVICE uint32_t multiplyPair<BFloat>(uint32_t a, uint32_t b) {
  uint32_t product;  // sm_80 multiplies bfloat16 only by adding: -0 leaves the product as it is
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(product) : "r"(a), "r"(b), "r"(0x80008000u));
  return product;
}

/// Sums of both halves, of float16.
FOVEA_DEVICE uint32_t addPair(uint32_t a, uint32_t b) {
  uint32_t sum;
  asm("add.rn.f16x2 %0, %1, %2;" : "=r"(sum) : "r"(a), "r"(b));
  return sum;
}

FOVEA_DEVICE float toFloat(Half value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
}
FOVEA_DEVICE float toFloat(BFloat value) { return __uint_as_float(static_cast<uint32_t>(value.bits) << 16); }
FOVEA_DEVICE float toFloat(float value) { return value; }

// Transcendental functions ------------------------------------------------------------------------------------------

/// 2^x to 2 ulp; subnormal results become 0.
FOVEA_DEVICE float exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// log2(x), absolute error about 2^-22 near 1, relative elsewhere.
FOVEA_DEVICE float log2(float x) {
  float result;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

}  // namespace ptx
}  // namespace fovea::cuda
