// float32 products on tensor cores: each factor is a high and a low part of 11 bits, and three products of parts make
// one.
//
//   x = high + low;  x y = high_x high_y + high_x low_y + low_x high_y      (low_x low_y is below 2^-22 of the product)
//
// The parts are tf32, which has the exponents of float32, so nothing that float32 holds overflows; only numbers below
// 2^-113 (1e-34) lose digits. High parts are cut off, not rounded: rounding could overflow, and both parts have the
// sign of their number, so that where a factor is infinite all three products are that infinity, or 0.
//
// Tensor cores cut off what their sums cannot hold. Over thousands of keys that adds up to more than float32 may lose,
// so products of a tile begin at 0, high and low apart, and are then added to the result by ordinary, rounded
// additions.
#pragma once
#include "products.cuh"

namespace fovea::cuda {

struct Split {
  uint32_t high, low;
};

/// `least` is what a low part of 0 becomes. Infinity's low part is `least`; a NaN that the high bits do not show counts
/// as infinity.
FOVEA_DEVICE Split split(uint32_t bits, uint32_t least) {
  const uint32_t high = bits & 0xffffe000;
  const float low = fabsf(__uint_as_float(bits)) - fabsf(__uint_as_float(high));
  return {high, __float_as_uint(fmaxf(low, __uint_as_float(least))) | (bits & 0x80000000)};
}

/// For queries and keys: the smallest low part is 2^-136, the smallest tf32, so that infinity times a number that has
/// no low part is infinity, not NaN.
constexpr uint32_t leastScoreFactor = 0x2000;

/// A sum of split products: of high parts, and of those with a low part.
template <int groups, int columns>
struct SplitTile {
  MatrixTile<groups, columns> high, low;
};

template <int groups, int columns>
struct Products<float, groups, columns> {
  using Tile = SplitTile<groups, columns>;
};

template <int groups, int columns>
FOVEA_DEVICE void clear(SplitTile<groups, columns>& tile) {
  clear(tile.high);
  clear(tile.low);
}

/// The sum itself, in place.
template <int groups, int columns>
FOVEA_DEVICE MatrixTile<groups, columns>& total(SplitTile<groups, columns>& tile) {
  forEach(tile.high, [&](float& value, int i, int j) { value += tile.low.at(i, j); });
  return tile.high;
}

/// tile += a bᵀ, as the 16-bit multiplyPanels. Columns from depth on must be zero up to the next multiple of 8.
template <class Element, int groups, int columns, int aRows, int bRows>
FOVEA_DEVICE void multiplyPanels(SplitTile<groups, columns>& tile, const Panel<aRows>& a, int aRow,
                                 const Panel<bRows>& b, int bRow, int depth) {
  const int lane = laneIndex();
  const int aPlace = Panel<aRows>::place(aRow + lane % 16, lane / 16);
  const int bPlace = Panel<bRows>::place(bRow + lane / 16 * 8 + lane % 8, lane / 8 % 2);
#pragma unroll
  for (int step = 0; step < 4; step++) {
    if (step * 8 >= depth) break;
    uint32_t leftHigh[groups][4], leftLow[groups][4];
#pragma unroll
    for (int i = 0; i < groups; i++) {
      uint32_t left[4];
      ptx::loadMatrices(left, a.addressFrom(aPlace, i * 16, step * 2));
#pragma unroll
      for (int k = 0; k < 4; k++) {
        const Split parts = split(left[k], leastScoreFactor);
        leftHigh[i][k] = parts.high;
        leftLow[i][k] = parts.low;
      }
    }
#pragma unroll
    for (int j = 0; j < columns / 16; j++) {
      uint32_t right[4];  // two 8-column tiles: rows of b are columns of the product
      ptx::loadMatrices(right, b.addressFrom(bPlace, j * 16, step * 2));
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const Split b0 = split(right[2 * half], leastScoreFactor), b1 = split(right[2 * half + 1], leastScoreFactor);
#pragma unroll
        for (int i = 0; i < groups; i++) {
          auto& low = tile.low.fragments[i][2 * j + half];
          ptx::multiplyAddTf32(low, leftLow[i], b0.high, b1.high);
          ptx::multiplyAddTf32(low, leftHigh[i], b0.low, b1.low);
          ptx::multiplyAddTf32(tile.high.fragments[i][2 * j + half], leftHigh[i], b0.high, b1.high);
        }
      }
    }
  }
}

/// A warp's probabilities, split. The tensor cores are told that the keys of a group of 8 come in the order 0, 2, 4, 6,
/// 1, 3, 5, 7: then accumulators are first operands as they lie, and no thread needs another one's.
template <int groups, int keys>
struct Probabilities<float, groups, keys> {
  uint32_t high[groups][keys / 8][4], low[groups][keys / 8][4];
};

template <int groups, int keys>
FOVEA_DEVICE void round(Probabilities<float, groups, keys>& to, const MatrixTile<groups, keys>& from) {
#pragma unroll
  for (int i = 0; i < groups; i++)
#pragma unroll
    for (int step = 0; step < keys / 8; step++)
#pragma unroll
      for (int k = 0; k < 4; k++) {
        const float p = from.fragments[i][step][k / 2 + k % 2 * 2];
        // The low part is not 0 unless p is, or too small to matter: an infinite value stays that.
        const Split parts = split(__float_as_uint(p), __float_as_uint(p * 0x1p-30f));
        to.high[i][step][k] = parts.high;
        to.low[i][step][k] = parts.low;
      }
}

/// output += p v, as for 16-bit types.
template <int groups, int columns, int keys, int panels>
FOVEA_DEVICE void multiplyProbabilities(MatrixTile<groups, columns>& output,
                                        const Probabilities<float, groups, keys>& p,
                                        const Panel<keys> (&values)[panels], int valueDim) {
  static_assert(columns == panels * panelColumns<float>);
  const int key = laneIndex() % 4 * 2, column = laneIndex() / 4;
#pragma unroll
  for (int panel = 0; panel < panels; panel++) {
    if (panel > 0 && panel * panelColumns<float> >= valueDim) break;
#pragma unroll
    for (int j = 0; j < 4; j++) {
      SplitTile<groups, 8> sum;
      clear(sum);
#pragma unroll
      for (int step = 0; step < keys / 8; step++) {
        const auto value = [&](int odd) {
          return split(__float_as_uint(values[panel].one(step * 8 + key + odd, j * 8 + column)), 0);
        };
        const Split even = value(0), odd = value(1);
#pragma unroll
        for (int i = 0; i < groups; i++) {
          ptx::multiplyAddTf32(sum.low.fragments[i][0], p.low[i][step], even.high, odd.high);
          ptx::multiplyAddTf32(sum.low.fragments[i][0], p.high[i][step], even.low, odd.low);
          ptx::multiplyAddTf32(sum.high.fragments[i][0], p.high[i][step], even.high, odd.high);
        }
      }
      const auto& whole = total(sum);
#pragma unroll
      for (int i = 0; i < groups; i++)
#pragma unroll
        for (int k = 0; k < 4; k++) output.fragments[i][panel * 4 + j][k] += whole.fragments[i][0][k];
    }
  }
}

}  // namespace fovea::cuda
