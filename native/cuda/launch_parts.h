// What the launches of all algorithms share.
#pragma once
#include <string>

#include "devices.h"

namespace fovea::cuda {

/// The launches of one algorithm's plans, as in launch.h: tiled and decode each of those sequences that are theirs.
void loadStandard(Device& device, const Problem& problem);
void launchStandard(Device& device, CUstream stream, const Problem& problem, CUdeviceptr workspace);
void loadTiled(Device& device, const Problem& problem, const Plan& plan);
void launchTiled(Device& device, CUstream stream, const Problem& problem, const Plan& plan, CUdeviceptr workspace);
void loadDecode(Device& device, const Problem& problem);
void launchDecode(Device& device, CUstream stream, const Problem& problem, CUdeviceptr workspace);

/// As kernels' names have it.
const char* suffix(DType type);
/// The same of the kernels that read keys and values as they are stored.
std::string suffixOf(const Problem& problem);

template <class Pointer>
Pointer* devicePointer(CUdeviceptr pointer) {
  return reinterpret_cast<Pointer*>(static_cast<uintptr_t>(pointer));
}

/// `arguments` is the kernel's one parameter. No blocks: nothing.
void launchKernel(Device& device, CUstream stream, const KernelImage& kernel, int64_t blocks, int threads,
                  void* arguments);

/// Enqueues writing `bytes` (a multiple of 16) of a table to the workspace; nothing is kept of `from`.
void writeTable(Device& device, CUstream stream, const void* from, size_t bytes, CUdeviceptr to);

}  // namespace fovea::cuda
