// What a fixed set of calls costs, counted by the simulator: held to what it must cost, and to counters.json (Hopper's
// kernels: counters_sm90.json), number by number, so that no change of a kernel makes it dearer unnoticed.
// `fovea_cuda_test --count` writes them, each where there is a simulated GPU for it.
#include "counters.h"

#include <fstream>
#include <sstream>

#include "../../../native/attention/plan_cuda.h"
#include "../../../native/attention/tiles_cuda.h"
#include "../../../native/cuda/backend.h"
#include "../../../native/cuda/kernels/tiled.h"
#include "cases.h"
#include "check.h"

namespace fovea::test {
namespace {

constexpr int keys = 2048;

/// Those that do not hang on how the compiler orders instructions.
const std::vector<std::string> counted{"sharedBytes",   "tensorFlops",      "exponentials",          "globalBytes",
                                       "globalSectors", "sharedWavefronts", "sharedWavefrontsIdeal", "barriers"};

/// One device of each kind that has a table.
struct Counted {
  int device;
  bool isHopper;
  std::string table() const { return FOVEA_COUNTERS + std::string(isHopper ? "_sm90.json" : ".json"); }
};

std::vector<Counted> countedDevices() {
  std::vector<Counted> all;
  const auto devices = cuda::info().devices;
  for (const int major : {8, 9}) {
    const auto found =
        std::find_if(devices.begin(), devices.end(), [&](const auto& each) { return each.computeMajor == major; });
    if (found != devices.end()) all.push_back({int(found - devices.begin()), major == 9});
  }
  return all;
}

std::vector<Case> countedCases(const Counted& on) {
  std::vector<Case> cases;
  const auto add = [&](Algorithm algorithm, DType dtype, int dims, bool causal) {
    Case about;
    about.algorithm = algorithm;
    about.dtype = dtype;
    about.queryLengths = {128}, about.keyLengths = {keys};
    about.headDim = about.valueDim = dims;
    about.causal = causal;
    about.name = std::string(nameOf(algorithm)) + " " + nameOf(dtype) + " " + std::to_string(dims) +
                 (causal ? " causal" : " full");
    cases.push_back(about);
  };
  if (on.isHopper) {
    for (const int dims : {64, 96, 128, 192, 256})
      for (const bool causal : {false, true}) add(Algorithm::tiled, DType::float16, dims, causal);
    add(Algorithm::tiled, DType::float16, 192, false);
    cases.back().valueDim = 128;
    cases.back().name = "tiled float16 192, 128 full";
    for (const int pageSize : {0, 16}) {
      add(Algorithm::tiled, DType::float16, 128, true);
      Case& about = cases.back();
      about.queryLengths = {1}, about.keyLengths = {2 * keys}, about.heads = 34, about.kvHeads = 2;
      about.pageSize = pageSize;
      about.name = std::string("decode_sm90 float16 128") + (pageSize > 0 ? " paged" : "");
    }
    return cases;
  }
  for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16})
    for (const int dims : {64, 128, 256})
      for (const bool causal : {false, true})
        if (dtype != DType::bfloat16 || (dims == 64 && causal)) add(Algorithm::tiled, dtype, dims, causal);
  for (const DType dtype : {DType::float32, DType::float16}) add(Algorithm::standard, dtype, 128, false);
  for (const DType dtype : {DType::float32, DType::float16})
    for (const int pageSize : {0, 16}) {
      add(Algorithm::tiled, dtype, 128, true);
      Case& about = cases.back();
      about.queryLengths = {1}, about.heads = 8, about.kvHeads = 2, about.pageSize = pageSize;
      about.name = std::string("decode ") + nameOf(dtype) + " 128" + (pageSize > 0 ? " paged" : "");
    }
  add(Algorithm::tiled, DType::float16, 128, true);
  cases.back().queryLengths = {32};
  cases.back().name = "splits float16 128";
  for (const DType dtype : {DType::float32, DType::float16})
    for (const int dims : {64, 128}) {
      add(Algorithm::tiled, dtype, dims, true);
      Case& about = cases.back();
      about.queryLengths = {1}, about.heads = 8, about.kvHeads = 2, about.pageSize = 16, about.int8 = true;
      about.name = std::string("decode ") + nameOf(dtype) + " " + std::to_string(dims) + " int8";
    }
  add(Algorithm::tiled, DType::float16, 128, true);
  cases.back().name = "tiled float16 128 causal int8";
  cases.back().pageSize = 16, cases.back().int8 = true;
  add(Algorithm::tiled, DType::float16, 128, true);
  Case& shared = cases.back();
  shared.name = "decode float16 128, a shared prefix";
  shared.queryLengths = {1, 1, 1, 1}, shared.keyLengths = {keys, keys, keys, keys};
  shared.heads = 8, shared.kvHeads = 2, shared.pageSize = 16, shared.sharedKeys = keys / 4;
  return cases;
}

