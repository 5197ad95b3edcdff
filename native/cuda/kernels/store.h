// What the store kernel is given: one RowStore (see row_store.h) with its angles worked out.
#pragma once
#include <vector_types.h>

#include "../../attention/row_store.h"

namespace fovea::cuda {

constexpr int storeThreads = 256;

struct StoreArguments {
  RowStore store;       // with device pointers; its rotation's frequencies and positions are unused
  const float2* turns;  // (cos, sin) of each token's angles, [tokens][rotation.dim / 2]
};

}  // namespace fovea::cuda
