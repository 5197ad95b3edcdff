// Nothing, or not everything, can be used, and fovea says what is missing and how to mend it.
#include <dlfcn.h>

#include "device_case.h"
#include "scenarios.h"

namespace fovea::test {
namespace {

/// No device opens, and the error has the same words.
void expectClosed(const std::vector<std::string>& parts) {
  try {
    cuda::open(0);
  } catch (const cuda::Error& error) {
    check(error.kind == cuda::ErrorKind::unavailable, error.what());
    return expectParts(error.what(), parts);
  }
  throw Failure("opened a device that is not there");
}

/// Nothing can be used, and the reason says what is missing and how to mend it.
void expectUnavailable(const std::vector<std::string>& parts) {
  expectParts(cuda::info().unavailable, parts);
  check(cuda::info().devices.empty(), "there are devices");
  expectClosed(parts);
}

void expectNoSystemDriver() {
  if (void* library = dlopen("libcuda.so.1", RTLD_LAZY)) {  // a machine that has one
    dlclose(library);
    return;
  }
  expectUnavailable({"no NVIDIA driver", "libcuda.so.1", "Install one", "in a container"});
}

/// The driver works, its device does not.
void expectOldDevice() {
  const cuda::Info info = cuda::info();
  check(info.unavailable.empty() && info.devices.size() == 1, info.unavailable);
  const std::vector<std::string> parts = {"compute capability is 7.5", "need 8.0", "Use a newer GPU"};
  expectParts(info.devices[0].unusable, parts);
  expectClosed(parts);
}

/// A call is refused, with a reason of these parts.
void expectRefused(const Case& about, const std::vector<std::string>& parts) {
  Tensors tensors(about);
  const auto stream = cuda::open(0);
  const cuda::Result result = cuda::run(*stream, tensors.problem(), cuda::plan(0, tensors.problem()), cuda::allOnHost);
  check(result.outcome == cuda::Outcome::failed, "expected a refusal");
  expectParts(result.message, parts);
}

void expectDone(const Case& about) {
  Tensors tensors(about);
  const auto stream = cuda::open(0);
  const cuda::Result result = cuda::run(*stream, tensors.problem(), cuda::plan(0, tensors.problem()), cuda::allOnHost);
  check(result.outcome == cuda::Outcome::done, result.message);
  const std::string wrong = compare(tensors.problem());
  check(wrong.empty(), wrong);
}

/// PTX of an older compute capability runs; Hopper's kernels, which are for that alone, are not chosen.
void expectNewDevice() {
  Case about;
  about.dtype = DType::float16, about.algorithm = Algorithm::tiled;
  const Tensors tensors(about);
  check(cuda::plan(0, tensors.problem()).sequences[0].kernel == Kernel::cudaTiled, "not the kernel for all GPUs");
  expectDone(about);
}

/// A driver without one function that only Hopper's kernels need.
void expectNoTensorMaps() {
  Case about;
  about.dtype = DType::float16, about.algorithm = Algorithm::tiled;
  expectRefused(about, {"has no cuTensorMapEncodeTiled", "Update it"});
  about.dtype = DType::float32;
  expectDone(about);
}

/// The first image that is loaded holds nothing for this GPU; the next does.
void expectNoImage() {
  expectRefused(Case{}, {"no image of kernel", "compute capability 8.0", "CUDA_ERROR_NO_BINARY_FOR_GPU",
                         "Build fovea again", "FOVEA_CUDA_ARCHS"});
  expectDone(Case{});
}

/// Another process owns the device, then not.
void expectNoContext() {
  expectClosed({"no context can be made", "CUDA_ERROR_DEVICE_UNAVAILABLE", "nvidia-smi"});
  cuda::open(0);
}

}  // namespace

void expectParts(const std::string& reason, const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    check(reason.find(part) != std::string::npos, "expected a reason with \"" + part + "\", got \"" + reason + "\"");
}

std::vector<Scenario> absenceScenarios() {
  return {
      {"no driver",
       {{"FOVEA_CUDA_DRIVER", "/nowhere/libcuda.so"}},
       [] {
         expectUnavailable({"FOVEA_CUDA_DRIVER", "/nowhere/libcuda.so", "cannot open", "unset it"});
       }},
      {"no system driver", {{"FOVEA_CUDA_DRIVER", ""}}, expectNoSystemDriver},
      {"old driver",
       {{"FOVEA_SIM_DRIVER_VERSION", "12040"}},
       [] {
         expectUnavailable({"too old", "CUDA 13.0 or newer", "Update it", "supports CUDA 12.4"});
       }},
      {"no device",
       {{"FOVEA_SIM_DEVICES", "0"}},
       [] {
         expectUnavailable({"finds no GPU", "CUDA_VISIBLE_DEVICES"});
       }},
      {"driver that does not start",
       {{"FOVEA_SIM_FAIL_INIT", "999"}},
       [] {
         expectUnavailable({"does not start", "CUDA_ERROR_UNKNOWN", "nvidia-smi"});
       }},
      {"old device", {{"FOVEA_SIM_COMPUTE_CAPABILITY", "7.5"}}, expectOldDevice},
      {"a library that is no driver",
       {{"FOVEA_CUDA_DRIVER", "libm.so.6"}},
       [] {
         expectUnavailable({"too old", "CUDA 13.0 or newer", "Update it", "has no cuGetProcAddress_v2"});
       }},
      {"driver without a function",
       {{"FOVEA_SIM_MISSING", "cuFuncLoad"}},
       [] {
         expectUnavailable({"too old", "CUDA 13.0 or newer", "Update it", "has no cuFuncLoad"});
       }},
      {"driver without tensor maps",
       {{"FOVEA_SIM_COMPUTE_CAPABILITY", "9.0"}, {"FOVEA_SIM_MISSING", "cuTensorMapEncodeTiled"}},
       expectNoTensorMaps},
      {"a device newer than the kernels", {{"FOVEA_SIM_COMPUTE_CAPABILITY", "10.0"}}, expectNewDevice},
      {"no image for this GPU",
       {{"FOVEA_SIM_COMPUTE_CAPABILITY", "8.0"}, {"FOVEA_SIM_FAIL_CALL", "cuModuleLoadDataEx:1:209"}},
       expectNoImage},
      {"a device that another process owns",
       {{"FOVEA_SIM_FAIL_CALL", "cuDevicePrimaryCtxRetain:1:46"}},
       expectNoContext},
  };
}

}  // namespace fovea::test
