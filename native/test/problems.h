// Random problems with their memory, and the float64 reference they are held against.
#pragma once
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "attention/problem.h"

namespace fovea::test {

/// Everything a problem points to. `describe` names it in a failure.
struct Example {
  Problem problem;
  std::vector<Sequence> sequences;
  std::vector<std::unique_ptr<char[]>> memory;
  std::string describe;

  void* allocate(size_t bytes);
  void bind() {
    problem.sequences = sequences.data();
    problem.sequenceCount = int64_t(sequences.size());
  }
};

struct Size {
  int64_t queryLength, keyLength;
  int32_t heads = 2, kvHeads = 1, headDim = 16, valueDim = 16;
};

/// Contiguous [heads][rows][columns] tensors of normal numbers; outputs filled with NaN, room for lse.
Example makeExample(Size size, DType dtype, uint32_t seed, float spread = 1);

/// A random problem: any sizes, dtype, masks, modifiers, layouts (strided, paged) and several sequences.
Example randomExample(uint32_t seed);

float toFloat(const void* at, DType type);
void fromFloat(void* at, DType type, float value);

/// What the reference says about one row of one head.
struct Row {
  std::vector<double> output, weights;
  double lse;
  double largest;  // |score|: rounding grows with it
};
Row referenceRow(const Problem& problem, const Sequence& sequence, int64_t head, int64_t query);

/// Throws unless every output, lse and weight of every sequence (or every `every`-th row) agrees with the reference.
void checkAgainstReference(const Example& example, int64_t every = 1);

}  // namespace fovea::test
