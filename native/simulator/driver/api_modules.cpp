// Modules, functions and their attributes, occupancy, launches.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "driver/api.h"
#include "driver/fatbin.h"

namespace fovea::simulator {
namespace {

constexpr uint32_t kRegisterUnit = 256;  // registers are given to warps in such units
constexpr int kSharedUnit = 128;
constexpr int kMaxThreads = 1024;  // of a CTA

uint64_t roundUp(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

// Gives every .global and .const variable its device memory and initial value.
CUresult placeVariables(LoadedModule& loaded) {
  Device& device = *loaded.device;
  for (const Variable& variable : loaded.module->variables()) {
    if (variable.dynamic) continue;
    CUdeviceptr address = 0;
    FOVEA_CUDA_TRY(device.reserve(static_cast<uint64_t>(std::max<int64_t>(variable.size, 1)), &address));
    device.memory.activate(address);
    loaded.variables[variable.name] = address;
  }
  for (const Variable& variable : loaded.module->variables()) {
    if (variable.dynamic) continue;
    const CUdeviceptr address = loaded.variables[variable.name];
    const auto memory = device.memory.find(address);
    std::vector<uint8_t> bytes = variable.initial;
    bytes.resize(static_cast<size_t>(variable.size));
    for (const auto& [offset, symbol] : variable.references) {
      uint64_t value = 0;
      std::memcpy(&value, &bytes[static_cast<size_t>(offset)], sizeof value);
      value += loaded.variables[symbol];
      std::memcpy(&bytes[static_cast<size_t>(offset)], &value, sizeof value);
    }
    std::memcpy(memory->data(address), bytes.data(), bytes.size());
    memory->setDefined(address, bytes.size(), true);
  }
  return CUDA_SUCCESS;
}

// The names of a module's kernels, in order.
std::string kernelNames(const std::string& ptx) {
  std::string names;
  const std::string entry = ".entry ";
  for (size_t at = ptx.find(entry); at != std::string::npos; at = ptx.find(entry, at + 1)) {
    const size_t begin = at + entry.size();
    names += (names.empty() ? "" : ", ") + ptx.substr(begin, ptx.find_first_of("( \n", begin) - begin);
  }
  return names;
}

// FOVEA_SIM_REPLACE: other code for a module's kernels (for some of them, if tests ask for no others), so that one
// program can be tested with many variants of a kernel. Says so on stderr, since a replacement that fits no module
// would test nothing.
void replaceImage(std::string& ptx) {
  const std::string& path = settings().replacement;
  if (path.empty()) return;
  std::ifstream file(path);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file) {
    complain("cannot read FOVEA_SIM_REPLACE=" + path);
    std::abort();
  }
  const std::string names = kernelNames(text), all = ", " + kernelNames(ptx) + ", ";
  for (size_t at = 0; at < names.size();) {
    const size_t end = std::min(names.find(", ", at), names.size());
    if (all.find(", " + names.substr(at, end - at) + ", ") == std::string::npos) return;
    at = end + 2;
  }
  if (names.empty()) return;
  complain("replaced " + names);
  ptx = text;
}

CUresult loadModule(CUmodule* module, const void* data) {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  if (!module || !data) return CUDA_ERROR_INVALID_VALUE;
  FOVEA_CUDA_TRY(forbidDuringCapture());
  Image image = readImage(data, device->computeCapability());
  if (image.error != Image::Error::kNone) {
    complain("cannot load a module: " + image.message);
    switch (image.error) {
      case Image::Error::kNoPtx:
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
      case Image::Error::kNoZstd:
        return CUDA_ERROR_NOT_SUPPORTED;
      default:
        return CUDA_ERROR_INVALID_IMAGE;
    }
  }
  replaceImage(image.ptx);
  auto loaded = std::make_unique<LoadedModule>();
  loaded->device = device;
  loaded->registers = std::move(image.registers);
  try {
    loaded->module = std::make_unique<Module>(std::move(image.ptx));
  } catch (const PtxError& error) {
    complain(error.what());
    return CUDA_ERROR_INVALID_PTX;
  }
  FOVEA_CUDA_TRY(placeVariables(*loaded));
  *module = reinterpret_cast<CUmodule>(loaded.release());
  return CUDA_SUCCESS;
}

// Without a cubin that says how many registers a kernel has: what .maxnreg grants, or what is live at once, as far as
// the largest block that the kernel allows leaves room for it.
uint32_t estimateRegisters(const Kernel& kernel) {
  if (kernel.maxRegisters) return static_cast<uint32_t>(kernel.maxRegisters);
  const bool isLimited = kernel.maxThreads < kMaxThreads;
  const int room = isLimited ? static_cast<int>(kRegistersPerMultiprocessor) / kernel.maxThreads / 8 * 8 : 255;
  return static_cast<uint32_t>(std::min({255, room, kernel.liveRegisters}));
}

CUresult findKernel(LoadedKernel** result, LoadedModule& loaded, const char* name) {
  auto& slot = loaded.kernels[name];
  if (!slot) {
    const auto function = loaded.module->functions().find(std::string(name));
    if (function == loaded.module->functions().end() || !function->second.isEntry) return CUDA_ERROR_NOT_FOUND;
    auto fresh = std::make_unique<LoadedKernel>();
    fresh->owner = &loaded;
    try {
      fresh->kernel =
          loaded.module->decode(name, [&](const std::string& variable) { return loaded.variables[variable]; });
    } catch (const PtxError& error) {
      complain("kernel " + std::string(name) + ": " + error.what());
      return CUDA_ERROR_INVALID_PTX;
    }
    const auto known = loaded.registers.find(name);
    fresh->registers = known != loaded.registers.end() ? known->second : estimateRegisters(*fresh->kernel);
    slot = std::move(fresh);
  }
  *result = slot.get();
  return CUDA_SUCCESS;
}

LoadedKernel& kernelOf(CUfunction function) { return *reinterpret_cast<LoadedKernel*>(function); }

CUresult checkConfiguration(const LoadedKernel& function, const CUlaunchConfig& config) {
  const Kernel& kernel = *function.kernel;
  const uint64_t threads = static_cast<uint64_t>(config.blockDimX) * config.blockDimY * config.blockDimZ;
  const bool gridIsValid = config.gridDimX && config.gridDimY && config.gridDimZ && config.gridDimX <= 0x7fffffffu &&
                           config.gridDimY <= 65535 && config.gridDimZ <= 65535;
  if (!gridIsValid || !threads || threads > 1024 || config.blockDimZ > 64) return CUDA_ERROR_INVALID_VALUE;
  const std::array<uint32_t, 3> block = {config.blockDimX, config.blockDimY, config.blockDimZ};
  const bool hasRequirement = kernel.requiredThreads[0] > 0;
  for (size_t i = 0; hasRequirement && i < 3; i++)
    if (block[i] != static_cast<uint32_t>(std::max(kernel.requiredThreads[i], 1))) return CUDA_ERROR_INVALID_VALUE;
  if (threads > static_cast<uint64_t>(kernel.maxThreads)) return CUDA_ERROR_INVALID_VALUE;
  const auto optin = static_cast<uint64_t>(limitsOf(function.computeCapability()).sharedPerBlockOptin);
  const uint64_t shared = config.sharedMemBytes + static_cast<uint64_t>(kernel.staticSharedBytes);
  if (config.sharedMemBytes > static_cast<uint64_t>(function.maxDynamicShared) || shared > optin)
    return CUDA_ERROR_INVALID_VALUE;
  const uint64_t perWarp = roundUp(function.registers * 32ull, kRegisterUnit);
  if (perWarp * ((threads + 31) / 32) > kRegistersPerMultiprocessor) return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
  return CUDA_SUCCESS;
}

CUresult copyParameters(const Kernel& kernel, void** arguments, void** extra, std::vector<uint8_t>& bytes) {
  bytes.assign(static_cast<size_t>(kernel.parameterBytes), 0);
  if (arguments) {
    for (size_t i = 0; i < kernel.parameters.size(); i++) {
      if (!arguments[i]) return CUDA_ERROR_INVALID_VALUE;
      std::memcpy(&bytes[static_cast<size_t>(kernel.parameters[i].offset)], arguments[i],
                  static_cast<size_t>(kernel.parameters[i].size));
    }
    return CUDA_SUCCESS;
  }
  const void* buffer = nullptr;
  size_t size = 0;
  for (; extra && *extra != CU_LAUNCH_PARAM_END; extra += 2) {
    if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER) buffer = extra[1];
    if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE) size = *static_cast<size_t*>(extra[1]);
  }
  if (kernel.parameters.empty()) return CUDA_SUCCESS;
  if (!buffer || size < bytes.size()) return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(bytes.data(), buffer, bytes.size());
  return CUDA_SUCCESS;
}

