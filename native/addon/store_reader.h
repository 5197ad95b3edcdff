// From the numbers and storages of binding.d.ts to RowStores, with the checks that keep native code inside its memory.
#pragma once
#include <span>
#include <vector>

#include "attention/row_store.h"
#include "problem_reader.h"

namespace fovea::addon {

/// RowStores and what they point to, tensors and pages excepted. Movable: vectors keep their memory.
struct OwnedStores {
  std::vector<RowStore> stores;
  // Copied, so that JavaScript cannot change a checked entry under a running call.
  std::vector<std::vector<int32_t>> integers;
  std::vector<std::vector<double>> frequencies;
  int device = host;  // of tensors and pages
};

/// Throws BoundsError, naming the field, when a size is not a sane integer, rows leave their storage or pages, or
/// memory lies on different devices.
OwnedStores readStores(std::span<const double> fields, std::span<const Memory> storages);

}  // namespace fovea::addon
