// The CPU backend against the float64 reference, and the properties it promises.
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <mutex>

#include "attention/planner.h"
#include "check.h"
#include "cpu/backend.h"
#include "problems.h"

using namespace fovea;
using namespace fovea::test;

namespace {

void compute(Example& example) {
  CHECK(cpu::run(example.problem, cpu::plan(example.problem)) == cpu::Outcome::done) << "";
}

std::string outputBits(const Example& example) {
  std::string bits;
  for (const Sequence& sequence : example.sequences) {
    for (int64_t h = 0; h < example.problem.heads; h++)
      for (int64_t q = 0; q < sequence.queryRows; q++) {
        for (int64_t d = 0; d < example.problem.valueDim; d++) {
          const int64_t at =
              h * sequence.output.headStride + q * sequence.output.rowStride + d * sequence.output.columnStride;
          const int64_t size = byteSize(example.problem.dtype);
          bits.append(static_cast<const char*>(sequence.output.data) + at * size, size_t(size));
        }
        bits.append(
            reinterpret_cast<const char*>(&sequence.lse.data[h * sequence.lse.headStride + q * sequence.lse.rowStride]),
            4);
      }
  }
  return bits;
}

}  // namespace

TEST("sizes around every block boundary agree with the reference") {
  const int64_t lengths[] = {1, 2, 3, 7, 8, 9, 23, 24, 25, 31, 96, 97, 127, 128, 129, 191, 192, 193, 257, 400};
  uint32_t seed = 0;
  for (const int64_t length : lengths) {
    if (few && length > 130) continue;
    for (const bool causal : {false, true})
      for (const Algorithm algorithm : {Algorithm::tiled, Algorithm::standard}) {
        Example example = makeExample({length, length, 2, 1, 24, 20}, DType::float32, ++seed);
        example.problem.causal = causal;
        example.problem.algorithm = algorithm;
        example.describe = "length " + std::to_string(length) + (causal ? " causal" : "");
        compute(example);
        checkAgainstReference(example);
      }
  }
}

TEST("random problems agree with the reference") {
  for (uint32_t seed = 1; seed <= (few ? 40 : 250); seed++) {
    Example example = randomExample(seed);
    compute(example);
    checkAgainstReference(example, few ? 23 : 1);
  }
}

TEST("the error stays within the contract over long sequences") {
  for (const bool causal : {false, true}) {
    Example example = makeExample({256, few ? 2048 : 16384, 1, 1, 64, 64}, DType::float32, 7);
    example.problem.causal = causal;
    compute(example);
    double error = 0, size = 0;
    const Sequence& sequence = example.sequences[0];
    for (int64_t query = 0; query < 256; query += few ? 64 : 16) {
      const Row row = referenceRow(example.problem, sequence, 0, query);
      for (int64_t d = 0; d < 64; d++) {
        const double got = static_cast<float*>(sequence.output.data)[query * 64 + d];
        error += std::pow(got - row.output[size_t(d)], 2), size += std::pow(row.output[size_t(d)], 2);
      }
    }
    CHECK(std::sqrt(error / size) <= 2e-6) << "relative L2 error " << std::sqrt(error / size);
  }
}

TEST("scores of any finite size are safe") {
  for (const int64_t queries : {1, 3, 40})
    for (const float spread : {10.f, 100.f, 1e4f}) {
      Example example = makeExample({queries, 300, 2, 2, 32, 8}, DType::float32, uint32_t(spread), spread);
      compute(example);
      const Sequence& sequence = example.sequences[0];
      for (int64_t i = 0; i < 2 * queries * 8; i++)
        CHECK(std::isfinite(static_cast<float*>(sequence.output.data)[i])) << "spread " << spread << " at " << i;
    }
}

TEST("keys that grow without bound keep moving the reference") {
  Example example = makeExample({40, 1000, 1, 1, 8, 8}, DType::float32, 3);
  float* key = static_cast<float*>(const_cast<void*>(example.sequences[0].key.data));
  float* query = static_cast<float*>(const_cast<void*>(example.sequences[0].query.data));
  for (int64_t i = 0; i < 40 * 8; i++) query[i] = std::fabs(query[i]);
  for (int64_t i = 0; i < 1000; i++)
    for (int64_t d = 0; d < 8; d++) key[i * 8 + d] = float(i) * 0.05f;
  compute(example);
  checkAgainstReference(example);
}

TEST("the same bits on any number of threads, alone or in a batch") {
  for (uint32_t seed = 1000; seed < (few ? 1008 : 1030); seed++) {
    Example example = randomExample(seed);
    std::string bits;
    for (const int threads : {1, 2, 3, 8}) {
      cpu::setThreads(threads);
      compute(example);
      if (bits.empty()) bits = outputBits(example);
      CHECK(bits == outputBits(example)) << example.describe << " with " << threads << " threads";
    }
    const std::vector<Sequence> all = example.sequences;
    Problem alone = example.problem;
    for (const Sequence& sequence : all) {
      alone.sequences = &sequence, alone.sequenceCount = 1;
      CHECK(cpu::run(alone, cpu::plan(alone)) == cpu::Outcome::done) << "";
    }
    CHECK(bits == outputBits(example)) << example.describe << " alone";
  }
  cpu::setThreads(cpu::info().cores);
}

