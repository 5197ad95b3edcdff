// Every line of inline PTX that needs sm_90a, each behind a name. Nothing here knows about attention. Addresses are
// 32-bit ones of shared memory.
#pragma once
#include "ptx.cuh"

namespace fovea::cuda::ptx {

/// One thread of a converged warp, always the same.
FOVEA_DEVICE bool electOne() {
  uint32_t elected;
  asm volatile("{\n .reg .pred p;\n elect.sync _|p, 0xffffffff;\n selp.u32 %0, 1, 0, p;\n}" : "=r"(elected));
  return elected != 0;
}

// Registers of a warpgroup ------------------------------------------------------------------------------------------

template <int count>
FOVEA_DEVICE void releaseRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
}
template <int count>
FOVEA_DEVICE void acquireRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
}

// Barriers in shared memory: a phase ends when all arrivals and all announced bytes are there
// --------------------------

FOVEA_DEVICE void initBarrier(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
/// Makes initialised barriers known to the copy engine; a barrier of the block makes them known to its threads.
FOVEA_DEVICE void publishBarriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
FOVEA_DEVICE void arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
/// Arrives, and announces bytes that copies will bring.
FOVEA_DEVICE void arriveExpecting(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
/// Waits until the phase of this parity is over. A fresh barrier is in phase 0; the one before it, of parity 1, is
/// over.
FOVEA_DEVICE void waitPhase(uint32_t barrier, uint32_t parity) {
  uint32_t over;
  do {
    asm volatile("{\n .reg .pred p;\n mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n selp.u32 %0, 1, 0, p;\n}"
                 : "=r"(over)
                 : "r"(barrier), "r"(parity)
                 : "memory");
  } while (!over);
}

/// Named barriers of `threads` threads, those that only arrive among them.
FOVEA_DEVICE void syncNamed(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
FOVEA_DEVICE void arriveNamed(int barrier, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

// The copy engine (TMA) ---------------------------------------------------------------------------------------------
// A map describes a tensor in global memory; a copy moves a box of it, whose place is given in elements, innermost
// dimension first. What of a box lies outside of its tensor is 0 when loaded and not stored.

/// Lets whoever acquires a map in global memory see what this thread wrote of it. Older GPUs have no maps.
FOVEA_DEVICE void releaseMaps() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.proxy.tensormap::generic.release.gpu;" ::: "memory");
#endif
}
/// Lets this thread's copies use a map that earlier work on the stream wrote to global memory.
FOVEA_DEVICE void acquireMap(const void* map) {
  asm volatile("fence.proxy.tensormap::generic.acquire.gpu [%0], 128;" ::"l"(map) : "memory");
}
FOVEA_DEVICE void loadBox(uint32_t to, const void* map, uint32_t barrier, int x, int y, int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3,%4,%5}], "
      "[%2];" ::"r"(to),
      "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z)
      : "memory");
}
FOVEA_DEVICE void loadBox(uint32_t to, const void* map, uint32_t barrier, int x, int y, int z, int w) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3,%4,%5,%6}], "
      "[%2];" ::"r"(to),
      "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z), "r"(w)
      : "memory");
}
FOVEA_DEVICE void storeBox(const void* map, uint32_t from, int x, int y, int z, int w) {
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%2,%3,%4,%5}], [%1];" ::"l"(map),
               "r"(from), "r"(x), "r"(y), "r"(z), "r"(w)
               : "memory");
}
FOVEA_DEVICE void commitStores() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
/// Waits until this thread's stores have read their shared memory.
FOVEA_DEVICE void waitStoresRead() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
/// Lets the copy engine, and tensor cores, see what this thread wrote to shared memory.
FOVEA_DEVICE void fenceAsyncProxy() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Matrix fragments (16-bit) -----------------------------------------------------------------------------------------

