// What works until it fails: memory, launches, any function of the driver, devices.
#include <dlfcn.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <system_error>

#include "counters.h"
#include "device_case.h"
#include "scenarios.h"

namespace fovea::test {
namespace {

/// Every tile fits into the 99 KB of shared memory that a thread block of a consumer GPU has, and is right there.
void expectSmallTiles() {
  const Counters counters;
  for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16})
    for (const int dims : {64, 128, 256}) {
      Case about;
      about.algorithm = Algorithm::tiled;
      about.dtype = dtype;
      about.heads = 6, about.kvHeads = 2, about.causal = true, about.weights = true;
      about.queryLengths = {50}, about.keyLengths = {140};
      about.headDim = about.valueDim = dims;
      Tensors tensors(about);
      const auto stream = cuda::open(0);
      const cuda::Result result =
          cuda::run(*stream, tensors.problem(), cuda::plan(0, tensors.problem()), cuda::allOnHost);
      check(result.outcome == cuda::Outcome::done, result.message);
      const std::string wrong = compare(tensors.problem());
      check(wrong.empty(), wrong);
    }
  double most = 0;
  for (const CountedLaunch& launch : counters.launches()) most = std::max(most, launch.number("sharedBytes"));
  check(most > 90000 && most <= 101376, std::to_string(most) + " bytes of shared memory");
}

cuda::Result attend(cuda::Stream& stream, int device = 0, int length = 20) {
  Case about;
  about.algorithm = Algorithm::standard;  // takes memory for its scores
  about.queryLengths = about.keyLengths = {length};
  Tensors tensors(about);
  const cuda::Result result =
      cuda::run(stream, tensors.problem(), cuda::plan(device, tensors.problem()), cuda::allOnHost);
  if (result.outcome == cuda::Outcome::done) {
    const std::string wrong = compare(tensors.problem());
    check(wrong.empty(), wrong);
  }
  return result;
}

void expectDone(const cuda::Result& result) {
  check(result.outcome == cuda::Outcome::done, "expected it to work: " + result.message);
}

void expectOutcome(const cuda::Result& result, cuda::Outcome outcome) {
  check(result.outcome == outcome && !result.message.empty(), "expected outcome " + std::to_string(int(outcome)) +
                                                                  ", got " + std::to_string(int(result.outcome)) +
                                                                  ": " + result.message);
}

/// One device's memory is not another's.
void expectOwnMemory() {
  const auto stream = cuda::open(0), other = cuda::open(1);
  const auto buffer = cuda::allocate(*other, 4096);
  check(cuda::address(*cuda::adopt(*other, cuda::address(*buffer), 4096)) == cuda::address(*buffer), "another address");
  try {
    cuda::adopt(*stream, cuda::address(*buffer), 4096);
  } catch (const cuda::Error& error) {
    return expectParts(error.what(), {"4096 bytes of memory of cuda:0", "got memory of cuda:1"});
  }
  throw Failure("adopted another device's memory");
}

void expectLost(const std::function<void()>& use) {
  try {
    use();
  } catch (const cuda::Error& error) {
    check(error.kind == cuda::ErrorKind::lost, error.what());
    return;
  }
  throw Failure("a lost device was used");
}

/// One of the simulator's settings, from now on.
void configure(const std::string& name, const std::string& value) {
  void* library = dlopen(cuda::driver().path.c_str(), RTLD_NOW | RTLD_NOLOAD);
  const auto set = reinterpret_cast<int (*)(const char*, const char*)>(dlsym(library, "fovea_sim_configure"));
  check(set(name.c_str(), value.c_str()) == 0, "no such setting: " + name + "=" + value);
}

/// Functions of the driver that a process's first call on a device uses, in the order of their first use.
const std::vector<std::string> usedCalls{
    "cuStreamCreate", "cuEventCreate",      "cuMemAllocFromPoolAsync", "cuMemHostAlloc", "cuMemcpyHtoDAsync",
    "cuEventRecord",  "cuModuleLoadDataEx", "cuModuleGetFunction",     "cuFuncLoad",     "cuFuncSetAttribute",
    "cuLaunchKernel", "cuEventSynchronize", "cuMemcpyDtoHAsync"};
