// cuGetProcAddress: driver functions by name.
#include <algorithm>
#include <cstring>

#include "driver/api.h"

namespace fovea::simulator {
namespace {

struct EntryPoint {
  const char* name;
  void* function;
};

template <size_t length>
struct Name {
  constexpr Name(const char (&from)[length]) { std::copy_n(from, length, text); }
  char text[length];
};

// A driver function that fails without doing anything when FOVEA_SIM_FAIL_CALL says so.
template <Name name, auto function>
struct Failing;
template <Name name, class... Arguments, CUresult (*function)(Arguments...)>
struct Failing<name, function> {
  static CUresult call(Arguments... arguments) {
    Settings& set = settings();
    if (set.failCall > 0) {
      const std::lock_guard lock(set.failingMutex);
      if (set.failingCall == name.text && mustFail(set.failCall)) return set.failedCall;
    }
    return function(arguments...);
  }
};

// `name` is stringified as written; the function is what cuda.h makes of it, the newest version.
#define FOVEA_ENTRY(name) \
  { #name, reinterpret_cast < void*>(&Failing <#name, &name>::call) }

const EntryPoint kEntryPoints[] = {
    FOVEA_ENTRY(cuInit),
    FOVEA_ENTRY(cuDriverGetVersion),
    FOVEA_ENTRY(cuGetErrorName),
    FOVEA_ENTRY(cuGetErrorString),
    FOVEA_ENTRY(cuDeviceGetCount),
    FOVEA_ENTRY(cuDeviceGet),
    FOVEA_ENTRY(cuDeviceGetName),
    FOVEA_ENTRY(cuDeviceGetUuid),
    FOVEA_ENTRY(cuDeviceTotalMem),
    FOVEA_ENTRY(cuDeviceGetAttribute),
    FOVEA_ENTRY(cuDeviceGetDefaultMemPool),
    FOVEA_ENTRY(cuDeviceGetMemPool),
    FOVEA_ENTRY(cuDevicePrimaryCtxRetain),
    FOVEA_ENTRY(cuDevicePrimaryCtxRelease),
    FOVEA_ENTRY(cuDevicePrimaryCtxReset),
    FOVEA_ENTRY(cuDevicePrimaryCtxSetFlags),
    FOVEA_ENTRY(cuDevicePrimaryCtxGetState),
    FOVEA_ENTRY(cuCtxSetCurrent),
    FOVEA_ENTRY(cuCtxGetCurrent),
    FOVEA_ENTRY(cuCtxPushCurrent),
    FOVEA_ENTRY(cuCtxPopCurrent),
    FOVEA_ENTRY(cuCtxGetDevice),
    FOVEA_ENTRY(cuCtxSynchronize),
    FOVEA_ENTRY(cuCtxGetStreamPriorityRange),
    FOVEA_ENTRY(cuModuleLoadData),
    FOVEA_ENTRY(cuModuleLoadDataEx),
    FOVEA_ENTRY(cuModuleLoadFatBinary),
    FOVEA_ENTRY(cuModuleUnload),
    FOVEA_ENTRY(cuModuleGetFunction),
    FOVEA_ENTRY(cuModuleGetGlobal),
    FOVEA_ENTRY(cuLibraryLoadData),
    FOVEA_ENTRY(cuLibraryUnload),
    FOVEA_ENTRY(cuLibraryGetKernel),
    FOVEA_ENTRY(cuKernelGetFunction),
    FOVEA_ENTRY(cuFuncLoad),
    FOVEA_ENTRY(cuFuncGetAttribute),
    FOVEA_ENTRY(cuFuncSetAttribute),
    FOVEA_ENTRY(cuFuncSetCacheConfig),
    FOVEA_ENTRY(cuOccupancyMaxActiveBlocksPerMultiprocessor),
    FOVEA_ENTRY(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags),
    FOVEA_ENTRY(cuLaunchKernel),
    FOVEA_ENTRY(cuLaunchKernelEx),
    FOVEA_ENTRY(cuLaunchHostFunc),
    FOVEA_ENTRY(cuMemGetInfo),
    FOVEA_ENTRY(cuMemAlloc),
    FOVEA_ENTRY(cuMemFree),
    FOVEA_ENTRY(cuMemAllocAsync),
    FOVEA_ENTRY(cuMemFreeAsync),
    FOVEA_ENTRY(cuMemAllocFromPoolAsync),
    FOVEA_ENTRY(cuMemPoolTrimTo),
    FOVEA_ENTRY(cuMemPoolSetAttribute),
    FOVEA_ENTRY(cuMemPoolGetAttribute),
    FOVEA_ENTRY(cuMemAllocHost),
    FOVEA_ENTRY(cuMemHostAlloc),
    FOVEA_ENTRY(cuMemFreeHost),
    FOVEA_ENTRY(cuMemHostRegister),
    FOVEA_ENTRY(cuMemHostUnregister),
    FOVEA_ENTRY(cuMemcpyHtoD),
    FOVEA_ENTRY(cuMemcpyDtoH),
    FOVEA_ENTRY(cuMemcpyDtoD),
    FOVEA_ENTRY(cuMemcpyHtoDAsync),
    FOVEA_ENTRY(cuMemcpyDtoHAsync),
    FOVEA_ENTRY(cuMemcpyDtoDAsync),
    FOVEA_ENTRY(cuMemcpyAsync),
    FOVEA_ENTRY(cuMemcpy2DAsync),
    FOVEA_ENTRY(cuMemsetD8),
    FOVEA_ENTRY(cuMemsetD16),
    FOVEA_ENTRY(cuMemsetD32),
    FOVEA_ENTRY(cuMemsetD8Async),
    FOVEA_ENTRY(cuMemsetD16Async),
    FOVEA_ENTRY(cuMemsetD32Async),
    FOVEA_ENTRY(cuPointerGetAttribute),
    FOVEA_ENTRY(cuTensorMapEncodeTiled),
    FOVEA_ENTRY(cuMemGetAddressRange),
    FOVEA_ENTRY(cuStreamCreate),
    FOVEA_ENTRY(cuStreamCreateWithPriority),
    FOVEA_ENTRY(cuStreamDestroy),
    FOVEA_ENTRY(cuStreamSynchronize),
    FOVEA_ENTRY(cuStreamQuery),
    FOVEA_ENTRY(cuStreamGetPriority),
    FOVEA_ENTRY(cuStreamGetFlags),
    FOVEA_ENTRY(cuStreamGetCtx),
    FOVEA_ENTRY(cuStreamWaitEvent),
    FOVEA_ENTRY(cuStreamAddCallback),
    FOVEA_ENTRY(cuStreamBeginCapture),
    FOVEA_ENTRY(cuStreamEndCapture),
    FOVEA_ENTRY(cuStreamIsCapturing),
    FOVEA_ENTRY(cuEventCreate),
    FOVEA_ENTRY(cuEventDestroy),
    FOVEA_ENTRY(cuEventRecord),
    FOVEA_ENTRY(cuEventRecordWithFlags),
    FOVEA_ENTRY(cuEventQuery),
    FOVEA_ENTRY(cuEventSynchronize),
    FOVEA_ENTRY(cuEventElapsedTime),
    FOVEA_ENTRY(cuGraphInstantiateWithFlags),
    FOVEA_ENTRY(cuGraphLaunch),
    FOVEA_ENTRY(cuGraphExecDestroy),
    FOVEA_ENTRY(cuGraphDestroy),
    FOVEA_ENTRY(cuGraphGetNodes),
    FOVEA_ENTRY(cuGetProcAddress),
    {"cuGraphInstantiate", reinterpret_cast<void*>(&cuGraphInstantiateWithFlags)},
};

}  // namespace
}  // namespace fovea::simulator

FOVEA_CUDA_API CUresult cuGetProcAddress(const char* name, void** function, int, cuuint64_t,
                                         CUdriverProcAddressQueryResult* status) {
  if (!name || !function) return CUDA_ERROR_INVALID_VALUE;
  for (const auto& entry : fovea::simulator::kEntryPoints) {
    if (std::strcmp(entry.name, name) != 0 || fovea::simulator::settings().missing == name) continue;
    *function = entry.function;
    if (status) *status = CU_GET_PROC_ADDRESS_SUCCESS;
    return CUDA_SUCCESS;
  }
  *function = nullptr;
  if (status) *status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  return status ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