CUresult launchKernel(const CUlaunchConfig& config, CUfunction handle, void** arguments, void** extra) {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  if (!handle) return CUDA_ERROR_INVALID_HANDLE;
  LoadedKernel& function = kernelOf(handle);
  if (function.owner->device != device) return CUDA_ERROR_INVALID_HANDLE;
  Stream* stream = nullptr;
  FOVEA_CUDA_TRY(streamOf(config.hStream, &stream));
  for (unsigned i = 0; i < config.numAttrs; i++) {
    const auto id = config.attrs[i].id;
    if (id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) {
      const auto& cluster = config.attrs[i].value.clusterDim;
      if (cluster.x * cluster.y * cluster.z > 1) return CUDA_ERROR_NOT_SUPPORTED;
    }
  }
  FOVEA_CUDA_TRY(checkConfiguration(function, config));

  readSettingsFile();
  Launch launch;
  launch.kernel = function.kernel.get();
  launch.module = function.owner->module.get();
  launch.grid = {config.gridDimX, config.gridDimY, config.gridDimZ};
  launch.block = {config.blockDimX, config.blockDimY, config.blockDimZ};
  launch.dynamicSharedBytes = config.sharedMemBytes;
  FOVEA_CUDA_TRY(copyParameters(*function.kernel, arguments, extra, launch.parameters));
  launch.registers = function.registers;
  launch.multiprocessors = static_cast<uint32_t>(settings().multiprocessors);
  launch.residentCtas =
      launch.multiprocessors *
      static_cast<uint32_t>(std::max(
          1, occupancy(function, config.blockDimX * config.blockDimY * config.blockDimZ, config.sharedMemBytes)));
  launch.schedule = settings().schedule;
  return submit(*stream, [launch](Device& owner) {
    Launch run = launch;
    return owner.launch(run);
  });
}

}  // namespace

