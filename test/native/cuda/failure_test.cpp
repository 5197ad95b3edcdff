// What goes wrong, and what still works afterwards. A driver is loaded once per process, so each scenario is a process
// of its own, with the environment that makes the simulator fail.
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "../../../native/cuda/driver.h"
#include "counters.h"
#include "device_case.h"

namespace fovea::test {
namespace {

using Environment = std::vector<std::pair<std::string, std::string>>;

struct Scenario {
  std::string name;
  Environment environment;
  std::function<void()> run;
};

/// Every tile fits into the 99 KB of shared memory that a thread block of a consumer GPU has, and is right there.
void expectSmallTiles() {
  const Counters counters;
  for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16})
    for (const int dims : {64, 128, 256}) {
      Case about;
      about.algorithm = Algorithm::tiled;
      about.dtype = dtype;
      about.heads = 6, about.kvHeads = 2, about.causal = true, about.weights = true;
      about.queryLengths = {50}, about.keyLengths = {140};
      about.headDim = about.valueDim = dims;
      Tensors tensors(about);
      const auto stream = cuda::open(0);
      const cuda::Result result =
          cuda::run(*stream, tensors.problem(), cuda::plan(0, tensors.problem()), cuda::allOnHost);
      check(result.outcome == cuda::Outcome::done, result.message);
      const std::string wrong = compare(tensors.problem());
      check(wrong.empty(), wrong);
    }
  double most = 0;
  for (const CountedLaunch& launch : counters.launches()) most = std::max(most, launch.number("sharedBytes"));
  check(most > 90000 && most <= 101376, std::to_string(most) + " bytes of shared memory");
}

cuda::Result attend(cuda::Stream& stream, int device = 0, int length = 20) {
  Case about;
  about.algorithm = Algorithm::standard;  // takes memory for its scores
  about.queryLengths = about.keyLengths = {length};
  Tensors tensors(about);
  const cuda::Result result =
      cuda::run(stream, tensors.problem(), cuda::plan(device, tensors.problem()), cuda::allOnHost);
  if (result.outcome == cuda::Outcome::done) {
    const std::string wrong = compare(tensors.problem());
    check(wrong.empty(), wrong);
  }
  return result;
}

void expectDone(const cuda::Result& result) {
  check(result.outcome == cuda::Outcome::done, "expected it to work: " + result.message);
}

void expectOutcome(const cuda::Result& result, cuda::Outcome outcome) {
  check(result.outcome == outcome && !result.message.empty(), "expected outcome " + std::to_string(int(outcome)) +
                                                                  ", got " + std::to_string(int(result.outcome)) +
                                                                  ": " + result.message);
}

void expectParts(const std::string& reason, const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    check(reason.find(part) != std::string::npos, "expected a reason with \"" + part + "\", got \"" + reason + "\"");
}

/// No device opens, and the error has the same words.
void expectClosed(const std::vector<std::string>& parts) {
  try {
    cuda::open(0);
  } catch (const cuda::Error& error) {
    check(error.kind == cuda::ErrorKind::unavailable, error.what());
    return expectParts(error.what(), parts);
  }
  throw Failure("opened a device that is not there");
}

/// Nothing can be used, and the reason says what is missing and how to mend it.
void expectUnavailable(const std::vector<std::string>& parts) {
  expectParts(cuda::info().unavailable, parts);
  check(cuda::info().devices.empty(), "there are devices");
  expectClosed(parts);
}

void expectNoSystemDriver() {
  if (void* library = dlopen("libcuda.so.1", RTLD_LAZY)) {  // a machine that has one
    dlclose(library);
    return;
  }
  expectUnavailable({"no NVIDIA driver", "libcuda.so.1", "Install one", "in a container"});
}

/// One device's memory is not another's.
void expectOwnMemory() {
  const auto stream = cuda::open(0), other = cuda::open(1);
  const auto buffer = cuda::allocate(*other, 4096);
  check(cuda::address(*cuda::adopt(*other, cuda::address(*buffer), 4096)) == cuda::address(*buffer), "another address");
  try {
    cuda::adopt(*stream, cuda::address(*buffer), 4096);
  } catch (const cuda::Error& error) {
    return expectParts(error.what(), {"4096 bytes of memory of cuda:0", "got memory of cuda:1"});
  }
  throw Failure("adopted another device's memory");
}

/// The driver works, its device does not.
void expectOldDevice() {
  const cuda::Info info = cuda::info();
  check(info.unavailable.empty() && info.devices.size() == 1, info.unavailable);
  const std::vector<std::string> parts = {"compute capability is 7.5", "need 8.0", "Use a newer GPU"};
  expectParts(info.devices[0].unusable, parts);
  expectClosed(parts);
}

void expectLost(const std::function<void()>& use) {
  try {
    use();
  } catch (const cuda::Error& error) {
    check(error.kind == cuda::ErrorKind::lost, error.what());
    return;
  }
  throw Failure("a lost device was used");
}