constexpr int failedCalls = 3;  // of each function: the first, the second, ...

/// Each function fails once, on a device of its own, with an error that does not last: the call is rejected, nothing
/// is left behind, and the next works.
void expectEveryCallMayFail(CUresult error, cuda::Outcome outcome) {
  const Counters counters;
  int device = 0, rejected = 0;
  for (const std::string& function : usedCalls)
    for (int nth = 1; nth <= failedCalls; nth++, device++) {
      cuda::Device::get(device);  // its context
      configure("FOVEA_SIM_FAIL_CALL", function + ":" + std::to_string(nth) + ":" + std::to_string(error));
      counters.clear();
      std::shared_ptr<cuda::Stream> stream;
      try {
        stream = cuda::open(device);
        const cuda::Result result = attend(*stream, device);
        if (result.outcome != cuda::Outcome::done) {
          expectOutcome(result, outcome);
          const bool namesImages = result.message.find("FOVEA_CUDA_ARCHS") != std::string::npos;
          check(outcome != cuda::Outcome::outOfMemory || !namesImages, "lack of memory is mended by no build");
          rejected++;
          // Kernels are loaded before anything is enqueued that would wait for them.
          const bool loads = function.find("Func") != std::string::npos;
          check(!loads || counters.launches().empty(), function + " failed after a launch");
        }
      } catch (const cuda::Error& thrown) {
        const bool expected = thrown.kind == (outcome == cuda::Outcome::outOfMemory ? cuda::ErrorKind::outOfMemory
                                                                                    : cuda::ErrorKind::failed);
        check(expected && function == "cuStreamCreate", function + ": " + thrown.what());
        rejected++;
      }
      configure("FOVEA_SIM_FAIL_CALL", "none:0:0");
      stream = cuda::open(device);
      expectDone(attend(*stream, device));
      check(cuda::memory(device)->tensors == 0, function + " left memory behind");
    }
  check(rejected > 2 * int(usedCalls.size()), "only " + std::to_string(rejected) + " calls failed");
}

/// Errors after which a context answers nothing else.
const std::vector<CUresult> lastingErrors{CUDA_ERROR_DEVICE_UNAVAILABLE,   CUDA_ERROR_ECC_UNCORRECTABLE,
                                          CUDA_ERROR_NVLINK_UNCORRECTABLE, CUDA_ERROR_CONTAINED,
                                          CUDA_ERROR_ILLEGAL_ADDRESS,      CUDA_ERROR_LAUNCH_TIMEOUT,
                                          CUDA_ERROR_CONTEXT_IS_DESTROYED, CUDA_ERROR_ASSERT,
                                          CUDA_ERROR_HARDWARE_STACK_ERROR, CUDA_ERROR_ILLEGAL_INSTRUCTION,
                                          CUDA_ERROR_MISALIGNED_ADDRESS,   CUDA_ERROR_INVALID_ADDRESS_SPACE,
                                          CUDA_ERROR_INVALID_PC,           CUDA_ERROR_LAUNCH_FAILED,
                                          CUDA_ERROR_TENSOR_MEMORY_LEAK,   CUDA_ERROR_MPS_CLIENT_TERMINATED,
                                          CUDA_ERROR_EXTERNAL_DEVICE,      CUDA_ERROR_UNKNOWN};

/// Each loses the device on which it happens, and no other.
void expectLosses() {
  for (int device = 0; device < int(lastingErrors.size()); device++) {
    const auto stream = cuda::open(device);
    configure("FOVEA_SIM_LOSE_DEVICE", "1:" + std::to_string(lastingErrors[size_t(device)]));
    const cuda::Result result = attend(*stream, device);
    expectOutcome(result, cuda::Outcome::deviceLost);
    expectParts(result.message, {"cuda:" + std::to_string(device), "lost to this process"});
    expectLost([&] { cuda::open(device); });
  }
}

