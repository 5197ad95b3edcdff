// Copies a strided array of up to 8 dimensions into a contiguous one, as it is or converted between floating-point
// types.
//
//   to[u] = convert(from[i_0 strides[0] + i_1 strides[1] + ...])   u = ((i_0 shape[1] + i_1) shape[2] + i_2) ...
//
// One thread per unit u, in a loop over the grid: neighbours write neighbours, and read them where the innermost stride
// is one unit. The host chooses the unit (launch_copy.cpp): up to 16 bytes to copy, and 8 elements or 1 to convert.
//
// Floor: bytes read and written / bandwidth of device memory, where units that are read together are neighbours; else
// 32 bytes are read for each. A unit of 16 bytes takes 32 of traffic, 3.1 cycles of an A100 SM's share of 1.55 TB/s,
// beside some 0.2 for each further dimension, which is a division; of 2 bytes 0.4, which two of those reach.
#include "copy.h"
#include "ptx.cuh"

namespace fovea::cuda {
namespace {

FOVEA_DEVICE const char* sourceOf(const CopyArguments& arguments, int64_t unit) {
  int64_t offset = 0;
  auto rest = static_cast<uint64_t>(unit);  // whose division is short for numbers below 2^32
  for (int dimension = arguments.rank - 1; dimension > 0; dimension--) {
    const auto size = static_cast<uint64_t>(arguments.shape[dimension]);
    const uint64_t outer = rest / size;
    offset += static_cast<int64_t>(rest - outer * size) * arguments.strides[dimension];
    rest = outer;
  }
  return arguments.from + offset + static_cast<int64_t>(rest) * arguments.strides[0];
}

template <class Step>
FOVEA_DEVICE void forEachUnit(const CopyArguments& arguments, Step step) {
  const int64_t threads = int64_t(gridDim.x) * copyThreads;
  for (int64_t unit = int64_t(blockIdx.x) * copyThreads + threadIdx.x; unit < arguments.count; unit += threads)
    step(unit, sourceOf(arguments, unit));
}

template <class Unit>
FOVEA_DEVICE void copyUnits(const CopyArguments& arguments) {
  forEachUnit(arguments, [&](int64_t unit, const char* source) {
    reinterpret_cast<Unit*>(arguments.to)[unit] = *reinterpret_cast<const Unit*>(source);
  });
}

FOVEA_DEVICE void load(float (&values)[1], const char* source, float) {
  values[0] = *reinterpret_cast<const float*>(source);
}

template <class Element>
FOVEA_DEVICE void load(float (&values)[1], const char* source, Element) {
  values[0] = ptx::toFloat(Element{*reinterpret_cast<const uint16_t*>(source)});
}

FOVEA_DEVICE void load(float (&values)[convertVector], const char* source, float) {
#pragma unroll
  for (int i = 0; i < convertVector; i += 4) {
    const float4 part = reinterpret_cast<const float4*>(source)[i / 4];
    values[i] = part.x, values[i + 1] = part.y, values[i + 2] = part.z, values[i + 3] = part.w;
  }
}

template <class Element>
FOVEA_DEVICE void load(float (&values)[convertVector], const char* source, Element) {
  const uint4 pairs = *reinterpret_cast<const uint4*>(source);
  const uint32_t words[] = {pairs.x, pairs.y, pairs.z, pairs.w};
#pragma unroll
  for (int i = 0; i < convertVector; i += 2) {
    values[i] = ptx::toFloat(Element{static_cast<uint16_t>(words[i / 2])});
    values[i + 1] = ptx::toFloat(Element{static_cast<uint16_t>(words[i / 2] >> 16)});
  }
}

FOVEA_DEVICE void store(char* to, int64_t unit, const float (&values)[1], float) {
  reinterpret_cast<float*>(to)[unit] = values[0];
}

template <class Element>
FOVEA_DEVICE void store(char* to, int64_t unit, const float (&values)[1], Element) {
  reinterpret_cast<uint16_t*>(to)[unit] = static_cast<uint16_t>(ptx::pack<Element>(values[0], 0.f));
}

FOVEA_DEVICE void store(char* to, int64_t unit, const float (&values)[convertVector], float) {
  float4* parts = reinterpret_cast<float4*>(to) + 2 * unit;
  parts[0] = make_float4(values[0], values[1], values[2], values[3]);
  parts[1] = make_float4(values[4], values[5], values[6], values[7]);
}

template <class Element>
FOVEA_DEVICE void store(char* to, int64_t unit, const float (&values)[convertVector], Element) {
  reinterpret_cast<uint4*>(to)[unit] =
      make_uint4(ptx::pack<Element>(values[0], values[1]), ptx::pack<Element>(values[2], values[3]),
                 ptx::pack<Element>(values[4], values[5]), ptx::pack<Element>(values[6], values[7]));
}

/// Calls `step` with a value of the type.
template <class Step>
FOVEA_DEVICE void withType(ElementType type, Step step) {
  if (type == ElementType::float32)
    step(0.f);
  else if (type == ElementType::float16)
    step(Half{});
  else
    step(BFloat{});
}

template <int elements>
FOVEA_DEVICE void convertUnits(const CopyArguments& arguments) {
  forEachUnit(arguments, [&](int64_t unit, const char* source) {
    float values[elements];
    withType(arguments.fromType, [&](auto type) { load(values, source, type); });
    withType(arguments.toType, [&](auto type) { store(arguments.to, unit, values, type); });
  });
}

}  // namespace

extern "C" __global__ void __launch_bounds__(copyThreads)
    fovea_copy_units(const __grid_constant__ CopyArguments arguments) {
  switch (arguments.unitBytes) {
    case 1:
      return copyUnits<uint8_t>(arguments);
    case 2:
      return copyUnits<uint16_t>(arguments);
    case 4:
      return copyUnits<uint32_t>(arguments);
    case 8:
      return copyUnits<uint2>(arguments);
    default:
      return copyUnits<uint4>(arguments);
  }
}

extern "C" __global__ void __launch_bounds__(copyThreads)
    fovea_convert_elements(const __grid_constant__ CopyArguments arguments) {
  convertUnits<1>(arguments);
}

extern "C" __global__ void __launch_bounds__(copyThreads)
    fovea_convert_vectors(const __grid_constant__ CopyArguments arguments) {
  convertUnits<convertVector>(arguments);
}

}  // namespace fovea::cuda
