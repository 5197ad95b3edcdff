// Describing matrices in device memory to the copy engine of Hopper GPUs.
#pragma once
#include <initializer_list>

#include "../attention/problem.h"
#include "devices.h"
#include "kernels/tiled_sm90.h"

namespace fovea::cuda {

/// A dimension beside the columns: how many there are, how many a box has, and the elements from one to the next.
struct BoxDimension {
  int64_t count, box, stride;
};

class MapEncoder {
 public:
  MapEncoder(Device& device, DType type);

  /// Of a matrix of `columns` columns per row; boxes are panels of the `padded` columns that shared memory has of it.
  TensorMap encode(const void* data, int64_t columns, int padded, std::initializer_list<BoxDimension> dimensions) const;

 private:
  Device& device_;
  const DType type_;
  const PFN_cuTensorMapEncodeTiled_v12000 encode_;
};

}  // namespace fovea::cuda
