#include "memory.h"

#include <algorithm>

namespace fovea::cuda {

StreamHandle::StreamHandle(Device& device) : device_(device) {
  const CurrentContext current(device);
  device.check(driver().cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), "making a stream");
}

StreamHandle::~StreamHandle() {
  const CurrentContext current(device_);
  driver().cuStreamDestroy(stream_);
}

std::shared_ptr<DeviceBuffer> DeviceBuffer::allocate(std::shared_ptr<StreamHandle> stream, int64_t bytes) {
  Device& device = stream->device();
  const CUstream order = stream->get();
  device.requireAlive();
  const CurrentContext current(device);
  std::shared_ptr<DeviceBuffer> buffer(new DeviceBuffer(std::move(stream), std::max<int64_t>(bytes, 1)));
  const auto attempt = [&] {
    const auto size = size_t(buffer->bytes_);
    return device.pool() ? driver().cuMemAllocFromPoolAsync(&buffer->pointer_, size, device.pool(), order)
                         : driver().cuMemAlloc(&buffer->pointer_, size);
  };
  CUresult result = attempt();
  if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    // Memory that was freed on a stream comes back when the stream gets there, and the pool may hold it in pieces.
    device.check(driver().cuStreamSynchronize(order), "waiting for memory to be freed");
    if (device.pool()) driver().cuMemPoolTrimTo(device.pool(), 0);
    result = attempt();
  }
  if (result != CUDA_SUCCESS) buffer->pointer_ = 0;
  device.check(result, ("allocating " + std::to_string(bytes) + " bytes").c_str());
  device.memoryUse().device += buffer->bytes_;
  return buffer;
}

DeviceBuffer::~DeviceBuffer() {
  if (!pointer_) return;
  Device& owner = device();
  const CurrentContext current(owner);
  // Failures are those of a lost device, whose memory is gone anyway. cuMemFree waits for the device by itself.
  if (owner.pool())
    driver().cuMemFreeAsync(pointer_, stream_->get());
  else
    driver().cuMemFree(pointer_);
  owner.memoryUse().device -= bytes_;
}

PinnedBuffer::PinnedBuffer(Device& device, size_t bytes) : device_(device), bytes_(bytes) {
  const CurrentContext current(device);
  device.check(driver().cuMemHostAlloc(&data_, bytes, CU_MEMHOSTALLOC_PORTABLE), "allocating pinned host memory");
  device.memoryUse().pinned += int64_t(bytes);
}

PinnedBuffer::~PinnedBuffer() {
  const CurrentContext current(device_);
  driver().cuMemFreeHost(data_);
  device_.memoryUse().pinned -= int64_t(bytes_);
}

}  // namespace fovea::cuda
