// Device memory with counted lifetime, and pinned host memory.
#pragma once
#include <cstddef>
#include <memory>

#include "devices.h"

namespace fovea::cuda {

/// Owns a stream of a device. Shared by the memory that is freed on it.
class StreamHandle {
 public:
  explicit StreamHandle(Device& device);
  ~StreamHandle();
  StreamHandle(const StreamHandle&) = delete;
  StreamHandle& operator=(const StreamHandle&) = delete;

  Device& device() const { return device_; }
  CUstream get() const { return stream_; }

 private:
  Device& device_;
  CUstream stream_ = nullptr;
};

/// Device memory, freed with its last owner unless others own it. Use on other streams than its own must have ended by
/// then.
class DeviceBuffer {
 public:
  /// Allocates in the order of `stream`: usable by work enqueued there from now on. Throws Error (outOfMemory) after
  /// everything that could be freed was; then all is as before.
  static std::shared_ptr<DeviceBuffer> allocate(std::shared_ptr<StreamHandle> stream, int64_t bytes);
  /// Memory of others. Throws Error if the driver does not know it as memory of the stream's device.
  static std::shared_ptr<DeviceBuffer> adopt(std::shared_ptr<StreamHandle> stream, CUdeviceptr pointer, int64_t bytes);
  ~DeviceBuffer();
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  CUdeviceptr pointer() const { return pointer_; }
  int64_t bytes() const { return bytes_; }
  Device& device() const { return stream_->device(); }

 private:
  DeviceBuffer(std::shared_ptr<StreamHandle> stream, int64_t bytes) : stream_(std::move(stream)), bytes_(bytes) {}

  std::shared_ptr<StreamHandle> stream_;
  CUdeviceptr pointer_ = 0;
  int64_t bytes_;
  bool isOwned_ = false;
};

/// Page-locked host memory, which the GPU copies to and from while the host goes on.
class PinnedBuffer {
 public:
  PinnedBuffer(Device& device, size_t bytes);
  ~PinnedBuffer();
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;

  std::byte* data() const { return static_cast<std::byte*>(data_); }
  size_t size() const { return bytes_; }

 private:
  Device& device_;
  void* data_ = nullptr;
  size_t bytes_;
};

}  // namespace fovea::cuda
