// Tiles as Hopper's asynchronous products take them, and the two products of attention.
//
// A matrix of up to 256 columns lies in shared memory as panels of 64 columns: rows of 128 bytes, swizzled as in
// tile.cuh, which is also how the copy engine leaves a box. One of 96 columns is three panels of 32, rows of 64 bytes:
// so one descriptor covers it, which 64 columns and 32 would not have. Matrices begin at multiples of 1024 bytes.
#pragma once
#include "../../attention/tiles_sm90.h"
#include "products.cuh"
#include "ptx_sm90.cuh"

namespace fovea::cuda {

/// Part of a matrix: rows of 64 bytes. Granule g of row r lies at place g ^ (r / 2 % 4): eight neighbouring rows, which
/// are four lines of 128 bytes, meet all banks at one column here too.
template <int rows>
struct alignas(512) NarrowPanel {
  uint4 granules[rows * 4];

  FOVEA_DEVICE static int place(int row, int granule) { return row * 4 + (granule ^ (row / 2 % 4)); }
  FOVEA_DEVICE uint32_t address(int row, int granule) const {
    return ptx::sharedAddress(granules + place(row, granule));
  }
};

/// [rows x columns] 16-bit elements.
template <int rows, int columns>
struct alignas(1024) SwizzledTile {
  static constexpr int panelColumns = sm90PanelColumns(columns), panels = columns / panelColumns;
  static constexpr int rowBytes = 2 * panelColumns, bytes = rows * columns * 2;  // a row of a panel
  using Panel = std::conditional_t<panelColumns == 64, cuda::Panel<rows>, NarrowPanel<rows>>;
  Panel panel[panels];
  FOVEA_DEVICE uint32_t address() const { return ptx::sharedAddress(panel); }
};

/// A descriptor, whose place only its low word has: as one of 64 bits it would be added to with a carry for each
/// product.
struct Descriptor {
  uint32_t low, high;
  /// The same, `granules` of 16 bytes further on.
  FOVEA_DEVICE uint64_t at(uint32_t granules) const { return uint64_t{high} << 32 | (low + granules); }
};

/// Makes one: `address` in shared memory, how panels with rows of `rowBytes` are swizzled, the bytes from eight rows
/// to the next eight, and `panelBytes` from a panel to the next, which only a matrix looks at whose columns are columns
/// of the product.
template <int rowBytes>
FOVEA_DEVICE Descriptor describe(uint32_t address, uint32_t panelBytes) {
  constexpr uint32_t swizzle = rowBytes == 128 ? 1 : 2, rows = 8 * rowBytes;
  return {panelBytes >> 4 << 16 | (address & 0x3ffff) >> 4, swizzle << 30 | rows >> 4};
}

/// Begins scores := query keyᵀ, of the 64 rows of the warpgroup's query tile.
template <class Element, int keys, int dims>
FOVEA_DEVICE void multiplyKeys(MatrixTile<1, keys>& scores, const SwizzledTile<warpgroupRows, dims>& query,
                               const SwizzledTile<keys, dims>& key) {
  using Query = SwizzledTile<warpgroupRows, dims>;
  using Key = SwizzledTile<keys, dims>;
  constexpr int steps = Key::panelColumns / 16;  // of a panel
  const Descriptor left = describe<Query::rowBytes>(query.address(), 0),
                   right = describe<Key::rowBytes>(key.address(), 0);
#pragma unroll
  for (int step = 0; step < dims / 16; step++) {  // a step is 32 bytes of a panel's rows
    const int panel = step / steps, inPanel = step % steps * (32 >> 4);
    ptx::multiplyShared<Element, keys>(scores.fragments[0],
                                       left.at(panel * (sizeof(typename Query::Panel) >> 4) + inPanel),
                                       right.at(panel * (sizeof(typename Key::Panel) >> 4) + inPanel), step > 0);
  }
}

/// Begins output += probabilities value.
template <class Element, int keys, int dims>
FOVEA_DEVICE void multiplyValues(MatrixTile<1, dims>& output, const Probabilities<Element, 1, keys>& probabilities,
                                 const SwizzledTile<keys, dims>& value) {
  using Value = SwizzledTile<keys, dims>;
  const Descriptor right = describe<Value::rowBytes>(value.address(), sizeof(typename Value::Panel));
#pragma unroll
  for (int step = 0; step < keys / 16; step++)  // 16 rows of every panel
    ptx::multiplyRegisters<Element, dims>(output.fragments[0], probabilities.fragments[0][step],
                                          right.at(step * (16 * Value::rowBytes >> 4)));
}

/// Rows to shared memory, rounded: row i of this thread times factors[i], 0 where that is 0 (even where masked values
/// made it NaN).
template <class Element, int dims>
FOVEA_DEVICE void storeOutput(SwizzledTile<warpgroupRows, dims>& to, const MatrixTile<1, dims>& output,
                              const float (&factors)[2]) {
  constexpr int steps = SwizzledTile<warpgroupRows, dims>::panelColumns / 16;
  const int row = ptx::anew(warpIndex() % 4 * 16 + laneIndex() % 16);
  const auto pair = [&](int fragment, int i) {
    const float* values = &output.fragments[0][fragment][2 * i];
    return factors[i] == 0 ? 0u : ptx::pack<Element>(values[0] * factors[i], values[1] * factors[i]);
  };
#pragma unroll
  for (int j = 0; j < dims / 16; j++) {
    const uint32_t address = to.panel[j / steps].address(row, j % steps * 2 + laneIndex() / 16);
    ptx::storeMatrices(address, pair(2 * j, 0), pair(2 * j, 1), pair(2 * j + 1, 0), pair(2 * j + 1, 1));
  }
}

}  // namespace fovea::cuda
