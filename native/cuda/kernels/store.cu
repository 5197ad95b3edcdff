// Moves rows of tokens into pages, or a rotated query into a copy: converted and rotated on the way.
//
//   to[(page heads + head) pageSize + place][d] = row[d]                                    d >= dim of the rotation
//                                                 row[d] cos -+ row[its partner] sin        else
//
// One thread per element, in a loop over the grid: neighbours write neighbours. Bound by memory; the partner is read twice,
// from the cache.
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

}  // namespace

extern "C" __global__ void __launch_bounds__(storeThreads)
    fovea_store_rows(const __grid_constant__ StoreArguments arguments) {
  const RowStore& store = arguments.store;
  const int64_t count = store.tokens * store.heads * store.dims, threads = int64_t(gridDim.x) * storeThreads;
  for (int64_t at = int64_t(blockIdx.x) * storeThreads + threadIdx.x; at < count; at += threads) {
    const auto index = static_cast<uint64_t>(at);  // whose division is short for numbers below 2^32
    const int d = static_cast<int>(index % uint64_t(store.dims));
    const uint64_t rows = index / uint64_t(store.dims);
    const auto head = static_cast<int64_t>(rows % uint64_t(store.heads));
    const auto token = static_cast<int64_t>(rows / uint64_t(store.heads));
    const int slot = store.slots[token], page = slot / store.pageSize, place = slot - page * store.pageSize;
    const int64_t from = head * store.from.headStride + token * store.from.rowStride;
    const int64_t to = ((int64_t(page) * store.heads + head) * store.pageSize + place) * store.dims + d;
    float value;
    withType(store.fromDtype, [&](auto type) { value = rotated(arguments, token, from, d, type); });
    withType(store.toDtype, [&](auto type) { storeOne(store.to, to, value, type); });
  }
}

}  // namespace fovea::cuda
