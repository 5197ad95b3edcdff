// The tiled kernels of tiled_sm80.cuh for float32.
#include "tiled_sm80.cuh"

namespace fovea::cuda {

FOVEA_TILED(float32, float, float32, float, float32, 64, 2)
FOVEA_TILED(float32, float, float32, float, float32, 128, 2)
FOVEA_TILED(float32, float, float32, float, float32, 256, 2)

}  // namespace fovea::cuda
