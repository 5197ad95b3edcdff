// Streams, events, host functions, graphs: what is ordered and what is not.
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "driver_helpers.h"

namespace fovea::simulatorTest {
namespace {

// clang-format off
const Register kStreams[] = {
    {"driver/stream order", [] {
       inEachMode([] {
         LoadedKernel add(kAdd);
         Memory memory(32);
         StreamHandle stream;
         for (int i = 0; i < 5; i++) expectSuccess(add.launch(memory.address, memory.address, 1, stream.stream), "launch");
         uint32_t value = 0;
         EXPECT_OK(cuMemcpyDtoHAsync(&value, memory.address, 4, stream.stream));
         EXPECT_OK(cuStreamSynchronize(stream.stream));
         expectEqual<uint32_t>(value, 5, "value");
       });
     }},
    {"driver/streams are not ordered with one another", [] {
       // Late: nothing runs before somebody waits for it.
       LoadedKernel add(kAdd);
       Memory memory(32);
       StreamHandle first, second;
       void* host = nullptr;
       EXPECT_OK(cuMemAllocHost(&host, 4));
       std::memset(host, 0, 4);
       expectSuccess(add.launch(memory.address, memory.address, 7, first.stream), "launch");
       EXPECT_OK(cuMemcpyDtoHAsync(host, memory.address, 4, second.stream));
       EXPECT_OK(cuStreamSynchronize(second.stream));
       expectEqual<uint32_t>(*static_cast<uint32_t*>(host), 0, "read before the other stream's kernel");
       EXPECT_OK(cuStreamSynchronize(first.stream));
       expectEqual<uint32_t>(memory.word(0), 7, "value");
       EXPECT_OK(cuMemFreeHost(host));
     }},
    {"driver/event order across streams", [] {
       inEachMode([] {
         LoadedKernel add(kAdd);
         Memory memory(32);
         StreamHandle first, second;
         EventHandle event(CU_EVENT_DISABLE_TIMING);
         expectSuccess(add.launch(memory.address, memory.address, 7, first.stream), "launch");
         EXPECT_OK(cuEventRecord(event.event, first.stream));
         EXPECT_OK(cuStreamWaitEvent(second.stream, event.event, 0));
         expectSuccess(add.launch(memory.address, memory.address, 1, second.stream), "launch");
         EXPECT_OK(cuStreamSynchronize(second.stream));
         expectEqual<uint32_t>(memory.word(0), 8, "value");
       });
     }},
    {"driver/default stream and blocking streams", [] {
       inEachMode([] {
         LoadedKernel add(kAdd);
         Memory memory(32);
         StreamHandle blocking(CU_STREAM_DEFAULT);
         expectSuccess(add.launch(memory.address, memory.address, 7, blocking.stream), "launch");
         expectSuccess(add.launch(memory.address, memory.address, 1, nullptr), "launch");
         expectEqual<uint32_t>(memory.word(0), 8, "value");
       });
     }},
    {"driver/queries end without a wait", [] {
       inEachMode([] {
         LoadedKernel add(kAdd);
         Memory memory(32);
         StreamHandle stream;
         EventHandle event;
         expectSuccess(add.launch(memory.address, memory.address, 7, stream.stream), "launch");
         EXPECT_OK(cuEventRecord(event.event, stream.stream));
         CUresult result;
         while ((result = driver.cuEventQuery(event.event)) == CUDA_ERROR_NOT_READY) std::this_thread::yield();
         expectSuccess(result, "query");
         EXPECT_OK(cuStreamQuery(stream.stream));
       });
     }},
    {"driver/host functions run without a wait", [] {
       inEachMode([] {
         StreamHandle stream;
         std::atomic<int> calls{0};
         EXPECT_OK(cuLaunchHostFunc(stream.stream, [](void* data) { ++*static_cast<std::atomic<int>*>(data); }, &calls));
         for (int i = 0; i < 2000 && calls == 0; i++) std::this_thread::sleep_for(std::chrono::milliseconds(1));
         expectEqual<int>(calls, 1, "calls");
       });
     }},
    {"driver/elapsed time", [] {
       LoadedKernel add(kAdd);
       Memory memory(32);
       EventHandle start, end;
       EXPECT_OK(cuEventRecord(start.event, nullptr));
       expectSuccess(add.launch(memory.address, memory.address, 7), "launch");
       EXPECT_OK(cuEventRecord(end.event, nullptr));
       EXPECT_OK(cuEventSynchronize(end.event));
       float milliseconds = -1;
       EXPECT_OK(cuEventElapsedTime(&milliseconds, start.event, end.event));
       expect(milliseconds > 0, "positive");
     }},
    {"driver/pinned source is read late, pageable source at the call", [] {
       Memory memory(4);
       StreamHandle stream;
       void* pinned = nullptr;
       EXPECT_OK(cuMemAllocHost(&pinned, 4));
       auto* value = static_cast<uint32_t*>(pinned);
       *value = 1;
       EXPECT_OK(cuMemcpyHtoDAsync(memory.address, pinned, 4, stream.stream));
       *value = 2;  // a bug in a program; here it must show
       EXPECT_OK(cuStreamSynchronize(stream.stream));
       expectEqual<uint32_t>(memory.word(0), 2, "pinned");
       uint32_t pageable = 3;
       EXPECT_OK(cuMemcpyHtoDAsync(memory.address, &pageable, 4, stream.stream));
       pageable = 4;
       EXPECT_OK(cuStreamSynchronize(stream.stream));
       expectEqual<uint32_t>(memory.word(0), 3, "pageable");
       EXPECT_OK(cuMemFreeHost(pinned));
     }},
    {"driver/graph capture and replay", [] {
       inEachMode([] {
         LoadedKernel add(kAdd);
         Memory memory(32);
         StreamHandle stream, side;
         EventHandle fork, join;
         CUgraph graph = nullptr;
         CUgraphExec executable = nullptr;
         EXPECT_OK(cuStreamBeginCapture(stream.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
         expectSuccess(add.launch(memory.address, memory.address, 1, stream.stream), "launch");
         EXPECT_OK(cuEventRecord(fork.event, stream.stream));
         EXPECT_OK(cuStreamWaitEvent(side.stream, fork.event, 0));
         expectSuccess(add.launch(memory.address, memory.address, 10, side.stream), "launch");
         EXPECT_OK(cuEventRecord(join.event, side.stream));
         EXPECT_OK(cuStreamWaitEvent(stream.stream, join.event, 0));
         EXPECT_OK(cuStreamEndCapture(stream.stream, &graph));
         EXPECT_OK(cuGraphInstantiateWithFlags(&executable, graph, 0));
         expectEqual<uint32_t>(memory.word(0), 0, "nothing ran while capturing");
         for (int i = 0; i < 3; i++) EXPECT_OK(cuGraphLaunch(executable, stream.stream));
         EXPECT_OK(cuStreamSynchronize(stream.stream));
         expectEqual<uint32_t>(memory.word(0), 33, "value");
         EXPECT_OK(cuGraphExecDestroy(executable));
         EXPECT_OK(cuGraphDestroy(graph));
       });
     }},
    {"driver/several threads wait for the same work", [] {
       inEachMode([] {
         Memory memory(32);
         StreamHandle stream;
         CUcontext context = nullptr;
         EXPECT_OK(cuCtxGetCurrent(&context));
         std::atomic<bool> over = false;
         std::atomic<int> failed = 0;
         std::vector<std::thread> others;
         for (int i = 0; i < 3; i++)
           others.emplace_back([&] {
             driver.cuCtxSetCurrent(context);
             while (!over) failed += driver.cuStreamSynchronize(stream.stream) != CUDA_SUCCESS;
           });
         for (int i = 0; i < 2000; i++) failed += driver.cuMemsetD32Async(memory.address, 3, 32, stream.stream) != CUDA_SUCCESS;
         over = true;
         for (std::thread& other : others) other.join();
         EXPECT_OK(cuStreamSynchronize(stream.stream));
         expectEqual(failed.load(), 0, "calls that failed");
         expectEqual<uint32_t>(memory.word(31), 3, "value");
       });
     }},
    {"driver/capture forbids allocation and synchronisation", [] {
       StreamHandle stream;
       CUdeviceptr address = 0;
       CUgraph graph = nullptr;
       EXPECT_OK(cuStreamBeginCapture(stream.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
       EXPECT_RESULT(cuMemAlloc(&address, 4), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
       EXPECT_RESULT(cuStreamEndCapture(stream.stream, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
       EXPECT_OK(cuStreamBeginCapture(stream.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
       EXPECT_RESULT(cuStreamSynchronize(stream.stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
       EXPECT_RESULT(cuStreamEndCapture(stream.stream, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
       EXPECT_OK(cuMemAlloc(&address, 4));
       EXPECT_OK(cuMemFree(address));
     }},
};
// clang-format on

}  // namespace
}  // namespace fovea::simulatorTest
