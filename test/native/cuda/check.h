// A test is a function that throws Failure.
#pragma once
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace fovea::test {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void check(bool holds, const std::string& what) {
  if (!holds) throw Failure(what);
}

struct Test {
  std::string name;
  std::function<void()> run;
};

void addParityTests(std::vector<Test>& tests);
/// Tests of decode's splits, and of merging.
void addDecodeTests(std::vector<Test>& tests);
/// Tests of the tiled kernel's splits.
void addSplitTests(std::vector<Test>& tests);
/// Tests of a cache's pages: rows stored in them, int8.
void addPagesTests(std::vector<Test>& tests);
/// Tests of what is read and written past the ends of tensors.
void addBoundsTests(std::vector<Test>& tests);
/// Tests of tensors whose elements lie further apart than 32 bits count.
void addFarTests(std::vector<Test>& tests);
void addBackendTests(std::vector<Test>& tests);
/// Tests of how tables of sequences get to the device.
void addTableTests(std::vector<Test>& tests);
void addTileMapTests(std::vector<Test>& tests);
void addLeftKeysTests(std::vector<Test>& tests);
/// Tests of CUDA graphs, captured from launches.
void addGraphTests(std::vector<Test>& tests);
void addCopyTests(std::vector<Test>& tests);
void addMemoryTests(std::vector<Test>& tests);
/// Tests that need a driver that fails as told (the simulator's environment variables): each is a process of its own.
void addFailureTests(std::vector<Test>& tests);
/// Tests of single instructions (calibration/).
void addCalibrationTests(std::vector<Test>& tests);
/// Records what single instructions do on this GPU, for later tests; into `folder`, or where tests look for it if that
/// is empty. `after`: goes on after that kernel. Returns an exit code.
int recordGoldens(const std::string& folder, std::optional<std::string> after);
/// The exit code of a process whose device was lost, so that another must go on.
constexpr int lostDevice = 3;
/// Tests of the simulator's counters.
void addSimulatorTests(std::vector<Test>& tests);
/// Tests of what calls cost, by the simulator's counters.
void addCounterTests(std::vector<Test>& tests);
/// Tests of how many thread blocks fit on a multiprocessor.
void addOccupancyTests(std::vector<Test>& tests);
/// Tests of the shapes that fovea_cuda_bench measures.
void addBenchTests(std::vector<Test>& tests);
/// Writes the table that the counters are compared with. Returns an exit code.
int writeCounters();
/// What a process of a failure test does. Throws Failure.
void runScenario(const std::string& name);

}  // namespace fovea::test
