// The sums of wgmma: fused multiply-adds in float in the order of k, as in exec/matrix_products.cpp; compiled with
// -ffp-contract=fast.
#include <cstring>

#include "async/warpgroup_products.h"

namespace fovea::simulator {
namespace {

using Vector = float __attribute__((vector_size(32)));
constexpr int kWidth = 8;

// A block of rows by vectors stays in registers over the whole depth.
template <int kRows, int kVectors>
void block(float* sums, int stride, const float (*a)[kProductDepth], const float (*b)[kProductColumns]) {
  Vector total[kRows][kVectors];
  for (int r = 0; r < kRows; r++)
    for (int v = 0; v < kVectors; v++) std::memcpy(&total[r][v], sums + r * stride + v * kWidth, sizeof(Vector));
  for (int k = 0; k < kProductDepth; k++) {
    Vector row[kVectors];
    for (int v = 0; v < kVectors; v++) std::memcpy(&row[v], b[k] + v * kWidth, sizeof(Vector));
    for (int r = 0; r < kRows; r++)
      for (int v = 0; v < kVectors; v++) total[r][v] += a[r][k] * row[v];
  }
  for (int r = 0; r < kRows; r++)
    for (int v = 0; v < kVectors; v++) std::memcpy(sums + r * stride + v * kWidth, &total[r][v], sizeof(Vector));
}

}  // namespace

void multiplyAccumulate(float* sums, int columns, const ProductRowsA& a, const ProductColumns& b) {
  constexpr int kRows = 4;
  int column = 0;
  const auto offset = [&](const ProductColumns& matrix, int at) {
    return reinterpret_cast<const float(*)[kProductColumns]>(&matrix.values[0][at]);
  };
  for (; column + 2 * kWidth <= columns; column += 2 * kWidth)
    for (int row = 0; row < kProductRows; row += kRows)
      block<kRows, 2>(sums + row * columns + column, columns, a.values + row, offset(b, column));
  for (; column < columns; column += kWidth)
    for (int row = 0; row < kProductRows; row += kRows)
      block<kRows, 1>(sums + row * columns + column, columns, a.values + row, offset(b, column));
}

}  // namespace fovea::simulator
