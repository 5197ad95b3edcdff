#include "memory.h"

#include <algorithm>
#include <cstdio>

namespace fovea::cuda {
namespace {

std::string hexadecimal(CUdeviceptr pointer) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(pointer));
  return text;
}

/// What a pointer is instead of memory of this device; empty if it is that.
std::string otherThan(Device& device, CUdeviceptr pointer) {
  constexpr const char* attempt = "asking what memory a pointer names";
  unsigned type = 0;
  int ordinal = 0;
  const CUresult result = driver().cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, pointer);
  if (result == CUDA_ERROR_INVALID_VALUE) return "an address that the driver does not know";
  device.check(result, attempt);
  if (type != CU_MEMORYTYPE_DEVICE) return "host memory";
  device.check(driver().cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, pointer), attempt);
  return ordinal == device.info().index ? "" : "memory of cuda:" + std::to_string(ordinal);
}

}  // namespace

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
  const bool mayFit = buffer->bytes_ <= device.info().memoryBytes;
  CUresult result = mayFit ? attempt() : CUDA_ERROR_OUT_OF_MEMORY;
  for (const bool everything : {false, true}) {
    if (!mayFit || result != CUDA_ERROR_OUT_OF_MEMORY) break;
    // The pool may hold what is free in pieces, and gives back only what the host has seen freed: on the own stream or,
    // at the last, on any. If the device is lost, the next attempt says so.
    everything ? driver().cuCtxSynchronize() : driver().cuStreamSynchronize(order);
    if (device.pool()) driver().cuMemPoolTrimTo(device.pool(), 0);
    result = attempt();
  }
  device.check(result, ("allocating " + std::to_string(bytes) + " bytes").c_str());
  buffer->isOwned_ = true;
  device.hold(buffer->bytes_);
  return buffer;
}

std::shared_ptr<DeviceBuffer> DeviceBuffer::adopt(std::shared_ptr<StreamHandle> stream, CUdeviceptr pointer,
                                                  int64_t bytes) {
  Device& device = stream->device();
  device.requireAlive();
  const CurrentContext current(device);
  // Both ends, each by itself: one tensor may lie across several mappings.
  for (const CUdeviceptr end : {pointer, pointer + CUdeviceptr(bytes) - 1}) {
    const std::string other = bytes > 0 ? otherThan(device, end) : "";
    if (!other.empty())
      throw Error(ErrorKind::failed, "the device pointer " + hexadecimal(pointer) + ": expected " +
                                         std::to_string(bytes) +
                                         " bytes of memory of cuda:" + std::to_string(device.info().index) + ", got " +
                                         other + (end == pointer ? "" : " at their end"));
  }
  std::shared_ptr<DeviceBuffer> buffer(new DeviceBuffer(std::move(stream), bytes));
  buffer->pointer_ = pointer;
  return buffer;
}

DeviceBuffer::~DeviceBuffer() {
  if (!isOwned_) return;
  Device& owner = device();
  const CurrentContext current(owner);
  // Failures are those of a lost device, whose memory is gone anyway. cuMemFree waits for the device by itself.
  if (owner.pool())
    driver().cuMemFreeAsync(pointer_, stream_->get());
  else
    driver().cuMemFree(pointer_);
  owner.hold(-bytes_);
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
