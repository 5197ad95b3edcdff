// What only the simulator can tell: how much work the kernels did.
#include <dlfcn.h>

#include <cstdlib>

#include "../../../native/cuda/driver.h"
#include "device_case.h"

namespace fovea::test {
namespace {

/// The counters of all launches since the last call, from the simulator's JSON lines (fovea_sim.h).
class Counters {
 public:
  Counters() {
    void* library = dlopen(cuda::driver().path.c_str(), RTLD_NOW | RTLD_NOLOAD);
    read_ = reinterpret_cast<const char* (*)()>(dlsym(library, "fovea_sim_counters"));
    clear_ = reinterpret_cast<void (*)()>(dlsym(library, "fovea_sim_clear"));
  }
  void clear() const { clear_(); }
  /// Sum of one counter over launches of kernels whose name contains `kernel`.
  double sum(const std::string& counter, const std::string& kernel = "") const {
    double total = 0;
    const std::string text = read_(), key = "\"" + counter + "\":";
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      const std::string line = text.substr(begin, end - begin);
      begin = end + 1;
      const size_t at = line.find(key);
      if (at == std::string::npos || line.substr(0, line.find(',')).find(kernel) == std::string::npos) continue;
      total += std::strtod(line.c_str() + at + key.size(), nullptr);
    }
    return total;
  }

 private:
  const char* (*read_)();
  void (*clear_)();
};

/// Runs a case, with its counters afterwards.
Plan count(const Counters& counters, const Case& about) {
  Tensors tensors(about);
  const auto stream = cuda::open(0);
  const Plan plan = cuda::plan(0, tensors.problem());
  counters.clear();
  const cuda::Result result = cuda::run(*stream, tensors.problem(), plan, cuda::allOnHost);
  check(result.outcome == cuda::Outcome::done, result.message);
  return plan;
}

/// The tensor cores do exactly what the plan says: no tile that nobody sees is visited.
void executedFlops(Algorithm algorithm, DType dtype) {
  const Counters counters;
  for (const int variant : {0, 1, 2, 3, 4, 5}) {
    Case about;
    about.dtype = dtype;
    about.algorithm = algorithm;
    about.heads = 2;
    about.queryLengths = {200, 33}, about.keyLengths = {300, 70};
    about.headDim = variant == 1 ? 72 : 64, about.valueDim = variant == 1 ? 40 : variant == 2 ? 200 : 64;
    about.causal = variant > 0;
    about.windowLeft = variant == 2 ? 50 : -1;
    about.weights = variant == 3;
    about.padding = variant == 3 ? 70 : 0;
    about.scoreStage = variant == 4 && algorithm == Algorithm::standard ? ScoreStage::scaled : ScoreStage::none;
    if (variant == 5) about.heads = 5, about.queryOffset = -20, about.windowRight = 10;
    const Plan plan = count(counters, about);
    if (dtype == DType::float32 && about.weights) continue;  // recomputed without tensor cores
    const double executed = counters.sum("tensorFlops") / (dtype == DType::float32 ? 3 : 1);  // products for one
    check(executed == plan.flops, "variant " + std::to_string(variant) + ": executed " + std::to_string(executed) +
                                      ", planned " + std::to_string(plan.flops));
  }
}

/// Shared memory is read and written without bank conflicts.
void checkWavefronts(const Counters& counters, const std::string& kernel) {
  const double actual = counters.sum("sharedWavefronts", kernel);
  const double ideal = counters.sum("sharedWavefrontsIdeal", kernel);
  check(ideal > 0 && actual <= 1.02 * ideal,
        kernel + ": " + std::to_string(actual) + " wavefronts, " + std::to_string(ideal) + " without conflicts");
}

void standardSharedMemory(DType dtype) {
  const Counters counters;
  Case about;
  about.dtype = dtype;
  about.algorithm = Algorithm::standard;
  about.queryLengths = about.keyLengths = {256};
  about.headDim = about.valueDim = 128;
  count(counters, about);
  for (const char* kernel : {"scores", "output"}) checkWavefronts(counters, kernel);
}

/// Against 2,048 keys: no bank conflicts, and little more global memory than queries and outputs once, and the visible
/// keys and values once for each row tile.
void tiledMemory(DType dtype, int dims, bool causal) {
  const Counters counters;
  constexpr int keys = 2048;
  Case about;
  about.dtype = dtype;
  about.algorithm = Algorithm::tiled;
  about.queryLengths = {causal ? keys : 128}, about.keyLengths = {keys};
  about.headDim = about.valueDim = dims;
  about.causal = causal;
  const Plan plan = count(counters, about);
  const int64_t rows = plan.sequences[0].queryBlock, keyBlock = plan.sequences[0].keyBlock;
  double ideal = 0;
  for (int64_t row = 0; row < about.queryLengths[0]; row += rows) {
    const int64_t count = std::min<int64_t>(rows, about.queryLengths[0] - row);
    const int64_t visited = causal ? (row + count + keyBlock - 1) / keyBlock * keyBlock : keys;
    ideal += double(byteSize(dtype)) * dims * double(2 * count + 2 * visited) + 4.0 * double(count);
  }
  const double moved = counters.sum("globalBytes", "fovea_tiled");
  check(moved <= 1.05 * ideal, std::to_string(moved) + " bytes of global memory, expected " + std::to_string(ideal));
  checkWavefronts(counters, "fovea_tiled");
}

}  // namespace

void addSimulatorTests(std::vector<Test>& tests) {
  if (cuda::driver().path.find("cudasim") == std::string::npos) return;
  for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16})
    for (const Algorithm algorithm : {Algorithm::standard, Algorithm::tiled}) {
      if (dtype == DType::float32 && algorithm == Algorithm::standard) continue;  // without tensor cores
      tests.push_back({std::string("simulator: executed flops ") + nameOf(algorithm) + " " + nameOf(dtype),
                       [=] { executedFlops(algorithm, dtype); }});
    }
  for (const DType dtype : {DType::float32, DType::float16})
    tests.push_back(
        {std::string("simulator: shared memory standard ") + nameOf(dtype), [dtype] { standardSharedMemory(dtype); }});
  for (const DType dtype : {DType::float32, DType::float16})
    for (const int dims : {64, 128, 256})
      for (const bool causal : {false, true})
        tests.push_back({std::string("simulator: memory tiled ") + nameOf(dtype) + " " + std::to_string(dims) +
                             (causal ? " causal" : ""),
                         [=] { tiledMemory(dtype, dims, causal); }});
}

}  // namespace fovea::test
