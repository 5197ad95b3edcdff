// What the store kernels are given: RowStores (see row_store.h) with their angles worked out.
#pragma once
#include <vector_types.h>

#include "../../attention/row_store.h"

namespace fovea::cuda {

constexpr int storeThreads = 256;

struct StoreArguments {
  RowStore store;       // with device pointers; its rotation's frequencies and positions are unused
  const float2* turns;  // (cos, sin) of each token's angles, [tokens][rotation.dim / 2]
};

/// Of one launch: blocks with number y in the grid have store y. A cache's keys and values are two.
constexpr int mostStores = 2;
struct StoreLaunch {
  StoreArguments stores[mostStores];
};

}  // namespace fovea::cuda
