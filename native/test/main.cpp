// fovea-native-test [part of a name]: runs the tests whose names contain it; exit code 1 if one fails.
#include <chrono>
#include <cstring>

#include "check.h"
#include "cpu/backend.h"

int main(int argc, char** argv) {
  const char* filter = argc > 1 ? argv[1] : "";
  int passed = 0, failed = 0;
  std::printf("instruction set: %s\n", fovea::cpu::info().instructionSet.c_str());
  for (const auto& test : fovea::test::cases()) {
    if (!std::strstr(test.name.c_str(), filter)) continue;
    const auto begin = std::chrono::steady_clock::now();
    std::string error;
    try {
      test.body();
    } catch (const std::exception& failure) {
      error = failure.what();
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::printf("%s %-60s %6.2f s\n", error.empty() ? "ok    " : "FAILED", test.name.c_str(), seconds);
    if (error.empty()) {
      passed++;
    } else {
      failed++;
      std::printf("       %s\n", error.c_str());
    }
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed > 0;
}
