// The tiled kernels of tiled_sm80.cuh for float16 and bfloat16.
#include "tiled_sm80.cuh"

namespace fovea::cuda {

FOVEA_TILED(float16, Half, float16, Half, float16, 64, 2)
FOVEA_TILED(float16, Half, float16, Half, float16, 128, 2)
FOVEA_TILED(float16, Half, float16, Half, float16, 256, 2)
FOVEA_TILED(bfloat16, BFloat, bfloat16, BFloat, bfloat16, 64, 2)
FOVEA_TILED(bfloat16, BFloat, bfloat16, BFloat, bfloat16, 128, 2)
FOVEA_TILED(bfloat16, BFloat, bfloat16, BFloat, bfloat16, 256, 2)

}  // namespace fovea::cuda
