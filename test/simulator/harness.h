// Runs hand-written PTX through the simulator's driver ABI. The program loads the library at run time, so it tests what
// any other host program would see.
#pragma once

#include <cuda.h>

#include <bit>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace fovea::simulatorTest {

// The driver functions the tests call, found with cuGetProcAddress and dlsym.
#define FOVEA_TEST_DRIVER(X)                                                                                          \
  X(cuInit)                                                                                                           \
  X(cuDriverGetVersion)                                                                                               \
  X(cuDeviceGet)                                                                                                      \
  X(cuDeviceGetCount)                                                                                                 \
  X(cuDeviceGetName)                                                                                                  \
  X(cuDeviceGetAttribute) X(cuDevicePrimaryCtxRetain) X(cuDevicePrimaryCtxRelease) X(cuDevicePrimaryCtxReset)         \
      X(cuCtxSetCurrent) X(cuCtxGetCurrent) X(cuCtxSynchronize) X(cuCtxPushCurrent) X(cuCtxPopCurrent)                \
          X(cuModuleLoadData) X(cuModuleUnload) X(cuModuleGetFunction) X(cuModuleGetGlobal) X(cuFuncGetAttribute)     \
              X(cuFuncSetAttribute) X(cuLaunchKernel) X(cuMemAlloc) X(cuMemFree) X(cuMemAllocAsync) X(cuMemFreeAsync) \
                  X(cuMemAllocHost) X(cuMemFreeHost) X(cuMemHostRegister) X(cuMemHostUnregister) X(cuMemcpyHtoD)      \
                      X(cuMemcpyDtoH) X(cuMemcpyHtoDAsync) X(cuMemcpyDtoHAsync) X(cuMemcpyDtoDAsync)                  \
                          X(cuMemcpy2DAsync) X(cuMemsetD8) X(cuMemsetD32) X(cuMemsetD32Async) X(cuMemGetInfo)         \
                              X(cuPointerGetAttribute) X(cuStreamCreate) X(cuStreamDestroy) X(cuStreamSynchronize)    \
                                  X(cuStreamQuery) X(cuStreamWaitEvent) X(cuLaunchHostFunc) X(cuStreamBeginCapture)   \
                                      X(cuStreamEndCapture) X(cuEventCreate) X(cuEventDestroy) X(cuEventRecord)       \
                                          X(cuEventQuery) X(cuEventSynchronize) X(cuEventElapsedTime)                 \
                                              X(cuGraphInstantiateWithFlags) X(cuGraphLaunch) X(cuGraphExecDestroy)   \
                                                  X(cuGraphDestroy) X(cuOccupancyMaxActiveBlocksPerMultiprocessor)    \
                                                      X(cuGetErrorName) X(cuGetErrorString)                           \
                                                          X(cuDeviceGetDefaultMemPool) X(cuMemPoolTrimTo)             \
                                                              X(cuTensorMapEncodeTiled)

struct Driver {
#define FOVEA_TEST_MEMBER(name) decltype(&::name) name = nullptr;
  FOVEA_TEST_DRIVER(FOVEA_TEST_MEMBER)
#undef FOVEA_TEST_MEMBER
  int (*configure)(const char*, const char*) = nullptr;
  const char* (*reports)() = nullptr;
  int (*reportCount)() = nullptr;
  const char* (*counters)() = nullptr;
  void (*clear)() = nullptr;
};
extern Driver driver;

// Loads the library, finds every function, makes a context current. Exits the program when that fails.
void load(const std::string& library);

// ---------------------------------------------------------------------------------------------- checks

// Counts a failure of the running test unless `condition` holds.
void expect(bool condition, const std::string& what);
template <class T>
void expectEqual(const T& actual, const T& expected, const std::string& what) {
  expect(actual == expected, what + ": got " + std::to_string(actual) + ", expected " + std::to_string(expected));
}
std::string hexadecimal(uint64_t value);
void expectSuccess(CUresult result, const std::string& what);

struct Test {
  std::string name;
  std::function<void()> run;
};
std::vector<Test>& tests();
struct Register {
  Register(const std::string& name, std::function<void()> run) { tests().push_back({name, std::move(run)}); }
};

// ---------------------------------------------------------------------------------------------- running PTX

// Wraps declarations and statements of a kernel "test" into a PTX module. Registers %r0-31 (b32), %f0-31 (f32),
// %h0-31 (b16), %l0-31 (b64), %p0-7; parameters in, out (u64) and n (u32), loaded into %l30, %l31 and %r31; %r30 holds
// %tid.x. A kernel for sm_90a has 64 registers and a fourth parameter, map: what Run::encode makes.
std::string kernelText(const std::string& body, const std::string& declarations = "",
                       const std::string& target = "sm_80");

struct Run {
  std::string ptx;  // module text with a kernel "test"
  std::vector<uint32_t> input;
  size_t outputWords = 32;
  unsigned grid = 1, block = 32, shared = 0;
  uint32_t n = 0;
  bool fillOutput = true;  // with zeros; otherwise it stays uninitialised
  std::function<void(CUdeviceptr in, CUdeviceptr out, CUtensorMap& map)> encode = nullptr;
};
struct Outcome {
  CUresult loadResult = CUDA_SUCCESS;
  CUresult result = CUDA_SUCCESS;  // of launch and synchronisation
  std::vector<uint32_t> output;
  std::string reports;
  std::string counters;
};
// Runs the kernel on a fresh context state; a failed context is reset afterwards.
Outcome run(const Run& request);
// The value of a counter in the last launch of the text.
uint64_t counter(const std::string& json, const std::string& name);

// Restores a setting when it goes out of scope.
class Setting {
 public:
  Setting(const char* name, const char* value, const char* restored) : name_(name), restored_(restored) {
    expect(driver.configure(name, value) == 0, std::string("configure ") + name);
  }
  ~Setting() { driver.configure(name_, restored_); }

 private:
  const char *name_, *restored_;
};

constexpr uint32_t F(float value) { return std::bit_cast<uint32_t>(value); }
constexpr uint64_t D(double value) { return std::bit_cast<uint64_t>(value); }
constexpr uint32_t kNan = 0x7fffffffu;
constexpr uint32_t kInfinity = 0x7f800000u;

}  // namespace fovea::simulatorTest
