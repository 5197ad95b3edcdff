// What a fixed set of calls costs, counted by the simulator: held to what it must cost, and to counters.json (Hopper's
// kernels: counters_sm90.json), number by number, so that no change of a kernel makes it dearer unnoticed.
// `fovea_cuda_test --count` writes them, each where there is a simulated GPU for it.
#include "counters.h"

#include <algorithm>
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

/// One device of each kind that has a table: of capability 8.0, and of 9.0.
struct Counted {
  int device;
  bool isHopper;
  std::string table() const { return FOVEA_COUNTERS + std::string(isHopper ? "_sm90.json" : ".json"); }
};

std::vector<Counted> countedDevices() {
  std::vector<Counted> all;
  const auto devices = cuda::info().devices;
  for (const int major : {8, 9}) {
    const auto found = std::find_if(devices.begin(), devices.end(), [&](const auto& each) {
      return each.computeMajor == major && each.computeMinor == 0;
    });
    if (found != devices.end()) all.push_back({int(found - devices.begin()), major == 9});
  }
  return all;
}

/// Everything that is done to scores in registers.
void changeScores(Case& about) {
  about.bias = Case::Bias::full, about.biasDtype = about.dtype;
  about.mask = about.alibi = true;
  about.softcap = 30;
}

/// Tiled calls with rules: each that reads, or computes, something of its own.
void addRuledCases(std::vector<Case>& cases, DType dtype, int dims) {
  const auto add = [&](const std::string& rules, const std::function<void(Case&)>& change) {
    Case about;
    about.algorithm = Algorithm::tiled;
    about.dtype = about.biasDtype = dtype;
    about.queryLengths = {128}, about.keyLengths = {keys};
    about.headDim = about.valueDim = dims;
    about.name = std::string("tiled ") + nameOf(dtype) + " " + std::to_string(dims) + ", " + rules;
    change(about);
    cases.push_back(about);
  };
  add("bias", [](Case& c) { c.bias = Case::Bias::full; });
  add("mask", [](Case& c) { c.mask = true; });
  add("softcap", [](Case& c) { c.softcap = 30; });
  add("ALiBi", [](Case& c) { c.alibi = true; });
  add("window", [](Case& c) { c.causal = true, c.windowLeft = keys / 2; });
  add("sinks", [](Case& c) { c.causal = c.sinks = true; });
  add("weights", [](Case& c) { c.weights = true; });
}

/// Decode with rules: those that change scores, or those that hide keys.
Case ruledDecode(DType dtype, bool hides) {
  Case about;
  about.algorithm = Algorithm::tiled;
  about.dtype = dtype;
  about.queryLengths = {1}, about.keyLengths = {keys};
  about.heads = 8, about.kvHeads = 2, about.headDim = about.valueDim = 128;
  if (hides)
    about.causal = about.sinks = true, about.windowLeft = keys / 2 + 8;
  else
    changeScores(about);
  about.name =
      std::string("decode ") + nameOf(dtype) + " 128, " + (hides ? "window, sinks" : "bias, mask, ALiBi, softcap");
  return about;
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
    for (const int dims : {64, 128}) add(Algorithm::tiled, DType::bfloat16, dims, true);
    addRuledCases(cases, DType::float16, 64);
    addRuledCases(cases, DType::bfloat16, 128);
    for (const bool hides : {false, true}) {
      Case about = ruledDecode(DType::float16, hides);
      about.keyLengths = {2 * keys}, about.heads = 34;
      about.name = "decode_sm90" + about.name.substr(std::string("decode").size());
      cases.push_back(about);
    }
    add(Algorithm::tiled, DType::float16, 128, true);  // by the kernel of all GPUs
    cases.back().name = "tiled float16 128 causal int8";
    cases.back().pageSize = 16, cases.back().int8 = true;
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
  for (const DType dtype : {DType::float32, DType::float16}) {
    addRuledCases(cases, dtype, 128);
    for (const bool hides : {false, true}) cases.push_back(ruledDecode(dtype, hides));
    for (const bool weights : {false, true}) {
      add(Algorithm::standard, dtype, 128, false);
      cases.back().weights = weights;
      if (!weights) changeScores(cases.back());
      cases.back().name += weights ? ", weights" : ", bias, mask, ALiBi, softcap";
    }
  }
  return cases;
}

