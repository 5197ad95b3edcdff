// cuTensorMapEncodeTiled, with the checks that cuda.h documents.
#include <cstring>

#include "async/tensor_map.h"
#include "driver/api.h"

using namespace fovea::simulator;

namespace {

Type elementType(CUtensorMapDataType type) {
  switch (type) {
    case CU_TENSOR_MAP_DATA_TYPE_UINT8:
      return Type::kU8;
    case CU_TENSOR_MAP_DATA_TYPE_UINT16:
      return Type::kU16;
    case CU_TENSOR_MAP_DATA_TYPE_UINT32:
      return Type::kU32;
    case CU_TENSOR_MAP_DATA_TYPE_INT32:
      return Type::kS32;
    case CU_TENSOR_MAP_DATA_TYPE_UINT64:
      return Type::kU64;
    case CU_TENSOR_MAP_DATA_TYPE_INT64:
      return Type::kS64;
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
      return Type::kF16;
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
      return Type::kF32;
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT64:
      return Type::kF64;
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16:
      return Type::kBf16;
    default:
      return Type::kNone;
  }
}

CUresult invalid(const std::string& what) {
  complain("cuTensorMapEncodeTiled: " + what);
  return CUDA_ERROR_INVALID_VALUE;
}
CUresult notSimulated(const std::string& what) {
  complain("cuTensorMapEncodeTiled: " + what + " is not simulated");
  return CUDA_ERROR_NOT_SUPPORTED;
}

}  // namespace

FOVEA_CUDA_API CUresult cuTensorMapEncodeTiled(CUtensorMap* tensorMap, CUtensorMapDataType type, cuuint32_t rank,
                                               void* address, const cuuint64_t* sizes, const cuuint64_t* strides,
                                               const cuuint32_t* box, const cuuint32_t* elementStrides,
                                               CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                               CUtensorMapL2promotion, CUtensorMapFloatOOBfill fill) {
  const Device* device = currentOrNull();
  if (device && device->computeCapability() < 90)
    return notSimulated("a device below compute capability 9.0 with tensor maps");
  if (!tensorMap || reinterpret_cast<uintptr_t>(tensorMap) % 64) return invalid("the map must be aligned to 64 bytes");
  TensorMap map;
  map.magic = TensorMap::kMagic;
  map.type = elementType(type);
  map.address = reinterpret_cast<uint64_t>(address);
  map.rank = static_cast<uint8_t>(rank);
  map.swizzle = static_cast<Swizzle>(swizzle);
  if (map.type == Type::kNone) return notSimulated("data type " + std::to_string(type));
  if (interleave != CU_TENSOR_MAP_INTERLEAVE_NONE) return notSimulated("an interleaved layout");
  if (swizzle > CU_TENSOR_MAP_SWIZZLE_128B) return notSimulated("swizzle mode " + std::to_string(swizzle));
  if (fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) return notSimulated("filling with NaN");
  if (rank < 1 || rank > kMaxRank) return invalid("rank " + std::to_string(rank) + ": must be 1 to 5");
  if (map.address % 16) return invalid("the global address must be a multiple of 16");
  if (!sizes || !box || !elementStrides || (rank > 1 && !strides)) return invalid("an array is missing");
  for (uint32_t i = 0; i < rank; i++) {
    const std::string which = "dimension " + std::to_string(i) + ": ";
    if (sizes[i] < 1 || sizes[i] > 1ull << 32) return invalid(which + "its size must be 1 to 2^32");
    if (box[i] < 1 || box[i] > 256) return invalid(which + "the box must have 1 to 256 elements");
    if (elementStrides[i] < 1 || elementStrides[i] > 8) return invalid(which + "its element stride must be 1 to 8");
    if (i > 0 && elementStrides[i] != 1) return notSimulated("an element stride other than 1");
    map.lastIndex[i] = static_cast<uint32_t>(sizes[i] - 1);
    map.box[i] = static_cast<uint16_t>(box[i]);
    if (i == 0) continue;
    if (strides[i - 1] % 16 || strides[i - 1] >= 1ull << 40)
      return invalid(which + "a stride of " + std::to_string(strides[i - 1]) +
                     " bytes: must be a multiple of 16 below 2^40");
    map.strides[i - 1] = strides[i - 1];
  }
  if (map.rowBytes() % 16) return invalid("the box must have a multiple of 16 bytes along dimension 0");
  if (map.swizzle != Swizzle::kNone && map.rowBytes() > spanOf(map.swizzle))
    return invalid("the box has " + std::to_string(map.rowBytes()) +
                   " bytes along dimension 0, more than the swizzle's " + std::to_string(spanOf(map.swizzle)));
  *tensorMap = {};
  std::memcpy(tensorMap, &map, sizeof map);
  return CUDA_SUCCESS;
}
