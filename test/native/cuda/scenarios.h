// What goes wrong, and what still works afterwards. A driver is loaded once per process, so each scenario is a process
// of its own, with the environment that makes the simulator fail.
#pragma once
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace fovea::test {

struct Scenario {
  std::string name;
  std::vector<std::pair<std::string, std::string>> environment;
  std::function<void()> run;
};

/// Nothing, or not everything, can be used: what is said about it.
std::vector<Scenario> absenceScenarios();
/// What works until it fails.
std::vector<Scenario> faultScenarios();

/// That a reason has all of these.
void expectParts(const std::string& reason, const std::vector<std::string>& parts);

}  // namespace fovea::test
