// From the numbers and storages of binding.d.ts to a Merge, with the checks that keep native code inside its memory.
#pragma once
#include <span>
#include <vector>

#include "attention/merge.h"
#include "problem_reader.h"

namespace fovea::addon {

/// A Merge and what it points to, tensors excepted. Movable: vectors keep their memory.
struct OwnedMerge {
  Merge merge;
  std::vector<MergePart> parts;
  int device = host;  // of all tensors
};

/// Throws BoundsError, naming the field or view, when a size is not a sane integer, a view leaves its storage, or
/// tensors lie on different devices.
OwnedMerge readMerge(std::span<const double> fields, std::span<const Memory> storages);

}  // namespace fovea::addon
