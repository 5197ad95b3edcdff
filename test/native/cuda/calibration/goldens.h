// Goldens: what micro-kernels gave on a real GPU, kept as text so that two GPUs can be compared with diff.
#pragma once
#include <map>

#include "calibration.h"

namespace fovea::test::calibration {

struct Golden {
  uint32_t inputHash = 0;  // of the inputs that it was recorded with
  Words words;
};

struct Goldens {
  std::string gpu;                        // its name, compute capability and driver version
  std::map<std::string, Golden> kernels;  // by name
};

uint32_t hashOf(const Words& words);

/// The recorded files of this source tree, by file name.
std::map<std::string, Goldens> readGoldens();
/// One GPU's file: in `folder`, or in the source tree if that is empty.
std::string goldensPath(const std::string& folder, const std::string& gpuName);
/// Nothing if there is no such file.
Goldens readGoldensFile(const std::string& path);
void writeGoldens(const Goldens& goldens, const std::string& path);

}  // namespace fovea::test::calibration