/// Stores four 8 x 8 matrices; lane 8i + r gives the address of row r of matrix i.
FOVEA_DEVICE void storeMatrices(uint32_t address, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(address), "r"(a), "r"(b), "r"(c),
               "r"(d)
               : "memory");
}

// Asynchronous products of a warpgroup --------------------------------------------------------------------------------

/// Before the first product, and when registers of products were touched since the last.
FOVEA_DEVICE void fenceProducts() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
/// Closes a group of products.
FOVEA_DEVICE void commitProducts() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Waits until at most `pending` of the newest groups are unfinished.
template <int pending>
FOVEA_DEVICE void waitProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

/// Keeps the compiler from moving uses of accumulators over this place.
template <int count>
FOVEA_DEVICE void holdAccumulators(float (&accumulators)[count][4]) {
#pragma unroll
  for (int i = 0; i < count; i++)
    asm volatile(""
                 : "+f"(accumulators[i][0]), "+f"(accumulators[i][1]), "+f"(accumulators[i][2]),
                   "+f"(accumulators[i][3])::"memory");
}
template <int count>
FOVEA_DEVICE void holdOperands(uint32_t (&operands)[count][4]) {
#pragma unroll
  for (int i = 0; i < count; i++)
    asm volatile("" : "+r"(operands[i][0]), "+r"(operands[i][1]), "+r"(operands[i][2]), "+r"(operands[i][3])::"memory");
}

/// Has the arithmetic that `value` comes from done before a wait for products that follows: of that ptxas sees only
/// which registers the products use, and moves it up above all else. A branch that is not taken, as `value` is at least
/// 0, ends the instructions among which it may choose.
FOVEA_DEVICE void finishFirst(float value) {
  if (value < 0) asm volatile("nanosleep.u32 0;" ::: "memory");
}

// sum[64 x columns] (+)= a[64 x 16] b[16 x columns]. Of sum, fragment i of a thread is what mma.m16n8k16 has of the
// warp's 16 rows and columns 8i.. (ptx.cuh). b is in shared memory, as a descriptor says; so is a, or it is in
// registers as mma.m16n8k16 takes it. Rows of b in shared memory are its columns in the first, and its rows in the
// second kind. The second kind accumulates, the first unless `accumulate` is 0.
// clang-format off
#define FOVEA_F1(s, i) "+f"(s[i][0]), "+f"(s[i][1]), "+f"(s[i][2]), "+f"(s[i][3])
#define FOVEA_F2(s, i) FOVEA_F1(s, i), FOVEA_F1(s, (i) + 1)
#define FOVEA_F4(s, i) FOVEA_F2(s, i), FOVEA_F2(s, (i) + 2)
#define FOVEA_F8(s, i) FOVEA_F4(s, i), FOVEA_F4(s, (i) + 4)
#define FOVEA_F16(s, i) FOVEA_F8(s, i), FOVEA_F8(s, (i) + 8)
#define FOVEA_SUM_64(s) FOVEA_F8(s, 0)
#define FOVEA_SUM_80(s) FOVEA_F8(s, 0), FOVEA_F2(s, 8)
#define FOVEA_SUM_96(s) FOVEA_F8(s, 0), FOVEA_F4(s, 8)
#define FOVEA_SUM_112(s) FOVEA_F8(s, 0), FOVEA_F4(s, 8), FOVEA_F2(s, 12)
#define FOVEA_SUM_128(s) FOVEA_F16(s, 0)
#define FOVEA_SUM_192(s) FOVEA_F16(s, 0), FOVEA_F8(s, 16)
#define FOVEA_SUM_256(s) FOVEA_F16(s, 0), FOVEA_F16(s, 16)
#define FOVEA_LIST_64 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define FOVEA_LIST_80 FOVEA_LIST_64 "," "%32,%33,%34,%35,%36,%37,%38,%39"
#define FOVEA_LIST_96 FOVEA_LIST_80 "," "%40,%41,%42,%43,%44,%45,%46,%47"
#define FOVEA_LIST_112 FOVEA_LIST_96 "," "%48,%49,%50,%51,%52,%53,%54,%55"
#define FOVEA_LIST_128 FOVEA_LIST_112 "," "%56,%57,%58,%59,%60,%61,%62,%63"
#define FOVEA_LIST_192 FOVEA_LIST_128 "," "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79," \
  "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
