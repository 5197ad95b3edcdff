// fovea_cuda_other_images_test: a build for Hopper alone, on a GPU of compute capability 8.0 (of the simulator).
// Compiled with devices.cpp of its own.
#include <cstdio>
#include <string>

#include "../../../native/cuda/backend.h"
#include "../../../native/cuda/images.h"

using namespace fovea::cuda;

namespace {

bool right = true;

void check(bool condition, const char* what, const std::string& seen = "") {
  if (condition) return;
  right = false;
  std::printf("  %s %s\n", what, seen.c_str());
}

/// Told by devices(), before anything is loaded.
void expectUnusable() {
  const std::string reason = info().devices.at(0).unusable;
  for (const char* part : {"compute capability is 8.0", "kernels for 90-real,90a-virtual", "FOVEA_CUDA_ARCHS"})
    check(reason.find(part) != std::string::npos, part, reason);
  try {
    open(0);
    check(false, "opened a GPU without kernels");
  } catch (const Error& error) {
    check(error.kind == ErrorKind::unavailable, "another error:", error.what());
  }
}

}  // namespace

int main() {
  check(runsOn("80-real", 8, 0) && runsOn("80-real", 8, 9), "machine code runs on later minor versions");
  check(!runsOn("86-real", 8, 0) && !runsOn("80-real", 9, 0) && !runsOn("", 8, 0), "and nowhere else");
  check(runsOn("90-real,80-virtual", 8, 0) && runsOn("80-virtual", 12, 1), "PTX runs on later versions");
  check(!runsOn("86-virtual", 8, 0) && !runsOn("90-virtual,100-virtual", 8, 9), "and on no earlier one");
  check(runsOn("90a-real", 9, 0) && runsOn("100a-virtual", 10, 0), "code for one version runs there");
  check(!runsOn("90a-virtual", 10, 0) && !runsOn("100a-real", 10, 3), "and nowhere else");
  check(runsOn("100f-real", 10, 3) && !runsOn("100f-virtual", 12, 0), "code for a family runs on its members");
  expectUnusable();
  return right ? 0 : 1;
}
