// Tiles as Hopper's asynchronous products take them, and the two products of attention.
//
// A matrix of up to 256 columns lies in shared memory as panels of 64 columns: rows of 128 bytes, swizzled as in
// tile.cuh, which is also how the copy engine leaves a box. A panel begins at a multiple of 1024 bytes.
#pragma once
#include "../../attention/tiles_sm90.h"
#include "products.cuh"
#include "ptx_sm90.cuh"

namespace fovea::cuda {

/// [rows x columns] 16-bit elements.
template <int rows, int columns>
struct alignas(1024) SwizzledTile {
  static constexpr int panels = columns / panelColumns<Half>, bytes = rows * columns * 2;
  Panel<rows> panel[panels];
  FOVEA_DEVICE uint32_t address() const { return ptx::sharedAddress(panel); }
};

/// A descriptor: `address` in shared memory, 128-byte swizzle, 1024 bytes from eight rows to the next eight, and
/// `panelBytes` from a panel to the next, which only a matrix looks at whose columns are columns of the product.
FOVEA_DEVICE uint64_t describe(uint32_t address, uint32_t panelBytes) {
  return uint64_t{1} << 62 | uint64_t{1024 >> 4} << 32 | uint64_t{panelBytes >> 4} << 16 | (address & 0x3ffff) >> 4;
}

/// Begins scores := query keyᵀ, of the 64 rows of the warpgroup's query tile.
template <class Element, int keys, int dims>
FOVEA_DEVICE void multiplyKeys(MatrixTile<1, keys>& scores, const SwizzledTile<warpgroupRows, dims>& query,
                               const SwizzledTile<keys, dims>& key) {
  const uint64_t left = describe(query.address(), 0), right = describe(key.address(), 0);
#pragma unroll
  for (int step = 0; step < dims / 16; step++) {  // a step is 32 bytes of a panel's rows
    const int panel = step / 4, inPanel = step % 4 * (32 >> 4);
    ptx::multiplyShared<Element, keys>(scores.fragments[0],
                                       left + panel * (sizeof(Panel<warpgroupRows>) >> 4) + inPanel,
                                       right + panel * (sizeof(Panel<keys>) >> 4) + inPanel, step > 0);
  }
}

/// Begins output += probabilities value.
template <class Element, int keys, int dims>
FOVEA_DEVICE void multiplyValues(MatrixTile<1, dims>& output, const Probabilities<Element, 1, keys>& probabilities,
                                 const SwizzledTile<keys, dims>& value) {
  const uint64_t right = describe(value.address(), sizeof(Panel<keys>));
#pragma unroll
  for (int step = 0; step < keys / 16; step++)  // 16 rows of every panel
    ptx::multiplyRegisters<Element, dims>(output.fragments[0], probabilities.fragments[0][step],
                                          right + step * (16 * panelBytes >> 4));
}

/// Rows to shared memory, rounded: row i of this thread times factors[i], 0 where that is 0 (even where masked values
/// made it NaN).
template <class Element, int dims>
FOVEA_DEVICE void storeOutput(SwizzledTile<warpgroupRows, dims>& to, const MatrixTile<1, dims>& output,
                              const float (&factors)[2]) {
  const int row = ptx::anew(warpIndex() % 4 * 16 + laneIndex() % 16);
  const auto pair = [&](int fragment, int i) {
    const float* values = &output.fragments[0][fragment][2 * i];
    return factors[i] == 0 ? 0u : ptx::pack<Element>(values[0] * factors[i], values[1] * factors[i]);
  };
#pragma unroll
  for (int j = 0; j < dims / 16; j++) {
    const uint32_t address = to.panel[j / 4].address(row, j % 4 * 2 + laneIndex() / 16);
    ptx::storeMatrices(address, pair(2 * j, 0), pair(2 * j, 1), pair(2 * j + 1, 0), pair(2 * j + 1, 1));
  }
}

}  // namespace fovea::cuda
