// fovea_cuda_test [part of a name...]: the CUDA backend against the reference, on the driver that FOVEA_CUDA_DRIVER
// names (the simulator, say) or the system's. Exit code 77, "skipped", where there is none.
// fovea_cuda_test --progress [--after name] [part of a name...]: each test's name before it begins, "end" after the
// last. After a fault the device is lost to the process, which ends with code 3: the next goes on after that test.
// fovea_cuda_test --record [--after name] [folder]: records what single instructions do on this GPU, into goldens/
// beside this file or into `folder`, likewise. fovea_cuda_test --count: writes what a fixed set of calls costs, into
// counters.json beside this file (simulator).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <optional>

#include "device_case.h"

using namespace fovea::test;

namespace {

int drawnDevice = 0;

void drawDevice(const std::string& name) {
  const size_t count = fovea::cuda::info().devices.size();
  drawnDevice = int(std::hash<std::string>{}(name) % count);
}

int scenario(const char* name) {
  try {
    runScenario(name);
    return 0;
  } catch (const std::exception& error) {
    std::printf("  %s\n", error.what());
    return 1;
  }
}

bool isWanted(const std::string& name, const std::vector<std::string>& filters) {
  const auto matches = [&](const std::string& part) { return name.find(part) != std::string::npos; };
  return filters.empty() || std::any_of(filters.begin(), filters.end(), matches);
}

/// Takes an option out, `words` of them with its value; the last of those.
std::optional<std::string> take(std::vector<std::string>& words, const std::string& option, int count) {
  const auto at = std::find(words.begin(), words.end(), option);
  if (words.end() - at < count) return std::nullopt;
  std::string value = at[count - 1];
  words.erase(at, at + count);
  return value;
}

}  // namespace

int fovea::test::testDevice() { return drawnDevice; }

fovea::cuda::Stream& fovea::test::testStream() {
  static auto& opened = *new std::map<int, std::shared_ptr<cuda::Stream>>;
  auto& stream = opened[drawnDevice];
  if (!stream) stream = cuda::open(drawnDevice);
  return *stream;
}

int main(int count, char** arguments) {
  if (count > 2 && std::strcmp(arguments[1], "--scenario") == 0) return scenario(arguments[2]);
  std::vector<std::string> filters(arguments + 1, arguments + count);
  if (const std::string reason = fovea::cuda::info().unavailable; !reason.empty()) {
    std::printf("no CUDA here: %s\n", reason.c_str());
    return 77;
  }
  if (filters == std::vector<std::string>{"--count"}) return writeCounters();
  const bool progress = take(filters, "--progress", 1).has_value();
  std::optional<std::string> after = take(filters, "--after", 2);
  if (take(filters, "--record", 1)) return recordGoldens(filters.empty() ? "" : filters[0], after);
  std::vector<Test> tests;
  addParityTests(tests);
  addDecodeTests(tests);
  addSplitTests(tests);
  addPagesTests(tests);
  addBoundsTests(tests);
  addFarTests(tests);
  addBackendTests(tests);
  addGraphTests(tests);
  addCopyTests(tests);
  addMemoryTests(tests);
  addFailureTests(tests);
  addSimulatorTests(tests);
  addCounterTests(tests);
  addCalibrationTests(tests);
  int passed = 0, failed = 0;
  bool lost = false;
  const auto begin = std::chrono::steady_clock::now();
  for (const Test& test : tests) {
    if (!isWanted(test.name, filters)) continue;
    if (after) {
      if (*after == test.name) after.reset();
      continue;
    }
    if (progress) std::printf("begin %s\n", test.name.c_str()), std::fflush(stdout);
    drawDevice(test.name);
    try {
      test.run();
      passed++;
    } catch (const std::exception& error) {
      failed++;
      std::printf("FAILED %s (device %d)\n  %s\n", test.name.c_str(), drawnDevice, error.what());
      std::fflush(stdout);
      lost = std::strstr(error.what(), "lost to this process") != nullptr;
    }
    if (lost) break;  // nothing more can run
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (progress && !lost) std::printf("end\n");
  std::printf("%d passed, %d failed, %.1f s\n", passed, failed, seconds);
  if (progress && lost) return lostDevice;
  return failed > 0 || passed == 0;
}
