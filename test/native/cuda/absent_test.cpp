// fovea_cuda_absent_test: what a build without nvcc says. Linked with absent.cpp instead of the backend.
#include <cstdio>

#include "../../../native/cuda/backend.h"

int main() {
  using namespace fovea::cuda;
  const std::string reason = info().unavailable;
  bool isRight = info().devices.empty();
  for (const char* part : {"no CUDA kernels", "nvcc was not found", "Install the CUDA toolkit", "prebuilt"})
    isRight = isRight && reason.find(part) != std::string::npos;
  try {
    open(0);
    isRight = false;
  } catch (const Error& error) {
    isRight = isRight && error.kind == ErrorKind::unavailable && error.what() == reason;
  }
  if (!isRight) std::printf("  a build without CUDA says: %s\n", reason.c_str());
  return isRight ? 0 : 1;
}
