// Matrix products of warp tiles: tensor cores for 16-bit elements, fused multiply-adds for float32.
//
// Also the order in which a tile of probabilities is stored between two kernels: exactly as the second one wants it in
// shared memory, so that loading it is a copy. For 16-bit types that is the order in which mma.m16n8k16 takes its first
// operand, which is also how it leaves its accumulators: no thread ever needs another one's probabilities.
#pragma once
#include "tile.cuh"

namespace fovea::cuda {

/// Probabilities of up to 128 queries, for a panel's worth of keys (64 for 16-bit types, 32 for float32). A block of 64
/// keys is one or two of them, each of as many rows as are stored.
using ProbabilityPanel = Panel<standardQueryTile>;

/// Place, in 16-byte granules, of the fragment of rows 16 * rowGroup.. and keys 16 * keyGroup.. that this lane holds.
FOVEA_DEVICE int fragmentPlace(int rowGroup, int keyGroup) {
  constexpr int keyGroups = panelColumns<Half> / 16;
  return (rowGroup * keyGroups + keyGroup) * 32 + laneIndex();
}

/// tile += a bᵀ over the first `depth` columns of two panels; the warp takes rows aRow.. of a and bRow.. of b. Columns
/// from depth on must be zero up to the next multiple of 16 (16-bit types).
template <class Element, int groups, int columns, int aRows, int bRows>
FOVEA_DEVICE void multiplyPanels(MatrixTile<groups, columns>& tile, const Panel<aRows>& a, int aRow,
                                 const Panel<bRows>& b, int bRow, int depth) {
  const int lane = laneIndex();
  const int aPlace = Panel<aRows>::place(aRow + lane % 16, lane / 16);
  const int bPlace = Panel<bRows>::place(bRow + lane / 16 * 8 + lane % 8, lane / 8 % 2);
#pragma unroll
  for (int step = 0; step < 4; step++) {
    if (step * 16 >= depth) break;
    uint32_t left[groups][4];
#pragma unroll
    for (int i = 0; i < groups; i++) ptx::loadMatrices(left[i], a.addressFrom(aPlace, i * 16, step * 2));
#pragma unroll
    for (int j = 0; j < columns / 16; j++) {
      uint32_t right[4];  // two 8-column tiles: rows of b are columns of the product
      ptx::loadMatrices(right, b.addressFrom(bPlace, j * 16, step * 2));
#pragma unroll
      for (int i = 0; i < groups; i++) {
        ptx::multiplyAdd<Element>(tile.fragments[i][2 * j], left[i], right[0], right[1]);
        ptx::multiplyAdd<Element>(tile.fragments[i][2 * j + 1], left[i], right[2], right[3]);
      }
    }
  }
}

template <class Element, int columns, int aRows, int bRows>
FOVEA_DEVICE void multiplyTransposed(WarpTile<Element, columns>& tile, const Panel<aRows>& a, int aRow,
                                     const Panel<bRows>& b, int bRow, int depth) {
  multiplyPanels<Element>(tile, a, aRow, b, bRow, depth);
}

template <int columns, int aRows, int bRows>
FOVEA_DEVICE void multiplyTransposed(WarpTile<float, columns>& tile, const Panel<aRows>& a, int aRow,
                                     const Panel<bRows>& b, int bRow, int depth) {
  using Tile = WarpTile<float, columns>;
#pragma unroll 1
  for (int step = 0; step < panelColumns<float> && step < depth; step++) {
    float right[Tile::columnsPerThread];
#pragma unroll
    for (int j = 0; j < Tile::columnsPerThread; j++) right[j] = b.one(bRow + tile.column(j), step);
#pragma unroll
    for (int i = 0; i < Tile::rowsPerThread; i++) {
      const float left = a.one(aRow + tile.row(i), step);
#pragma unroll
      for (int j = 0; j < Tile::columnsPerThread; j++) tile.at(i, j) = fmaf(left, right[j], tile.at(i, j));
    }
  }
}

/// tile += diag(factors) p v: the warp's rows row.. of the stored probabilities, times rows of value panels, columns
/// from `column` on. factors[i] belongs to tile.row(i).
template <class Element, int columns, int panels>
FOVEA_DEVICE void multiplyScaled(WarpTile<Element, columns>& tile, const ProbabilityPanel& probabilities, int row,
                                 const float (&factors)[4], const Panel<panelColumns<Element>> (&values)[panels],
                                 int column) {
  const int place = Panel<panelColumns<Element>>::place(laneIndex() % 16, laneIndex() / 16);
  uint32_t pairs[4];
#pragma unroll
  for (int i = 0; i < 4; i++) pairs[i] = ptx::pack<Element>(factors[i], factors[i]);
#pragma unroll
  for (int step = 0; step < 4; step++) {
    uint32_t left[2][4];
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const uint4 stored = probabilities.granules[fragmentPlace(row / 16 + i, step)];
      left[i][0] = ptx::multiplyPair<Element>(stored.x, pairs[2 * i]);
      left[i][1] = ptx::multiplyPair<Element>(stored.y, pairs[2 * i + 1]);
      left[i][2] = ptx::multiplyPair<Element>(stored.z, pairs[2 * i]);
      left[i][3] = ptx::multiplyPair<Element>(stored.w, pairs[2 * i + 1]);
    }
#pragma unroll
    for (int j = 0; j < columns / 16; j++) {
      const int first = column + j * 16;
      const auto& panel = values[first / panelColumns<Element>];
      uint32_t right[4];  // keys are rows, as stored: transposed while loading
      ptx::loadMatricesTransposed(right, panel.addressFrom(place, step * 16, first % panelColumns<Element> / 8));
#pragma unroll
      for (int i = 0; i < 2; i++) {
        ptx::multiplyAdd<Element>(tile.fragments[i][2 * j], left[i], right[0], right[1]);
        ptx::multiplyAdd<Element>(tile.fragments[i][2 * j + 1], left[i], right[2], right[3]);
      }
    }
  }
}

