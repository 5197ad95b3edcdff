// What the files of driver entry points share: handles, the current device, work on streams.
//
// Handles are pointers to the simulator's objects: CUcontext a Device (its primary context), CUstream a Stream, CUevent
// an Event, CUmodule a LoadedModule, CUfunction a LoadedKernel, CUgraph a GraphHandle, CUgraphExec an ExecutableGraph.
#pragma once

#include <cuda.h>

#include <map>
#include <memory>
#include <string>

#include "driver/device.h"

#define FOVEA_CUDA_API extern "C" __attribute__((visibility("default")))

namespace fovea::simulator {

struct LoadedKernel;

struct LoadedModule {
  Device* device = nullptr;
  std::unique_ptr<Module> module;
  std::map<std::string, uint32_t> registers;  // per kernel, from a cubin
  std::map<std::string, CUdeviceptr> variables;
  std::map<std::string, std::unique_ptr<LoadedKernel>> kernels;
};

struct LoadedKernel {
  LoadedModule* owner = nullptr;
  std::unique_ptr<Kernel> kernel;
  uint32_t registers = 0;
  int maxDynamicShared = 48 * 1024;
  int carveout = -1;

  int computeCapability() const { return owner->device->computeCapability(); }
};

// The shared-memory and thread limits of a compute capability.
struct Limits {
  int sharedPerBlockOptin;
  int sharedPerMultiprocessor;
  int threadsPerMultiprocessor;
  int blocksPerMultiprocessor;
};
constexpr Limits limitsOf(int computeCapability) {
  if (computeCapability == 75) return {64 * 1024, 64 * 1024, 1024, 16};
  if (computeCapability == 86) return {99 * 1024, 100 * 1024, 1536, 16};
  if (computeCapability == 89 || computeCapability == 120) return {99 * 1024, 100 * 1024, 1536, 24};
  if (computeCapability == 90 || computeCapability == 100) return {227 * 1024, 228 * 1024, 2048, 32};
  return {163 * 1024, 164 * 1024, 2048, 32};
}
constexpr int kSystemSharedPerBlock = 1024;
constexpr uint32_t kRegistersPerMultiprocessor = 65536;

// CTAs of a kernel that fit on one multiprocessor at a time.
int occupancy(const LoadedKernel& kernel, uint32_t threads, uint64_t dynamicShared);

// The device of the calling thread's context. Gives its sticky error, or CUDA_ERROR_INVALID_CONTEXT without one.
CUresult current(Device** device);
// The device without looking at its state: for what must work on a failed context.
Device* currentOrNull();

// A stream handle of the current device; null and the legacy and per-thread handles name its default stream.
CUresult streamOf(CUstream handle, Stream** stream);

// Enqueues the work, or adds it to the graph that the stream captures.
CUresult submit(Stream& stream, Work work, bool ignoresErrors = false);
// An error when a capture is under way that the calling thread's synchronous calls would disturb.
CUresult forbidDuringCapture();

// Host memory that copies may use later than the call: cuMemAllocHost, cuMemHostRegister.
bool isPinned(const void* host, size_t bytes);

// Prints "fovea simulator: …" on stderr.
void complain(const std::string& message);

#define FOVEA_CUDA_TRY(expression)                                                \
  do {                                                                            \
    if (CUresult result_ = (expression); result_ != CUDA_SUCCESS) return result_; \
  } while (0)

}  // namespace fovea::simulator
