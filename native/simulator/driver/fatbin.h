// The container that nvcc embeds: several images of one module, of which the simulator wants PTX.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace fovea::simulator {

struct Image {
  enum class Error { kNone, kNoPtx, kMalformed, kNoZstd };
  Error error = Error::kNone;
  std::string message;                        // says what is wrong
  std::string ptx;                            // the PTX text that fits the device best
  std::map<std::string, uint32_t> registers;  // kernel → registers per thread, where a cubin beside it tells
};

// `data` is what cuModuleLoadData gets: a fatbin, its wrapper struct, or PTX text that ends in a zero.
// PTX of sm_XY runs on XY and newer; of sm_90a on 9.0 only.
Image readImage(const void* data, int computeCapability);

}  // namespace fovea::simulator
