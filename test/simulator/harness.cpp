// Loading the simulator, running PTX, and the test program's main.
#include "harness.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#ifndef FOVEA_SIMULATOR_LIBRARY
#define FOVEA_SIMULATOR_LIBRARY "libfovea-cudasim.so"
#endif

namespace fovea::simulatorTest {

Driver driver;

namespace {

int failures = 0;
std::string runningTest;

[[noreturn]] void die(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::exit(2);
}

}  // namespace

void load(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) die(dlerror());
  const auto getProcAddress = reinterpret_cast<decltype(&::cuGetProcAddress)>(dlsym(library, "cuGetProcAddress_v2"));
  if (!getProcAddress) die("no cuGetProcAddress_v2 in " + path);
  const auto find = [&](const char* name) {
    void* function = nullptr;
    if (getProcAddress(name, &function, 12000, CU_GET_PROC_ADDRESS_DEFAULT, nullptr) || !function)
      die(std::string("no ") + name);
    return function;
  };
#define FOVEA_TEST_FIND(name) driver.name = reinterpret_cast<decltype(driver.name)>(find(#name));
  FOVEA_TEST_DRIVER(FOVEA_TEST_FIND)
#undef FOVEA_TEST_FIND
  const auto symbol = [&](auto& member, const char* name) {
    member = reinterpret_cast<std::remove_reference_t<decltype(member)>>(dlsym(library, name));
    if (!member) die(std::string("no ") + name);
  };
  symbol(driver.configure, "fovea_sim_configure");
  symbol(driver.reports, "fovea_sim_reports");
  symbol(driver.reportCount, "fovea_sim_report_count");
  symbol(driver.counters, "fovea_sim_counters");
  symbol(driver.clear, "fovea_sim_clear");
  driver.configure("FOVEA_SIM_QUIET", "1");
  if (driver.cuInit(0)) die("cuInit failed");
  CUcontext context = nullptr;
  if (driver.cuDevicePrimaryCtxRetain(&context, 0) || driver.cuCtxSetCurrent(context)) die("no context");
}

void expect(bool condition, const std::string& what) {
  if (condition) return;
  failures++;
  std::printf("FAIL %s: %s\n", runningTest.c_str(), what.c_str());
}

void expectSuccess(CUresult result, const std::string& what) {
  expect(result == CUDA_SUCCESS, what + " gave " + std::to_string(result));
}

std::string hexadecimal(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

std::string kernelText(const std::string& body, const std::string& declarations, const std::string& target) {
  const std::string map = target == "sm_90a" ? ", .param .align 64 .b8 map[128]) .maxnreg 64" : ")";
  return ".version 8.0\n.target " + target + "\n.address_size 64\n" + declarations +
         "\n.visible .entry test(.param .u64 in, .param .u64 out, .param .u32 n" + map + R"(
{
  .reg .pred %p<8>;
  .reg .b16 %h<32>;
  .reg .b32 %r<32>;
  .reg .f32 %f<32>;
  .reg .b64 %l<32>;
  ld.param.u64 %l30, [in];
  ld.param.u64 %l31, [out];
  ld.param.u32 %r31, [n];
  cvta.to.global.u64 %l30, %l30;
  cvta.to.global.u64 %l31, %l31;
  mov.u32 %r30, %tid.x;
)" + body +
         "\n  ret;\n}\n";
}

Outcome run(const Run& request) {
  Outcome outcome;
  driver.clear();
  CUmodule module = nullptr;
  outcome.loadResult = driver.cuModuleLoadData(&module, request.ptx.c_str());
  if (outcome.loadResult) return outcome;
  CUfunction function = nullptr;
  outcome.loadResult = driver.cuModuleGetFunction(&function, module, "test");
  if (outcome.loadResult) {
    driver.cuModuleUnload(module);
    return outcome;
  }
  CUdeviceptr in = 0, out = 0;
  const size_t inputBytes = std::max<size_t>(request.input.size() * 4, 4),
               outputBytes = std::max<size_t>(request.outputWords * 4, 4);
  expectSuccess(driver.cuMemAlloc(&in, inputBytes), "cuMemAlloc");
  expectSuccess(driver.cuMemAlloc(&out, outputBytes), "cuMemAlloc");
  if (!request.input.empty()) driver.cuMemcpyHtoD(in, request.input.data(), request.input.size() * 4);
  if (request.fillOutput) driver.cuMemsetD8(out, 0, outputBytes);
  if (request.shared > 48 * 1024)
    driver.cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                              static_cast<int>(request.shared));
  uint32_t n = request.n;
  alignas(64) CUtensorMap map{};
  if (request.encode) request.encode(in, out, map);
  void* parameters[] = {&in, &out, &n, &map};
  outcome.result = driver.cuLaunchKernel(function, request.grid, 1, 1, request.block, 1, 1, request.shared, nullptr,
                                         parameters, nullptr);
  if (!outcome.result) outcome.result = driver.cuCtxSynchronize();
  outcome.output.resize(request.outputWords);
  if (!outcome.result) driver.cuMemcpyDtoH(outcome.output.data(), out, request.outputWords * 4);
  outcome.reports = driver.reports();
  outcome.counters = driver.counters();
  if (outcome.result) {
    driver.cuDevicePrimaryCtxReset(0);
  } else {
    driver.cuMemFree(in);
    driver.cuMemFree(out);
  }
  driver.cuModuleUnload(module);
  return outcome;
}

uint64_t counter(const std::string& json, const std::string& name) {
  const size_t at = json.rfind("\"" + name + "\":");
  return at == std::string::npos ? ~0ull : std::strtoull(json.c_str() + at + name.size() + 3, nullptr, 10);
}

}  // namespace fovea::simulatorTest

// fovea-simulator-test [--library path] [part of a test's name]
int main(int argc, char** argv) {
  using namespace fovea::simulatorTest;
  std::string library = FOVEA_SIMULATOR_LIBRARY, filter;
  for (int i = 1; i < argc; i++) {
    if (std::strcmp(argv[i], "--library") == 0 && i + 1 < argc) {
      library = argv[++i];
    } else {
      filter = argv[i];
    }
  }
  load(library);
  int count = 0;
  for (const Test& test : tests()) {
    if (test.name.find(filter) == std::string::npos) continue;
    runningTest = test.name;
    test.run();
    count++;
  }
  std::printf("%d passed, %d failed\n", std::max(0, count - failures), failures);
  return failures != 0;
}
