// Copies of elements on the device: which kernels, on what.
#pragma once
#include <vector>

#include "devices.h"
#include "kernels/copy.h"

namespace fovea::cuda {

enum class CopyKernel : uint8_t {
  none,     // contiguous and not converted: the driver's own copy, of `count` bytes
  units,    // fovea_copy_units
  convert,  // fovea_convert_elements
  vectors,  // fovea_convert_vectors
};

struct CopyPiece {
  CopyKernel kernel;
  CopyArguments arguments;
};

/// The launches that make up a copy: none for an empty one, two where elements are left over from vectors. A pure
/// function. Throws std::invalid_argument (see copyElements).
std::vector<CopyPiece> planElementCopy(const ElementCopy& copy);

/// Enqueues them. The context is current.
void launchElementCopy(Device& device, CUstream stream, const std::vector<CopyPiece>& pieces);

}  // namespace fovea::cuda
