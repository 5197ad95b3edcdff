// Instructions that need sm_90.
#include "calibrate.cuh"

static __device__ uint32_t sharedAddress(const void* pointer) { return uint32_t(__cvta_generic_to_shared(pointer)); }

/// Lane l gives the address of row 5 l mod 32 of shared memory, rows of four words; results: row l, zero where nothing
/// was stored.
#define CALIBRATE_STMATRIX(name, instruction, registers)                                                              \
  CALIBRATE(name) {                                                                                                   \
    __shared__ alignas(16) uint32_t rows[32 * 4];                                                                     \
    const int lane = threadIdx.x;                                                                                     \
    for (int i = 0; i < 4; i++) rows[lane * 4 + i] = 0;                                                               \
    __syncwarp();                                                                                                     \
    asm volatile(instruction " [%0], " registers ";" ::"r"(sharedAddress(rows + lane * 5 % 32 * 4)), "r"(at.word(0)), \
                 "r"(at.word(1)), "r"(at.word(2)), "r"(at.word(3))                                                    \
                 : "memory");                                                                                         \
    __syncwarp();                                                                                                     \
    for (int i = 0; i < 4; i++) at.put(rows[lane * 4 + i], i);                                                        \
  }
CALIBRATE_STMATRIX(stmatrix_x1, "stmatrix.sync.aligned.m8n8.x1.shared.b16", "{%1}")
CALIBRATE_STMATRIX(stmatrix_x2, "stmatrix.sync.aligned.m8n8.x2.shared.b16", "{%1, %2}")
CALIBRATE_STMATRIX(stmatrix_x4, "stmatrix.sync.aligned.m8n8.x4.shared.b16", "{%1, %2, %3, %4}")
CALIBRATE_STMATRIX(stmatrix_x4_trans, "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16", "{%1, %2, %3, %4}")

CALIBRATE_F_H(cvt_f32_bf16, "cvt.f32.bf16")
CALIBRATE_R_RR(add_rn_bf16x2, "add.rn.bf16x2")
CALIBRATE_R_RR(mul_rn_bf16x2, "mul.rn.bf16x2")

/// Which lane leads is not documented; that one of the mask does is.
CALIBRATE(elect_sync) {
  uint32_t leads;
  asm volatile("{.reg .pred p; .reg .b32 leader; elect.sync leader|p, 0xffffffff; selp.u32 %0, 1, 0, p;}"
               : "=r"(leads));
  at.put(uint32_t(__popc(__ballot_sync(0xffffffff, leads))));
}