TEST("sequences that share a segment get what each gets alone") {
  const Segment shared{300, 1};
  for (const int64_t count : {3, 12, 25, 32, 47, 64, 70})  // few rows, many, and more than a task takes
    for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16})
      for (const auto& [headDim, valueDim] : {std::pair{64, 32}, {24, 7}}) {
        // One sequence of as many queries becomes as many sequences, whose keys lie in the same place.
        Example example = makeExample({count, 340, 1, 1, headDim, valueDim}, dtype, uint32_t(count));
        const Sequence all = example.sequences[0];
        const int64_t size = byteSize(dtype);
        std::vector<Segments> segments(static_cast<size_t>(count), Segments{&shared, 1});
        example.sequences.clear();
        for (int64_t i = 0; i < count; i++) {
          Sequence& one = example.sequences.emplace_back(all);
          one.query.data = static_cast<const char*>(all.query.data) + i * headDim * size;
          one.output.data = static_cast<char*>(all.output.data) + i * valueDim * size;
          one.lse.data = all.lse.data + i;
          one.queryLength = one.queryRows = 1;
          one.keyLength = one.keyColumns = 340 - i % 41;
          one.queryOffset = one.keyLength - 1;
        }
        example.bind();
        example.problem.segments = segments.data();
        example.describe = std::to_string(count) + " sequences of " + std::to_string(headDim);
        const Plan plan = cpu::plan(example.problem);
        CHECK(plan.segments.size() == 1 && plan.segments[0].sequences.size() == size_t(count)) << example.describe;
        compute(example);
        checkAgainstReference(example);
        const std::string together = outputBits(example);
        std::memset(all.output.data, 0xff, size_t(count * valueDim * size));  // NaN
        std::fill_n(all.lse.data, count, NAN);
        for (int64_t i = 0; i < count; i++) {
          example.problem.sequences = &example.sequences[size_t(i)], example.problem.sequenceCount = 1;
          compute(example);
        }
        CHECK(outputBits(example) == together) << example.describe << ": other bits alone";
      }
}

TEST("calls in flight all settle, cancelled ones too") {
  constexpr int calls = 60;
  std::vector<Example> examples;
  for (int i = 0; i < calls; i++)
    examples.push_back(makeExample({200, 700, 2, 1, 64, 64}, DType::float32, uint32_t(i)));
  std::mutex mutex;
  std::condition_variable changed;
  int settled = 0, aborted = 0;
  std::vector<std::shared_ptr<cpu::Execution>> executions;
  for (Example& example : examples)
    executions.push_back(cpu::start(example.problem, cpu::plan(example.problem), [&](cpu::Outcome outcome) {
      std::lock_guard lock(mutex);
      settled++, aborted += outcome == cpu::Outcome::aborted;
      changed.notify_all();
    }));
  for (int i = calls / 2; i < calls; i++) executions[size_t(i)]->cancel();
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return settled == calls; });
  CHECK(aborted > 0) << "none of the cancelled calls was stopped";
  CHECK(aborted <= calls / 2) << aborted << " aborted";
  for (int i = 0; i < calls / 2; i += 7) checkAgainstReference(examples[size_t(i)], 99);
}

TEST("synchronous calls run beside calls in flight") {
  std::atomic<int> settled{0};
  Example slow = makeExample({600, 600, 4, 4, 64, 64}, DType::float32, 1);
  std::mutex mutex;
  std::condition_variable changed;
  for (int i = 0; i < (few ? 4 : 20); i++) {
    Example own = makeExample({300, 300, 4, 4, 64, 64}, DType::float32, 2);
    auto execution = cpu::start(slow.problem, cpu::plan(slow.problem), [&](cpu::Outcome) {
      std::lock_guard lock(mutex);
      settled++;
      changed.notify_all();
    });
    compute(own);
    checkAgainstReference(own, 150);
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return settled == i + 1; });
  }
}

TEST("a problem without memory to work in is an outcome, not a crash") {
  Example example = makeExample({64, 64, 2, 1, 16, 16}, DType::float32, 5);
  Plan plan = cpu::plan(example.problem);
  plan.workspaceBytes = int64_t(1) << 60;
  CHECK(cpu::run(example.problem, plan) == cpu::Outcome::outOfMemory) << "";
  compute(example);
  checkAgainstReference(example);
}

TEST("the plan skips what causality and windows hide") {
  Example example = makeExample({4096, 4096, 1, 1, 64, 64}, DType::float32, 1);
  const double full = cpu::plan(example.problem).flops;
  example.problem.causal = true;
  const double causal = cpu::plan(example.problem).flops;
  CHECK(causal < 0.52 * full) << causal / full;
  example.problem.windowLeft = 128;
  const double window = cpu::plan(example.problem).flops;
  // A panel of 48 rows sees 176 keys.
  CHECK(window < 0.045 * full) << window / full;
}

TEST("a key that a row masks does not reach it, whatever it holds") {
  Example example = makeExample({24, 24, 1, 1, 1, 4}, DType::float32, 11);
  example.problem.causal = true;
  example.problem.scale = 1;
  float* query = static_cast<float*>(const_cast<void*>(example.sequences[0].query.data));
  float* key = static_cast<float*>(const_cast<void*>(example.sequences[0].key.data));
  for (int64_t i = 0; i < 24; i++) query[i] = 1, key[i] = 0;
  key[5] = 400;  // the largest score of row 5, in the tile of the NaN that rows 6 and up see
  key[6] = NAN;
  compute(example);
  CHECK(std::fabs(example.sequences[0].lse.data[5] - 400) < 1e-3) << example.sequences[0].lse.data[5];
  CHECK(std::isnan(example.sequences[0].lse.data[13])) << example.sequences[0].lse.data[13];
}
