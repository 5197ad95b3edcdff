// The CUDA driver, loaded when first asked for. Nothing here links to CUDA: the same binary loads on machines without
// it, and says what is missing.
#pragma once
#include <cuda.h>
#include <cudaTypedefs.h>

#include <string>

#include "types.h"

namespace fovea::cuda {

/// Functions of the driver by name and by the version of CUDA whose signature is meant.
// clang-format off
#define FOVEA_DRIVER_FUNCTIONS(X)                                                                               \
  X(cuInit, 2000) X(cuDriverGetVersion, 2020) X(cuGetErrorName, 6000) X(cuGetErrorString, 6000)                 \
  X(cuDeviceGetCount, 2000) X(cuDeviceGet, 2000) X(cuDeviceGetName, 2000) X(cuDeviceGetAttribute, 2000)         \
  X(cuDeviceTotalMem, 3020) X(cuDevicePrimaryCtxRetain, 7000) X(cuCtxGetCurrent, 4000) X(cuCtxSetCurrent, 4000)  \
  X(cuCtxSynchronize, 2000)                                                                                     \
  X(cuModuleLoadDataEx, 2010) X(cuModuleGetFunction, 2000) X(cuFuncLoad, 12040) X(cuFuncSetAttribute, 9000)     \
  X(cuLaunchKernel, 4000)                                                                                       \
  X(cuStreamCreate, 2000) X(cuStreamDestroy, 4000) X(cuStreamSynchronize, 2000)                                 \
  X(cuEventCreate, 2000) X(cuEventDestroy, 4000) X(cuEventRecord, 2000) X(cuEventSynchronize, 2000)             \
  X(cuMemAlloc, 3020) X(cuMemFree, 3020) X(cuMemGetInfo, 3020) X(cuMemHostAlloc, 2020) X(cuMemFreeHost, 2000)   \
  X(cuDeviceGetDefaultMemPool, 11020) X(cuMemPoolSetAttribute, 11020) X(cuMemPoolTrimTo, 11020)                           \
  X(cuMemAllocFromPoolAsync, 11020) X(cuMemFreeAsync, 11020) X(cuPointerGetAttribute, 4000)                                                    \
  X(cuMemcpyHtoDAsync, 3020) X(cuMemcpyDtoHAsync, 3020) X(cuMemcpyDtoDAsync, 3020) X(cuMemsetD8Async, 3020)
// clang-format on

struct Driver {
#define FOVEA_MEMBER(name, version) PFN_##name##_v##version name = nullptr;
  FOVEA_DRIVER_FUNCTIONS(FOVEA_MEMBER)
#undef FOVEA_MEMBER

  std::string path;         // what was loaded
  std::string unavailable;  // why it cannot be used, and what to do about it; empty if it can
  int version = 0;          // 1000 * major + 10 * minor of the CUDA that it supports

  /// A function that only some callers need, or null.
  void* find(const char* name, int version) const;
  /// "CUDA_ERROR_NAME: description".
  std::string describe(CUresult result) const;

 private:
  friend const Driver& driver();
  Driver();
  std::string load();
  PFN_cuGetProcAddress_v12000 getProcAddress_ = nullptr;
};

/// The process's driver: what FOVEA_CUDA_DRIVER names, or the system's libcuda.so.1. Loaded and initialised once, never
/// unloaded: contexts and threads of others may live in it.
const Driver& driver();

}  // namespace fovea::cuda