int occupancy(const LoadedKernel& function, uint32_t threads, uint64_t dynamicShared) {
  const Limits limits = limitsOf(function.computeCapability());
  const uint64_t warps = (threads + 31) / 32;
  const uint64_t registers = roundUp(std::max(function.registers, 1u) * 32ull, kRegisterUnit) * warps;
  const uint64_t shared = roundUp(
      static_cast<uint64_t>(function.kernel->staticSharedBytes) + dynamicShared + kSystemSharedPerBlock, kSharedUnit);
  return static_cast<int>(std::min({static_cast<uint64_t>(limits.blocksPerMultiprocessor),
                                    static_cast<uint64_t>(limits.threadsPerMultiprocessor) / (warps * 32),
                                    kRegistersPerMultiprocessor / registers,
                                    static_cast<uint64_t>(limits.sharedPerMultiprocessor) / shared}));
}

}  // namespace fovea::simulator

using namespace fovea::simulator;

FOVEA_CUDA_API CUresult cuModuleLoadData(CUmodule* module, const void* image) { return loadModule(module, image); }
FOVEA_CUDA_API CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned, CUjit_option*, void**) {
  return loadModule(module, image);
}
FOVEA_CUDA_API CUresult cuModuleLoadFatBinary(CUmodule* module, const void* image) { return loadModule(module, image); }

