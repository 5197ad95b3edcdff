// What goes wrong, and what still works afterwards. A driver is loaded once per process, so each scenario is a process
// of its own, with the environment that makes the simulator fail.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "../../../native/cuda/driver.h"
#include "device_case.h"

namespace fovea::test {
namespace {

using Environment = std::vector<std::pair<std::string, std::string>>;

struct Scenario {
  std::string name;
  Environment environment;
  std::function<void()> run;
};

cuda::Result attend(cuda::Stream& stream, int device = 0, int length = 20) {
  Case about;
  about.queryLengths = about.keyLengths = {length};
  Tensors tensors(about);
  const cuda::Result result = cuda::run(stream, tensors.problem(), cuda::plan(device, tensors.problem()), {true, true});
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

void expectUnavailable(const std::string& part) {
  const std::string reason = cuda::info().unavailable;
  check(reason.find(part) != std::string::npos, "expected a reason with \"" + part + "\", got \"" + reason + "\"");
  try {
    cuda::open(0);
  } catch (const cuda::Error& error) {
    check(error.kind == cuda::ErrorKind::unavailable, error.what());
    return;
  }
  throw Failure("opened a device that is not there");
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
      {"no driver", {{"FOVEA_CUDA_DRIVER", "/nowhere/libcuda.so"}}, [] { expectUnavailable("/nowhere/libcuda.so"); }},
      {"old driver", {{"FOVEA_SIM_DRIVER_VERSION", "12040"}}, [] { expectUnavailable("too old"); }},
      {"no device", {{"FOVEA_SIM_DEVICES", "0"}}, [] { expectUnavailable("finds no GPU"); }},
      {"out of memory",
       {{"FOVEA_SIM_MEMORY", "33554432"}},
       [] {
         const auto stream = cuda::open(0);
         expectDone(attend(*stream));
         expectOutcome(attend(*stream, 0, 4000), cuda::Outcome::outOfMemory);
         expectDone(attend(*stream));
         check(cuda::memory(0).tensors == 0, "the failed call left memory behind");
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
           expectOutcome(cuda::run(*stream, tensors.problem(), plan, {true, true}), cuda::Outcome::deviceLost);
         expectLost([&] { cuda::plan(0, tensors.problem()); });
         expectLost([&] { cuda::open(0); });
         expectLost([&] { cuda::allocate(*stream, 1000); });
         expectDone(attend(*other, 1));
       }},
  };
  return all;
}

/// This program, with one scenario's environment.
void runInChild(const Scenario& scenario) {
  const pid_t child = fork();
  if (child == 0) {
    for (const auto& [name, value] : scenario.environment) setenv(name.c_str(), value.c_str(), 1);
    execl("/proc/self/exe", "fovea_cuda_test", "--scenario", scenario.name.c_str(), nullptr);
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  check(WIFEXITED(status), "the process died of signal " + std::to_string(WTERMSIG(status)));
  check(WEXITSTATUS(status) == 0, "see above");
}

}  // namespace

void addFailureTests(std::vector<Test>& tests) {
  if (cuda::driver().path.find("cudasim") == std::string::npos) return;  // real drivers do not fail on demand
  for (const Scenario& scenario : scenarios())
    tests.push_back({"failure: " + scenario.name, [&scenario] { runInChild(scenario); }});
}

void runScenario(const std::string& name) {
  for (const Scenario& scenario : scenarios())
    if (scenario.name == name) return scenario.run();
  throw Failure("no such scenario");
}

}  // namespace fovea::test
