// writeTable: copies its own parameters to device memory (see standard.h for why).
#include "ptx.cuh"
#include "standard.h"

namespace fovea::cuda {

static_assert(sizeof(TablePiece<smallTablePiece>) <= 4096 && sizeof(TablePiece<largeTablePiece>) <= 32764);

template <int bytes>
FOVEA_DEVICE void writePiece(const TablePiece<bytes>& piece) {
  for (int i = threadIdx.x; i < piece.granules; i += blockDim.x) piece.destination[i] = piece.content[i];
}

extern "C" __global__ void __launch_bounds__(standardThreads)
    fovea_write_table_small(const __grid_constant__ TablePiece<smallTablePiece> piece) {
  writePiece(piece);
}

extern "C" __global__ void __launch_bounds__(standardThreads)
    fovea_write_table_large(const __grid_constant__ TablePiece<largeTablePiece> piece) {
  writePiece(piece);
}

}  // namespace fovea::cuda
