// What the copy kernels are given.
#pragma once
#include "../element_copy.h"

namespace fovea::cuda {

constexpr int copyThreads = 256;
/// Elements of a unit of fovea_convert_vectors: 16 bytes of the 16-bit types.
constexpr int convertVector = 8;

/// An array of units: a few bytes that are copied together, or one or more elements that are converted together.
struct CopyArguments {
  const char* from;
  char* to;
  int64_t count;  // of units
  int32_t rank;   // at least 1
  int32_t unitBytes;
  ElementType fromType, toType;
  int64_t shape[maxCopyRank];    // in units, outermost first
  int64_t strides[maxCopyRank];  // of `from`, in bytes
};

}  // namespace fovea::cuda
