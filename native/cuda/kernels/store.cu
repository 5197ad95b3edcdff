// Moves rows of tokens into pages, or a rotated query into a copy: converted, rotated and quantised on the way.
//
//   to[(page heads + head) pageSize + place][d] = row[d]                                    d >= dim of the rotation
//                                                 row[d] cos -+ row[its partner] sin        else
//   int8:  scale = max |row| / 127;  to[...][d] = round(row[d] / scale)
//
// One thread per element, in a loop over the grid: neighbours write neighbours. The partner is read twice, from the
// cache. With int8 a warp has a row, and keeps it in registers until its largest magnitude is known. All arithmetic is
// the CPU's, operation by operation, so pages have the same bits.
//
// Floor: rows read and written once / bandwidth of device memory: of 128 elements in 16 bits 512 bytes, 50 cycles of an
// A100 SM's share of 1.55 TB/s; to int8 388 bytes, 38. Instructions take longer: some 150 per element, most of them
// divisions that find its place, so 150 cycles a row, and 110 to int8, where a warp finds it once. For the keys of
// 8,192 tokens in 8 heads that is 0.06 ms, beside some 3 of their attention.
#include "ptx.cuh"
#include "store.h"

namespace fovea::cuda {
namespace {

template <class Element>
FOVEA_DEVICE float loadOne(const void* from, int64_t index, Element) {
  return ptx::toFloat(Element{static_cast<const uint16_t*>(from)[index]});
}
FOVEA_DEVICE float loadOne(const void* from, int64_t index, float) { return static_cast<const float*>(from)[index]; }

template <class Element>
FOVEA_DEVICE void storeOne(void* to, int64_t index, float value, Element) {
  static_cast<uint16_t*>(to)[index] = static_cast<uint16_t>(ptx::pack<Element>(value, 0.f));
}
FOVEA_DEVICE void storeOne(void* to, int64_t index, float value, float) { static_cast<float*>(to)[index] = value; }

/// Calls `step` with a value of the type.
template <class Step>
FOVEA_DEVICE void withType(DType type, Step step) {
  if (type == DType::float32)
    step(0.f);
  else if (type == DType::float16)
    step(Half{});
  else
    step(BFloat{});
}

/// Element `d` of a row after its rotation.
template <class Element>
FOVEA_DEVICE float rotated(const StoreArguments& arguments, int64_t token, int64_t row, int d, Element type) {
  const RowStore& store = arguments.store;
  const Rotation& rotation = store.rotation;
  const float own = loadOne(store.from.data, row + d * store.from.columnStride, type);
  if (d >= rotation.dim) return own;
  const int pairs = rotation.dim / 2;
  const int pair = rotation.interleaved ? d / 2 : d % pairs;
  const bool second = rotation.interleaved ? d % 2 != 0 : d >= pairs;
  const int apart = rotation.interleaved ? 1 : pairs;
  const int64_t partner = row + (second ? d - apart : d + apart) * store.from.columnStride;
  const float other = loadOne(store.from.data, partner, type);
  const float2 turn = arguments.turns[token * pairs + pair];
  // Two products and a sum, as on the CPU: rounded the same.
  return __fadd_rn(__fmul_rn(own, turn.x), __fmul_rn(second ? other : -other, turn.y));
}

constexpr int maxDims = 512;

/// A warp's row, 32 elements apart in each lane, to int8; 0 where it is too small, and NaN where it is not finite.
FOVEA_DEVICE void quantise(const float (&row)[maxDims / 32], int dims, int8_t* to, float* scaleOf) {
  const int lane = threadIdx.x % 32;
  float largest = 0;
  bool finite = true;
#pragma unroll
  for (int i = 0; i < maxDims / 32; i++) {
    finite &= fabsf(row[i]) <= 3.402823466e38f;
    largest = fmaxf(largest, fabsf(row[i]));
  }
#pragma unroll
  for (int lanes = 1; lanes < 32; lanes *= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, lanes));
  finite = __all_sync(0xffffffff, finite);
  const float scale = __fdiv_rn(largest, 127);
  const bool empty = !finite || !(scale >= 1.175494351e-38f);  // below, the quotient would lose digits
  const float factor = __fdiv_rn(1, scale), magic = 12582912;  // adding 1.5 * 2^23 rounds to nearest, ties to even
#pragma unroll
  for (int i = 0; i < maxDims / 32; i++) {
    const float rounded = __fsub_rn(__fadd_rn(__fmul_rn(row[i], factor), magic), magic);
    if (i * 32 + lane < dims)
      to[i * 32 + lane] = empty ? int8_t{0} : static_cast<int8_t>(fminf(fmaxf(rounded, -127), 127));
  }
  if (lane == 0) *scaleOf = !finite ? __int_as_float(0x7fc00000) : empty ? 0.f : scale;
}

/// Number of a token's row of one head in the pages.
FOVEA_DEVICE int64_t targetRow(const RowStore& store, int64_t token, int64_t head) {
  const int slot = store.slots[token], page = slot / store.pageSize, place = slot - page * store.pageSize;
  return (int64_t(page) * store.heads + head) * store.pageSize + place;
}

}  // namespace

