// fovea_cuda_test [part of a name...]: the CUDA backend against the reference, on the driver that FOVEA_CUDA_DRIVER
// names (the simulator, say) or the system's. Exit code 77, "skipped", where there is none.
// fovea_cuda_test --shard k/n [part of a name...]: of the tests every n-th, from the k-th.
// fovea_cuda_test --progress [--after name] [part of a name...]: each test's name before it begins, "end" after the
// last. After a fault the device is lost to the process, which ends with code 3: the next goes on after that test.
// fovea_cuda_test --record [--after name] [folder]: records what single instructions do on this GPU, into goldens/
// beside this file or into `folder`, likewise. fovea_cuda_test --count: writes what a fixed set of calls costs, into
// counters.json beside this file (simulator).
// fovea_cuda_host_test: the tests of the host's part alone, and neither of the last two.
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

/// Without the kernels' tests, fovea_cuda_host_test: what sanitizers can see into.
std::vector<Test> allTests() {
  std::vector<Test> tests;
#ifndef FOVEA_HOST_TESTS
  addParityTests(tests);
  addDecodeTests(tests);
  addSplitTests(tests);
  addPagesTests(tests);
  addBoundsTests(tests);
  addFarTests(tests);
  addTableTests(tests);
  addTileMapTests(tests);
  addLeftKeysTests(tests);
  addGraphTests(tests);
  addSimulatorTests(tests);
  addCounterTests(tests);
  addOccupancyTests(tests);
  addBenchTests(tests);
  addCalibrationTests(tests);
#endif
  addBackendTests(tests);
  addCopyTests(tests);
  addMemoryTests(tests);
  addFailureTests(tests);
  return tests;
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

/// Of everything that comes, every `count`-th from the `number`-th on, counted from 1.
class Shard {
 public:
  explicit Shard(const std::optional<std::string>& text) {
    if (!text) return;
    int end = 0;
    const bool read =
        std::sscanf(text->c_str(), "%d/%d%n", &number_, &count_, &end) == 2 && size_t(end) == text->size();
    if (!read || number_ < 1 || number_ > count_)
      throw std::invalid_argument("--shard " + *text + ": expected 1/2, say");
  }
  bool takesNext() { return next_++ % count_ == number_ - 1; }

 private:
  int number_ = 1, count_ = 1, next_ = 0;
};

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
  const bool progress = take(filters, "--progress", 1).has_value();
  std::optional<std::string> after = take(filters, "--after", 2);
  Shard shard(take(filters, "--shard", 2));
#ifndef FOVEA_HOST_TESTS
  if (filters == std::vector<std::string>{"--count"}) return writeCounters();
  if (take(filters, "--record", 1)) return recordGoldens(filters.empty() ? "" : filters[0], after);
#endif
  const std::vector<Test> tests = allTests();
  int passed = 0, failed = 0;
  bool lost = false;
  const auto begin = std::chrono::steady_clock::now();
  for (const Test& test : tests) {
    if (!isWanted(test.name, filters) || !shard.takesNext()) continue;
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
