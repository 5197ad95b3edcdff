// The kernels' fat binaries, embedded in the program: machine code for the GPUs that were known when it was built, and
// PTX for newer ones. The driver picks what fits.
#pragma once
#include <string>

namespace fovea::cuda {

/// One .cu file's fat binary.
struct Image {
  const char* name;
  const unsigned char* bytes;
};

/// A kernel by name, and what its launch needs.
struct KernelImage {
  Image image;
  std::string function;
  int sharedBytes = 0;  // dynamic shared memory
};

namespace images {
extern const Image table, copy, store, standardScores, standardOutput, standardWeights, tiled, tiledFloat32, tiledInt8,
    tiledSm90, tiledWeights, decode, decodeInt8, decodeSm90, merge;
}

}  // namespace fovea::cuda
