// Writes tables from its parameters to device memory (table.h says why, and what the parameters are).
//
// Floor: tables of 256 sequences are 225 KB, 0.15 microseconds of an A100's 1.55 TB/s, so what counts is the launch, a
// few microseconds; and that a warp reads 32 places of its parameters one at a time, and looks through the columns: 500
// to 1,000 cycles.
#include "ptx_sm90.cuh"
#include "standard.h"
#include "table.h"

namespace fovea::cuda {

/// A word per thread, of all runs one after the other.
template <int words>
FOVEA_DEVICE void writePiece(const TablePiece<words>& piece) {
  int64_t index = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
#pragma unroll 1
  for (int i = 0; i < int(piece.runCount); i++) {
    const TableRun& run = piece.runs[i];
    const int64_t size = int64_t(run.entries) * run.words;
    if (index >= size) {
      index -= size;
      continue;
    }
    const int entry = int(index) / run.words, word = int(index) - entry * run.words;
    uint32_t value = piece.content[run.first + word];
#pragma unroll 1
    for (int c = 0; c < run.columnCount; c++) {
      const uint32_t* column = piece.content + run.columns + c * columnWords;
      if (int(column[0]) != word) continue;
      const int values = int(column[2]);
      value = values < 0 ? value + column[1] * uint32_t(entry) : piece.content[values + entry];
    }
    run.destination[index] = value;
    break;
  }
  ptx::releaseMaps();  // which a table may hold
}

extern "C" __global__ void __launch_bounds__(standardThreads)
    fovea_write_table_small(const __grid_constant__ TablePiece<smallTableWords> piece) {
  writePiece(piece);
}

extern "C" __global__ void __launch_bounds__(standardThreads)
    fovea_write_table_large(const __grid_constant__ TablePiece<largeTableWords> piece) {
  writePiece(piece);
}

}  // namespace fovea::cuda