struct Count {
  Plan plan;
  std::vector<CountedLaunch> launches;  // but the one that writes the tables
};

Count countCase(const Counters& counters, const Counted& on, const Case& about) {
  Tensors tensors(about);
  const auto stream = cuda::open(on.device);
  Count count{cuda::plan(on.device, tensors.problem()), {}};
  counters.clear();
  const cuda::Result result = cuda::run(*stream, tensors.problem(), count.plan, cuda::allOnHost);
  check(result.outcome == cuda::Outcome::done, result.message);
  int tables = 0;
  for (const CountedLaunch& launch : counters.launches())
    if (launch.kernel().find("write_table") != std::string::npos)
      tables++;
    else
      count.launches.push_back(launch);
  check(tables == 1, std::to_string(tables) + " launches write tables: each takes as long as a short decode");
  return count;
}

std::string describe(const Case& about, const CountedLaunch& launch) {
  std::ostringstream text;
  text << "    {\n      \"case\": \"" << about.name << "\",\n      \"kernel\": \"" << launch.kernel() << "\"";
  for (const std::string& name : counted) text << ",\n      \"" << name << "\": " << int64_t(launch.number(name));
  text << "\n    }";
  return text.str();
}

// What thread blocks look up, a sector each time they ask, which the L1 cache has:

/// Pages, for four rows of keys, and of values, at a time; of int8 also those of the scales of a tile, by one warp.
double lookupBytes(const Case& about, const SequencePlan& part, double keyCount) {
  if (about.pageSize == 0) return 0;
  const double tileKeys = double(part.keyBlock) / (part.kernel == Kernel::cudaDecode ? cuda::decodeWarps : 1);
  return 32.0 * about.kvHeads * 2 * (keyCount / 4 + (about.int8 ? keyCount / tileKeys : 0));
}

/// The fields of a decode thread block's table entry, some 100 in all four warps; the number of keys, with each slice
/// of keys and of values; and queries, which a plan has once, by each split.
double blockBytes(const Case& about, const SequencePlan& part, double sequences, double keyCount) {
  const double blocks = sequences * double(part.splits) * about.kvHeads;
  const double slices = part.kernel == Kernel::cudaDecode ? keyCount * cuda::decodeWarps / double(part.keyBlock) : 0;
  const double queries = sequences * about.heads * about.headDim * double(byteSize(about.dtype));
  return 32 * (100 * blocks + 2 * about.kvHeads * slices) + double(part.splits - 1) * queries;
}

/// Of a row of the merge: the fields of its sequence and run, some 34, and the state of each split five times.
double mergeBytes(const SequencePlan& part) { return 32 * (34 + 5 * double(part.splits)); }

/// Of tiled splits: results, written and read again, the merge, and queries, which each split reads.
double resultBytes(const Case& about, const SequencePlan& part) {
  if (part.splits == 1) return 0;
  const double query = double(part.splits - 1) * about.headDim * double(byteSize(about.dtype));
  const double results = 8.0 * double(part.splits * (about.valueDim + 2));
  return double(about.queryLengths[0]) * (query + results + mergeBytes(part));
}

/// The key places that a row tile of the tiled kernels visits, of rows [row, row + count): whole tiles up to the end.
double visitedKeys(const Case& about, const SequencePlan& part, int64_t row, int64_t count) {
  const int64_t length = about.keyLengths[0], before = length - about.queryLengths[0];
  const int64_t end = about.causal ? std::min(cuda::roundUp(before + row + count, part.keyBlock), length) : length;
  const int64_t begin = about.windowLeft < 0 ? 0 : std::max<int64_t>(before + row - about.windowLeft, 0);
  return double(end - begin / part.keyBlock * part.keyBlock);
}

