#include "driver.h"

#include <dlfcn.h>

#include <cstdlib>

namespace fovea::cuda {
namespace {

constexpr const char* systemDriver = "libcuda.so.1";
/// The kernels' machine code needs a driver of the same major version as the compiler that made it.
constexpr int minimumVersion = CUDA_VERSION / 1000 * 1000;

std::string versionText(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace

Driver::Driver() { unavailable = load(); }

std::string Driver::load() {
  const char* named = std::getenv("FOVEA_CUDA_DRIVER");
  path = named && *named ? named : systemDriver;
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* reason = dlerror();
    if (path == systemDriver)
      return std::string("no NVIDIA driver: ") + reason +
             ". Install one to use a GPU; in a container, start it with the NVIDIA Container Toolkit (--gpus all).";
    return "FOVEA_CUDA_DRIVER names \"" + path + "\", which does not load: " + reason +
           ". Name a CUDA driver library, or unset it to use the system's.";
  }
  const std::string tooOld = "the NVIDIA driver is too old: this build needs one for CUDA " +
                             versionText(minimumVersion) + " or newer. Update it.";
  getProcAddress_ = reinterpret_cast<PFN_cuGetProcAddress_v12000>(dlsym(library, "cuGetProcAddress_v2"));
  if (!getProcAddress_) return tooOld + " (It has no cuGetProcAddress_v2.)";

#define FOVEA_LOAD(name, since)                                       \
  name = reinterpret_cast<PFN_##name##_v##since>(find(#name, since)); \
  if (!name) return tooOld + " (It has no " #name ".)";
  FOVEA_DRIVER_FUNCTIONS(FOVEA_LOAD)
#undef FOVEA_LOAD

  const CUresult result = cuInit(0);
  int devices = 0;
  if (result == CUDA_ERROR_NO_DEVICE ||
      (result == CUDA_SUCCESS && cuDeviceGetCount(&devices) == CUDA_SUCCESS && !devices))
    return "the NVIDIA driver finds no GPU. If this machine has one, see whether CUDA_VISIBLE_DEVICES or the container "
           "hides it.";
  if (result != CUDA_SUCCESS)
    return "the NVIDIA driver does not start: " + describe(result) +
           ". Run nvidia-smi: if it fails too, restart the machine or install the driver again.";
  if (cuDriverGetVersion(&version) != CUDA_SUCCESS || version < minimumVersion)
    return tooOld + " (It supports CUDA " + versionText(version) + ".)";
  return {};
}

void* Driver::find(const char* name, int since) const {
  void* function = nullptr;
  CUdriverProcAddressQueryResult found{};
  if (!getProcAddress_ || getProcAddress_(name, &function, since, CU_GET_PROC_ADDRESS_DEFAULT, &found) != CUDA_SUCCESS)
    return nullptr;
  return function;
}

std::string Driver::describe(CUresult result) const {
  const char *name = nullptr, *text = nullptr;
  if (cuGetErrorName) cuGetErrorName(result, &name);
  if (cuGetErrorString) cuGetErrorString(result, &text);
  std::string description = name ? name : "CUDA error " + std::to_string(result);
  if (text) description += std::string(": ") + text;
  return description;
}

const Driver& driver() {
  static const Driver* loaded = new Driver;  // never destroyed: threads may outlive static objects
  return *loaded;
}

}  // namespace fovea::cuda
