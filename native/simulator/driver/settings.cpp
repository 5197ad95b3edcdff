// Environment variables to settings.
#include "driver/settings.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace fovea::simulator {
namespace {

uint64_t number(const std::string& text) {
  size_t used = 0;
  uint64_t value = std::stoull(text, &used, 0);
  const std::string unit = text.substr(used);
  if (unit == "K" || unit == "KiB") return value << 10;
  if (unit == "M" || unit == "MiB") return value << 20;
  if (unit == "G" || unit == "GiB") return value << 30;
  if (!unit.empty()) throw std::invalid_argument("unknown unit");
  return value;
}

std::vector<int> capabilities(const std::string& text) {
  static const std::map<std::string, int> known = {{"7.5", 75}, {"8.0", 80},   {"8.6", 86},  {"8.9", 89},
                                                   {"9.0", 90}, {"10.0", 100}, {"12.0", 120}};
  std::vector<int> all;
  std::istringstream items(text + ',');
  for (std::string item; std::getline(items, item, ',');) {
    const auto found = known.find(item);
    if (found == known.end())
      throw std::invalid_argument("must be 7.5, 8.0, 8.6, 8.9, 9.0, 10.0 or 12.0, or several of them: 8.0,9.0");
    all.push_back(found->second);
  }
  return all;
}

Completion completion(const std::string& text) {
  if (text == "early") return Completion::kEarly;
  if (text == "late") return Completion::kLate;
  if (text == "random") return Completion::kRandom;
  throw std::invalid_argument("must be early, late or random");
}

CUresult errorOf(const std::string& text) { return static_cast<CUresult>(number(text)); }

// "2" or "2:719": the count, and what follows the colon.
std::pair<int64_t, std::string> counted(const std::string& text) {
  const size_t colon = std::min(text.find(':'), text.size());
  return {static_cast<int64_t>(number(text.substr(0, colon))), text.substr(std::min(colon + 1, text.size()))};
}

void loseDevice(Settings& settings, const std::string& text) {
  const auto [count, error] = counted(text);
  settings.lostError = error.empty() ? CUDA_ERROR_ECC_UNCORRECTABLE : errorOf(error);
  settings.loseDevice = count;
}

// "cuFuncLoad:2:719"
void failCall(Settings& settings, const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos) throw std::invalid_argument("must be function:n:error");
  const auto [count, error] = counted(text.substr(colon + 1));
  const std::lock_guard lock(settings.failingMutex);
  settings.failingCall = text.substr(0, colon);
  settings.failedCall = errorOf(error);
  settings.failCall = count;
}

using Setter = std::function<void(Settings&, const std::string&)>;

const std::map<std::string, Setter>& setters() {
  static const std::map<std::string, Setter> all = {
      {"FOVEA_SIM_DEVICES", [](Settings& s, const std::string& v) { s.devices = static_cast<int>(number(v)); }},
      {"FOVEA_SIM_COMPUTE_CAPABILITY",
       [](Settings& s, const std::string& v) { s.computeCapabilities = capabilities(v); }},
      {"FOVEA_SIM_MEMORY", [](Settings& s, const std::string& v) { s.memoryBytes = number(v); }},
      {"FOVEA_SIM_MULTIPROCESSORS",
       [](Settings& s, const std::string& v) { s.multiprocessors = std::max(1, static_cast<int>(number(v))); }},
      {"FOVEA_SIM_DRIVER_VERSION",
       [](Settings& s, const std::string& v) { s.driverVersion = static_cast<int>(number(v)); }},
      {"FOVEA_SIM_FAIL_INIT", [](Settings& s, const std::string& v) { s.failInit = errorOf(v); }},
      {"FOVEA_SIM_SEED", [](Settings& s, const std::string& v) { s.schedule.seed = number(v); }},
      {"FOVEA_SIM_COMPLETION", [](Settings& s, const std::string& v) { s.schedule.completion = completion(v); }},
      {"FOVEA_SIM_QUANTUM",
       [](Settings& s, const std::string& v) { s.schedule.quantum = std::max(1, static_cast<int>(number(v))); }},
      {"FOVEA_SIM_THREADS",
       [](Settings& s, const std::string& v) { s.schedule.threads = std::max(1, static_cast<int>(number(v))); }},
      {"FOVEA_SIM_INSTRUCTION_LIMIT",
       [](Settings& s, const std::string& v) { s.schedule.instructionLimit = number(v); }},
      {"FOVEA_SIM_COUNTERS", [](Settings& s, const std::string& v) { s.countersPath = v; }},
      {"FOVEA_SIM_REPLACE", [](Settings& s, const std::string& v) { s.replacement = v; }},
      {"FOVEA_SIM_QUIET", [](Settings& s, const std::string& v) { s.quiet = number(v) != 0; }},
      {"FOVEA_SIM_FAIL_ALLOCATION",
       [](Settings& s, const std::string& v) { s.failAllocation = static_cast<int64_t>(number(v)); }},
      {"FOVEA_SIM_FAIL_LAUNCH",
       [](Settings& s, const std::string& v) { s.failLaunch = static_cast<int64_t>(number(v)); }},
      {"FOVEA_SIM_HANG_LAUNCH",
       [](Settings& s, const std::string& v) { s.hangLaunch = static_cast<int64_t>(number(v)); }},
      {"FOVEA_SIM_LOSE_DEVICE", loseDevice},
      {"FOVEA_SIM_FAIL_CALL", failCall},
      {"FOVEA_SIM_MEMORY_POOLS", [](Settings& s, const std::string& v) { s.memoryPools = number(v) != 0; }},
      {"FOVEA_SIM_MISSING", [](Settings& s, const std::string& v) { s.missing = v; }},
  };
  return all;
}

// As configure, but a test that asks for what does not exist must not pass.
void set(Settings& settings, const std::string& name, const std::string& value) {
  try {
    configure(settings, name, value);
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "fovea simulator: %s\n", error.what());
    std::abort();
  }
}

}  // namespace

void configure(Settings& settings, const std::string& name, const std::string& value) {
  const auto setter = setters().find(name);
  if (setter == setters().end()) throw std::invalid_argument("unknown setting " + name);
  try {
    setter->second(settings, value);
  } catch (const std::exception& error) {
    throw std::invalid_argument(name + "=" + value + ": " + error.what());
  }
}

void readSettingsFile() {
  static const char* path = std::getenv("FOVEA_SIM_SETTINGS");
  if (!path || !*path) return;
  static std::mutex mutex;
  static std::string known;
  const std::lock_guard lock(mutex);
  std::ifstream file(path);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (text == known) return;
  known = text;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line[0] == '#') continue;
    const size_t equals = std::min(line.find('='), line.size());
    set(settings(), line.substr(0, equals), equals < line.size() ? line.substr(equals + 1) : "");
  }
}

Settings& settings() {
  static Settings* instance = [] {
    auto* fresh = new Settings;
    fresh->schedule.threads = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 16u));
    for (const auto& [name, setter] : setters()) {
      const char* value = std::getenv(name.c_str());
      if (!value || !*value) continue;
      set(*fresh, name, value);
    }
    return fresh;
  }();
  return *instance;
}

}  // namespace fovea::simulator
