// The online softmax, in base 2.
//
// A row's reference (elsewhere its running maximum) moves rarely: it is the maximum of the first scores that the row
// sees, and moves only when a score exceeds it by `headroom`; then the row's sum and output are rescaled. Probabilities
// up to 2^headroom lose no precision and are far from any overflow, and most tiles need neither a maximum over the
// whole row nor a pass over the output. Each row decides for itself, so its bits do not depend on its neighbours.
#pragma once
#include "scores.cuh"
#include "tile.cuh"

namespace fovea::cuda {

constexpr float headroom = 8;
/// From here on, what rounding takes from a reference would be whole powers of two.
constexpr float largeReference = 0x1p24f;

/// Of the rows that a thread holds a part of.
template <int rows>
struct RowStates {
  float reference[rows];  // in base 2; the same in all lanes that share the row
  float sum[rows];        // of this lane's probabilities; over the row's lanes: rowTotal
  bool large;             // whether a reference of these is
};

template <int rows>
FOVEA_DEVICE void clear(RowStates<rows>& states) {
#pragma unroll
  for (int i = 0; i < rows; i++) {
    states.reference[i] = negativeInfinity();
    states.sum[i] = 0;
  }
  states.large = false;
}

/// What a row's probabilities are relative to.
FOVEA_DEVICE float finiteReference(float reference) { return reference == negativeInfinity() ? 0.f : reference; }

/// log2 of a probability. A large reference was rounded, so the score is rounded likewise before they are compared.
FOVEA_DEVICE float exponent(float score, float unit, float reference) {
  if (fabsf(reference) >= largeReference) return __fmul_rn(score, unit) - reference;
  return fmaf(score, unit, -reference);
}

/// Moves references where scores (times `unit`, which is > 0) exceed them, and rescales sums. Whether one of the warp's
/// moved: then the output so far is to be multiplied with `factors`.
template <class Scores, int rows>
FOVEA_DEVICE bool moveReferences(Scores& scores, RowStates<rows>& states, float (&factors)[rows], float unit) {
  float highest[rows];  // of this lane
  bool exceeds = false;
#pragma unroll
  for (int i = 0; i < rows; i++) {
    highest[i] = scores.at(i, 0);
#pragma unroll
    for (int j = 1; j < Scores::columnsPerThread; j++) highest[i] = fmaxf(highest[i], scores.at(i, j));
    highest[i] *= unit;
    exceeds |= highest[i] > states.reference[i] + headroom;
  }
  if (!__any_sync(0xffffffff, exceeds)) return false;
#pragma unroll
  for (int i = 0; i < rows; i++) {
#pragma unroll
    for (int lanes = 1; lanes < Scores::lanesPerRow; lanes *= 2)
      highest[i] = fmaxf(highest[i], __shfl_xor_sync(0xffffffff, highest[i], lanes));
    const bool moves = highest[i] > states.reference[i] + headroom;
    factors[i] = moves ? ptx::exp2(states.reference[i] - highest[i]) : 1.f;
    if (moves) {
      states.reference[i] = highest[i];
      states.large |= fabsf(highest[i]) >= largeReference;
    }
    states.sum[i] *= factors[i];
  }
  return true;
}

template <class Output, int rows>
FOVEA_DEVICE void rescale(Output& output, const float (&factors)[rows]) {
  forEach(output, [&](float& value, int i, int) { value *= factors[i]; });
}

/// scores := 2^(scores * unit - reference), and their sums.
template <class Scores, int rows>
FOVEA_DEVICE void exponentiate(Scores& scores, RowStates<rows>& states, float unit) {
  float references[rows], factors[rows];
#pragma unroll
  for (int i = 0; i < rows; i++) references[i] = finiteReference(states.reference[i]), factors[i] = unit;
  if (states.large) {
#pragma unroll
    for (int i = 0; i < rows; i++) {
      const bool large = fabsf(references[i]) >= largeReference;  // as exponent() has it, in these rows alone
#pragma unroll
      for (int j = 0; j < Scores::columnsPerThread; j++)
        if (large) scores.at(i, j) *= unit;
      if (large) factors[i] = 1;
    }
  }
#pragma unroll
  for (int i = 0; i < rows; i++) {
    float sum = 0;  // of the tile by itself: long sums of long sequences would lose digits
#pragma unroll
    for (int j = 0; j < Scores::columnsPerThread; j++) {
      scores.at(i, j) = ptx::exp2(fmaf(scores.at(i, j), factors[i], -references[i]));
      sum += scores.at(i, j);
    }
    states.sum[i] += sum;
  }
}

/// scores := 2^(scores * unit - reference), with references moved first where they must be.
template <class Scores, class Output, int rows>
FOVEA_DEVICE void softmaxStep(Scores& scores, RowStates<rows>& states, Output& output, float unit) {
  float factors[rows];
  if (moveReferences(scores, states, factors, unit)) rescale(output, factors);
  exponentiate(scores, states, unit);
}

/// The row's whole sum, from its lanes.
template <int lanesPerRow>
FOVEA_DEVICE float rowTotal(float sum) {
#pragma unroll
  for (int lanes = 1; lanes < lanesPerRow; lanes *= 2) sum += __shfl_xor_sync(0xffffffff, sum, lanes);
  return sum;
}

/// What a row's reference and sum come to.
struct RowResult {
  float factor;  // of its unnormalised output; 0 for a row that sees nothing
  float lse;     // natural logarithm
};

/// `sink` is a logit without a value, or -inf. An infinite one takes all. A NaN stays one, but a row that sees nothing
/// is 0.
FOVEA_DEVICE RowResult finishRow(float reference, float total, float sink) {
  if (sink == -negativeInfinity()) return {0, sink};
  float factor = 1;
  const bool empty = total == 0;
  if (sink != negativeInfinity()) {
    const float unlimited = sink * log2e;
    const float logit = fabsf(unlimited) > largestFloat ? copysignf(largestFloat, unlimited) : unlimited;
    const float top = fmaxf(reference, logit);
    factor = ptx::exp2(reference - top);
    total = fmaf(total, factor, ptx::exp2(logit - top));
    reference = top;
  }
  if (total == 0) return {0, negativeInfinity()};
  return {empty ? 0.f : factor / total, (finiteReference(reference) + ptx::log2(total)) * ln2};
}

}  // namespace fovea::cuda
