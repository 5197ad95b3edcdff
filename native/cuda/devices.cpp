#include "devices.h"

#include <algorithm>

namespace fovea::cuda {
namespace {

constexpr int minimumComputeMajor = 8;

int attribute(CUdevice device, CUdevice_attribute which) {
  int value = 0;
  driver().cuDeviceGetAttribute(&value, which, device);
  return value;
}

DeviceInfo inspect(int index) {
  const Driver& cuda = driver();
  DeviceInfo info;
  info.index = index;
  CUdevice device = 0;
  if (const CUresult result = cuda.cuDeviceGet(&device, index); result != CUDA_SUCCESS) {
    info.unusable = "the driver does not open it: " + cuda.describe(result);
    return info;
  }
  char name[256] = "";
  cuda.cuDeviceGetName(name, sizeof name, device);
  info.name = name;
  size_t memory = 0;
  cuda.cuDeviceTotalMem(&memory, device);
  info.memoryBytes = int64_t(memory);
  info.computeMajor = attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
  info.computeMinor = attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  info.multiprocessors = attribute(device, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  info.sharedPerMultiprocessor = attribute(device, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR);
  info.l2Bytes = attribute(device, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
  info.memoryPools = attribute(device, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED) != 0;
  if (info.computeMajor < minimumComputeMajor)
    info.unusable = "its compute capability is " + std::to_string(info.computeMajor) + "." +
                    std::to_string(info.computeMinor) +
                    ", and the kernels need 8.0 (Ampere) or newer. Use a newer GPU, or the CPU.";
  else if (!runsOn(FOVEA_CUDA_ARCHS, info.computeMajor, info.computeMinor))
    info.unusable = "its compute capability is " + std::to_string(info.computeMajor) + "." +
                    std::to_string(info.computeMinor) +
                    ", and this build has kernels for " FOVEA_CUDA_ARCHS
                    " alone. Build fovea again with this GPU in FOVEA_CUDA_ARCHS.";
  return info;
}

/// Errors after which every further call in the context fails in the same way.
bool isSticky(CUresult result) {
  switch (result) {
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_CONTAINED:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_TENSOR_MEMORY_LEAK:
    case CUDA_ERROR_MPS_CLIENT_TERMINATED:
    case CUDA_ERROR_EXTERNAL_DEVICE:
    case CUDA_ERROR_DEVICE_UNAVAILABLE:
    case CUDA_ERROR_UNKNOWN:
      return true;
    default:
      return false;
  }
}

std::string label(const DeviceInfo& info) { return "cuda:" + std::to_string(info.index) + " (" + info.name + ")"; }

}  // namespace

const std::vector<DeviceInfo>& deviceInfos() {
  static const auto* infos = [] {
    auto* list = new std::vector<DeviceInfo>;
    int count = 0;
    if (driver().unavailable.empty() && driver().cuDeviceGetCount(&count) == CUDA_SUCCESS)
      for (int index = 0; index < count; index++) list->push_back(inspect(index));
    return list;
  }();
  return *infos;
}

Device::All& Device::all() {
  static auto* instance = new All;
  return *instance;
}

bool Device::inUse(int index) {
  const std::lock_guard lock(all().mutex);
  const auto known = all().devices.find(index);
  return known != all().devices.end() && known->second;
}

Device& Device::get(int index) {
  if (!driver().unavailable.empty()) throw Error(ErrorKind::unavailable, driver().unavailable);
  const auto& infos = deviceInfos();
  if (index < 0 || size_t(index) >= infos.size())
    throw Error(ErrorKind::unavailable, "there is no cuda:" + std::to_string(index) + ": the driver shows " +
                                            std::to_string(infos.size()) + " GPU" + (infos.size() == 1 ? "" : "s"));
  const DeviceInfo& info = infos[size_t(index)];
  if (!info.unusable.empty()) throw Error(ErrorKind::unavailable, label(info) + " cannot be used: " + info.unusable);

  const std::lock_guard lock(all().mutex);
  Device*& device = all().devices[index];
  if (!device) {
    CUdevice handle = 0;
    CUcontext context = nullptr;
    CUresult result = driver().cuDeviceGet(&handle, index);
    if (result == CUDA_SUCCESS) result = driver().cuDevicePrimaryCtxRetain(&context, handle);
    if (result != CUDA_SUCCESS)
      throw Error(result == CUDA_ERROR_OUT_OF_MEMORY ? ErrorKind::outOfMemory : ErrorKind::unavailable,
                  label(info) + ": no context can be made: " + driver().describe(result) +
                      ". See whether other processes hold its memory or own it alone (nvidia-smi shows both).");
    device = new Device(info, context);  // kept for the life of the process, as its context is
    device->findPool();
  }
  device->requireAlive();
  return *device;
}

void Device::findPool() {
  CUdevice handle = 0;
  if (!info_.memoryPools || driver().cuDeviceGet(&handle, info_.index) != CUDA_SUCCESS ||
      driver().cuDeviceGetDefaultMemPool(&pool_, handle) != CUDA_SUCCESS) {
    pool_ = nullptr;
    return;
  }
  keepFreed();
}

void Device::hold(int64_t bytes) {
  memoryUse_.device += bytes;
  keepFreed();
}

/// Freed memory stays with the pool up to an eighth of the device's, or two: calls of a steady size never go to the
/// system. The threshold counts what is in use as well, so it follows that, in eighths. If it cannot be set, memory
/// goes back sooner.
void Device::keepFreed() {
  const int64_t eighth = std::max<int64_t>(info_.memoryBytes / 8, 1);
  const auto eighths = [&] { return memoryUse_.device.load() / eighth + 2; };
  if (!pool_ || keptEighths_ == eighths()) return;
  const std::lock_guard lock(keptMutex_);
  keptEighths_ = eighths();
  auto keep = cuuint64_t(keptEighths_ * eighth);
  driver().cuMemPoolSetAttribute(pool_, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &keep);
}

void Device::check(CUresult result, const char* attempt) {
  if (result == CUDA_SUCCESS) return;
  const std::string message = label(info_) + ": " + attempt + ": " + driver().describe(result);
  if (result == CUDA_ERROR_OUT_OF_MEMORY) throw Error(ErrorKind::outOfMemory, message);
  if (!isSticky(result)) throw Error(ErrorKind::failed, message);
  {
    const std::lock_guard lock(lostMutex_);
    if (!lost_) lostReason_ = message;
    lost_ = true;
  }
  requireAlive();
}

void Device::requireAlive() {
  if (!lost_) return;
  const std::lock_guard lock(lostMutex_);
  throw Error(ErrorKind::lost, lostReason_ + ". The device is lost to this process; restart it to use the GPU again.");
}

CUmodule Device::module(const Image& image) {
  CUmodule& module = modules_[image.name];
  if (module) return module;
  char log[2048] = "";
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void* values[] = {log, reinterpret_cast<void*>(sizeof log)};
  const CUresult result = driver().cuModuleLoadDataEx(&module, image.bytes, 2, options, values);
  if (result == CUDA_SUCCESS) return module;
  modules_.erase(image.name);
  if (result == CUDA_ERROR_OUT_OF_MEMORY || isSticky(result)) check(result, "loading kernels");
  std::string message = label(info_) + ": no image of kernel \"" + image.name + "\" runs on compute capability " +
                        std::to_string(info_.computeMajor) + "." + std::to_string(info_.computeMinor) + ": " +
                        driver().describe(result) +
                        ". Build fovea again with this GPU in FOVEA_CUDA_ARCHS, or update it.";
  if (*log) message += std::string("\n") + log;
  throw Error(ErrorKind::unavailable, message);
}

CUfunction Device::function(const KernelImage& kernel) {
  const std::lock_guard lock(mutex_);
  if (const auto known = functions_.find(kernel.function); known != functions_.end()) return known->second;
  CUfunction function = nullptr;
  CUresult result = driver().cuModuleGetFunction(&function, module(kernel.image), kernel.function.c_str());
  // Now, as drivers load lazily: else the first launch would, which may wait for the whole device.
  if (result == CUDA_SUCCESS) result = driver().cuFuncLoad(function);
  if (result == CUDA_SUCCESS && kernel.sharedBytes > 0)
    result = driver().cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, kernel.sharedBytes);
  check(result,
        ("loading kernel " + kernel.function + " (" + std::to_string(kernel.sharedBytes) + " bytes of shared memory)")
            .c_str());
  functions_.emplace(kernel.function, function);
  return function;
}

}  // namespace fovea::cuda
