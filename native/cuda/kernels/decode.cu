// The decode kernels of decode.cuh, for keys and values of the query's dtype.
#include "decode.cuh"

namespace fovea::cuda {

FOVEA_DECODE(float32, float, float32, float, float32, 64)
FOVEA_DECODE(float32, float, float32, float, float32, 128)
FOVEA_DECODE(float32, float, float32, float, float32, 256)
FOVEA_DECODE(float16, Half, float16, Half, float16, 64)
FOVEA_DECODE(float16, Half, float16, Half, float16, 128)
FOVEA_DECODE(float16, Half, float16, Half, float16, 256)
FOVEA_DECODE(bfloat16, BFloat, bfloat16, BFloat, bfloat16, 64)
FOVEA_DECODE(bfloat16, BFloat, bfloat16, BFloat, bfloat16, 128)
FOVEA_DECODE(bfloat16, BFloat, bfloat16, BFloat, bfloat16, 256)

}  // namespace fovea::cuda