template <int columns, int panels>
FOVEA_DEVICE void multiplyScaled(WarpTile<float, columns>& tile, const ProbabilityPanel& probabilities, int row,
                                 const float (&factors)[8], const Panel<panelColumns<float>> (&values)[panels],
                                 int column) {
  using Tile = WarpTile<float, columns>;
#pragma unroll 1
  for (int key = 0; key < panelColumns<float>; key += 2) {
    float right[2][Tile::columnsPerThread];
#pragma unroll
    for (int k = 0; k < 2; k++)
#pragma unroll
      for (int j = 0; j < Tile::columnsPerThread; j++) {
        const int place = column + tile.column(j);
        right[k][j] = values[place / panelColumns<float>].one(key + k, place % panelColumns<float>);
      }
#pragma unroll
    for (int i = 0; i < Tile::rowsPerThread; i++) {
      const float2 left = probabilities.two(row + tile.row(i), key);
#pragma unroll
      for (int j = 0; j < Tile::columnsPerThread; j++) {
        float& sum = tile.at(i, j);
        sum = fmaf(left.x * factors[i], right[0][j], sum);
        sum = fmaf(left.y * factors[i], right[1][j], sum);
      }
    }
  }
}

/// What products of a warp are summed in, 16 * groups rows of `columns`, and the tile that they come to.
template <class Element, int groups, int columns>
struct Products {
  using Tile = MatrixTile<groups, columns>;
};

template <int groups, int columns>
FOVEA_DEVICE MatrixTile<groups, columns>& total(MatrixTile<groups, columns>& tile) {
  return tile;
}

/// A warp's probabilities as the first operand of a product: 16-bit accumulators of 16 keys lie in registers as they
/// are wanted there.
template <class Element, int groups, int keys>
struct Probabilities {
  uint32_t fragments[groups][keys / 16][4];
};

template <class Element, int groups, int keys>
FOVEA_DEVICE void round(Probabilities<Element, groups, keys>& to, const MatrixTile<groups, keys>& from) {
#pragma unroll
  for (int i = 0; i < groups; i++)
#pragma unroll
    for (int step = 0; step < keys / 16; step++) {
      const auto& even = from.fragments[i][2 * step];
      const auto& odd = from.fragments[i][2 * step + 1];
      to.fragments[i][step][0] = ptx::pack<Element>(even[0], even[1]);
      to.fragments[i][step][1] = ptx::pack<Element>(even[2], even[3]);
      to.fragments[i][step][2] = ptx::pack<Element>(odd[0], odd[1]);
      to.fragments[i][step][3] = ptx::pack<Element>(odd[2], odd[3]);
    }
}

/// output += p v over the value panels that begin before valueDim; v are the rows of `keys` keys.
template <class Element, int groups, int columns, int keys, int panels>
FOVEA_DEVICE void multiplyProbabilities(MatrixTile<groups, columns>& output,
                                        const Probabilities<Element, groups, keys>& p,
                                        const Panel<keys> (&values)[panels], int valueDim) {
  static_assert(columns == panels * panelColumns<Element>);
  const int place = Panel<keys>::place(laneIndex() % 16, laneIndex() / 16);
#pragma unroll
  for (int panel = 0; panel < panels; panel++) {
    if (panel > 0 && panel * panelColumns<Element> >= valueDim) break;
#pragma unroll
    for (int step = 0; step < keys / 16; step++)
#pragma unroll
      for (int j = 0; j < 4; j++) {
        uint32_t right[4];  // keys are rows, as stored: transposed while loading
        ptx::loadMatricesTransposed(right, values[panel].addressFrom(place, step * 16, j * 2));
#pragma unroll
        for (int i = 0; i < groups; i++) {
          ptx::multiplyAdd<Element>(output.fragments[i][panel * 8 + 2 * j], p.fragments[i][step], right[0], right[1]);
          ptx::multiplyAdd<Element>(output.fragments[i][panel * 8 + 2 * j + 1], p.fragments[i][step], right[2],
                                    right[3]);
        }
      }
  }
}

/// Stores a warp's 32 x 64 probabilities, rows row.., into the tileRows x 64 block at `block`.
template <class Element>
FOVEA_DEVICE void storeProbabilities(WarpTile<Element, standardKeyBlock>& tile, int row, void* block, int) {
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int step = 0; step < 4; step++) {
      const auto& even = tile.fragments[i][2 * step];
      const auto& odd = tile.fragments[i][2 * step + 1];
      static_cast<uint4*>(block)[fragmentPlace(row / 16 + i, step)] = {
          ptx::pack<Element>(even[0], even[1]), ptx::pack<Element>(even[2], even[3]),
          ptx::pack<Element>(odd[0], odd[1]), ptx::pack<Element>(odd[2], odd[3])};
    }
}

FOVEA_DEVICE void storeProbabilities(WarpTile<float, standardKeyBlock>& tile, int row, void* block, int tileRows) {
  forEach(tile, [&](float value, int i, int j) {
    const int column = tile.column(j) % panelColumns<float>;
    auto* panel = static_cast<uint4*>(block) + tile.column(j) / panelColumns<float> * (tileRows * 8);
    reinterpret_cast<float*>(panel + ProbabilityPanel::place(row + tile.row(i), column / 4))[column % 4] = value;
  });
}

}  // namespace fovea::cuda
