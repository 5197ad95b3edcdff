// From the numbers and storages of binding.d.ts to a Problem, with the checks that keep native code inside its memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "attention/problem.h"

namespace fovea::addon {

/// The memory of one ArrayBufferView.
using Bytes = std::span<std::byte>;

/// A Problem and what it points to, tensors excepted. Movable: vectors keep their memory.
struct OwnedProblem {
  Problem problem;
  std::vector<Sequence> sequences;
  std::vector<int32_t> pageTables;  // copied, so that JavaScript cannot change a checked entry under a running call
};

/// Reads a problem for running. Throws BoundsError, naming the field or view, when a size is not a sane integer or a
/// view leaves its storage.
OwnedProblem readProblem(std::span<const double> fields, std::span<const Bytes> storages);

/// Reads a problem for planning only: storages do not exist, and every present view gets a pointer that must not be
/// used.
OwnedProblem readProblemWithoutStorages(std::span<const double> fields);

}  // namespace fovea::addon
