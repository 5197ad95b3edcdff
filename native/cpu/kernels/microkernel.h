// The one matrix product: C[rows][NV vectors] += A[rows][depth] B[depth][NV * lanes].
//
// Scores and output use it alike, with queries as lanes: S^T = K Q^T takes 4 keys (depth = headDim) against a panel of
// queries; O^T = V^T P^T takes 4 value dimensions (depth = keys) against the same panel. A is read one element at a
// time, broadcast, so keys and values need no particular layout. With three vectors, 12 accumulators + 3 vectors + 1
// broadcast fill the 16 registers of x86-64, and 12 FMAs cost 7 loads: bound by arithmetic. Lanes being queries, row
// maxima and sums need no horizontal operation.
#pragma once
#include "simd.h"

namespace fovea::cpu::FOVEA_ISA {

constexpr int tileRows = 4;      // keys, or value dimensions, per tile
constexpr int panelVectors = 3;  // vectors of queries in a full panel
constexpr int panelWidth = panelVectors * lanes;

/// What products multiply: words of one float32, or of two numbers of bfloat16 (simd.h).
enum class Words : uint8_t { floats, pairs };
constexpr int perWord(Words words) { return words == Words::pairs ? 2 : 1; }

/// Accumulators that hide the latency of a multiply-add (of pairs, half as long again), as far as there are registers:
/// processors with AVX begin two a cycle, those with NEON up to four.
constexpr int enoughSums(Words words) { return !manyRegisters ? 8 : lanes == 4 ? 16 : words == Words::pairs ? 18 : 12; }
/// Tiles that are computed together where only so many vectors are.
constexpr int tilesTogether(int vectors, Words words = Words::floats) {
  return vectors * tileRows < enoughSums(words) ? 2 : 1;
}

/// Everything is unrolled: the accumulators must stay in registers. `a[row / 4 * tileStride + row % 4 * rowStride + k
/// * depthStride]`. Vectors before `First` are left as they are.
template <int NV, int Rows, int First = 0, Words words = Words::floats>
FOVEA_INLINE void multiply(const float* __restrict a, int64_t tileStride, int64_t rowStride, int64_t depthStride,
                           const float* __restrict b, int64_t depth, Vec (&accumulators)[Rows][NV]) {
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; k++) {
    Vec right[NV];
#pragma GCC unroll 3
    for (int v = First; v < NV; v++) right[v] = load(b + (k * NV + v) * lanes);
#pragma GCC unroll 8
    for (int row = 0; row < Rows; row++) {
      const Factor left = factor(a[row / tileRows * tileStride + row % tileRows * rowStride + k * depthStride]);
#pragma GCC unroll 3
      for (int v = First; v < NV; v++)
        accumulators[row][v] = words == Words::pairs ? addPairs(left, right[v], accumulators[row][v])
                                                     : fma(left, right[v], accumulators[row][v]);
    }
  }
}

}  // namespace fovea::cpu::FOVEA_ISA
