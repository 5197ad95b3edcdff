// That plans say how much work kernels do, and in which order.
#include <functional>

#include "../../../native/attention/plan_cuda.h"
#include "../../../native/attention/tiles_sm90.h"
#include "counters.h"
#include "device_case.h"

namespace fovea::test {
namespace {

/// Rows and keys of a tile, in all the blocks of a sequence that hold a pair which is allowed by length, causality and
/// window: counted pair by pair.
double pairsInVisibleBlocks(const Problem& problem, const Sequence& sequence) {
  const cuda::TiledShape shape = cuda::tiledShape(problem);
  const int64_t group = problem.groupSize(), rows = sequence.queryLength * group;
  double pairs = 0;
  for (int64_t first = 0; first < rows; first += shape.rows())
    for (int64_t key = 0; key < sequence.keyLength; key += shape.keys) {
      bool visible = false;
      const int64_t count = std::min<int64_t>(shape.rows(), rows - first);
      for (int64_t i = first; i < first + count; i++)
        for (int64_t j = key; j < std::min(key + shape.keys, sequence.keyLength); j++) {
          const KeyRange seen = visibleKeys(problem, sequence, i / group);
          visible |= j >= seen.begin && j < seen.end;
        }
      if (visible) pairs += double(cuda::roundUp(count, shape.warpRows()) * shape.keys * problem.kvHeads);
    }
  return pairs;
}

/// The same of Hopper's kernel: of each warpgroup's 64 rows, whole queries of the heads that are packed together.
double pairsInVisibleSm90Blocks(const Problem& problem, const Sequence& sequence, const cuda::Sm90Shape& shape) {
  const Problem packed = cuda::packedProblem(problem);
  const int64_t queries = cuda::warpgroupQueries(packed);
  double pairs = 0;
  for (int64_t first = 0; first < sequence.queryLength; first += queries)
    for (int64_t key = 0; key < sequence.keyLength; key += shape.keys) {
      bool visible = false;
      for (int64_t i = first; i < std::min(first + queries, sequence.queryLength); i++)
        for (int64_t j = key; j < std::min(key + shape.keys, sequence.keyLength); j++) {
          const KeyRange seen = visibleKeys(problem, sequence, i);
          visible |= j >= seen.begin && j < seen.end;
        }
      if (visible) pairs += double(cuda::warpgroupRows * shape.keys * packed.kvHeads);
    }
  return pairs;
}

void visitedSm90Blocks() {
  constexpr int dims[][2] = {{64, 64}, {96, 96}, {128, 128}, {192, 128}, {192, 192}, {256, 256}};
  int compared = 0;
  for (uint64_t seed = 1; seed <= 60; seed++) {
    Case about = randomCase(DType::float16, seed);
    about.algorithm = Algorithm::tiled, about.scoreStage = ScoreStage::none, about.weights = false;
    about.pageSize = about.shift = 0;
    about.headDim = dims[seed % 6][0], about.valueDim = dims[seed % 6][1];
    const Tensors tensors(about);
    const Problem& problem = tensors.problem();
    const cuda::Sm90Shape shape = cuda::sm90Shape(problem, cuda::hasRules(problem));
    const Plan plan = cuda::planCuda(problem, {9, 0, 228 << 10});
    for (int64_t i = 0; i < problem.sequenceCount; i++) {
      const SequencePlan& part = plan.sequences[size_t(i)];
      if (part.kernel != Kernel::cudaTiledSm90) continue;
      const double expected =
          2.0 * (shape.dims + shape.valueDims) * pairsInVisibleSm90Blocks(problem, problem.sequences[i], shape);
      check(part.flops == expected, "seed " + std::to_string(seed) + ": planned " + std::to_string(part.flops) +
                                        ", expected " + std::to_string(expected));
      compared++;
    }
  }
  check(compared > 60, "only " + std::to_string(compared) + " sequences");
}

/// The plan counts the blocks that hold a visible pair, and no other.
void visitedBlocks() {
  int compared = 0;
  for (uint64_t seed = 1; seed <= 40; seed++) {
    Case about = randomCase(seed % 2 ? DType::float16 : DType::float32, seed);
    about.algorithm = Algorithm::tiled, about.scoreStage = ScoreStage::none, about.weights = false;
    about.headDim = about.valueDim = seed % 3 ? 64 : 128;
    const Tensors tensors(about);
    const Problem& problem = tensors.problem();
    const Plan plan = cuda::plan(0, problem);
    const double perPair =
        2.0 * (about.headDim + about.valueDim) * (problem.dtype == DType::float32 ? cuda::splitProducts : 1);
    for (int64_t i = 0; i < problem.sequenceCount; i++) {
      if (plan.sequences[size_t(i)].kernel != Kernel::cudaTiled) continue;
      const double planned = plan.sequences[size_t(i)].flops;
      const double expected = perPair * pairsInVisibleBlocks(problem, problem.sequences[i]);
      check(planned == expected, "seed " + std::to_string(seed) + ": planned " + std::to_string(planned) +
                                     ", expected " + std::to_string(expected));
      compared++;
    }
  }
  check(compared > 10, "only " + std::to_string(compared) + " sequences");
}

/// Every tile of every head once; heads in sections; in a section, the last row tiles first.
void order() {
  for (const int kvHeads : {1, 3, 8})
    for (const int rowTiles : {1, 4})
      for (int sectionHeads = 1; sectionHeads <= kvHeads; sectionHeads++) {
        std::vector<int> seen(size_t(kvHeads * rowTiles));
        int section = 0, rowTile = rowTiles - 1;
        for (int task = 0; task < kvHeads * rowTiles; task++) {
          const cuda::TiledPlace place = cuda::tiledPlace(task, rowTiles, sectionHeads, kvHeads);
          seen.at(size_t(place.kvHead * rowTiles + place.rowTile))++;
          if (place.kvHead / sectionHeads != section) section++, rowTile = rowTiles - 1;
          check(place.kvHead / sectionHeads == section, "a head before its section");
          check(place.rowTile == rowTile || place.rowTile == rowTile - 1, "a row tile before its turn");
          rowTile = place.rowTile;
        }
        for (const int count : seen) check(count == 1, "a tile is computed " + std::to_string(count) + " times");
      }
}

/// Cases that multiply different parts of tiles.
std::vector<Case> flopCases(Algorithm algorithm, DType dtype) {
  std::vector<Case> cases;
  const auto add = [&](const std::string& name, int headDim, int valueDim, const std::function<void(Case&)>& change) {
    Case about;
    about.algorithm = algorithm, about.dtype = dtype;
    about.heads = 2;
    about.queryLengths = {200, 33}, about.keyLengths = {300, 70};
    about.headDim = headDim, about.valueDim = valueDim;
    about.causal = true;
    change(about);
    about.name = std::to_string(headDim) + ", " + std::to_string(valueDim) + name;
    cases.push_back(about);
  };
  add(", full", 64, 64, [](Case& c) { c.causal = false; });
  add("", 72, 40, [](Case&) {});
  add(", window", 64, 200, [](Case& c) { c.windowLeft = 50; });
  if (algorithm == Algorithm::standard) {
    add(", scores", 64, 64, [](Case& c) { c.scoreStage = ScoreStage::scaled, c.padding = 70; });
    return cases;
  }
  add(", weights", 72, 64, [](Case& c) { c.weights = true, c.padding = 70; });
  add(", negative offset", 64, 64,
      [](Case& c) { c.heads = 5, c.queryOffset = -20, c.windowRight = 10, c.padding = 70; });
  return cases;
}

/// The tensor cores do exactly what the plan says, on every device.
void executedFlops(const Case& about, int device) {
  const Counters counters;
  Tensors tensors(about);
  const auto stream = cuda::open(device);
  const Plan plan = cuda::plan(device, tensors.problem());
  counters.clear();
  const cuda::Result result = cuda::run(*stream, tensors.problem(), plan, cuda::allOnHost);
  check(result.outcome == cuda::Outcome::done, result.message);
  const double executed = counters.sum("tensorFlops");
  check(executed == plan.flops, "executed " + std::to_string(executed) + ", planned " + std::to_string(plan.flops));
}

/// Decode reads every key and value once for its group, whatever the group, and multiplies what the plan says.
void decodeWork(DType dtype, int pageSize) {
  const Counters counters;
  Case about;
  about.algorithm = Algorithm::tiled;
  about.dtype = dtype;
  about.heads = 8, about.kvHeads = 2, about.headDim = about.valueDim = 128;
  about.queryLengths = {1}, about.keyLengths = {2048};
  about.pageSize = pageSize;
  Tensors tensors(about);
  const Problem& problem = tensors.problem();
  const auto stream = cuda::open(0);
  const Plan plan = cuda::plan(0, problem);
  check(plan.sequences[0].kernel == Kernel::cudaDecode, "not decode");
  counters.clear();
  const cuda::Result result = cuda::run(*stream, problem, plan, cuda::allOnHost);
  check(result.outcome == cuda::Outcome::done, result.message);
  check(counters.sum("tensorFlops") == plan.flops,
        "executed " + std::to_string(counters.sum("tensorFlops")) + ", planned " + std::to_string(plan.flops));
  const double keys = 2048.0 * problem.kvHeads * (128 + 128) * double(byteSize(dtype));
  const double queries = double(plan.sequences[0].splits) * problem.heads * 128 * double(byteSize(dtype));
  const double copied = counters.sum("asyncCopyBytes", "fovea_decode"), all = 32 * counters.sum("globalSectors");
  const double lookups = pageSize > 0 ? 32.0 * problem.kvHeads * 2 * 2048 / 4 : 0;  // of pages, for four rows at a time
  check(copied == keys + queries, "decode copies " + std::to_string(copied) + " bytes: " + std::to_string(keys) +
                                      " of keys and values, " + std::to_string(queries) + " of queries");
  check(all <= 1.05 * (plan.bytes + lookups),
        "all kernels move " + std::to_string(all) + " bytes, planned " + std::to_string(plan.bytes));
}

}  // namespace

void addSimulatorTests(std::vector<Test>& tests) {
  tests.push_back({"plans: visited blocks", visitedBlocks});
  tests.push_back({"plans: visited blocks on Hopper", visitedSm90Blocks});
  tests.push_back({"plans: order of tiles", order});
  if (!isSimulator()) return;
  const int deviceCount = int(cuda::info().devices.size());
  const auto add = [&](Algorithm algorithm, DType dtype) {
    for (const Case& about : flopCases(algorithm, dtype))
      tests.push_back(
          {std::string("plans: executed flops ") + nameOf(algorithm) + " " + nameOf(dtype) + " " + about.name,
           [about, deviceCount] {
             for (int device = 0; device < deviceCount; device++) executedFlops(about, device);
           }});
  };
  add(Algorithm::standard, DType::float16);  // float32 takes no tensor cores there
  add(Algorithm::tiled, DType::float16);
  add(Algorithm::tiled, DType::float32);
  for (const int pageSize : {0, 16})
    tests.push_back({"simulator: decode" + std::string(pageSize > 0 ? " of pages" : ""),
                     [=] { decodeWork(DType::float16, pageSize); }});
}

}  // namespace fovea::test
