// The tiled kernel (tiled_sm80.cuh) for 16-bit types.
#include "tiled_sm80.cuh"

namespace fovea::cuda {

FOVEA_TILED(float16, Half, 64, 2)
FOVEA_TILED(float16, Half, 128, 2)
FOVEA_TILED(float16, Half, 256, 2)
FOVEA_TILED(bfloat16, BFloat, 64, 2)
FOVEA_TILED(bfloat16, BFloat, 128, 2)
FOVEA_TILED(bfloat16, BFloat, 256, 2)

}  // namespace fovea::cuda
