// Runs each scenario in a process of its own.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "counters.h"
#include "device_case.h"
#include "scenarios.h"

namespace fovea::test {
namespace {

std::vector<Scenario> scenarios() {
  std::vector<Scenario> all = absenceScenarios();
  for (Scenario& scenario : faultScenarios()) all.push_back(std::move(scenario));
  return all;
}

void runProgram(const std::string& path, const std::vector<std::string>& arguments,
                const std::vector<std::pair<std::string, std::string>>& environment) {
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
    tests.push_back({"failure: " + scenario.name, [self, scenario] {
                       runProgram(self, {"--scenario", scenario.name}, scenario.environment);
                     }});
  const auto program = [&](const char* name) { return std::filesystem::path(self).replace_filename(name).string(); };
  tests.push_back(
      {"failure: built without CUDA", [path = program("fovea_cuda_absent_test")] { runProgram(path, {}, {}); }});
  tests.push_back({"failure: built for other GPUs", [path = program("fovea_cuda_other_images_test")] {
                     runProgram(path, {}, {{"FOVEA_SIM_COMPUTE_CAPABILITY", "8.0"}});
                   }});
}

void runScenario(const std::string& name) {
  for (const Scenario& scenario : scenarios())
    if (scenario.name == name) return scenario.run();
  throw Failure("no such scenario");
}

}  // namespace fovea::test
