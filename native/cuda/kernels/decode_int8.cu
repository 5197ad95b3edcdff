// The decode kernels of decode.cuh for int8 pages. Dims up to 64 take those for 128: what is past a row is not
// computed.
#include "decode.cuh"

namespace fovea::cuda {

FOVEA_DECODE(float32_int8, int8_t, int8, float, float32, 128)
FOVEA_DECODE(float32_int8, int8_t, int8, float, float32, 256)
FOVEA_DECODE(float16_int8, int8_t, int8, Half, float16, 128)
FOVEA_DECODE(float16_int8, int8_t, int8, Half, float16, 256)
FOVEA_DECODE(bfloat16_int8, int8_t, int8, BFloat, bfloat16, 128)
FOVEA_DECODE(bfloat16_int8, int8_t, int8, BFloat, bfloat16, 256)

}  // namespace fovea::cuda
