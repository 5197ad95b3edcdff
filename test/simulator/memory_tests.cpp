// Device memory, pools, pinned host memory, copies.
#include <atomic>
#include <cstdio>
#include <thread>

#include "driver_helpers.h"

namespace fovea::simulatorTest {
namespace {

// clang-format off
const Register kMemory[] = {
    {"driver/stream-ordered allocation", [] {
       inEachMode([] {
         LoadedKernel add(kAdd);
         StreamHandle stream;
         CUdeviceptr address = 0;
         EXPECT_OK(cuMemAllocAsync(&address, 128, stream.stream));
         EXPECT_OK(cuMemsetD32Async(address, 5, 32, stream.stream));
         expectSuccess(add.launch(address, address, 1, stream.stream), "launch");
         uint32_t value = 0;
         EXPECT_OK(cuMemcpyDtoHAsync(&value, address, 4, stream.stream));
         EXPECT_OK(cuMemFreeAsync(address, stream.stream));
         EXPECT_OK(cuStreamSynchronize(stream.stream));
         expectEqual<uint32_t>(value, 6, "value");
         EXPECT_RESULT(cuMemFree(address), CUDA_ERROR_INVALID_VALUE);
       });
     }},
    {"driver/use before allocation in stream order", [] {
       LoadedKernel add(kAdd);
       StreamHandle owner, other;
       CUdeviceptr address = 0;
       driver.clear();
       EXPECT_OK(cuMemAllocAsync(&address, 128, owner.stream));
       expectSuccess(add.launch(address, address, 1, other.stream), "launch");
       EXPECT_RESULT(cuStreamSynchronize(other.stream), CUDA_ERROR_LAUNCH_FAILED);
       expect(std::string(driver.reports()).find("cuMemAllocAsync") != std::string::npos, driver.reports());
       EXPECT_OK(cuDevicePrimaryCtxReset(0));
     }},
    {"driver/memory limit", [] {
       const Setting limit("FOVEA_SIM_MEMORY", "1M", "16G");
       size_t free = 0, total = 0;
       EXPECT_OK(cuMemGetInfo(&free, &total));
       expectEqual<size_t>(total, 1 << 20, "total");
       CUdeviceptr first = 0, second = 0;
       EXPECT_OK(cuMemAlloc(&first, 700 << 10));
       EXPECT_RESULT(cuMemAlloc(&second, 700 << 10), CUDA_ERROR_OUT_OF_MEMORY);
       EXPECT_OK(cuMemFree(first));
       EXPECT_OK(cuMemAlloc(&second, 700 << 10));
       EXPECT_OK(cuMemFree(second));
     }},
    {"driver/memory freed in a stream's order", [] {
       const Setting limit("FOVEA_SIM_MEMORY", "1M", "16G");
       StreamHandle owner, other;
       std::atomic<bool> goesOn{false};
       CUdeviceptr first = 0, second = 0;
       EXPECT_OK(cuMemAllocAsync(&first, 700 << 10, owner.stream));
       const auto wait = [](void* flag) { while (!*static_cast<std::atomic<bool>*>(flag)) std::this_thread::yield(); };
       EXPECT_OK(cuLaunchHostFunc(owner.stream, wait, &goesOn));
       EXPECT_OK(cuMemFreeAsync(first, owner.stream));
       EXPECT_RESULT(cuMemAllocAsync(&second, 700 << 10, other.stream), CUDA_ERROR_OUT_OF_MEMORY);
       goesOn = true;
       EXPECT_OK(cuMemAllocAsync(&second, 700 << 10, owner.stream));
       EXPECT_OK(cuMemFreeAsync(second, owner.stream));
       EXPECT_OK(cuCtxSynchronize());
       EXPECT_OK(cuMemAllocAsync(&first, 700 << 10, other.stream));
       EXPECT_OK(cuMemFreeAsync(first, other.stream));
     }},
    {"driver/large memory costs nothing until it is used", [] {
       const auto resident = [] {
         long pages = 0;
         std::FILE* file = std::fopen("/proc/self/statm", "r");
         expect(file && std::fscanf(file, "%*s %ld", &pages) == 1, "statm");
         std::fclose(file);
         return pages * 4096;
       };
       const long before = resident();
       const size_t bytes = size_t{3} << 30;
       CUdeviceptr address = 0;
       EXPECT_OK(cuMemAlloc(&address, bytes));
       uint32_t last = 0, set = 7;
       EXPECT_OK(cuMemcpyDtoH(&last, address + bytes - 4, 4));
       expectEqual<uint32_t>(last, 0xffffffff, "undefined");
       EXPECT_OK(cuMemcpyHtoD(address + bytes - 4, &set, 4));
       EXPECT_OK(cuMemcpyDtoH(&last, address + bytes - 4, 4));
       expectEqual<uint32_t>(last, 7, "written");
       EXPECT_OK(cuMemcpyDtoH(&last, address + (size_t{16} << 20) - 4, 4));
       expectEqual<uint32_t>(last, 0xffffffff, "elsewhere");
       expect(resident() - before < 256 << 20, "it takes memory");
       EXPECT_OK(cuMemFree(address));
     }},
    {"driver/invalid ranges", [] {
       Memory memory(4);
       uint32_t words[8] = {};
       EXPECT_RESULT(cuMemcpyHtoD(memory.address, words, 32), CUDA_ERROR_INVALID_VALUE);
       EXPECT_RESULT(cuMemcpyDtoH(words, 64, 4), CUDA_ERROR_INVALID_VALUE);
       EXPECT_RESULT(cuMemFree(memory.address + 4), CUDA_ERROR_INVALID_VALUE);
     }},
    {"driver/2D copy", [] {
       Memory memory(16);
       const uint32_t rows[6] = {1, 2, 3, 4, 5, 6};
       CUDA_MEMCPY2D copy{};
       copy.srcMemoryType = CU_MEMORYTYPE_HOST;
       copy.srcHost = rows;
       copy.srcPitch = 12;
       copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
       copy.dstDevice = memory.address;
       copy.dstPitch = 32;
       copy.WidthInBytes = 8;
       copy.Height = 2;
       EXPECT_OK(cuMemcpy2DAsync(&copy, nullptr));
       EXPECT_OK(cuCtxSynchronize());
       expectEqual<uint32_t>(memory.word(1), 2, "first row");
       expectEqual<uint32_t>(memory.word(8), 4, "second row");
       expectEqual<uint32_t>(memory.word(2), 0, "gap");
     }},
    {"driver/pointer attributes", [] {
       Memory memory(4);
       unsigned type = 0;
       int ordinal = -1;
       EXPECT_OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, memory.address + 4));
       expectEqual<unsigned>(type, CU_MEMORYTYPE_DEVICE, "type");
       EXPECT_OK(cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, memory.address));
       expectEqual(ordinal, 0, "ordinal");
       EXPECT_RESULT(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, 4096), CUDA_ERROR_INVALID_VALUE);
     }},
    {"driver/host registration", [] {
       static uint32_t buffer[1024];
       EXPECT_OK(cuMemHostRegister(buffer, sizeof buffer, 0));
       EXPECT_RESULT(cuMemHostRegister(buffer, sizeof buffer, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
       EXPECT_OK(cuMemHostUnregister(buffer));
       EXPECT_RESULT(cuMemHostUnregister(buffer), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
     }},
};
// clang-format on

}  // namespace
}  // namespace fovea::simulatorTest