struct Count {
  Plan plan;
  std::vector<CountedLaunch> launches;  // but the one that writes the table
};

Count countCase(const Counters& counters, const Counted& on, const Case& about) {
  Tensors tensors(about);
  const auto stream = cuda::open(on.device);
  Count count{cuda::plan(on.device, tensors.problem()), {}};
  counters.clear();
  const cuda::Result result = cuda::run(*stream, tensors.problem(), count.plan, cuda::allOnHost);
  check(result.outcome == cuda::Outcome::done, result.message);
  for (const CountedLaunch& launch : counters.launches())
    if (launch.kernel().find("write_table") == std::string::npos) count.launches.push_back(launch);
  return count;
}

std::string describe(const Case& about, const CountedLaunch& launch) {
  std::ostringstream text;
  text << "    {\n      \"case\": \"" << about.name << "\",\n      \"kernel\": \"" << launch.kernel() << "\"";
  for (const std::string& name : counted) text << ",\n      \"" << name << "\": " << int64_t(launch.number(name));
  text << "\n    }";
  return text.str();
}

/// Pages are looked up for four rows of keys, and of values, at a time: a sector each, which the L1 cache has.
double lookupBytes(const Case& about, double keyCount) {
  return about.pageSize > 0 ? 32.0 * about.kvHeads * 2 * keyCount / 4 : 0;
}

/// Results of splits, written and read again. The merge looks up sequence, runs and states of each row, some 80
/// sectors, which the L1 cache has.
double resultBytes(const Case& about, const SequencePlan& part) {
  return part.splits > 1 ? double(about.queryLengths[0]) * (8.0 * double(part.splits * (about.valueDim + 2)) + 32 * 80)
                         : 0;
}

/// Queries, outputs and lse once; keys and values of the visited tiles once per row tile, int8 ones with their scales;
/// results of splits.
double idealBytes(const Case& about, const Plan& plan) {
  const SequencePlan& part = plan.sequences[0];
  const auto keyLength = double(about.keyLengths[0]), sequences = double(about.keyLengths.size());
  if (isCudaDecode(part.kernel))
    return plan.bytes + lookupBytes(about, sequences * keyLength - (sequences - 1) * about.sharedKeys);
  const int64_t queries = about.queryLengths[0], rows = part.queryBlock, keyBlock = part.keyBlock;
  // Of a query and its output, of a key and its value.
  const double dims = about.headDim + about.valueDim, rowBytes = double(byteSize(about.dtype)) * dims;
  const double keyBytes = about.int8 ? dims + 8 : rowBytes;
  double bytes = resultBytes(about, part);
  for (int64_t row = 0; row < queries; row += rows) {
    const int64_t count = std::min<int64_t>(rows, queries - row);
    const int64_t visible = about.causal ? about.keyLengths[0] - queries + row + count : about.keyLengths[0];
    const double visited = std::min(double(cuda::roundUp(visible, keyBlock)), keyLength);
    bytes += (rowBytes + 4) * double(count) + keyBytes * visited + lookupBytes(about, visited);
  }
  return bytes;
}

