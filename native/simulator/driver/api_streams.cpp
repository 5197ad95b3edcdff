// Streams, events, host functions, capture and graphs.
#include <algorithm>
#include <atomic>
#include <mutex>

#include "driver/api.h"

namespace fovea::simulator {
namespace {

struct GraphHandle {
  std::shared_ptr<Graph> graph;
};
struct ExecutableGraph {
  std::shared_ptr<Graph> graph;
};

// Captures under way; a synchronous call is unsafe while one exists whose mode forbids it.
std::mutex captureMutex;
std::vector<std::shared_ptr<Capture>>& captures() {
  static auto* all = new std::vector<std::shared_ptr<Capture>>;
  return *all;
}

void endCapture(const std::shared_ptr<Capture>& capture) {
  std::lock_guard lock(captureMutex);
  std::erase(captures(), capture);
}

}  // namespace

CUresult streamOf(CUstream handle, Stream** stream) {
  Device* device = currentOrNull();
  if (!device) return CUDA_ERROR_INVALID_CONTEXT;
  if (!handle || handle == CU_STREAM_LEGACY || handle == CU_STREAM_PER_THREAD) {
    *stream = device->defaultStream();
    return CUDA_SUCCESS;
  }
  *stream = reinterpret_cast<Stream*>(handle);
  return device->ownsStream(*stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult submit(Stream& stream, Work work, bool ignoresErrors) {
  if (stream.capture) {
    if (stream.capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    stream.capture->graph->nodes.push_back(std::move(work));
    return CUDA_SUCCESS;
  }
  Operation operation;
  operation.work = std::move(work);
  operation.ignoresErrors = ignoresErrors;
  stream.device->enqueue(stream, std::move(operation));
  return settings().schedule.completion == Completion::kEarly && !ignoresErrors ? stream.device->status()
                                                                                : CUDA_SUCCESS;
}

CUresult forbidDuringCapture() {
  std::lock_guard lock(captureMutex);
  for (const auto& capture : captures()) {
    if (capture->mode == CU_STREAM_CAPTURE_MODE_RELAXED) continue;
    if (capture->mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && capture->thread != std::this_thread::get_id()) continue;
    capture->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  return CUDA_SUCCESS;
}

}  // namespace fovea::simulator

using namespace fovea::simulator;

// ---------------------------------------------------------------------------------------------- streams

FOVEA_CUDA_API CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned flags, int priority) {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  if (!stream || (flags & ~static_cast<unsigned>(CU_STREAM_NON_BLOCKING))) return CUDA_ERROR_INVALID_VALUE;
  *stream = reinterpret_cast<CUstream>(device->createStream(flags, std::clamp(priority, -5, 0)));
  return CUDA_SUCCESS;
}
FOVEA_CUDA_API CUresult cuStreamCreate(CUstream* stream, unsigned flags) {
  return cuStreamCreateWithPriority(stream, flags, 0);
}

FOVEA_CUDA_API CUresult cuStreamDestroy(CUstream handle) {
  Stream* stream = nullptr;
  FOVEA_CUDA_TRY(streamOf(handle, &stream));
  if (stream->isDefault) return CUDA_ERROR_INVALID_HANDLE;
  stream->device->destroyStream(stream);
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuStreamSynchronize(CUstream handle) {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  Stream* stream = nullptr;
  FOVEA_CUDA_TRY(streamOf(handle, &stream));
  FOVEA_CUDA_TRY(forbidDuringCapture());
  return device->synchronize(*stream);
}

FOVEA_CUDA_API CUresult cuStreamQuery(CUstream handle) {
  Stream* stream = nullptr;
  FOVEA_CUDA_TRY(streamOf(handle, &stream));
  FOVEA_CUDA_TRY(forbidDuringCapture());
  return stream->device->query(*stream);
}

FOVEA_CUDA_API CUresult cuStreamGetPriority(CUstream handle, int* priority) {
  Stream* stream = nullptr;
  FOVEA_CUDA_TRY(streamOf(handle, &stream));
  *priority = stream->priority;
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuStreamGetFlags(CUstream handle, unsigned* flags) {
  Stream* stream = nullptr;
  FOVEA_CUDA_TRY(streamOf(handle, &stream));
  *flags = stream->isDefault || stream->blocksDefault ? CU_STREAM_DEFAULT : CU_STREAM_NON_BLOCKING;
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuStreamGetCtx(CUstream handle, CUcontext* context) {
  Stream* stream = nullptr;
  FOVEA_CUDA_TRY(streamOf(handle, &stream));
  *context = reinterpret_cast<CUcontext>(stream->device);
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuStreamWaitEvent(CUstream handle, CUevent eventHandle, unsigned) {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  Stream* stream = nullptr;
  FOVEA_CUDA_TRY(streamOf(handle, &stream));
  auto* event = reinterpret_cast<Event*>(eventHandle);
  if (!event) return CUDA_ERROR_INVALID_HANDLE;
  if (event->capturedIn) {
    // Waiting for an event of a capture joins it.
    if (stream->capture && stream->capture != event->capturedIn) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    stream->capture = event->capturedIn;
    return CUDA_SUCCESS;
  }
  if (!event->recorded) return CUDA_SUCCESS;
  if (stream->capture) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  Operation operation;
  operation.waitsFor.push_back(event->recorded);
  device->enqueue(*stream, std::move(operation));
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void* data) {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  Stream* stream = nullptr;
  FOVEA_CUDA_TRY(streamOf(handle, &stream));
  if (!function) return CUDA_ERROR_INVALID_VALUE;
  return submit(*stream, [=](Device&) {
    function(data);
    return CUDA_SUCCESS;
  });
}

FOVEA_CUDA_API CUresult cuStreamAddCallback(CUstream handle, CUstreamCallback callback, void* data, unsigned) {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  Stream* stream = nullptr;
  FOVEA_CUDA_TRY(streamOf(handle, &stream));
  return submit(
      *stream,
      [=](Device& owner) {
        callback(handle, owner.status(), data);
        return CUDA_SUCCESS;
      },
      true);
}

// ---------------------------------------------------------------------------------------------- events

FOVEA_CUDA_API CUresult cuEventCreate(CUevent* event, unsigned flags) {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  if (!event) return CUDA_ERROR_INVALID_VALUE;
  auto* fresh = new Event;
  fresh->device = device;
  fresh->timed = !(flags & CU_EVENT_DISABLE_TIMING);
  *event = reinterpret_cast<CUevent>(fresh);
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuEventDestroy(CUevent event) {
  if (!event) return CUDA_ERROR_INVALID_HANDLE;
  delete reinterpret_cast<Event*>(event);
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuEventRecord(CUevent handle, CUstream streamHandle) {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  Stream* stream = nullptr;
  FOVEA_CUDA_TRY(streamOf(streamHandle, &stream));
  auto* event = reinterpret_cast<Event*>(handle);
  if (!event || event->device != device) return CUDA_ERROR_INVALID_HANDLE;
  event->capturedIn = stream->capture;
  if (stream->capture) return CUDA_SUCCESS;
  event->recorded = device->enqueue(*stream, {});
  return CUDA_SUCCESS;
}
FOVEA_CUDA_API CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned) {
  return cuEventRecord(event, stream);
}

FOVEA_CUDA_API CUresult cuEventQuery(CUevent handle) {
  auto* event = reinterpret_cast<Event*>(handle);
  if (!event) return CUDA_ERROR_INVALID_HANDLE;
  return event->device->query(event->recorded);
}

FOVEA_CUDA_API CUresult cuEventSynchronize(CUevent handle) {
  auto* event = reinterpret_cast<Event*>(handle);
  if (!event) return CUDA_ERROR_INVALID_HANDLE;
  FOVEA_CUDA_TRY(forbidDuringCapture());
  return event->device->wait(event->recorded);
}

FOVEA_CUDA_API CUresult cuEventElapsedTime(float* milliseconds, CUevent startHandle, CUevent endHandle) {
  auto *start = reinterpret_cast<Event*>(startHandle), *end = reinterpret_cast<Event*>(endHandle);
  if (!start || !end || !start->timed || !end->timed || !start->recorded || !end->recorded)
    return CUDA_ERROR_INVALID_HANDLE;
  FOVEA_CUDA_TRY(start->device->query(start->recorded));
  FOVEA_CUDA_TRY(end->device->query(end->recorded));
  *milliseconds = static_cast<float>((end->recorded->seconds - start->recorded->seconds) * 1e3);
  return CUDA_SUCCESS;
}

// ---------------------------------------------------------------------------------------------- capture and graphs

FOVEA_CUDA_API CUresult cuStreamBeginCapture(CUstream handle, CUstreamCaptureMode mode) {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  Stream* stream = nullptr;
  FOVEA_CUDA_TRY(streamOf(handle, &stream));
  if (stream->isDefault) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  if (stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
  auto capture = std::make_shared<Capture>();
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  capture->origin = stream;
  stream->capture = capture;
  std::lock_guard lock(captureMutex);
  captures().push_back(capture);
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuStreamEndCapture(CUstream handle, CUgraph* graph) {
  Stream* stream = nullptr;
  FOVEA_CUDA_TRY(streamOf(handle, &stream));
  const std::shared_ptr<Capture> capture = stream->capture;
  if (!capture) return CUDA_ERROR_ILLEGAL_STATE;
  if (capture->origin != stream) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  stream->device->leaveCapture(capture);
  endCapture(capture);
  if (capture->invalid) {
    *graph = nullptr;
    return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  }
  *graph = reinterpret_cast<CUgraph>(new GraphHandle{capture->graph});
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus* status) {
  Stream* stream = nullptr;
  FOVEA_CUDA_TRY(streamOf(handle, &stream));
  *status = !stream->capture           ? CU_STREAM_CAPTURE_STATUS_NONE
            : stream->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                       : CU_STREAM_CAPTURE_STATUS_ACTIVE;
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuGraphInstantiateWithFlags(CUgraphExec* executable, CUgraph graph, unsigned long long) {
  if (!graph || !executable) return CUDA_ERROR_INVALID_VALUE;
  *executable = reinterpret_cast<CUgraphExec>(new ExecutableGraph{reinterpret_cast<GraphHandle*>(graph)->graph});
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuGraphLaunch(CUgraphExec handle, CUstream streamHandle) {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  Stream* stream = nullptr;
  FOVEA_CUDA_TRY(streamOf(streamHandle, &stream));
  if (!handle) return CUDA_ERROR_INVALID_HANDLE;
  const std::shared_ptr<Graph> graph = reinterpret_cast<ExecutableGraph*>(handle)->graph;
  return submit(*stream, [graph](Device& owner) {
    for (const Work& work : graph->nodes) FOVEA_CUDA_TRY(work(owner));
    return CUDA_SUCCESS;
  });
}

FOVEA_CUDA_API CUresult cuGraphExecDestroy(CUgraphExec executable) {
  if (!executable) return CUDA_ERROR_INVALID_HANDLE;
  delete reinterpret_cast<ExecutableGraph*>(executable);
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuGraphDestroy(CUgraph graph) {
  if (!graph) return CUDA_ERROR_INVALID_HANDLE;
  delete reinterpret_cast<GraphHandle*>(graph);
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode*, size_t* count) {
  if (!graph || !count) return CUDA_ERROR_INVALID_VALUE;
  *count = reinterpret_cast<GraphHandle*>(graph)->graph->nodes.size();
  return CUDA_SUCCESS;
}