/// What one stream frees is there for another, though nobody waited for it.
void expectFreedElsewhere() {
  const auto stream = cuda::open(0), other = cuda::open(0);
  constexpr int64_t most = int64_t{20} << 20;
  for (int i = 0; i < 4; i++) {
    cuda::allocate(i % 2 == 0 ? *stream : *other, most);
    check(cuda::memory(0)->tensors == 0, "memory is left behind");
  }
}

/// What no device can hold is refused without asking the driver, which would wait for all work first.
void expectTooMuch() {
  const auto stream = cuda::open(0);
  configure("FOVEA_SIM_FAIL_CALL", "cuMemAllocFromPoolAsync:1:" + std::to_string(CUDA_ERROR_INVALID_VALUE));
  try {
    cuda::allocate(*stream, int64_t{1} << 45);
  } catch (const cuda::Error& error) {
    check(error.kind == cuda::ErrorKind::outOfMemory, error.what());
    return expectParts(error.what(), {"cuda:0", "35184372088832 bytes", "out of memory"});
  }
  throw Failure("allocated more than there is");
}

/// A process that may start one more thread, of the two that a stream has.
[[maybe_unused]] void expectNoThread() {
  cuda::Device::get(0);
  constexpr size_t stackBytes = size_t{64} << 20;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, stackBytes);
  pthread_setattr_default_np(&attributes);
  size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  rlimit limit{};
  getrlimit(RLIMIT_AS, &limit);
  const rlimit tight{pages * size_t(sysconf(_SC_PAGESIZE)) + stackBytes * 3 / 2, limit.rlim_max};
  setrlimit(RLIMIT_AS, &tight);
  bool opened = true;
  try {
    cuda::open(0);
  } catch (const std::system_error&) {
    opened = false;
  }
  setrlimit(RLIMIT_AS, &limit);
  check(!opened, "two threads were started");
  expectDone(attend(*cuda::open(0)));
}

/// Without pools memory is allocated and freed at once.
void expectNoPools() {
  const auto stream = cuda::open(0);
  check(!cuda::info().devices[0].memoryPools && !stream->device().pool(), "there is a pool");
  for (int i = 0; i < 2; i++) expectDone(attend(*stream));
  expectOutcome(attend(*stream, 0, 4000), cuda::Outcome::outOfMemory);
  expectDone(attend(*stream));
  check(cuda::memory(0)->tensors == 0, "memory is left behind");
  const int64_t free = cuda::memory(0)->free;
  cuda::allocate(*stream, 1 << 20);
  check(cuda::memory(0)->free == free, "memory is not given back");
}

/// What a read returns is what was there when it was called, whatever is written there at once; `extra` bytes of the
/// device are taken.
void expectReadsInOrder(int64_t extra) {
  const auto stream = cuda::open(0);
  constexpr int64_t bytes = int64_t{24} << 20;  // many chunks of staging memory
  const auto buffer = cuda::allocate(*stream, bytes), filler = cuda::allocate(*stream, extra);
  const std::vector<uint8_t> written(bytes, 7);
  std::vector<uint8_t> result(bytes, 1);
  for (int i = 0; i < 4; i++) {
    cuda::writeNow(*stream, cuda::address(*buffer), written.data(), bytes);
    finish([&](cuda::Settled settled) {
      const auto execution = cuda::read(*stream, cuda::address(*buffer), result.data(), bytes, std::move(settled));
      cuda::clear(*stream, cuda::address(*buffer), bytes);
      return execution;
    });
    check(result == written, "a later call's zeros were read");
    std::fill(result.begin(), result.end(), uint8_t{1});
  }
  finish([&](cuda::Settled settled) {
    return cuda::read(*stream, cuda::address(*buffer), result.data(), bytes, std::move(settled));
  });
  check(result == std::vector<uint8_t>(bytes), "not cleared");
  check(cuda::memory(0)->tensors == bytes + extra, "a read leaves memory behind");
}

}  // namespace

