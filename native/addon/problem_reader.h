// From the numbers and storages of binding.d.ts to a Problem, with the checks that keep native code inside its memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "attention/problem.h"

namespace fovea::addon {

constexpr int host = -1;

/// The memory that a storage names: an ArrayBufferView's, or a GPU's, which only its kernels may touch.
struct Memory {
  std::span<std::byte> bytes;
  int device = host;  // or the number of the GPU
};

/// A Problem and what it points to, tensors excepted. Movable: vectors keep their memory.
struct OwnedProblem {
  Problem problem;
  std::vector<Sequence> sequences;
  std::vector<int32_t> pageTables;  // copied, so that JavaScript cannot change a checked entry under a running call
  std::vector<Segments> segments;   // of each sequence, if any has some
  std::vector<Segment> segmentLists;
  // Where they are: all tensors together, slopes and sinks each for itself. The page table is the host's.
  int tensors = host, alibiSlopes = host, sinks = host;
};

/// Reads a problem for running. Throws BoundsError, naming the field or view, when a size is not a sane integer or a
/// view leaves its storage, or tensors lie on different devices.
OwnedProblem readProblem(std::span<const double> fields, std::span<const Memory> storages);

/// Reads a problem for planning only: storages do not exist, and every present view gets a pointer that must not be
/// used.
OwnedProblem readProblemWithoutStorages(std::span<const double> fields);

}  // namespace fovea::addon
