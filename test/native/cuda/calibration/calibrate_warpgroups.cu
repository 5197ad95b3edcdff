// Instructions that only sm_90a has, and those that wgmma needs around it: mbarriers, copies by tensor map,
// descriptors.
#include <cuda.h>

#include "../../../../native/cuda/kernels/ptx_sm90.cuh"
#include "calibrate.cuh"

namespace ptx = fovea::cuda::ptx;
using fovea::cuda::BFloat;
using fovea::cuda::Half;

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

/// What a copy of a box leaves in shared memory; copy(address, barrier) begins it, in one thread. A block per box.
template <int boxWords, class Copy>
static __device__ void loadBox(uint32_t* out, Copy copy) {
  __shared__ alignas(1024) uint32_t box[boxWords];
  __shared__ uint64_t storage;
  const uint32_t barrier = sharedAddress(&storage);
  if (threadIdx.x == 0) {
    initialize(barrier, 1);
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(boxWords * 4) : "memory");
    copy(sharedAddress(box), barrier);
  }
  __syncthreads();
  while (!isComplete(barrier, 0)) {
  }
  for (int i = int(threadIdx.x); i < boxWords; i += 32) out[int(blockIdx.x) * boxWords + i] = box[i];
}

/// The box and the tensor are the map's; the input holds pairs of coordinates behind the tensor.
template <int boxWords, int tensorWords>
static __device__ void loadBox(const uint32_t* in, uint32_t* out, const CUtensorMap& map) {
  loadBox<boxWords>(out, [&](uint32_t box, uint32_t barrier) {
    const uint32_t* place = in + tensorWords + 2 * blockIdx.x;
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], "
        "[%2];" ::"r"(box),
        "l"(&map), "r"(barrier), "r"(place[0]), "r"(place[1])
        : "memory");
  });
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

/// As kernels do it: the map lies in device memory, and places have three or four coordinates (four words in either
/// case).
template <int rank, int boxWords, int tensorWords>
static __device__ void loadMapped(const uint32_t* in, uint32_t* out, const void* map) {
  loadBox<boxWords>(out, [&](uint32_t box, uint32_t barrier) {
    const auto place = reinterpret_cast<const int*>(in + tensorWords + 4 * blockIdx.x);
    ptx::acquireMap(map);
    if (rank == 3)
      ptx::loadBox(box, map, barrier, place[0], place[1], place[2]);
    else
      ptx::loadBox(box, map, barrier, place[0], place[1], place[2], place[3]);
  });
}
#define CALIBRATE_LOAD_MAPPED(name, rank, boxWords, tensorWords)                                    \
  extern "C" __global__ void calibrate_##name(const uint32_t* in, uint32_t* out, const void* map) { \
    loadMapped<rank, boxWords, tensorWords>(in, out, map);                                          \
  }
CALIBRATE_LOAD_MAPPED(load_box_queries, 4, 63 * 64 / 2, 63 * 6 * 72 / 2)
CALIBRATE_LOAD_MAPPED(load_box_pages, 4, 16 * 64 / 2, 3 * 48 * 2 * 72 / 2)
CALIBRATE_LOAD_MAPPED(load_box_keys, 3, 112 * 32 / 2, 112 * 2 * 88 / 2)

/// Stores boxes, a block each, which the input holds as they lie in shared memory; behind them their places. A block
/// ends as kernels do, once its shared memory has been read.
extern "C" __global__ void calibrate_store_box_output(const uint32_t* in, uint32_t*, const void* map) {
  constexpr int boxWords = 63 * 64 / 2;
  __shared__ alignas(1024) uint32_t box[boxWords];
  for (int i = int(threadIdx.x); i < boxWords; i += 32) box[i] = in[int(blockIdx.x) * boxWords + i];
  ptx::fenceAsyncProxy();
  __syncthreads();
  if (threadIdx.x == 0) {
    const auto place = reinterpret_cast<const int*>(in + gridDim.x * boxWords + 4 * blockIdx.x);
    ptx::acquireMap(map);
    ptx::storeBox(map, sharedAddress(box), place[0], place[1], place[2], place[3]);
    ptx::commitStores();
    ptx::waitStoresRead();
  }
}