std::string readTable(const Counted& on) {
  std::ifstream file(on.table());
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void checkCase(const Counted& on, const Case& about) {
  const Counters counters;
  const Count count = countCase(counters, on, about);
  double flops = 0;
  for (const CountedLaunch& launch : count.launches) {
    flops += launch.number("tensorFlops");
    const double actual = launch.number("sharedWavefronts"), ideal = launch.number("sharedWavefrontsIdeal");
    const bool usesShared = launch.kernel().find("merge") == std::string::npos;
    check((ideal > 0) == usesShared && actual <= 1.02 * ideal, launch.kernel() + ": " + std::to_string(actual) +
                                                                   " wavefronts, " + std::to_string(ideal) +
                                                                   " without bank conflicts");
  }
  if (about.algorithm == Algorithm::tiled) {
    const bool isDecode = isCudaDecode(count.plan.sequences[0].kernel);
    check(isDecode == (about.queryLengths[0] == 1), "another kernel than this is about");
    const bool usesTensors = !isDecode || about.dtype != DType::float32;
    check(flops == (usesTensors ? count.plan.flops : 0),
          "executed " + std::to_string(flops) + " operations, planned " + std::to_string(count.plan.flops));
    // In whole calls, and of their second half of keys alone: what a thread block reads of its table entry does not
    // grow.
    Case shorter = about;
    for (int& length : shorter.keyLengths) length /= 2;
    const double whole = 32 * counters.sum("globalSectors"), ideal = idealBytes(about, count.plan);
    const Count half = countCase(counters, on, shorter);
    const double moved = whole - 32 * counters.sum("globalSectors"), expected = ideal - idealBytes(shorter, half.plan);
    // Tables weigh more beside few bytes, and where sequences are several pieces.
    const double most = about.int8 || about.sharedKeys > 0 ? 1.15 : 1.05;
    check(moved <= most * expected, "half of the keys take " + std::to_string(moved) +
                                        " bytes of global memory, expected " + std::to_string(expected));
    check(whole <= most * ideal, std::to_string(whole) + " bytes of global memory, expected " + std::to_string(ideal));
  }
  const std::string table = readTable(on);
  if (table.find("\"nvcc\": \"" FOVEA_NVCC "\"") == std::string::npos) return;  // it is of another compiler
  for (const CountedLaunch& launch : count.launches) {
    const std::string text = describe(about, launch);
    check(table.find(text) != std::string::npos, on.table() + " does not have (--count writes it)\n" + text);
  }
}

/// Tiles cost little more than what they are for: at 16k tokens, of all pairs and of the causal half.
void checkWholeTiles(DType dtype, int dims) {
  constexpr int64_t length = 16384;
  for (const bool causal : {false, true}) {
    Sequence sequence;
    sequence.queryLength = sequence.queryRows = sequence.keyLength = sequence.keyColumns = length;
    Problem problem;
    problem.dtype = dtype, problem.algorithm = Algorithm::tiled;
    problem.heads = problem.kvHeads = 1, problem.headDim = problem.valueDim = dims;
    problem.causal = causal;
    problem.sequenceCount = 1, problem.sequences = &sequence;
    const Plan plan = cuda::plan(0, problem);
    const double products = dtype == DType::float32 ? cuda::splitProducts : 1;
    const double padded = double(cuda::tiledShape(problem).dims) / dims * plan.usefulFlops * products;
    check(plan.flops <= (causal ? 1.04 : 1.02) * padded,
          std::string(causal ? "causal" : "full") + ": " + std::to_string(plan.flops / padded) + " of what is useful");
    check(plan.flops >= plan.usefulFlops * products, "too few");
  }
}

}  // namespace

int writeCounters() {
  const Counters counters;
  for (const Counted& on : countedDevices()) {
    std::ofstream file(on.table());
    file << "{\n  \"nvcc\": \"" FOVEA_NVCC "\",\n  \"launches\": [";
    const char* separator = "\n";
    for (const Case& about : countedCases(on))
      for (const CountedLaunch& launch : countCase(counters, on, about).launches) {
        file << separator << describe(about, launch);
        separator = ",\n";
      }
    file << "\n  ]\n}\n";
    if (!file.flush()) return 1;
  }
  return 0;
}

void addCounterTests(std::vector<Test>& tests) {
  for (const DType dtype : {DType::float32, DType::float16})
    for (const int dims : {64, 128, 256})
      tests.push_back({std::string("counters: whole tiles ") + nameOf(dtype) + " " + std::to_string(dims),
                       [=] { checkWholeTiles(dtype, dims); }});
  if (!isSimulator()) return;
  for (const Counted& on : countedDevices())
    for (const Case& about : countedCases(on))
      tests.push_back(
          {std::string("counters: ") + (on.isHopper ? "Hopper, " : "") + about.name, [=] { checkCase(on, about); }});
}

}  // namespace fovea::test