#define FOVEA_LIST_256 FOVEA_LIST_192 "," "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111," \
  "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"

#define FOVEA_PRODUCT_SHARED(columns, a, b, flag, Element, type)                                                        \
  template <>                                                                                                          \
  FOVEA_DEVICE void multiplyShared<Element, columns>(float (&sum)[columns / 8][4], uint64_t left, uint64_t right,       \
                                                     int accumulate) {                                                 \
    asm volatile("{\n .reg .pred p;\n setp.ne.b32 p, %" flag ", 0;\n"                                                  \
                 "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." type "." type " {" FOVEA_LIST_##columns        \
                 "}, %" a ", %" b ", p, 1, 1, 0, 0;\n}"                                                               \
                 : FOVEA_SUM_##columns(sum)                                                                            \
                 : "l"(left), "l"(right), "r"(accumulate));                                                            \
  }
#define FOVEA_PRODUCT_REGISTERS(columns, a, b, c, d, e, Element, type)                                                  \
  template <>                                                                                                          \
  FOVEA_DEVICE void multiplyRegisters<Element, columns>(float (&sum)[columns / 8][4], const uint32_t (&left)[4],        \
                                                        uint64_t right) {                                              \
    asm volatile("{\n .reg .pred p;\n setp.eq.b32 p, 0, 0;\n"                                                         \
                 "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." type "." type " {" FOVEA_LIST_##columns        \
                 "}, {%" a ",%" b ",%" c ",%" d "}, %" e ", p, 1, 1, 1;\n}"                                               \
                 : FOVEA_SUM_##columns(sum)                                                                            \
                 : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "l"(right));                                \
  }
#define FOVEA_BOTH_TYPES(kind, ...) kind(__VA_ARGS__, Half, "f16") kind(__VA_ARGS__, BFloat, "bf16")

template <class Element, int columns>
FOVEA_DEVICE void multiplyShared(float (&sum)[columns / 8][4], uint64_t left, uint64_t right, int accumulate);
template <class Element, int columns>
FOVEA_DEVICE void multiplyRegisters(float (&sum)[columns / 8][4], const uint32_t (&left)[4], uint64_t right);

FOVEA_BOTH_TYPES(FOVEA_PRODUCT_SHARED, 64, "32", "33", "34")
FOVEA_BOTH_TYPES(FOVEA_PRODUCT_SHARED, 80, "40", "41", "42")
FOVEA_BOTH_TYPES(FOVEA_PRODUCT_SHARED, 96, "48", "49", "50")
FOVEA_BOTH_TYPES(FOVEA_PRODUCT_SHARED, 112, "56", "57", "58")
FOVEA_BOTH_TYPES(FOVEA_PRODUCT_SHARED, 128, "64", "65", "66")
FOVEA_BOTH_TYPES(FOVEA_PRODUCT_REGISTERS, 64, "32", "33", "34", "35", "36")
FOVEA_BOTH_TYPES(FOVEA_PRODUCT_REGISTERS, 96, "48", "49", "50", "51", "52")
FOVEA_BOTH_TYPES(FOVEA_PRODUCT_REGISTERS, 128, "64", "65", "66", "67", "68")
FOVEA_BOTH_TYPES(FOVEA_PRODUCT_REGISTERS, 192, "96", "97", "98", "99", "100")
FOVEA_BOTH_TYPES(FOVEA_PRODUCT_REGISTERS, 256, "128", "129", "130", "131", "132")
// clang-format on

}  // namespace fovea::cuda::ptx
