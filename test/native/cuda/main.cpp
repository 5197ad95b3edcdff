// fovea_cuda_test [part of a name...]: the CUDA backend against the reference, on the driver that FOVEA_CUDA_DRIVER
// names (the simulator, say) or the system's. Exit code 77, "skipped", where there is none.
// fovea_cuda_test --record: records what single instructions do on this GPU, into goldens/ beside this file.
// fovea_cuda_test --count: writes what a fixed set of calls costs, into counters.json beside this file (simulator).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>

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
  const std::vector<std::string> filters(arguments + 1, arguments + count);
  if (const std::string reason = fovea::cuda::info().unavailable; !reason.empty()) {
    std::printf("no CUDA here: %s\n", reason.c_str());
    return 77;
  }
  if (filters == std::vector<std::string>{"--record"}) return recordGoldens();
  if (filters == std::vector<std::string>{"--count"}) return writeCounters();
  std::vector<Test> tests;
  addParityTests(tests);
  addDecodeTests(tests);
  addSplitTests(tests);
  addPagesTests(tests);
  addBoundsTests(tests);
  addBackendTests(tests);
  addCopyTests(tests);
  addMemoryTests(tests);
  addFailureTests(tests);
  addSimulatorTests(tests);
  addCounterTests(tests);
  addCalibrationTests(tests);
  int passed = 0, failed = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (const Test& test : tests) {
    if (!isWanted(test.name, filters)) continue;
    drawDevice(test.name);
    try {
      test.run();
      passed++;
    } catch (const std::exception& error) {
      failed++;
      std::printf("FAILED %s (device %d)\n  %s\n", test.name.c_str(), drawnDevice, error.what());
      std::fflush(stdout);
      if (std::strstr(error.what(), "lost to this process")) break;  // nothing more can run
    }
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("%d passed, %d failed, %.1f s\n", passed, failed, seconds);
  return failed > 0 || passed == 0;
}