/// Queries, outputs and lse once; keys and values of the visited tiles once per row tile, int8 ones with their scales;
/// results of splits; what is looked up.
double idealBytes(const Case& about, const Plan& plan) {
  const SequencePlan& part = plan.sequences[0];
  const auto sequences = double(about.keyLengths.size());
  if (isCudaDecode(part.kernel)) {
    const double own = sequences * (visitedKeys(about, part, 0, 1) - about.sharedKeys);
    const double bytes = plan.bytes + lookupBytes(about, part, own + about.sharedKeys);
    // Beside keys in the dtype, many and each sequence's own, the rest is within the 5 %.
    const bool isSmall = about.int8 || about.sharedKeys > 0 || about.windowLeft >= 0;
    if (!isSmall) return bytes;
    return bytes + blockBytes(about, part, sequences, own) + sequences * about.heads * mergeBytes(part);
  }
  const int64_t queries = about.queryLengths[0], rows = part.queryBlock;
  // Of a query and its output, of a key and its value.
  const double dims = about.headDim + about.valueDim, rowBytes = double(byteSize(about.dtype)) * dims;
  const double keyBytes = about.int8 ? dims + 8 : rowBytes;
  double bytes = resultBytes(about, part);
  for (int64_t row = 0; row < queries; row += rows) {
    const int64_t count = std::min<int64_t>(rows, queries - row);
    const double visited = visitedKeys(about, part, row, count);
    bytes += (rowBytes + 4) * double(count) + keyBytes * visited + lookupBytes(about, part, visited);
  }
  return bytes;
}

/// Rules that only hide keys add nothing to that. Those that change scores, and weights, are looked up element by
/// element: what they cost is what the table says.
bool hasIdealBytes(const Case& about) {
  return about.bias == Case::Bias::none && !about.mask && !about.alibi && about.softcap == 0 && !about.weights;
}

std::string readTable(const Counted& on) {
  std::ifstream file(on.table());
  return std::string(std::istreambuf_iterator<char>(file), {});
}

/// In whole calls, and of their second half of keys alone: what a thread block reads of its table entry does not grow.
/// A window sees the same keys of both.
void checkBytes(const Counters& counters, const Counted& on, const Case& about, const Plan& plan) {
  const auto most = [](double ideal) { return 1.05 * ideal; };
  const double whole = 32 * counters.sum("globalSectors"), ideal = idealBytes(about, plan);
  check(whole <= most(ideal), std::to_string(whole) + " bytes of global memory, expected " + std::to_string(ideal));
  if (about.windowLeft >= 0) return;
  Case shorter = about;
  for (int& length : shorter.keyLengths) length /= 2;
  const Count half = countCase(counters, on, shorter);
  const double moved = whole - 32 * counters.sum("globalSectors"), expected = ideal - idealBytes(shorter, half.plan);
  check(moved <= most(expected), "half of the keys take " + std::to_string(moved) +
                                     " bytes of global memory, expected " + std::to_string(expected));
}

void checkCase(const Counted& on, const Case& about) {
  const Counters counters;
  const Count count = countCase(counters, on, about);
  double flops = 0;
  for (const CountedLaunch& launch : count.launches) {
    flops += launch.number("tensorFlops");
    const double actual = launch.number("sharedWavefronts"), ideal = launch.number("sharedWavefrontsIdeal");
    const bool usesShared =
        launch.kernel().find("merge") == std::string::npos && launch.kernel() != "fovea_standard_weights";
    check((ideal > 0) == usesShared && actual <= 1.005 * ideal, launch.kernel() + ": " + std::to_string(actual) +
                                                                    " wavefronts, " + std::to_string(ideal) +
                                                                    " without bank conflicts");
  }
  if (about.algorithm == Algorithm::tiled) {
    const bool isDecode = isCudaDecode(count.plan.sequences[0].kernel);
    check(isDecode == (about.queryLengths[0] == 1), "another kernel than this is about");
    const bool usesTensors = !isDecode || about.dtype != DType::float32;
    check(flops == (usesTensors ? count.plan.flops : 0),
          "executed " + std::to_string(flops) + " operations, planned " + std::to_string(count.plan.flops));
  }
  if (about.algorithm == Algorithm::tiled && hasIdealBytes(about)) checkBytes(counters, on, about, count.plan);
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
