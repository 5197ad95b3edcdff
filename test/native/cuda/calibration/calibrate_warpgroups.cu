// Instructions that only sm_90a has, and those that wgmma needs around it: mbarriers, copies by tensor map,
// descriptors.
#include <cuda.h>

#include "calibrate.cuh"

static __device__ uint32_t sharedAddress(const void* pointer) { return uint32_t(__cvta_generic_to_shared(pointer)); }

static __device__ void initialize(uint32_t barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
static __device__ void arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
static __device__ uint32_t isComplete(uint32_t barrier, uint32_t parity) {
  uint32_t complete;
  asm volatile("{.reg .pred p; mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
               : "=r"(complete)
               : "r"(barrier), "r"(parity)
               : "memory");
  return complete;
}

/// An mbarrier for two arrivals, alone with one lane: for both parities, whether a wait succeeds at first and after
/// each of five arrivals.
CALIBRATE(mbarrier_parity) {
  __shared__ uint64_t storage;
  const uint32_t barrier = sharedAddress(&storage);
  uint32_t seen = 0;
  if (threadIdx.x == 0) {
    initialize(barrier, 2);
    for (int i = 0; i < 6; i++) {
      if (i > 0) arrive(barrier);
      seen |= isComplete(barrier, 0) << (2 * i) | isComplete(barrier, 1) << (2 * i + 1);
    }
  }
  at.put(seen);
}

/// What a copy of a box leaves in shared memory. The box and the tensor are the map's; one block per pair of
/// coordinates, which the input holds behind the tensor.
template <int boxWords, int tensorWords>
static __device__ void loadBox(const uint32_t* in, uint32_t* out, const CUtensorMap& map) {
  __shared__ alignas(1024) uint32_t box[boxWords];
  __shared__ uint64_t storage;
  const uint32_t barrier = sharedAddress(&storage);
  const int column = int(in[tensorWords + 2 * blockIdx.x]), row = int(in[tensorWords + 2 * blockIdx.x + 1]);
  if (threadIdx.x == 0) {
    initialize(barrier, 1);
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(boxWords * 4) : "memory");
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], "
        "[%2];" ::"r"(sharedAddress(box)),
        "l"(&map), "r"(barrier), "r"(column), "r"(row)
        : "memory");
  }
  __syncthreads();
  while (!isComplete(barrier, 0)) {
  }
  for (int i = int(threadIdx.x); i < boxWords; i += 32) out[int(blockIdx.x) * boxWords + i] = box[i];
}
#define CALIBRATE_LOAD_BOX(name, boxWords)                                               \
  extern "C" __global__ void calibrate_##name(const uint32_t* in, uint32_t* out,         \
                                              const __grid_constant__ CUtensorMap map) { \
    loadBox<boxWords, 20 * 80 / 2>(in, out, map);                                        \
  }
CALIBRATE_LOAD_BOX(load_box, 16 * 64 / 2)
CALIBRATE_LOAD_BOX(load_box_32, 16 * 16 / 2)
CALIBRATE_LOAD_BOX(load_box_64, 16 * 32 / 2)
CALIBRATE_LOAD_BOX(load_box_128, 16 * 64 / 2)
CALIBRATE_LOAD_BOX(load_box_narrow, 16 * 64 / 2)

/// Stores the input, as it lies in shared memory, at column 64 and row 12 of the output: both ends are clipped.
extern "C" __global__ void calibrate_store_box_128(const uint32_t* in, uint32_t*,
                                                   const __grid_constant__ CUtensorMap map) {
  __shared__ alignas(1024) uint32_t box[16 * 64 / 2];
  for (int i = int(threadIdx.x); i < 16 * 64 / 2; i += 32) box[i] = in[i];
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  if (threadIdx.x == 0) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];" ::"l"(&map),
                 "r"(sharedAddress(box)), "r"(64), "r"(12)
                 : "memory");
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
  }
}

#define FOUR(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define FOUR_WORDS(a) "+r"(a[0]), "+r"(a[1]), "+r"(a[2]), "+r"(a[3])
#define SUMS(d) FOUR(d, 0), FOUR(d, 4), FOUR(d, 8), FOUR(d, 12), FOUR(d, 16), FOUR(d, 20), FOUR(d, 24), FOUR(d, 28)
#define LIST                                                                                            \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26," \
  "%27,%28,%29,%30,%31}"

/// One product of 64 x 64 x 16 per block of 128 threads. Operands: 32 words of the block's shared memory, four
/// registers of A, then the descriptors of A and B, low word first, for matrices that lie at address 0. Results: 32
/// sums.
template <class Multiply>
static __device__ void product(const Place& at, Multiply multiply) {
  __shared__ alignas(1024) uint32_t matrices[32 * 128];
  for (int i = 0; i < 32; i++) matrices[i * 128 + int(threadIdx.x)] = at.word(i);
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  uint32_t a[4];
  for (int i = 0; i < 4; i++) a[i] = at.word(32 + i);
  const uint64_t place = sharedAddress(matrices) >> 4;
  const uint64_t descriptorA = (uint64_t(at.word(37)) << 32 | at.word(36)) + place;
  const uint64_t descriptorB = (uint64_t(at.word(39)) << 32 | at.word(38)) + place;
  float sums[32];
  for (float& sum : sums) sum = 0;
  // Named here, the registers are not written behind the fence.
  asm volatile("wgmma.fence.sync.aligned;" : SUMS(sums), FOUR_WORDS(a)::"memory");
  multiply(sums, a, descriptorA, descriptorB);
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" : SUMS(sums)::"memory");
  for (int i = 0; i < 32; i++) at.put(sums[i], i);
}
#define CALIBRATE_WGMMA_SS(name, type, majors)                                                                         \
  CALIBRATE(name) {                                                                                                    \
    product(at, [](float(&d)[32], const uint32_t(&)[4], uint64_t a, uint64_t b) {                                      \
      asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " " LIST ", %32, %33, 1, 1, 1, " majors \
                   ";"                                                                                                 \
                   : SUMS(d)                                                                                           \
                   : "l"(a), "l"(b));                                                                                  \
    });                                                                                                                \
  }
#define CALIBRATE_WGMMA_RS(name, type, major)                                           \
  CALIBRATE(name) {                                                                     \
    product(at, [](float(&d)[32], const uint32_t(&a)[4], uint64_t, uint64_t b) {        \
      asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " " LIST \
                   ", {%32,%33,%34,%35}, %36, 1, 1, 1, " major ";"                      \
                   : SUMS(d)                                                            \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));               \
    });                                                                                 \
  }
CALIBRATE_WGMMA_SS(wgmma_k_k, "f16", "0, 0")
CALIBRATE_WGMMA_SS(wgmma_m_k, "f16", "1, 0")
CALIBRATE_WGMMA_SS(wgmma_k_n, "bf16", "0, 1")
CALIBRATE_WGMMA_SS(wgmma_m_n, "bf16", "1, 1")
CALIBRATE_WGMMA_RS(wgmma_registers_k, "f16", "0")
CALIBRATE_WGMMA_RS(wgmma_registers_n, "bf16", "1")
