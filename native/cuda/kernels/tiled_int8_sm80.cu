// The tiled kernels of tiled_sm80.cuh for int8 pages. Dims up to 64 take those for 128: what is past a row is not
// computed.
#include "tiled_sm80.cuh"

namespace fovea::cuda {

FOVEA_TILED(float32_int8, int8_t, int8, float, float32, 128, 2)
FOVEA_TILED(float32_int8, int8_t, int8, float, float32, 256, 2)
FOVEA_TILED(float16_int8, int8_t, int8, Half, float16, 128, 2)
FOVEA_TILED(float16_int8, int8_t, int8, Half, float16, 256, 2)
FOVEA_TILED(bfloat16_int8, int8_t, int8, BFloat, bfloat16, 128, 2)
FOVEA_TILED(bfloat16_int8, int8_t, int8, BFloat, bfloat16, 256, 2)

}  // namespace fovea::cuda