extern "C" __global__ void __launch_bounds__(storeThreads)
    fovea_store_rows(const __grid_constant__ StoreLaunch launch) {
  const StoreArguments& arguments = launch.stores[blockIdx.y];
  const RowStore& store = arguments.store;
  const int64_t count = store.tokens * store.heads * store.dims, threads = int64_t(gridDim.x) * storeThreads;
  for (int64_t at = int64_t(blockIdx.x) * storeThreads + threadIdx.x; at < count; at += threads) {
    const auto index = static_cast<uint64_t>(at);  // whose division is short for numbers below 2^32
    const int d = static_cast<int>(index % uint64_t(store.dims));
    const uint64_t rows = index / uint64_t(store.dims);
    const auto head = static_cast<int64_t>(rows % uint64_t(store.heads));
    const auto token = static_cast<int64_t>(rows / uint64_t(store.heads));
    const int64_t from = head * store.from.headStride + token * store.from.rowStride;
    const int64_t to = targetRow(store, token, head) * store.dims + d;
    float value;
    withType(store.fromDtype, [&](auto type) { value = rotated(arguments, token, from, d, type); });
    withType(store.toDtype, [&](auto type) { storeOne(store.to, to, value, type); });
  }
}

extern "C" __global__ void __launch_bounds__(storeThreads)
    fovea_store_int8(const __grid_constant__ StoreLaunch launch) {
  const StoreArguments& arguments = launch.stores[blockIdx.y];
  const RowStore& store = arguments.store;
  const int64_t first = int64_t(blockIdx.x) * (storeThreads / 32) + threadIdx.x / 32;
  const int64_t warps = int64_t(gridDim.x) * (storeThreads / 32);
  int64_t token = first / store.heads, head = first - token * store.heads;
  const int64_t nextToken = warps / store.heads, nextHead = warps - nextToken * store.heads;
  for (; token < store.tokens; token += nextToken, head += nextHead) {
    if (head >= store.heads) {
      head -= store.heads;
      if (++token >= store.tokens) break;
    }
    const int64_t from = head * store.from.headStride + token * store.from.rowStride;
    float row[maxDims / 32];
    withType(store.fromDtype, [&](auto type) {
#pragma unroll
      for (int i = 0; i < maxDims / 32; i++) {
        const int d = i * 32 + static_cast<int>(threadIdx.x % 32);
        row[i] = d < store.dims ? rotated(arguments, token, from, d, type) : 0.f;
      }
    });
    const int64_t to = targetRow(store, token, head);
    quantise(row, store.dims, static_cast<int8_t*>(store.to) + to * store.dims, store.scales + to);
  }
}

}  // namespace fovea::cuda
