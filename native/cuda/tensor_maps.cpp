#include "tensor_maps.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "../attention/tiles_sm90.h"
#include "driver.h"

namespace fovea::cuda {
namespace {

constexpr int64_t maxStride = (int64_t{1} << 40) - 16;  // bytes, of what a map may say

template <class Number>
std::string list(const Number* numbers, cuuint32_t count) {
  std::string text;
  for (cuuint32_t i = 0; i < count; i++) text += " " + std::to_string(numbers[i]);
  return text;
}

}  // namespace

MapEncoder::MapEncoder(Device& device, DType type)
    : device_(device),
      type_(type),
      encode_(reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(driver().find("cuTensorMapEncodeTiled", 12000))) {
  if (!encode_) throw Error(ErrorKind::unavailable, "the NVIDIA driver has no cuTensorMapEncodeTiled. Update it.");
}

TensorMap MapEncoder::encode(const void* data, int64_t columns, int padded,
                             std::initializer_list<BoxDimension> dimensions) const {
  TensorMap map{};
  if (std::any_of(dimensions.begin(), dimensions.end(), [](const BoxDimension& part) { return part.count == 0; }))
    return map;  // an empty matrix, which no box is taken of
  static_assert(sizeof(TensorMap) == sizeof(CUtensorMap) && alignof(TensorMap) >= alignof(CUtensorMap));
  CUtensorMap encoded;
  cuuint64_t sizes[5] = {cuuint64_t(columns)}, strides[4] = {};
  const int panelColumns = sm90PanelColumns(padded);
  cuuint32_t box[5] = {cuuint32_t(panelColumns)}, steps[5] = {1, 1, 1, 1, 1};
  cuuint32_t rank = 1;
  int64_t within = columns * byteSize(type_);  // bytes from the first element to the end of the dimensions so far
  for (const BoxDimension& part : dimensions) {
    // Of one, any stride would do: that of documentation, where each dimension steps over those before it.
    const int64_t stride = part.count > 1 ? part.stride * byteSize(type_) : std::min(roundUp(within, 16), maxStride);
    sizes[rank] = cuuint64_t(part.count);
    box[rank] = cuuint32_t(part.box);
    strides[rank - 1] = cuuint64_t(stride);
    within = std::max(within, stride * part.count);
    rank++;
  }
  const auto format = type_ == DType::float16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  const auto swizzle = panelColumns == 64 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B;
  const CUresult result = encode_(&encoded, format, rank, const_cast<void*>(data), sizes, strides, box, steps,
                                  CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    const std::string described = "describing a tensor to the copy engine (address " +
                                  std::to_string(reinterpret_cast<uintptr_t>(data)) + ", sizes" + list(sizes, rank) +
                                  ", strides" + list(strides, rank - 1) + ", box" + list(box, rank) + ")";
    device_.check(result, described.c_str());
  }
  std::memcpy(&map, &encoded, sizeof map);
  return map;
}

}  // namespace fovea::cuda
