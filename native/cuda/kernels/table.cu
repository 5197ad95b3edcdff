// writeTable: copies its own parameters to device memory (see standard.h for why).
//
// Floor: 32 KiB written are 21 ns of an A100's 1.55 TB/s, so what counts is the launch, a few microseconds; and that a warp
// reads the 128 words of its granules one at a time, 1,024 cycles for the eight warps of a thread block.
#include "ptx_sm90.cuh"
#include "standard.h"

namespace fovea::cuda {

static_assert(sizeof(TablePiece<smallTablePiece>) <= 4096 && sizeof(TablePiece<largeTablePiece>) <= 32764);

/// A granule per thread: parameters of different places are read one after the other by the lanes of a warp, so a large
/// piece is for several multiprocessors.
template <int bytes>
FOVEA_DEVICE void writePiece(const TablePiece<bytes>& piece) {
  if (const int i = int(blockIdx.x * blockDim.x + threadIdx.x); i < piece.granules)
    piece.destination[i] = piece.content[i];
  ptx::releaseMaps();  // which a table may hold
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
