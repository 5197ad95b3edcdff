// What fovea_cuda_bench measures with rules: that each shape computes what it says, and has its like without.
#include <set>
#include <tuple>

#include "../../../native/bench/cuda/tensors.h"
#include "device_case.h"

namespace fovea::test {
namespace {

using bench::Rule;
using bench::Shape;

constexpr int64_t tokens = 64;

/// On the host, with inputs as the bench has them and outputs of NaN.
struct HostTensors {
  std::vector<std::byte> memory;
  uint64_t begin;
  bench::Tensors tensors;

  explicit HostTensors(const Shape& shape)
      : memory(size_t(bench::Tensors(shape, Algorithm::tiled, 0).bytes()) + 256, std::byte{0xff}),
        begin((reinterpret_cast<uint64_t>(memory.data()) + 255) / 256 * 256),
        tensors(shape, Algorithm::tiled, begin) {
    for (const bench::Tensors::Input& input : tensors.inputs()) {
      const std::vector<uint8_t> content = tensors.content(input);
      auto* bytes = reinterpret_cast<uint8_t*>(begin + uint64_t(input.offset));
      for (int64_t i = 0; i < input.bytes; i++) bytes[i] = content[size_t(i) % content.size()];
    }
  }
};

std::string outputOf(const Problem& problem) {
  std::string bits;
  const int64_t bytes = problem.heads * problem.sequences[0].queryRows * problem.valueDim * byteSize(problem.dtype);
  for (int64_t i = 0; i < problem.sequenceCount; i++)
    bits.append(static_cast<const char*>(problem.sequences[i].output.data), size_t(bytes));
  return bits;
}

/// Whether the rule is there, as far as its numbers do not show it.
bool isThere(const Shape& shape, const Problem& problem) {
  const Sequence& last = problem.sequences[problem.sequenceCount - 1];
  const int64_t pageSize = shape.pageSize();
  if (problem.pageSize != pageSize || (problem.kvDtype() == DType::int8) != shape.int8()) return false;
  switch (shape.rule) {
    case Rule::bias:
      return last.bias.headStride > 0 && last.bias.rowStride > 0;
    case Rule::sharedBias:
      return last.bias && last.bias.headStride == 0 && last.bias.rowStride > 0;
    case Rule::mask:
      return last.mask.headStride > 0 && last.mask.rowStride > 0;
    case Rule::padding:
      return last.mask && last.mask.headStride == 0 && last.mask.rowStride == 0;
    case Rule::texts:
      return last.mask && last.mask.headStride == 0 && last.mask.rowStride > 0;
    case Rule::window:
      return problem.windowLeft > 0;
    case Rule::softcap:
      return problem.softcap > 0;
    case Rule::alibi:
      return last.alibiSlopes != nullptr;
    case Rule::sinks:
      return last.sinks != nullptr;
    case Rule::keyLengths:
      return last.keyLength < problem.sequences[0].keyLength;
    case Rule::lse:
      return bool(last.lse);
    case Rule::weights:
      return bool(last.weights);
    case Rule::groupedHeads:
      return problem.groupSize() == 4;
    default:
      return true;
  }
}

/// Softcaps of small scores are beneath the last bit; the other rules are outputs, or change where keys lie.
bool changesOutput(Rule rule) { return rule != Rule::none && rule < Rule::lse && rule != Rule::softcap; }

void run(const Shape& shape, const Problem& problem) {
  const Plan plan = cuda::plan(testDevice(), problem);
  const cuda::Result result = cuda::run(testStream(), problem, plan, cuda::allOnHost);
  check(result.outcome == cuda::Outcome::done, "not done: " + result.message);
  const std::string wrong = compare(problem);
  check(wrong.empty(), std::string(shape.kind) + " " + nameOf(shape.rule) + ": " + wrong);
}

/// With fewer sequences and heads, as the simulator takes its time.
Shape smaller(Shape shape) {
  shape.batch = 2;
  shape.heads /= 4;
  shape.kvHeads /= 4;
  return shape;
}

void checkRules(const char* kind) {
  std::string plain;
  for (const Shape& shape : bench::rulesShapes(tokens)) {
    if (std::string(shape.kind) != kind) continue;
    const HostTensors host(smaller(shape));
    const Problem& problem = host.tensors.problem();
    check(isThere(shape, problem), std::string("without its rule: ") + nameOf(shape.rule));
    run(shape, problem);
    if (shape.rule == Rule::none) plain = outputOf(problem);
    check(!changesOutput(shape.rule) || outputOf(problem) != plain, std::string("no effect: ") + nameOf(shape.rule));
  }
}

/// The figures without a rule come before those that are compared with them, and nothing is measured twice.
void checkSet() {
  using Identity = std::tuple<std::string, DType, int64_t, int64_t, int64_t, int64_t, int64_t, bool>;
  std::set<std::pair<Identity, std::string>> known;
  for (const Shape& shape : bench::rulesShapes(16384)) {
    const Identity identity{shape.kind,        shape.dtype,     shape.batch, shape.heads,
                            shape.queryLength, shape.keyLength, shape.dim,   shape.causal};
    check(known.count({identity, ""}) == (shape.rule == Rule::none ? 0 : 1),
          std::string("no shape without: ") + shape.kind + " " + nameOf(shape.rule));
    check(known.insert({identity, nameOf(shape.rule)}).second, std::string("twice: ") + nameOf(shape.rule));
  }
}

}  // namespace

void addBenchTests(std::vector<Test>& tests) {
  tests.push_back({"bench: each rule has its shape without", checkSet});
  for (const char* kind : {"prefill", "decode", "chunk"})
    tests.push_back({std::string("bench: ") + kind + " with each rule", [kind] { checkRules(kind); }});
}

}  // namespace fovea::test