FOVEA_CUDA_API CUresult cuModuleUnload(CUmodule module) {
  auto* loaded = reinterpret_cast<LoadedModule*>(module);
  if (!loaded) return CUDA_ERROR_INVALID_HANDLE;
  loaded->device->synchronize();
  for (const auto& [name, address] : loaded->variables) loaded->device->release(address);
  delete loaded;
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  if (!module) return CUDA_ERROR_INVALID_HANDLE;
  if (!function || !name) return CUDA_ERROR_INVALID_VALUE;
  LoadedKernel* found = nullptr;
  FOVEA_CUDA_TRY(findKernel(&found, *reinterpret_cast<LoadedModule*>(module), name));
  *function = reinterpret_cast<CUfunction>(found);
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuModuleGetGlobal(CUdeviceptr* address, size_t* bytes, CUmodule module, const char* name) {
  auto& loaded = *reinterpret_cast<LoadedModule*>(module);
  const auto found = loaded.variables.find(name);
  if (found == loaded.variables.end()) return CUDA_ERROR_NOT_FOUND;
  if (address) *address = found->second;
  if (bytes) *bytes = loaded.device->memory.find(found->second)->size;
  return CUDA_SUCCESS;
}

// A library is a module of the current context here.
FOVEA_CUDA_API CUresult cuLibraryLoadData(CUlibrary* library, const void* code, CUjit_option*, void**, unsigned,
                                          CUlibraryOption*, void**, unsigned) {
  return loadModule(reinterpret_cast<CUmodule*>(library), code);
}
FOVEA_CUDA_API CUresult cuLibraryUnload(CUlibrary library) {
  return cuModuleUnload(reinterpret_cast<CUmodule>(library));
}
FOVEA_CUDA_API CUresult cuLibraryGetKernel(CUkernel* kernel, CUlibrary library, const char* name) {
  return cuModuleGetFunction(reinterpret_cast<CUfunction*>(kernel), reinterpret_cast<CUmodule>(library), name);
}
FOVEA_CUDA_API CUresult cuKernelGetFunction(CUfunction* function, CUkernel kernel) {
  *function = reinterpret_cast<CUfunction>(kernel);
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuFuncLoad(CUfunction function) { return function ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; }

FOVEA_CUDA_API CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction function) {
  if (!function) return CUDA_ERROR_INVALID_HANDLE;
  const LoadedKernel& loaded = kernelOf(function);
  const Kernel& kernel = *loaded.kernel;
  switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      *value = kernel.maxThreads;
      break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
      *value = kernel.staticSharedBytes;
      break;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
      *value = 0;
      break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
      *value = kernel.localBytes;
      break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
      *value = static_cast<int>(loaded.registers);
      break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
      *value = loaded.computeCapability();
      break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      *value = loaded.maxDynamicShared;
      break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      *value = loaded.carveout;
      break;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
  if (!function) return CUDA_ERROR_INVALID_HANDLE;
  LoadedKernel& loaded = kernelOf(function);
  if (attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) {
    const int optin = limitsOf(loaded.computeCapability()).sharedPerBlockOptin;
    if (value < 0 || value + loaded.kernel->staticSharedBytes > optin) return CUDA_ERROR_INVALID_VALUE;
    loaded.maxDynamicShared = value;
    return CUDA_SUCCESS;
  }
  if (attribute == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) {
    if (value < -1 || value > 100) return CUDA_ERROR_INVALID_VALUE;
    loaded.carveout = value;
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_INVALID_VALUE;
}

FOVEA_CUDA_API CUresult cuFuncSetCacheConfig(CUfunction function, CUfunc_cache) {
  return function ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

FOVEA_CUDA_API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction function, int threads,
                                                                    size_t dynamicShared) {
  if (!function) return CUDA_ERROR_INVALID_HANDLE;
  if (threads <= 0) return CUDA_ERROR_INVALID_VALUE;
  *blocks = occupancy(kernelOf(function), static_cast<uint32_t>(threads), dynamicShared);
  return CUDA_SUCCESS;
}
FOVEA_CUDA_API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction function,
                                                                             int threads, size_t dynamicShared,
                                                                             unsigned) {
  return cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, dynamicShared);
}

FOVEA_CUDA_API CUresult cuLaunchKernel(CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ,
                                       unsigned blockX, unsigned blockY, unsigned blockZ, unsigned sharedBytes,
                                       CUstream stream, void** parameters, void** extra) {
  CUlaunchConfig config{};
  config.gridDimX = gridX;
  config.gridDimY = gridY;
  config.gridDimZ = gridZ;
  config.blockDimX = blockX;
  config.blockDimY = blockY;
  config.blockDimZ = blockZ;
  config.sharedMemBytes = sharedBytes;
  config.hStream = stream;
  return launchKernel(config, function, parameters, extra);
}

FOVEA_CUDA_API CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** parameters,
                                         void** extra) {
  return config ? launchKernel(*config, function, parameters, extra) : CUDA_ERROR_INVALID_VALUE;
}
