// What to copy element by element on the device. No CUDA headers here.
#pragma once
#include <cstdint>
#include <vector>

namespace fovea::cuda {

enum class ElementType : uint8_t { float32, float16, bfloat16, int32, boolean };

constexpr int64_t byteSize(ElementType type) {
  return type == ElementType::boolean ? 1 : type == ElementType::float16 || type == ElementType::bfloat16 ? 2 : 4;
}

/// Dimensions of a copy that remain when those of size 1 are dropped and those that lie behind each other are joined.
constexpr int maxCopyRank = 8;

/// A strided array into a contiguous one of the same shape (the last dimension varies fastest). Both are device memory
/// and do not overlap. The floating-point types convert into each other: to nearest, ties to even, beyond the largest
/// number to infinity, NaN to NaN, subnormal numbers kept. Other types stay as they are.
struct ElementCopy {
  uint64_t from = 0, to = 0;  // device pointers of element [0, ..., 0], multiples of their elements' sizes
  ElementType fromType = ElementType::float32, toType = ElementType::float32;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;  // of `from`, in elements, one per dimension; may be 0 or negative
};

}  // namespace fovea::cuda
