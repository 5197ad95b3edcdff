// Images, limits, failures, injected and real.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "driver_helpers.h"

namespace fovea::simulatorTest {
namespace {

// clang-format off
const Register kFailures[] = {
    {"driver/a failed context stays failed until it is reset", [] {
       LoadedKernel bad(kernelText("ld.global.u32 %r0, [%l30+4096];"));
       Memory memory(4);
       CUdeviceptr other = 0;
       expectSuccess(bad.launch(memory.address, memory.address, 0), "launch");
       EXPECT_RESULT(cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED);
       EXPECT_RESULT(cuMemAlloc(&other, 4), CUDA_ERROR_LAUNCH_FAILED);
       EXPECT_RESULT(cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED);
       EXPECT_OK(cuDevicePrimaryCtxReset(0));
       EXPECT_OK(cuCtxSynchronize());
     }},
    {"driver/limits of a launch", [] {
       LoadedKernel add(kAdd);
       Memory memory(32);
       expectEqual<int>(add.launch(memory.address, memory.address, 0, nullptr, 0), CUDA_ERROR_INVALID_VALUE, "empty grid");
       expectEqual<int>(add.launch(memory.address, memory.address, 0, nullptr, 1, 1025), CUDA_ERROR_INVALID_VALUE, "1025 threads");
       expectEqual<int>(add.launch(memory.address, memory.address, 0, nullptr, 1, 32, 49 * 1024), CUDA_ERROR_INVALID_VALUE, "shared memory without opting in");
       EXPECT_OK(cuFuncSetAttribute(add.function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 160 * 1024));
       expectSuccess(add.launch(memory.address, memory.address, 0, nullptr, 1, 32, 160 * 1024), "opted in");
       EXPECT_RESULT(cuFuncSetAttribute(add.function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 164 * 1024), CUDA_ERROR_INVALID_VALUE);
       EXPECT_OK(cuCtxSynchronize());
     }},
    {"driver/compute capabilities", [] {
       const struct { const char* name; int shared; } machines[] = {{"7.5", 64 * 1024}, {"8.0", 163 * 1024}, {"8.6", 99 * 1024}, {"9.0", 227 * 1024}};
       for (const auto& machine : machines) {
         const Setting capability("FOVEA_SIM_COMPUTE_CAPABILITY", machine.name, "8.0");
         int value = 0, major = 0, minor = 0;
         EXPECT_OK(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 0));
         EXPECT_OK(cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0));
         EXPECT_OK(cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0));
         expectEqual(value, machine.shared, "shared memory");
         expectEqual<std::string::value_type>(static_cast<char>('0' + major), machine.name[0], "major");
         expectEqual<std::string::value_type>(static_cast<char>('0' + minor), machine.name[2], "minor");
       }
     }},
    {"driver/devices of several compute capabilities", [] {
       expectEqual(driver.configure("FOVEA_SIM_DEVICES", "2"), 0, "configure");
       EXPECT_OK(cuInit(0));
       const auto expectMajors = [](int first, int second) {
         for (const auto& [device, expected] : {std::pair{0, first}, {1, second}}) {
           int major = 0, shared = 0;
           EXPECT_OK(cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device));
           EXPECT_OK(cuDeviceGetAttribute(&shared, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device));
           expectEqual(major, expected, "major");
           expectEqual(shared, (expected == 9 ? 227 : 99) * 1024, "shared memory");
         }
       };
       CUcontext first = nullptr, second = nullptr;
       EXPECT_OK(cuCtxGetCurrent(&first));
       EXPECT_OK(cuDevicePrimaryCtxRetain(&second, 1));
       {
         const Setting capabilities("FOVEA_SIM_COMPUTE_CAPABILITY", "8.6,9.0", "8.0");
         expectMajors(8, 9);
         for (const CUcontext context : {first, second}) {
           EXPECT_OK(cuCtxSetCurrent(context));
           const bool isHopper = context == second;
           CUmodule module = nullptr;
           EXPECT_RESULT(cuModuleLoadData(&module, kernelText("", "", "sm_90a").c_str()), isHopper ? CUDA_SUCCESS : CUDA_ERROR_NO_BINARY_FOR_GPU);
           if (module) EXPECT_OK(cuModuleUnload(module));
           LoadedKernel add(kAdd);
           EXPECT_RESULT(cuFuncSetAttribute(add.function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 200 * 1024), isHopper ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
         }
       }
       {
         const Setting one("FOVEA_SIM_COMPUTE_CAPABILITY", "9.0", "8.0");
         expectMajors(9, 9);
       }
       EXPECT_OK(cuCtxSetCurrent(first));
       EXPECT_OK(cuDevicePrimaryCtxRelease(1));
       for (const char* wrong : {"", "8.0,", "8.7", "8.0 9.0"})
         expect(driver.configure("FOVEA_SIM_COMPUTE_CAPABILITY", wrong) != 0, wrong);
     }},
    {"driver/the stack of contexts", [] {
       expectEqual(driver.configure("FOVEA_SIM_DEVICES", "2"), 0, "configure");
       EXPECT_OK(cuInit(0));
       CUcontext first = nullptr, second = nullptr, top = nullptr;
       const auto expectTop = [&](CUcontext wanted, const char* when) {
         EXPECT_OK(cuCtxGetCurrent(&top));
         expect(top == wanted, when);
       };
       EXPECT_OK(cuCtxGetCurrent(&first));
       EXPECT_OK(cuDevicePrimaryCtxRetain(&second, 1));
       EXPECT_OK(cuCtxPushCurrent(second));
       expectTop(second, "pushed");
       EXPECT_OK(cuCtxPushCurrent(first));
       EXPECT_OK(cuCtxSetCurrent(second));
       expectTop(second, "the top replaced");
       EXPECT_OK(cuCtxPopCurrent(&top));
       expect(top == second, "what a pop hands out");
       expectTop(second, "the one below");
       EXPECT_OK(cuCtxSetCurrent(nullptr));
       expectTop(first, "no context instead of one takes it off");
       EXPECT_RESULT(cuCtxPushCurrent(nullptr), CUDA_ERROR_INVALID_CONTEXT);
       EXPECT_OK(cuCtxPopCurrent(&top));
       expectTop(nullptr, "none left");
       EXPECT_RESULT(cuCtxPopCurrent(&top), CUDA_ERROR_INVALID_CONTEXT);
       EXPECT_OK(cuCtxSetCurrent(first));
       expectTop(first, "set without any");
       EXPECT_OK(cuDevicePrimaryCtxRelease(1));
     }},
    {"driver/an old device runs no PTX of newer ones", [] {
       const Setting capability("FOVEA_SIM_COMPUTE_CAPABILITY", "7.5", "8.0");
       CUmodule module = nullptr;
       EXPECT_RESULT(cuModuleLoadData(&module, kernelText("").c_str()), CUDA_ERROR_NO_BINARY_FOR_GPU);
     }},
    {"driver/injected failure of cuInit", [] {
       const Setting failure("FOVEA_SIM_FAIL_INIT", "999", "0");
       EXPECT_RESULT(cuInit(0), CUDA_ERROR_UNKNOWN);
     }},
    {"driver/occupancy", [] {
       LoadedKernel add(kAdd);
       int blocks = 0;
       EXPECT_OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, add.function, 1024, 0));
       expectEqual(blocks, 2, "by threads");
       EXPECT_OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, add.function, 128, 40 * 1024));
       expectEqual(blocks, 4, "by shared memory");
     }},
    {"driver/images", [] {
       CUmodule module = nullptr;
       const char cubin[64] = "\x7f" "ELF";
       EXPECT_RESULT(cuModuleLoadData(&module, cubin), CUDA_ERROR_NO_BINARY_FOR_GPU);
       EXPECT_RESULT(cuModuleLoadData(&module, "nonsense"), CUDA_ERROR_INVALID_IMAGE);
       EXPECT_RESULT(cuModuleLoadData(&module, kernelText("", "", "sm_90").c_str()), CUDA_ERROR_NO_BINARY_FOR_GPU);
       EXPECT_RESULT(cuModuleLoadData(&module, kernelText("", "", "sm_90a").c_str()), CUDA_ERROR_NO_BINARY_FOR_GPU);
       {
         const Setting capability("FOVEA_SIM_COMPUTE_CAPABILITY", "9.0", "8.0");
         EXPECT_OK(cuModuleLoadData(&module, kernelText("", "", "sm_90a").c_str()));
       }
       CUfunction function = nullptr;
       EXPECT_RESULT(cuModuleGetFunction(&function, module, "missing"), CUDA_ERROR_NOT_FOUND);
       EXPECT_OK(cuModuleUnload(module));
     }},
    {"driver/an uncompressed fatbin", [] {
       // Header, then two PTX entries: sm_80 and sm_90.
       std::string fatbin;
       const auto put = [&](auto value) { fatbin.append(reinterpret_cast<const char*>(&value), sizeof value); };
       std::string entries;
       for (const char* target : {"sm_80", "sm_90"}) {
         std::string text = kernelText(std::string("mov.u32 %r0, ") + (target[3] == '8' ? "80" : "90") + "; st.global.u32 [%l31], %r0;", "", target);
         text.resize((text.size() / 8 + 1) * 8);
         fatbin.clear();
         put(uint16_t{1}); put(uint16_t{0x101}); put(uint32_t{64}); put(uint64_t{text.size()});
         put(uint32_t{0}); put(uint32_t{0}); put(uint32_t{0x90000}); put(static_cast<uint32_t>(std::atoi(target + 3)));
         put(uint64_t{0}); put(uint64_t{0x11}); put(uint64_t{0}); put(uint64_t{0});
         entries += fatbin + text;
       }
       fatbin.clear();
       put(uint32_t{0xba55ed50}); put(uint16_t{1}); put(uint16_t{16}); put(uint64_t{entries.size()});
       fatbin += entries;
       for (const char* capability : {"8.0", "8.6", "8.9", "9.0", "10.0", "12.0"}) {
         const Setting setting("FOVEA_SIM_COMPUTE_CAPABILITY", capability, "8.0");
         CUmodule module = nullptr;
         CUfunction function = nullptr;
         EXPECT_OK(cuModuleLoadData(&module, fatbin.data()));
         EXPECT_OK(cuModuleGetFunction(&function, module, "test"));
         Memory memory(4);
         uint32_t n = 0;
         void* parameters[] = {&memory.address, &memory.address, &n};
         EXPECT_OK(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, nullptr, parameters, nullptr));
         expectEqual<uint32_t>(memory.word(0), capability[0] == '8' ? 80 : 90, "the best PTX");
         EXPECT_OK(cuModuleUnload(module));
       }
     }},
    {"driver/a replaced image", [] {
       const std::string path = "/tmp/fovea-replacement-" + std::to_string(getpid()) + ".ptx";
       std::ofstream(path) << kernelText("mov.u32 %r0, 7; st.global.u32 [%l31], %r0;");
       Memory memory(32);
       {
         const Setting replacement("FOVEA_SIM_REPLACE", path.c_str(), "");
         LoadedKernel replaced(kAdd);
         expectSuccess(replaced.launch(memory.address, memory.address, 3), "launch");
         expectEqual<uint32_t>(memory.word(0), 7, "the file's kernel");
         std::string other = kAdd;
         other.replace(other.find("test("), 4, "more");
         CUmodule module = nullptr;
         CUfunction function = nullptr;
         EXPECT_OK(cuModuleLoadData(&module, other.c_str()));
         EXPECT_OK(cuModuleGetFunction(&function, module, "more"));
         EXPECT_OK(cuModuleUnload(module));
       }
       LoadedKernel own(kAdd);
       expectSuccess(own.launch(memory.address, memory.address, 3), "launch");
       expectEqual<uint32_t>(memory.word(0), 10, "its own kernel");
       std::remove(path.c_str());
     }},
    {"driver/injected allocation failure", [] {
       expectEqual(driver.configure("FOVEA_SIM_FAIL_ALLOCATION", "2"), 0, "configure");
       CUdeviceptr first = 0, second = 0;
       EXPECT_OK(cuMemAlloc(&first, 64));
       EXPECT_RESULT(cuMemAlloc(&second, 64), CUDA_ERROR_OUT_OF_MEMORY);
       EXPECT_OK(cuMemAlloc(&second, 64));
       EXPECT_OK(cuMemFree(first));
       EXPECT_OK(cuMemFree(second));
     }},
    {"driver/injected launch failure", [] {
       LoadedKernel add(kAdd);
       Memory memory(32);
       expectEqual(driver.configure("FOVEA_SIM_FAIL_LAUNCH", "2"), 0, "configure");
       expectSuccess(add.launch(memory.address, memory.address, 1), "first");
       EXPECT_OK(cuCtxSynchronize());
       expectSuccess(add.launch(memory.address, memory.address, 1), "second");
       EXPECT_RESULT(cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED);
       EXPECT_OK(cuDevicePrimaryCtxReset(0));
     }},
    {"driver/a second device, and losing it", [] {
       expectEqual(driver.configure("FOVEA_SIM_DEVICES", "2"), 0, "configure");
       EXPECT_OK(cuInit(0));
       int count = 0;
       EXPECT_OK(cuDeviceGetCount(&count));
       expectEqual(count, 2, "devices");
       CUcontext first = nullptr, second = nullptr;
       EXPECT_OK(cuCtxGetCurrent(&first));
       EXPECT_OK(cuDevicePrimaryCtxRetain(&second, 1));
       LoadedKernel here(kAdd);
       Memory memory(32);
       EXPECT_OK(cuCtxSetCurrent(second));
       {
         LoadedKernel there(kAdd);
         Memory other(32);
         expectEqual<int>(here.launch(memory.address, memory.address, 1), CUDA_ERROR_INVALID_HANDLE, "another context's kernel");
         int ordinal = -1;
         EXPECT_OK(cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, other.address));
         expectEqual(ordinal, 1, "ordinal");
         EXPECT_OK(cuMemcpyDtoDAsync(other.address, memory.address, 128, nullptr));
         EXPECT_OK(cuCtxSynchronize());
         expectEqual(driver.configure("FOVEA_SIM_LOSE_DEVICE", "1"), 0, "configure");
         expectSuccess(there.launch(other.address, other.address, 1), "launch");
         EXPECT_RESULT(cuCtxSynchronize(), CUDA_ERROR_ECC_UNCORRECTABLE);
         EXPECT_OK(cuDevicePrimaryCtxReset(1));
         EXPECT_RESULT(cuCtxSynchronize(), CUDA_ERROR_ECC_UNCORRECTABLE);
       }
       EXPECT_OK(cuCtxSetCurrent(first));
       expectSuccess(here.launch(memory.address, memory.address, 3), "launch");
       expectEqual<uint32_t>(memory.word(0), 3, "the other device works");
     }},
    {"driver/unknown settings are refused", [] {
       expectEqual(driver.configure("FOVEA_SIM_NONSENSE", "1"), 1, "unknown name");
       expectEqual(driver.configure("FOVEA_SIM_COMPLETION", "sometimes"), 1, "unknown value");
     }},
    {"driver/error names", [] {
       const char* name = nullptr;
       EXPECT_OK(cuGetErrorName(CUDA_ERROR_OUT_OF_MEMORY, &name));
       expect(std::string(name) == "CUDA_ERROR_OUT_OF_MEMORY", "name");
       EXPECT_RESULT(cuGetErrorName(static_cast<CUresult>(12345), &name), CUDA_ERROR_INVALID_VALUE);
     }},
};
// clang-format on

}  // namespace
}  // namespace fovea::simulatorTest
