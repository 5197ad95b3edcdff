// The kernels' fat binaries, embedded in the program: machine code for the GPUs that were known when it was built, and
// PTX for newer ones. The driver picks what fits.
#pragma once
#include <string>
#include <string_view>

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

/// Whether code for one of `architectures` ("80-real,90-real,80-virtual", the names of FOVEA_CUDA_ARCHS) runs on a GPU:
/// machine code of its major version up to its minor one, PTX of any version up to its own; what ends in "a" on its own
/// version alone, in "f" on its major one.
bool runsOn(std::string_view architectures, int computeMajor, int computeMinor);

namespace images {
extern const Image table, copy, store, standardScores, standardOutput, standardWeights, tiled, tiledFloat32, tiledInt8,
    tiledSm90, tiledWeights, tileMap, decode, decodeInt8, decodeSm90, merge;
}

}  // namespace fovea::cuda
