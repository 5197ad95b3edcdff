// Small owners of driver objects, and the kernel that the driver tests launch.
#pragma once

#include <string>

#include "harness.h"

namespace fovea::simulatorTest {

#define EXPECT_OK(call) expectSuccess(driver.call, #call)
#define EXPECT_RESULT(call, wanted) expectEqual<int>(driver.call, wanted, #call)

// out[i] = in[i] + n
inline const std::string kAdd =
    kernelText(R"(mov.u32 %r0, %ctaid.x; mov.u32 %r1, %ntid.x; mad.lo.u32 %r0, %r0, %r1, %r30;
  mul.wide.u32 %l1, %r0, 4; add.u64 %l2, %l30, %l1; add.u64 %l3, %l31, %l1; ld.global.u32 %r2, [%l2]; add.u32 %r2, %r2, %r31; st.global.u32 [%l3], %r2;)");

struct LoadedKernel {
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  explicit LoadedKernel(const std::string& text) {
    EXPECT_OK(cuModuleLoadData(&module, text.c_str()));
    EXPECT_OK(cuModuleGetFunction(&function, module, "test"));
  }
  ~LoadedKernel() { driver.cuModuleUnload(module); }
  CUresult launch(CUdeviceptr in, CUdeviceptr out, uint32_t n, CUstream stream = nullptr, unsigned grid = 1,
                  unsigned block = 32, unsigned shared = 0) {
    void* parameters[] = {&in, &out, &n};
    return driver.cuLaunchKernel(function, grid, 1, 1, block, 1, 1, shared, stream, parameters, nullptr);
  }
};
struct Memory {
  CUdeviceptr address = 0;
  explicit Memory(size_t words) {
    EXPECT_OK(cuMemAlloc(&address, words * 4));
    EXPECT_OK(cuMemsetD32(address, 0, words));
  }
  ~Memory() { driver.cuMemFree(address); }
  uint32_t word(size_t index) const {
    uint32_t value = 0;
    EXPECT_OK(cuMemcpyDtoH(&value, address + 4 * index, 4));
    return value;
  }
};
struct StreamHandle {
  CUstream stream = nullptr;
  explicit StreamHandle(unsigned flags = CU_STREAM_NON_BLOCKING) { EXPECT_OK(cuStreamCreate(&stream, flags)); }
  ~StreamHandle() { driver.cuStreamDestroy(stream); }
};
struct EventHandle {
  CUevent event = nullptr;
  explicit EventHandle(unsigned flags = CU_EVENT_DEFAULT) { EXPECT_OK(cuEventCreate(&event, flags)); }
  ~EventHandle() { driver.cuEventDestroy(event); }
};

template <class F>
void inEachMode(F f) {
  for (const char* mode : {"early", "late", "random"}) {
    const Setting completion("FOVEA_SIM_COMPLETION", mode, "late");
    f();
  }
}

}  // namespace fovea::simulatorTest
