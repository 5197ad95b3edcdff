// Calibration micro-kernels: each shows what one instruction does with given inputs.
//
// Thread i of `count` reads words i, count + i, 2 count + i, ... of the input, its operands, and writes its results in
// the same way.
#pragma once
#include <cstdint>

struct Place {
  const uint32_t* in;
  uint32_t* out;
  int count, index;

  __device__ uint32_t word(int operand = 0) const { return in[operand * count + index]; }
  __device__ float number(int operand = 0) const { return __uint_as_float(word(operand)); }
  __device__ void put(uint32_t bits, int result = 0) const { out[result * count + index] = bits; }
  __device__ void put(float value, int result = 0) const { put(__float_as_uint(value), result); }
};

/// Defines kernel calibrate_<name>; what follows is its body, with `at`.
#define CALIBRATE(name)                                                                       \
  static __device__ __forceinline__ void name(const Place& at);                               \
  extern "C" __global__ void calibrate_##name(const uint32_t* in, uint32_t* out) {            \
    name({in, out, int(gridDim.x * blockDim.x), int(blockIdx.x * blockDim.x + threadIdx.x)}); \
  }                                                                                           \
  static __device__ __forceinline__ void name(const Place& at)

/// Kernels of one instruction. r: 32 bits or a pair of 16-bit numbers, f: float32, h: 16 bits.
#define CALIBRATE_R_R(name, instruction)                    \
  CALIBRATE(name) {                                         \
    uint32_t d;                                             \
    asm(instruction " %0, %1;" : "=r"(d) : "r"(at.word())); \
    at.put(d);                                              \
  }
#define CALIBRATE_R_RR(name, instruction)                                         \
  CALIBRATE(name) {                                                               \
    uint32_t d;                                                                   \
    asm(instruction " %0, %1, %2;" : "=r"(d) : "r"(at.word(0)), "r"(at.word(1))); \
    at.put(d);                                                                    \
  }
#define CALIBRATE_R_RRR(name, instruction)                                                             \
  CALIBRATE(name) {                                                                                    \
    uint32_t d;                                                                                        \
    asm(instruction " %0, %1, %2, %3;" : "=r"(d) : "r"(at.word(0)), "r"(at.word(1)), "r"(at.word(2))); \
    at.put(d);                                                                                         \
  }
#define CALIBRATE_F_F(name, instruction)                      \
  CALIBRATE(name) {                                           \
    float d;                                                  \
    asm(instruction " %0, %1;" : "=f"(d) : "f"(at.number())); \
    at.put(d);                                                \
  }
#define CALIBRATE_F_FF(name, instruction)                                             \
  CALIBRATE(name) {                                                                   \
    float d;                                                                          \
    asm(instruction " %0, %1, %2;" : "=f"(d) : "f"(at.number(0)), "f"(at.number(1))); \
    at.put(d);                                                                        \
  }
#define CALIBRATE_F_FFF(name, instruction)                                                                   \
  CALIBRATE(name) {                                                                                          \
    float d;                                                                                                 \
    asm(instruction " %0, %1, %2, %3;" : "=f"(d) : "f"(at.number(0)), "f"(at.number(1)), "f"(at.number(2))); \
    at.put(d);                                                                                               \
  }
#define CALIBRATE_R_F(name, instruction)                      \
  CALIBRATE(name) {                                           \
    uint32_t d;                                               \
    asm(instruction " %0, %1;" : "=r"(d) : "f"(at.number())); \
    at.put(d);                                                \
  }
#define CALIBRATE_R_FF(name, instruction)                                             \
  CALIBRATE(name) {                                                                   \
    uint32_t d;                                                                       \
    asm(instruction " %0, %1, %2;" : "=r"(d) : "f"(at.number(0)), "f"(at.number(1))); \
    at.put(d);                                                                        \
  }
#define CALIBRATE_F_R(name, instruction)                    \
  CALIBRATE(name) {                                         \
    float d;                                                \
    asm(instruction " %0, %1;" : "=f"(d) : "r"(at.word())); \
    at.put(d);                                              \
  }
#define CALIBRATE_H_F(name, instruction)                      \
  CALIBRATE(name) {                                           \
    uint16_t d;                                               \
    asm(instruction " %0, %1;" : "=h"(d) : "f"(at.number())); \
    at.put(uint32_t(d));                                      \
  }
#define CALIBRATE_F_H(name, instruction)                              \
  CALIBRATE(name) {                                                   \
    float d;                                                          \
    asm(instruction " %0, %1;" : "=f"(d) : "h"(uint16_t(at.word()))); \
    at.put(d);                                                        \
  }
