// cuInit, devices, attributes, primary contexts, errors.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <vector>

#include "driver/api.h"

namespace fovea::simulator {
namespace {

thread_local std::vector<Device*> threadContexts;  // the last is current
std::mutex initMutex;
bool initialized = false;

Device* deviceAt(int ordinal) {
  auto& all = devices();
  return ordinal >= 0 && static_cast<size_t>(ordinal) < all.size() ? all[static_cast<size_t>(ordinal)].get() : nullptr;
}

struct ErrorText {
  CUresult code;
  const char* name;
  const char* text;
};
constexpr ErrorText kErrors[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU",
     "no kernel image is available for execution on the device"},
    {CUDA_ERROR_INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
    {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
     "too many resources requested for launch"},
    {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {CUDA_ERROR_ECC_UNCORRECTABLE, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"},
    {CUDA_ERROR_DEVICE_UNAVAILABLE, "CUDA_ERROR_DEVICE_UNAVAILABLE",
     "CUDA-capable device(s) is/are busy or unavailable"},
    {CUDA_ERROR_NOT_PERMITTED, "CUDA_ERROR_NOT_PERMITTED", "operation not permitted"},
    {CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
     "operation not permitted when stream is capturing"},
    {CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
     "operation failed due to a previous error during capture"},
    {CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED",
     "the capture was not initiated in this stream"},
    {CUDA_ERROR_ILLEGAL_STATE, "CUDA_ERROR_ILLEGAL_STATE", "the operation cannot be performed in the present state"},
    {CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED",
     "part or all of the requested memory range is already mapped"},
    {CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED",
     "pointer does not correspond to a registered memory region"},
    {CUDA_ERROR_UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

}  // namespace

Device* currentOrNull() { return threadContexts.empty() ? nullptr : threadContexts.back(); }

CUresult current(Device** device) {
  if (!initialized) return CUDA_ERROR_NOT_INITIALIZED;
  if (!currentOrNull()) return CUDA_ERROR_INVALID_CONTEXT;
  *device = currentOrNull();
  return (*device)->status();
}

void complain(const std::string& message) { std::fprintf(stderr, "fovea simulator: %s\n", message.c_str()); }

}  // namespace fovea::simulator

using namespace fovea::simulator;

FOVEA_CUDA_API CUresult cuInit(unsigned flags) {
  if (flags) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(initMutex);
  if (settings().failInit != CUDA_SUCCESS) return settings().failInit;
  const auto count = static_cast<size_t>(settings().devices.value_or(settings().computeCapabilities.size()));
  if (count == 0) return CUDA_ERROR_NO_DEVICE;
  while (devices().size() < count) devices().push_back(std::make_unique<Device>(static_cast<int>(devices().size())));
  initialized = true;
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuDriverGetVersion(int* version) {
  if (!version) return CUDA_ERROR_INVALID_VALUE;
  *version = settings().driverVersion;
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuDeviceGetCount(int* count) {
  if (!initialized) return CUDA_ERROR_NOT_INITIALIZED;
  *count = static_cast<int>(devices().size());
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  if (!initialized) return CUDA_ERROR_NOT_INITIALIZED;
  if (!deviceAt(ordinal)) return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuDeviceGetName(char* name, int size, CUdevice device) {
  if (!deviceAt(device)) return CUDA_ERROR_INVALID_DEVICE;
  const int capability = deviceAt(device)->computeCapability();
  std::snprintf(name, static_cast<size_t>(size), "fovea simulator (sm_%d)", capability);
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice device) {
  if (!deviceAt(device)) return CUDA_ERROR_INVALID_DEVICE;
  std::memset(uuid, 0, sizeof *uuid);
  std::memcpy(uuid->bytes, "fovea-sim", 9);
  uuid->bytes[15] = static_cast<char>(device);
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuDeviceTotalMem(size_t* bytes, CUdevice device) {
  if (!deviceAt(device)) return CUDA_ERROR_INVALID_DEVICE;
  *bytes = settings().memoryBytes;
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  if (!deviceAt(device)) return CUDA_ERROR_INVALID_DEVICE;
  const int capability = deviceAt(device)->computeCapability();
  const Limits limits = limitsOf(capability);
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      *value = capability / 10;
      break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      *value = capability % 10;
      break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      *value = settings().multiprocessors;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      *value = 1024;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
      *value = 1024;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
      *value = 64;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
      *value = 0x7fffffff;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
      *value = 65535;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
      *value = 48 * 1024;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
      *value = limits.sharedPerBlockOptin;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
      *value = limits.sharedPerMultiprocessor;
      break;
    case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK:
      *value = kSystemSharedPerBlock;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
      *value = limits.threadsPerMultiprocessor;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
      *value = limits.blocksPerMultiprocessor;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
      *value = static_cast<int>(kRegistersPerMultiprocessor);
      break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
      *value = 32;
      break;
    case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY:
      *value = 64 * 1024;
      break;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
      *value = 1'000'000;
      break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
      *value = 1'000'000;
      break;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
      *value = 5120;
      break;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
      *value = 40 << 20;
      break;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
      *value = 2;
      break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE:
      *value = CU_COMPUTEMODE_DEFAULT;
      break;
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
      *value = 1;
      break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
      *value = settings().memoryPools;
      break;
    case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID:
      *value = device;
      break;
    default:
      *value = 0;  // a capability that is not there
  }
  return CUDA_SUCCESS;
}

// ---------------------------------------------------------------------------------------------- contexts

FOVEA_CUDA_API CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  Device* found = deviceAt(device);
  if (!found) return initialized ? CUDA_ERROR_INVALID_DEVICE : CUDA_ERROR_NOT_INITIALIZED;
  found->references++;
  *context = reinterpret_cast<CUcontext>(found);
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
  Device* found = deviceAt(device);
  if (!found) return CUDA_ERROR_INVALID_DEVICE;
  if (found->references == 0) return CUDA_ERROR_INVALID_CONTEXT;
  if (--found->references == 0) found->reset();
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuDevicePrimaryCtxReset(CUdevice device) {
  Device* found = deviceAt(device);
  if (!found) return CUDA_ERROR_INVALID_DEVICE;
  found->reset();
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuDevicePrimaryCtxSetFlags(CUdevice device, unsigned) {
  return deviceAt(device) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

FOVEA_CUDA_API CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active) {
  Device* found = deviceAt(device);
  if (!found) return CUDA_ERROR_INVALID_DEVICE;
  *flags = 0;
  *active = found->references > 0;
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuCtxSetCurrent(CUcontext context) {
  if (!initialized) return CUDA_ERROR_NOT_INITIALIZED;
  // Replaces the top of the thread's stack; no context instead of one takes it off.
  if (!threadContexts.empty()) threadContexts.pop_back();
  if (context) threadContexts.push_back(reinterpret_cast<Device*>(context));
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuCtxGetCurrent(CUcontext* context) {
  if (!initialized) return CUDA_ERROR_NOT_INITIALIZED;
  *context = reinterpret_cast<CUcontext>(currentOrNull());
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuCtxPushCurrent(CUcontext context) {
  if (!initialized) return CUDA_ERROR_NOT_INITIALIZED;
  if (!context) return CUDA_ERROR_INVALID_CONTEXT;
  threadContexts.push_back(reinterpret_cast<Device*>(context));
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuCtxPopCurrent(CUcontext* context) {
  if (!initialized) return CUDA_ERROR_NOT_INITIALIZED;
  if (threadContexts.empty()) return CUDA_ERROR_INVALID_CONTEXT;
  if (context) *context = reinterpret_cast<CUcontext>(threadContexts.back());
  threadContexts.pop_back();
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuCtxGetDevice(CUdevice* device) {
  if (!currentOrNull()) return CUDA_ERROR_INVALID_CONTEXT;
  *device = currentOrNull()->ordinal;
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuCtxSynchronize() {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  FOVEA_CUDA_TRY(forbidDuringCapture());
  return device->synchronize();
}

FOVEA_CUDA_API CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return CUDA_SUCCESS;
}

// ---------------------------------------------------------------------------------------------- errors

FOVEA_CUDA_API CUresult cuGetErrorName(CUresult error, const char** name) {
  for (const ErrorText& entry : kErrors) {
    if (entry.code != error) continue;
    *name = entry.name;
    return CUDA_SUCCESS;
  }
  *name = nullptr;
  return CUDA_ERROR_INVALID_VALUE;
}

// A failed launch says what the simulator reported. Valid until the thread's next call.
FOVEA_CUDA_API CUresult cuGetErrorString(CUresult error, const char** text) {
  static thread_local std::string failure;
  if (const std::string report = lastReport(); error == CUDA_ERROR_LAUNCH_FAILED && !report.empty()) {
    failure = "unspecified launch failure: " + report;
    *text = failure.c_str();
    return CUDA_SUCCESS;
  }
  for (const ErrorText& entry : kErrors) {
    if (entry.code != error) continue;
    *text = entry.text;
    return CUDA_SUCCESS;
  }
  *text = nullptr;
  return CUDA_ERROR_INVALID_VALUE;
}
