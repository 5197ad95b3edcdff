// Sequences of more rows than decode takes, whose keys the tiled kernel splits: right, the same bits in any batch, and
// how many splits there are.
#include "../../../native/attention/plan_cuda.h"
#include "../../../native/attention/tiles_sm90.h"
#include "device_case.h"

namespace fovea::test {
namespace {

using cuda::tiledSplits;

bool onHopper() { return cuda::info().devices.at(size_t(testDevice())).computeMajor == 9; }

bool takesDecodeSm90(const Problem& problem, const Sequence& sequence) {
  return cuda::hasWarpgroupRows(problem, sequence) && cuda::sm90DecodeRefusal(problem, sequence) == Sm90Refusal::none;
}

void runCase(const Case& about) {
  Tensors tensors(about);
  const Plan plan = cuda::plan(testDevice(), tensors.problem());
  const Sequence& first = tensors.problem().sequences[0];
  Kernel expected = Kernel::cudaTiled;
  if (onHopper() && takesDecodeSm90(tensors.problem(), first))
    expected = Kernel::cudaDecodeSm90;
  else if (onHopper() && cuda::sm90Refusal(tensors.problem(), first) == Sm90Refusal::none && first.keyLength < 2048)
    expected = Kernel::cudaTiledSm90;
  check(plan.sequences[0].kernel == expected, "another kernel");
  check(expected == Kernel::cudaTiledSm90 || plan.sequences[0].splits > 1, "its first sequence is not split");
  const cuda::Result result = cuda::run(testStream(), tensors.problem(), plan, cuda::allOnHost);
  check(result.outcome == cuda::Outcome::done, "not done: " + result.message);
  const std::string wrong = compare(tensors.problem());
  check(wrong.empty(), wrong);
}

/// Splits have 512 keys at least: of 20 rows twice as many make two. Longer ones where more rows make more results.
std::vector<Case> casesOf(DType dtype) {
  std::vector<Case> cases;
  const auto add = [&](const std::string& name, std::vector<int> queries, std::vector<int> keys,
                       const std::function<void(Case&)>& change) {
    Case about;
    about.dtype = about.biasDtype = dtype;
    about.algorithm = Algorithm::tiled;
    about.name = std::string(nameOf(dtype)) + " " + name;
    about.seed = std::hash<std::string>{}(about.name);
    about.queryLengths = std::move(queries);
    about.keyLengths = std::move(keys);
    change(about);
    cases.push_back(about);
  };
  for (const int keys : {1025, 1152, 1153})
    add(std::to_string(keys) + " keys", {17}, {keys}, [&](Case& c) { c.causal = keys % 2 == 1; });
  add("four splits", {3}, {2200}, [&](Case& c) { c.heads = 12, c.kvHeads = 2, c.causal = c.sinks = true; });
  const bool exact = dtype == DType::float32;
  add("row tiles that see one split or two", {exact ? 760 : 860}, {exact ? 1060 : 1160},
      [&](Case& c) { c.valueDim = 8, c.headDim = exact ? 128 : 64, c.causal = true; });
  add("a window", {20}, {2000}, [&](Case& c) { c.windowLeft = 1100, c.windowRight = 3, c.queryOffset = 1207; });
  add("a mask of nothing, NaN values", {20}, {1100}, [&](Case& c) { c.mask = c.maskAll = true; });
  for (const int pageSize : {1, 48})
    add("pages of " + std::to_string(pageSize), {3, 4}, {1250, 1190},
        [&](Case& c) { c.heads = 12, c.kvHeads = 2, c.pageSize = pageSize, c.causal = true; });
  add("int8 pages", {5}, {1400}, [&](Case& c) { c.heads = 4, c.kvHeads = 1, c.pageSize = 16, c.int8 = true; });
  add("128 dims", {30}, {1100}, [&](Case& c) { c.headDim = c.valueDim = 128, c.outliers = 0.01; });
  add("dims 200, 72", {18}, {1100}, [&](Case& c) { c.headDim = 200, c.valueDim = 72; });
  add("rows that are not aligned", {9}, {1100}, [&](Case& c) {
    c.shift = 1, c.headDim = 60, c.valueDim = 35, c.heads = 2;
    c.kvHeads = 1;
  });
  add("large scores", {20}, {1100}, [&](Case& c) { c.magnitude = 60; });
  add("everything", {5}, {1330}, [&](Case& c) {
    c.heads = 8, c.kvHeads = 2, c.causal = true, c.windowLeft = 1250, c.mask = true, c.bias = Case::Bias::full;
    c.alibi = true, c.softcap = 20, c.sinks = true, c.padding = 2, c.headDim = 40, c.valueDim = 24;
  });
  return cases;
}

/// Beside decode, prompts, sequences without queries or keys: right, and the same bits as alone.
void invariance(DType dtype, int pageSize) {
  Case about;
  about.dtype = dtype, about.algorithm = Algorithm::tiled, about.pageSize = pageSize;
  about.heads = 6, about.kvHeads = 2, about.causal = about.sinks = true, about.padding = 1;
  about.queryLengths = {7, 1, 60, 0, 6, 5}, about.keyLengths = {2100, 700, 70, 9, 1170, 0};
  Tensors tensors(about);
  const Problem& all = tensors.problem();
  const auto run = [&](const Problem& problem) {
    const cuda::Result result = cuda::run(testStream(), problem, cuda::plan(testDevice(), problem), cuda::allOnHost);
    check(result.outcome == cuda::Outcome::done, "not done: " + result.message);
    return bitsOf(problem);
  };
  const auto together = run(all);
  const std::string wrong = compare(all);
  check(wrong.empty(), wrong);
  tensors.clearOutputs();
  for (int64_t i = 0; i < all.sequenceCount; i++) {
    Problem alone = all;
    alone.sequences = all.sequences + i, alone.sequenceCount = 1;
    check(run(alone)[0] == together[size_t(i)], "sequence " + std::to_string(i) + " has other bits alone");
  }
}

/// What splits depend on, and what they and the workspace are bounded by.
void splits() {
  const auto of = [](int64_t queries, int64_t keys, int kvHeads, bool causal, int64_t speed) {
    Problem problem;
    problem.dtype = DType::float16, problem.heads = 4 * kvHeads, problem.kvHeads = kvHeads;
    problem.headDim = problem.valueDim = 128, problem.causal = causal;
    Sequence sequence;
    sequence.queryLength = sequence.queryRows = queries, sequence.keyLength = sequence.keyColumns = keys;
    sequence.queryOffset = keys - queries;
    sequence.query = {nullptr, 128 * queries, 128, 1}, sequence.output = {nullptr, 128 * queries, 128, 1};
    sequence.key = sequence.value = {nullptr, 128 * keys, 128, 1};
    problem.sequences = &sequence, problem.sequenceCount = 1;
    const cuda::KeySplits found = tiledSplits(problem, sequence, speed);
    const cuda::TiledShape shape = cuda::tiledShape(problem);
    const int64_t rowTiles = cuda::ceilDivide(4 * queries, shape.rows()), tasks = rowTiles * kvHeads;
    check(found.first == 0 && found.keys % shape.keys == 0, "splits that begin within a tile");
    check(found.count == 1 || found.count * tasks <= 512, "results of more than 512 row tiles");
    check(found.count == 1 || found.keys >= 512, "short splits");
    for (int64_t tile = 0; tile < rowTiles; tile++) {
      const cuda::TileRange whole = cuda::tiledKeyTiles(problem, sequence, shape, tile);
      int64_t next = whole.begin;
      for (int64_t split = 0; split < found.count; split++) {
        const cuda::TileRange part = cuda::splitTiles(whole, found.keys / shape.keys, split);
        check(part.begin == next && part.end >= next, "splits that do not follow each other");
        next = part.end;
      }
      check(next == whole.end, "splits do not cover the keys");
    }
    if (4 * queries <= cuda::decodeRows) return found.count;
    if (speed != cuda::tiledSpeed && takesDecodeSm90(problem, sequence)) return found.count;
    const Plan plan = cuda::planCuda(problem, {speed == 1 ? 8 : 9, 0});
    const int64_t results = found.count == 1 ? 0 : found.count * tasks * shape.rows() * (128 + 2) * 4;
    check(plan.workspaceBytes <= results + 4096, "more workspace than results and tables");
    check(plan.sequences[0].splits == found.count, "another plan");
    return found.count;
  };
  for (const int64_t queries : {1, 5, 16, 33, 100, 800, 5000, 100'000})
    for (const int kvHeads : {1, 8, 40})
      for (int64_t keys = 1; keys < 3'000'000; keys += 2 * keys / 3 + 1)
        for (const bool causal : {false, true})
          for (const int64_t speed : {cuda::tiledSpeed, cuda::sm90Speed}) of(queries, keys, kvHeads, causal, speed);
  const int64_t slow = cuda::tiledSpeed, fast = cuda::sm90Speed;
  check(of(4, 1000, 8, true, slow) == 1, "decode's rows");
  check(of(16, 8192, 8, true, slow) == 7 && of(16, 8192, 8, true, fast) == 7, "64 rows of 8 heads");
  check(of(16, 3000, 8, true, slow) == 2 && of(16, 3000, 8, true, fast) == 1, "where Hopper's kernel is as fast");
  check(of(512, 65536, 2, true, slow) > 6 && of(512, 65536, 8, true, slow) == 1, "a prompt behind a cache");
  check(of(4096, 4096, 2, true, slow) == 1 && of(4096, 65536, 2, true, slow) == 1, "enough row tiles");
}

}  // namespace

void addSplitTests(std::vector<Test>& tests) {
  for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16})
    for (const Case& about : casesOf(dtype))
      if (dtype != DType::bfloat16 || about.heads > 1)
        tests.push_back({"splits: " + about.name, [about] { runCase(about); }});
  tests.push_back({"splits: the same bits in a batch, float32", [] { invariance(DType::float32, 0); }});
  tests.push_back({"splits: the same bits in a batch, float16, pages", [] { invariance(DType::float16, 16); }});
  tests.push_back({"splits: how many", splits});
}

}  // namespace fovea::test