/// Products of 64 x columns x 16 in one sum, by blocks of 128 threads. Operands: the words of the block's shared
/// memory; then for each product four registers of A and the descriptors of A and B, low word first, for matrices that
/// lie at address 0. Results: columns / 2 sums. multiply(sums, a, descriptorA, descriptorB, accumulate) begins a
/// product.
template <int columns, int products, int sharedBytes, class Multiply>
static __device__ void product(const Place& at, float before, Multiply multiply) {
  constexpr int words = sharedBytes / 4 / 128;
  __shared__ alignas(1024) uint32_t matrices[words * 128];
  for (int i = 0; i < words; i++) matrices[i * 128 + int(threadIdx.x)] = at.word(i);
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  const uint64_t place = sharedAddress(matrices) >> 4;
  uint32_t a[products][4];
  uint64_t descriptorsA[products], descriptorsB[products];
#pragma unroll
  for (int i = 0; i < products; i++) {
    const auto word = [&](int operand) { return at.word(words + 8 * i + operand); };
    for (int j = 0; j < 4; j++) a[i][j] = word(j);
    descriptorsA[i] = (uint64_t(word(5)) << 32 | word(4)) + place;
    descriptorsB[i] = (uint64_t(word(7)) << 32 | word(6)) + place;
  }
  float sums[columns / 8][4];
  for (auto& four : sums)
    for (float& sum : four) sum = before;
  ptx::holdAccumulators(sums);  // so that registers are not written behind the fence
  ptx::holdOperands(a);
  ptx::fenceProducts();
#pragma unroll
  for (int i = 0; i < products; i++) multiply(sums, a[i], descriptorsA[i], descriptorsB[i], i > 0);
  ptx::commitProducts();
  ptx::waitProducts<0>();
  ptx::holdAccumulators(sums);
  ptx::holdOperands(a);
  for (int i = 0; i < columns / 2; i++) at.put(sums[i / 4][i % 4], i);
}

/// A matrix of 64 x 16 and one of 16 x 64, 8 KiB for each.
template <class Multiply>
static __device__ void oneProduct(const Place& at, Multiply multiply) {
  product<64, 1, 2 * 8192>(at, 0.f, multiply);
}
#define CALIBRATE_WGMMA_SS(name, type, majors)                                                    \
  CALIBRATE(name) {                                                                               \
    oneProduct(at, [](float(&d)[8][4], const uint32_t(&)[4], uint64_t a, uint64_t b, int) {       \
      asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " {" FOVEA_LIST_64 \
                   "}, %32, %33, 1, 1, 1, " majors ";"                                            \
                   : FOVEA_SUM_64(d)                                                              \
                   : "l"(a), "l"(b));                                                             \
    });                                                                                           \
  }
#define CALIBRATE_WGMMA_RS(name, type, major)                                                     \
  CALIBRATE(name) {                                                                               \
    oneProduct(at, [](float(&d)[8][4], const uint32_t(&a)[4], uint64_t, uint64_t b, int) {        \
      asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " {" FOVEA_LIST_64 \
                   "}, {%32,%33,%34,%35}, %36, 1, 1, 1, " major ";"                               \
                   : FOVEA_SUM_64(d)                                                              \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                         \
    });                                                                                           \
  }
CALIBRATE_WGMMA_SS(wgmma_k_k, "f16", "0, 0")
CALIBRATE_WGMMA_SS(wgmma_m_k, "f16", "1, 0")
CALIBRATE_WGMMA_SS(wgmma_k_n, "bf16", "0, 1")
CALIBRATE_WGMMA_SS(wgmma_m_n, "bf16", "1, 1")
CALIBRATE_WGMMA_RS(wgmma_registers_k, "f16", "0")
CALIBRATE_WGMMA_RS(wgmma_registers_n, "bf16", "1")

/// Kernels' products: of queries with `keys` keys, both K-major (the first product does not look at its sum), and of
/// probabilities in registers with values, MN-major.
#define CALIBRATE_WGMMA_KEYS(name, Element, keys, dims)                                            \
  CALIBRATE(name) {                                                                                \
    product<keys, dims / 16, (64 + keys) * dims * 2>(                                              \
        at, __int_as_float(0x7fffffff),                                                            \
        [](float(&d)[keys / 8][4], const uint32_t(&)[4], uint64_t a, uint64_t b, int accumulate) { \
          ptx::multiplyShared<Element, keys>(d, a, b, accumulate);                                 \
        });                                                                                        \
  }
#define CALIBRATE_WGMMA_VALUES(name, Element, keys, dims)                                       \
  CALIBRATE(name) {                                                                             \
    product<dims, keys / 16, keys * dims * 2>(                                                  \
        at, 0.f, [](float(&d)[dims / 8][4], const uint32_t(&a)[4], uint64_t, uint64_t b, int) { \
          ptx::multiplyRegisters<Element, dims>(d, a, b);                                       \
        });                                                                                     \
  }
CALIBRATE_WGMMA_KEYS(wgmma_keys_80, BFloat, 80, 128)
CALIBRATE_WGMMA_KEYS(wgmma_keys_112, Half, 112, 96)
CALIBRATE_WGMMA_KEYS(wgmma_keys_128, Half, 128, 128)
CALIBRATE_WGMMA_VALUES(wgmma_values_96, Half, 112, 96)
CALIBRATE_WGMMA_VALUES(wgmma_values_128, BFloat, 128, 128)
CALIBRATE_WGMMA_VALUES(wgmma_values_192, Half, 112, 192)
CALIBRATE_WGMMA_VALUES(wgmma_values_256, BFloat, 80, 256)