const std::vector<Scenario>& scenarios() {
  static const auto& all = *new std::vector<Scenario>{
      {"no driver",
       {{"FOVEA_CUDA_DRIVER", "/nowhere/libcuda.so"}},
       [] {
         expectUnavailable({"FOVEA_CUDA_DRIVER", "/nowhere/libcuda.so", "cannot open", "unset it"});
       }},
      {"no system driver", {{"FOVEA_CUDA_DRIVER", ""}}, expectNoSystemDriver},
      {"old driver",
       {{"FOVEA_SIM_DRIVER_VERSION", "12040"}},
       [] {
         expectUnavailable({"too old", "CUDA 13.0 or newer", "Update it", "supports CUDA 12.4"});
       }},
      {"no device",
       {{"FOVEA_SIM_DEVICES", "0"}},
       [] {
         expectUnavailable({"finds no GPU", "CUDA_VISIBLE_DEVICES"});
       }},
      {"driver that does not start",
       {{"FOVEA_SIM_FAIL_INIT", "999"}},
       [] {
         expectUnavailable({"does not start", "CUDA_ERROR_UNKNOWN", "nvidia-smi"});
       }},
      {"memory of another device", {{"FOVEA_SIM_DEVICES", "2"}}, expectOwnMemory},
      {"compute capability 8.6", {{"FOVEA_SIM_COMPUTE_CAPABILITY", "8.6"}}, expectSmallTiles},
      {"old device", {{"FOVEA_SIM_COMPUTE_CAPABILITY", "7.5"}}, expectOldDevice},
      {"out of memory",
       {{"FOVEA_SIM_MEMORY", "33554432"}},
       [] {
         const auto stream = cuda::open(0);
         expectDone(attend(*stream));
         expectOutcome(attend(*stream, 0, 4000), cuda::Outcome::outOfMemory);
         expectDone(attend(*stream));
         check(cuda::memory(0)->tensors == 0, "the failed call left memory behind");
       }},
      {"failing allocation",
       {{"FOVEA_SIM_FAIL_ALLOCATION", "2"}},
       [] {
         const auto stream = cuda::open(0);
         for (int i = 0; i < 3; i++) {
           const cuda::Result result = attend(*stream);
           if (result.outcome != cuda::Outcome::done) expectOutcome(result, cuda::Outcome::outOfMemory);
         }
         expectDone(attend(*stream));
       }},
      {"failing launch",
       {{"FOVEA_SIM_FAIL_LAUNCH", "2"}},
       [] {
         const auto stream = cuda::open(0);
         const cuda::Result result = attend(*stream);
         check(result.outcome != cuda::Outcome::done && !result.message.empty(), "a failed launch went unnoticed");
       }},
      {"lost device",
       {{"FOVEA_SIM_LOSE_DEVICE", "2"}, {"FOVEA_SIM_DEVICES", "2"}},
       [] {
         const auto stream = cuda::open(0), other = cuda::open(1);
         const auto buffer = cuda::allocate(*stream, 1000);
         Tensors tensors{Case{}};
         const Plan plan = cuda::plan(0, tensors.problem());
         for (int i = 0; i < 2; i++)
           expectOutcome(cuda::run(*stream, tensors.problem(), plan, cuda::allOnHost), cuda::Outcome::deviceLost);
         expectLost([&] { cuda::plan(0, tensors.problem()); });
         expectLost([&] { cuda::open(0); });
         expectLost([&] { cuda::allocate(*stream, 1000); });
         expectDone(attend(*other, 1));
       }},
  };
  return all;
}

void runProgram(const std::string& path, const std::vector<std::string>& arguments, const Environment& environment) {
  const pid_t child = fork();
  if (child == 0) {
    for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
    std::vector<char*> words{const_cast<char*>(path.c_str())};
    for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
    words.push_back(nullptr);
    execv(path.c_str(), words.data());
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  check(WIFEXITED(status), "the process died of signal " + std::to_string(WTERMSIG(status)));
  check(WEXITSTATUS(status) == 0, "see above");
}

}  // namespace

void addFailureTests(std::vector<Test>& tests) {
  if (!isSimulator()) return;  // real drivers do not fail on demand
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  for (const Scenario& scenario : scenarios())
    tests.push_back({"failure: " + scenario.name, [self, &scenario] {
                       runProgram(self, {"--scenario", scenario.name}, scenario.environment);
                     }});
  const std::string absent = std::filesystem::path(self).replace_filename("fovea_cuda_absent_test");
  tests.push_back({"failure: built without CUDA", [absent] { runProgram(absent, {}, {}); }});
}

void runScenario(const std::string& name) {
  for (const Scenario& scenario : scenarios())
    if (scenario.name == name) return scenario.run();
  throw Failure("no such scenario");
}

}  // namespace fovea::test
