// Instructions by which the lanes of a warp exchange values, and memory: asynchronous copies and atomics.
#include "calibrate.cuh"

#define CALIBRATE_SHUFFLE(name, instruction, clamp)                                                           \
  CALIBRATE(name) { /* results: the value, and whether the lane that it came from is in range */              \
    uint32_t d, valid;                                                                                        \
    asm volatile("{.reg .pred p; " instruction " %0|p, %2, %3, " clamp ", 0xffffffff; selp.u32 %1, 1, 0, p;}" \
                 : "=r"(d), "=r"(valid)                                                                       \
                 : "r"(at.word(0)), "r"(at.word(1) & 31));                                                    \
    at.put(d, 0);                                                                                             \
    at.put(valid, 1);                                                                                         \
  }
CALIBRATE_SHUFFLE(shfl_bfly, "shfl.sync.bfly.b32", "0x1f")
CALIBRATE_SHUFFLE(shfl_up, "shfl.sync.up.b32", "0")
CALIBRATE_SHUFFLE(shfl_down_16, "shfl.sync.down.b32", "0x101f")
CALIBRATE_SHUFFLE(shfl_idx_8, "shfl.sync.idx.b32", "0x181f")

CALIBRATE(vote_ballot) {  // by the first 20 lanes alone
  uint32_t d = 0;
  if (threadIdx.x % 32 < 20)
    asm volatile("{.reg .pred p; setp.ne.u32 p, %1, 0; vote.sync.ballot.b32 %0, p, 0xfffff;}"
                 : "=r"(d)
                 : "r"(at.word() & 1));
  at.put(d);
}
CALIBRATE(vote_all_any_uni) {  // of a value that few lanes, or all but few, have
  uint32_t all, any, uni;
  asm volatile(
      "{.reg .pred p, q; setp.ne.u32 p, %3, 0;"
      "vote.sync.all.pred q, p, 0xffffffff; selp.u32 %0, 1, 0, q;"
      "vote.sync.any.pred q, p, 0xffffffff; selp.u32 %1, 1, 0, q;"
      "vote.sync.uni.pred q, p, 0xffffffff; selp.u32 %2, 1, 0, q;}"
      : "=r"(all), "=r"(any), "=r"(uni)
      : "r"(at.word()));
  at.put(all | any << 1 | uni << 2);
}
CALIBRATE(match_any) {
  uint32_t d;
  asm volatile("match.any.sync.b32 %0, %1, 0xffffffff;" : "=r"(d) : "r"(at.word() % 5));
  at.put(d);
}

#define CALIBRATE_REDUX(name, instruction)                                       \
  CALIBRATE(name) {                                                              \
    uint32_t d;                                                                  \
    asm volatile(instruction " %0, %1, 0xffffffff;" : "=r"(d) : "r"(at.word())); \
    at.put(d);                                                                   \
  }
CALIBRATE_REDUX(redux_add_u32, "redux.sync.add.u32")
CALIBRATE_REDUX(redux_max_s32, "redux.sync.max.s32")
CALIBRATE_REDUX(redux_min_u32, "redux.sync.min.u32")
CALIBRATE_REDUX(redux_xor_b32, "redux.sync.xor.b32")

static __device__ uint32_t sharedAddress(const void* pointer) { return uint32_t(__cvta_generic_to_shared(pointer)); }

#define CALIBRATE_COPY(name, instruction, bytes)                                                                    \
  CALIBRATE(name) { /* operand 0 modulo bytes + 1: how many bytes come from memory; the others are zero */          \
    constexpr int words = bytes / 4;                                                                                \
    __shared__ alignas(16) uint32_t shared[32 * words];                                                             \
    const int lane = threadIdx.x;                                                                                   \
    const uint32_t* from = at.in + at.count + at.index * words;                                                     \
    asm volatile(instruction " [%0], [%1], " #bytes ", %2;" ::"r"(sharedAddress(shared + lane * words)), "l"(from), \
                 "r"(at.word() % (bytes + 1))                                                                       \
                 : "memory");                                                                                       \
    asm volatile("cp.async.commit_group; cp.async.wait_group 0;" ::: "memory");                                     \
    for (int i = 0; i < words; i++) at.put(shared[lane * words + i], i);                                            \
  }
CALIBRATE_COPY(cp_async_cg_16, "cp.async.cg.shared.global", 16)
CALIBRATE_COPY(cp_async_ca_8, "cp.async.ca.shared.global", 8)
CALIBRATE_COPY(cp_async_ca_4, "cp.async.ca.shared.global", 4)

/// All 32 lanes operate on four cells of shared memory, which operand 1 of the first lanes initialises.
#define CALIBRATE_ATOMIC(name, instruction)                                                                \
  CALIBRATE(name) {                                                                                        \
    __shared__ uint32_t cells[4];                                                                          \
    const int lane = threadIdx.x;                                                                          \
    if (lane < 4) cells[lane] = at.word(1);                                                                \
    __syncwarp();                                                                                          \
    asm volatile("{.reg .b32 old; " instruction " old, [%0], %1;}" ::"r"(sharedAddress(cells + lane % 4)), \
                 "r"(at.word(0))                                                                           \
                 : "memory");                                                                              \
    __syncwarp();                                                                                          \
    at.put(cells[lane % 4]);                                                                               \
  }
CALIBRATE_ATOMIC(atom_add_u32, "atom.shared.add.u32")
CALIBRATE_ATOMIC(atom_max_s32, "atom.shared.max.s32")
CALIBRATE_ATOMIC(atom_min_u32, "atom.shared.min.u32")
CALIBRATE_ATOMIC(atom_xor_b32, "atom.shared.xor.b32")
CALIBRATE(atom_inc_u32) {
  __shared__ uint32_t cell;
  if (threadIdx.x == 0) cell = at.word(1) % 6;
  __syncwarp();
  asm volatile("{.reg .b32 old; atom.shared.inc.u32 old, [%0], 5;}" ::"r"(sharedAddress(&cell)) : "memory");
  __syncwarp();
  at.put(cell);
}
/// Sums of small integers, exact in any order, in the output itself, which is zero before.
CALIBRATE(red_add_f32) {
  asm volatile("red.global.add.f32 [%0], %1;" ::"l"(at.out + at.index % 4), "f"(float(int(at.word() % 2001) - 1000))
               : "memory");
}
