// Masks and biases that hide whole tiles: those are not visited, by the simulator's count, and nothing else changes.
#include "../../../native/attention/tile_map_cuda.h"
#include "counters.h"
#include "device_case.h"

namespace fovea::test {
namespace {

using Hides = Case::Hides;

Case caseOf(DType dtype, int dims) {
  Case about;
  about.dtype = about.biasDtype = dtype;
  about.algorithm = Algorithm::tiled;
  about.headDim = about.valueDim = dims;
  about.heads = about.kvHeads = 2;
  about.queryLengths = {512}, about.keyLengths = {512};
  return about;
}

/// Runs it and returns its bits.
std::string run(const Tensors& tensors, const Plan& plan) {
  const cuda::Result result = cuda::run(testStream(), tensors.problem(), plan, cuda::allOnHost);
  check(result.outcome == cuda::Outcome::done, "not done: " + result.message);
  return bitsOf(tensors.problem())[0];
}

/// Of all tiles, of all heads, the share that has a pair which mask or bias leaves.
double shareLeft(const Problem& problem, const SequencePlan& part, Hides hides) {
  const Sequence& sequence = problem.sequences[0];
  int64_t left = 0, all = 0;
  for (int head = 0; head < problem.heads; head++)
    for (int64_t row = 0; row < sequence.queryLength; row += part.queryBlock)
      for (int64_t key = 0; key < sequence.keyLength; key += part.keyBlock, all++) {
        bool some = false;
        for (int64_t i = row; i < std::min(row + part.queryBlock, sequence.queryLength); i++)
          for (int64_t j = key; j < std::min(key + part.keyBlock, sequence.keyLength); j++)
            some = some || leaves(hides, sequence, head, i, j);
        left += some;
      }
  return double(left) / double(all);
}

void checkVisits(DType dtype, int dims, Hides hides, bool byBias) {
  Case about = caseOf(dtype, dims);
  about.hides = hides;
  about.mask = !byBias;
  if (byBias) about.bias = Case::Bias::full;
  const Tensors tensors(about);
  const Plan plan = cuda::plan(testDevice(), tensors.problem());
  const SequencePlan& part = plan.sequences[0];
  check(part.splits == 1, "another kernel than this is about");
  const double share = shareLeft(tensors.problem(), part, hides), expected = share * plan.flops;
  check(share < 0.9, "nothing is hidden");
  const Counters counters;
  counters.clear();
  run(tensors, plan);
  const double flops = counters.sum("tensorFlops");
  // A bias also hides pairs by chance, and so, now and then, the last ones of a tile.
  check(flops == expected || (byBias && flops <= expected && flops > 0.9 * expected),
        "executed " + std::to_string(flops) + " operations, expected " + std::to_string(expected));
}

/// A mask of what causality hides takes the same way through the same kernel.
void checkFuture(DType dtype, int dims) {
  Case about = caseOf(dtype, dims);
  about.pageSize = 16;  // which Hopper's kernel, whose tiles depend on whether there is a mask, leaves to the others
  about.queryLengths = {140}, about.keyLengths = {1024};
  Case causal = about;
  causal.causal = true;
  about.mask = true, about.hides = Hides::future;
  const Tensors masked(about), unmasked(causal);
  const Plan plan = cuda::plan(testDevice(), masked.problem()), other = cuda::plan(testDevice(), unmasked.problem());
  check(plan.sequences[0].splits == 1 && other.sequences[0].splits == 1, "another kernel than this is about");
  check(run(masked, plan) == run(unmasked, other), "other bits than with causal");
  check(plan.workspaceBytes > other.workspaceBytes, "no map");
}

/// More than 32 tiles, whose bits take several words.
void checkLong(DType dtype) {
  Case about = caseOf(dtype, 64);
  about.mask = true, about.hides = Hides::texts;
  about.queryLengths = {600}, about.keyLengths = {4500};
  const Tensors tensors(about);
  const Plan plan = cuda::plan(testDevice(), tensors.problem());
  check(plan.sequences[0].keyBlock * 32 < 4500, "no long one");
  run(tensors, plan);
  const std::string wrong = compare(tensors.problem());
  check(wrong.empty(), wrong);
}

/// Short sequences take no further launch.
void checkShort() {
  for (const bool isShort : {true, false}) {
    Case about = caseOf(DType::float16, 64);
    about.mask = true, about.hides = Hides::texts;
    about.keyLengths = {isShort ? 160 : 1024};
    const Tensors tensors(about);
    const Counters counters;
    counters.clear();
    run(tensors, cuda::plan(testDevice(), tensors.problem()));
    const bool mapped = counters.sum("globalSectors", "fovea_tile_map") > 0;
    check(mapped == !isShort, mapped ? "a map of few tiles" : "no map of many");
  }
}

}  // namespace

void addTileMapTests(std::vector<Test>& tests) {
  const auto add = [&](const std::string& name, const std::function<void()>& run) {
    tests.push_back({"tile maps: " + name, run});
  };
  for (const auto& [dtype, dims] : {std::pair{DType::float32, 64}, {DType::float16, 128}, {DType::bfloat16, 256}}) {
    const std::string about = std::string(nameOf(dtype)) + " " + std::to_string(dims);
    const int size = dims;
    const DType type = dtype;
    add("as with causal, " + about, [=] { checkFuture(type, size); });
    if (!isSimulator()) continue;
    for (const auto& [name, hides] : {std::pair{"texts", Hides::texts},
                                      {"each head's texts", Hides::headTexts},
                                      {"the future", Hides::future},
                                      {"padding", Hides::padding}}) {
      const Hides kind = hides;
      add(std::string("visits under a mask of ") + name + ", " + about, [=] { checkVisits(type, size, kind, false); });
      if (hides != Hides::padding)
        add(std::string("visits under a bias of ") + name + ", " + about, [=] { checkVisits(type, size, kind, true); });
    }
  }
  for (const DType dtype : {DType::float32, DType::float16})
    add(std::string("texts of many tiles, ") + nameOf(dtype), [dtype = dtype] { checkLong(dtype); });
  if (isSimulator()) add("none of few tiles", [] { checkShort(); });
}

}  // namespace fovea::test