std::vector<Scenario> faultScenarios() {
  const std::string devices = std::to_string(int(usedCalls.size()) * failedCalls);
  std::vector<Scenario> scenarios{
      {"memory of another device", {{"FOVEA_SIM_DEVICES", "2"}}, expectOwnMemory},
      {"compute capability 8.6", {{"FOVEA_SIM_COMPUTE_CAPABILITY", "8.6"}}, expectSmallTiles},
      {"out of memory",
       {{"FOVEA_SIM_MEMORY", "33554432"}},
       [] {
         const auto stream = cuda::open(0);
         expectDone(attend(*stream));
         expectOutcome(attend(*stream, 0, 4000), cuda::Outcome::outOfMemory);
         expectDone(attend(*stream));
         check(cuda::memory(0)->tensors == 0, "the failed call left memory behind");
       }},
      {"more memory than there is", {{"FOVEA_SIM_MEMORY", "33554432"}}, expectTooMuch},
      {"memory that another stream frees", {{"FOVEA_SIM_MEMORY", "33554432"}}, expectFreedElsewhere},
      {"a read before a call that writes", {{"FOVEA_SIM_COMPLETION", "random"}}, [] { expectReadsInOrder(1); }},
      {"a read before a call that writes, completed early",
       {{"FOVEA_SIM_COMPLETION", "early"}},
       [] { expectReadsInOrder(1); }},
      {"a read from a full device",
       {{"FOVEA_SIM_COMPLETION", "random"}, {"FOVEA_SIM_MEMORY", "33554432"}},
       [] { expectReadsInOrder(4 << 20); }},
      {"failing allocation",
       {{"FOVEA_SIM_FAIL_ALLOCATION", "2"}},
       [] {
         const auto stream = cuda::open(0);
         for (int i = 0; i < 3; i++) {
           const cuda::Result result = attend(*stream);
           if (result.outcome != cuda::Outcome::done) expectOutcome(result, cuda::Outcome::outOfMemory);
         }
         expectDone(attend(*stream));
       }},
      {"failing launch",
       {{"FOVEA_SIM_FAIL_LAUNCH", "2"}},
       [] {
         const auto stream = cuda::open(0);
         const cuda::Result result = attend(*stream);
         check(result.outcome != cuda::Outcome::done && !result.message.empty(), "a failed launch went unnoticed");
       }},
      {"lost device",
       {{"FOVEA_SIM_LOSE_DEVICE", "2"}, {"FOVEA_SIM_DEVICES", "2"}},
       [] {
         const auto stream = cuda::open(0), other = cuda::open(1);
         const auto buffer = cuda::allocate(*stream, 1000);
         Tensors tensors{Case{}};
         const Plan plan = cuda::plan(0, tensors.problem());
         for (int i = 0; i < 2; i++)
           expectOutcome(cuda::run(*stream, tensors.problem(), plan, cuda::allOnHost), cuda::Outcome::deviceLost);
         expectLost([&] { cuda::plan(0, tensors.problem()); });
         expectLost([&] { cuda::open(0); });
         expectLost([&] { cuda::allocate(*stream, 1000); });
         expectDone(attend(*other, 1));
       }},
      {"no memory pools", {{"FOVEA_SIM_MEMORY_POOLS", "0"}, {"FOVEA_SIM_MEMORY", "33554432"}}, expectNoPools},
      {"out of memory in any call of the driver",
       {{"FOVEA_SIM_DEVICES", devices}},
       [] { expectEveryCallMayFail(CUDA_ERROR_OUT_OF_MEMORY, cuda::Outcome::outOfMemory); }},
      {"any call of the driver refused",
       {{"FOVEA_SIM_DEVICES", devices}},
       [] { expectEveryCallMayFail(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, cuda::Outcome::failed); }},
      {"errors that lose a device",
       {{"FOVEA_SIM_DEVICES", std::to_string(lastingErrors.size())}, {"FOVEA_SIM_QUIET", "1"}},
       expectLosses},
  };
#ifndef FOVEA_HOST_TESTS  // sanitizers need address space themselves
  scenarios.push_back({"no thread for a stream", {}, expectNoThread});
#endif
  return scenarios;
}

}  // namespace fovea::test
