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

/// The tensor cores do exactly what the plan says.
void executedFlops(Algorithm algorithm) {
  const Counters counters;
  for (const int variant : {0, 1, 2, 3}) {
    if (variant == 3 && algorithm == Algorithm::tiled) continue;  // it has no scores to give
    Case about;
    about.algorithm = algorithm;
    about.dtype = DType::float16;
    about.heads = 2;
    about.queryLengths = {200, 33}, about.keyLengths = {300, 70};
    about.headDim = variant == 1 ? 72 : 64, about.valueDim = variant == 1 ? 40 : variant == 2 ? 200 : 64;
    about.causal = variant > 0;
    about.windowLeft = variant == 2 ? 50 : -1;
    about.scoreStage = variant == 3 ? ScoreStage::scaled : ScoreStage::none;
    about.padding = variant == 3 ? 70 : 0;
    Tensors tensors(about);
    const auto stream = cuda::open(0);
    const Plan plan = cuda::plan(0, tensors.problem());
    counters.clear();
    const cuda::Result result = cuda::run(*stream, tensors.problem(), plan, cuda::allOnHost);
    check(result.outcome == cuda::Outcome::done, result.message);
    const double executed = counters.sum("tensorFlops");
    check(executed == plan.flops, "variant " + std::to_string(variant) + ": executed " + std::to_string(executed) +
                                      ", planned " + std::to_string(plan.flops));
  }
}

/// Shared memory is read and written without bank conflicts, by the standard kernels, or by Hopper's.
void sharedMemory(Algorithm algorithm, DType dtype, const std::vector<std::string>& kernels) {
  const Counters counters;
  Case about;
  about.algorithm = algorithm;
  about.dtype = dtype;
  about.queryLengths = about.keyLengths = {256};
  about.headDim = about.valueDim = 128;
  Tensors tensors(about);
  const auto stream = cuda::open(0);
  counters.clear();
  const cuda::Result result = cuda::run(*stream, tensors.problem(), cuda::plan(0, tensors.problem()), cuda::allOnHost);
  check(result.outcome == cuda::Outcome::done, result.message);
  for (const std::string& kernel : kernels) {
    const double actual = counters.sum("sharedWavefronts", kernel),
                 ideal = counters.sum("sharedWavefrontsIdeal", kernel);
    check(ideal > 0 && actual <= 1.02 * ideal,
          kernel + ": " + std::to_string(actual) + " wavefronts, " + std::to_string(ideal) + " without conflicts");
  }
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
  check(copied == keys + queries, "decode copies " + std::to_string(copied) + " bytes: " + std::to_string(keys) +
                                      " of keys and values, " + std::to_string(queries) + " of queries");
  check(all <= 1.1 * plan.bytes,
        "all kernels move " + std::to_string(all) + " bytes, planned " + std::to_string(plan.bytes));
}

}  // namespace

void addSimulatorTests(std::vector<Test>& tests) {
  if (cuda::driver().path.find("cudasim") == std::string::npos) return;
  for (const Algorithm algorithm : {Algorithm::standard, Algorithm::tiled})
    tests.push_back({std::string("simulator: executed flops ") + nameOf(algorithm), [=] { executedFlops(algorithm); }});
  for (const DType dtype : {DType::float32, DType::float16})
    tests.push_back({std::string("simulator: shared memory ") + nameOf(dtype), [=] {
                       sharedMemory(Algorithm::standard, dtype, {"scores", "output"});
                     }});
  if (cuda::info().devices.at(0).computeMajor == 9)
    tests.push_back({"simulator: shared memory, tiled for Hopper",
                     [] { sharedMemory(Algorithm::tiled, DType::float16, {"tiled_sm90"}); }});
  for (const int pageSize : {0, 16})
    tests.push_back({"simulator: decode" + std::string(pageSize > 0 ? " of pages" : ""),
                     [=] { decodeWork(DType::float16, pageSize); }});
}

}  // namespace fovea::test
