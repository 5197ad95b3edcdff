// Matrix instructions of sm_80: ldmatrix, movmatrix and mma.
#include "calibrate.cuh"

static __device__ uint32_t sharedAddress(const void* pointer) { return uint32_t(__cvta_generic_to_shared(pointer)); }

/// Shared memory holds the input as rows of four words; lane l gives the address of row 5 l mod 32.
#define CALIBRATE_LDMATRIX(name, instruction, count, registers)               \
  CALIBRATE(name) {                                                           \
    __shared__ alignas(16) uint32_t rows[32 * 4];                             \
    const int lane = threadIdx.x;                                             \
    for (int i = 0; i < 4; i++) rows[lane * 4 + i] = at.in[at.index * 4 + i]; \
    __syncwarp();                                                             \
    uint32_t d[4] = {0, 0, 0, 0};                                             \
    asm volatile(instruction " " registers ", [%4];"                          \
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])             \
                 : "r"(sharedAddress(rows + lane * 5 % 32 * 4))               \
                 : "memory");                                                 \
    for (int i = 0; i < count; i++) at.put(d[i], i);                          \
  }
CALIBRATE_LDMATRIX(ldmatrix_x1, "ldmatrix.sync.aligned.m8n8.x1.shared.b16", 1, "{%0}")
CALIBRATE_LDMATRIX(ldmatrix_x2, "ldmatrix.sync.aligned.m8n8.x2.shared.b16", 2, "{%0, %1}")
CALIBRATE_LDMATRIX(ldmatrix_x4, "ldmatrix.sync.aligned.m8n8.x4.shared.b16", 4, "{%0, %1, %2, %3}")
CALIBRATE_LDMATRIX(ldmatrix_x1_trans, "ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16", 1, "{%0}")
CALIBRATE_LDMATRIX(ldmatrix_x2_trans, "ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16", 2, "{%0, %1}")
CALIBRATE_LDMATRIX(ldmatrix_x4_trans, "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16", 4, "{%0, %1, %2, %3}")

CALIBRATE(movmatrix_trans) {
  uint32_t d;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(d) : "r"(at.word()));
  at.put(d);
}

/// Operands: the registers of A, of B, of C; results: those of D.
#define CALIBRATE_MMA(name, shape, types, aRegisters, bRegisters)                       \
  CALIBRATE(name) {                                                                     \
    float d[4];                                                                         \
    const int b = aRegisters, c = aRegisters + bRegisters;                              \
    FOVEA_MMA_##aRegisters##_##bRegisters("mma.sync.aligned." shape ".row.col." types); \
    for (int i = 0; i < 4; i++) at.put(d[i], i);                                        \
  }
#define FOVEA_MMA_4_2(instruction)                                                                     \
  asm volatile(instruction " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"                \
               : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])                                        \
               : "r"(at.word(0)), "r"(at.word(1)), "r"(at.word(2)), "r"(at.word(3)), "r"(at.word(b)),  \
                 "r"(at.word(b + 1)), "f"(at.number(c)), "f"(at.number(c + 1)), "f"(at.number(c + 2)), \
                 "f"(at.number(c + 3)))
#define FOVEA_MMA_2_1(instruction)                                                                            \
  asm volatile(instruction " {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%8,%9,%10};"                                   \
               : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])                                               \
               : "r"(at.word(0)), "r"(at.word(1)), "r"(at.word(b)), "f"(at.number(c)), "f"(at.number(c + 1)), \
                 "f"(at.number(c + 2)), "f"(at.number(c + 3)))
CALIBRATE_MMA(mma_m16n8k16_f16, "m16n8k16", "f32.f16.f16.f32", 4, 2)
CALIBRATE_MMA(mma_m16n8k16_bf16, "m16n8k16", "f32.bf16.bf16.f32", 4, 2)
CALIBRATE_MMA(mma_m16n8k8_tf32, "m16n8k8", "f32.tf32.tf32.f32", 4, 2)
CALIBRATE_MMA(mma_tf32_low_bits, "m16n8k8", "f32.tf32.tf32.f32", 4, 2)
CALIBRATE_MMA(mma_tf32_subnormal, "m16n8k8", "f32.tf32.tf32.f32", 4, 2)
CALIBRATE_MMA(mma_m16n8k8_f16, "m16n8k8", "f32.f16.f16.f32", 2, 1)
CALIBRATE_MMA(mma_rounding_f16, "m16n8k16", "f32.f16.f16.f32", 4, 2)
