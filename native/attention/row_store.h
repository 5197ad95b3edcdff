// Rows of a tensor on their way to where attention reads them: keys and values into pages, queries into a copy;
// converted, rotated and quantised on the way. Plain data, as problem.h.
#pragma once
#include "problem.h"

namespace fovea {

/// Rotary position embedding (Su et al., RoFormer, 2021): pair i of a row at position p is turned by the angle
/// p * frequencies[i]. Element i pairs with i + dim / 2, or 2i with 2i + 1 (interleaved); from `dim` on a row stays as
/// it is.
struct Rotation {
  int32_t dim = 0;  // 0: none
  bool interleaved = false;
  const double* frequencies = nullptr;  // [dim / 2], radians per position
  const int32_t* positions = nullptr;   // one per token
};

/// Row (token t, head h) goes to element ((slots[t] / pageSize * heads + h) * pageSize + slots[t] % pageSize) * dims of
/// `to`. With int8 it becomes round(x / scale), scale = its largest magnitude / 127, which goes to `scales` at the same
/// place; a row with infinities or NaN becomes NaN.
struct RowStore {
  int64_t tokens = 0;
  int32_t heads = 0, dims = 0;
  int32_t pageSize = 1;
  DType fromDtype = DType::float32, toDtype = DType::float32;
  View<const void> from;  // rows are tokens
  void* to = nullptr;
  float* scales = nullptr;         // int8 only
  const int32_t* slots = nullptr;  // of each token, all different
  Rotation rotation;
};

}  // namespace fovea
