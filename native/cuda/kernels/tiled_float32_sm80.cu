// The tiled kernel (tiled_sm80.cuh) for float32.
#include "tiled_sm80.cuh"

namespace fovea::cuda {

FOVEA_TILED(float32, float, 64, 2)
FOVEA_TILED(float32, float, 128, 2)
FOVEA_TILED(float32, float, 256, 1)

}  // namespace fovea::cuda
