// Merging attention over disjoint keys, against float64, with memory of the exact size: sanitizers see every step
// outside.
#include <cmath>
#include <random>
#include <vector>

#include "attention/merge.h"
#include "check.h"
#include "cpu/backend.h"

using namespace fovea;

namespace {

/// Parts [batch, heads, rows, dims] with heads innermost but one ("bshd"), and what they must become.
struct Example {
  Example(int64_t batch, int64_t heads, int64_t rows, int64_t dims, int64_t partCount, uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    merge = {DType::float32, batch, heads, rows, dims, {}, {}, nullptr, partCount};
    const auto make = [&](auto& view, std::vector<float>& numbers, int64_t columns, bool holes) {
      numbers.resize(size_t(merge.rowCount() * columns));
      for (float& number : numbers) number = holes && random() % 5 == 0 ? -INFINITY : normal(random) * 3;
      view = {numbers.data(), rows * heads * columns, columns, heads * columns, 1};
    };
    outputs.resize(size_t(partCount)), lses.resize(size_t(partCount)), parts.resize(size_t(partCount));
    for (size_t i = 0; i < parts.size(); i++)
      make(parts[i].output, outputs[i], dims, false), make(parts[i].lse, lses[i], 1, true);
    make(merge.output, output, dims, false), make(merge.lse, lse, 1, false);
    merge.parts = parts.data();
  }

  void check() const {
    for (int64_t row = 0; row < merge.rowCount(); row++) {
      double total = 0;
      for (const auto& part : lses) total += std::exp(double(part[size_t(row)]));
      const double expected = std::log(total), got = lse[size_t(row)];
      CHECK(total == 0 ? got == -INFINITY : std::abs(got - expected) < 1e-6 * std::max(1.0, std::abs(expected)))
          << "lse of row " << row << ": " << got << " instead of " << expected;
      for (int64_t d = 0; d < merge.dims; d++) {
        double sum = 0;
        for (size_t i = 0; i < parts.size(); i++)
          sum += total == 0 ? 0
                            : std::exp(double(lses[i][size_t(row)])) / total * outputs[i][size_t(row * merge.dims + d)];
        const double out = output[size_t(row * merge.dims + d)];
        CHECK(std::abs(out - sum) < 1e-5) << "row " << row << ", " << d << ": " << out << " instead of " << sum;
      }
    }
  }

  Merge merge;
  std::vector<std::vector<float>> outputs, lses;
  std::vector<MergePart> parts;
  std::vector<float> output, lse;
};

}  // namespace

TEST("merging agrees with float64") {
  uint32_t seed = 0;
  for (const int64_t dims : {1, 7, 8, 16, 65})
    for (const int64_t parts : {1, 2, 9}) {
      Example example(2, 3, 5, dims, parts, ++seed);
      CHECK(cpu::run(example.merge) == cpu::Outcome::done) << "";
      example.check();
    }
}

TEST("merging on the pool agrees with float64") {
  Example example(4, 8, 64, 160, 4, 77);  // some 6 MB: many tasks
  CHECK(cpu::run(example.merge) == cpu::Outcome::done) << "";
  example.check();
}
