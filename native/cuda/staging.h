// Copies between ordinary host memory and the device, through a pair of pinned chunks: while the GPU copies one, the
// host fills or empties the other. Small copies to the device share a chunk, so that thousands of them need not wait
// for one another.
#pragma once
#include <functional>
#include <optional>

#include "memory.h"

namespace fovea::cuda {

/// Owns its chunks and events; one thread at a time. Copies to the device and to the host take one each.
class Staging {
 public:
  explicit Staging(std::shared_ptr<StreamHandle> stream) : stream_(std::move(stream)) {}
  ~Staging();

  /// Copies part [offset, offset + bytes) of something between a chunk and the host's memory.
  using Part = std::function<void(std::byte* chunk, size_t offset, size_t bytes)>;

  /// Enqueues the copy of `bytes` that `fill` provides. Returns when all has been filled, the last copies still in
  /// flight.
  void toDevice(CUdeviceptr to, size_t bytes, const Part& fill);
  /// Copies `bytes` and hands them to `empty`. Returns when all has been emptied.
  void toHost(CUdeviceptr from, size_t bytes, const Part& empty);

 private:
  struct Chunk {
    std::optional<PinnedBuffer> memory;
    CUevent copied = nullptr;
    bool inFlight = false;
  };
  static constexpr size_t chunkBytes = size_t{4} << 20;
  static constexpr size_t granule = 64;  // where the next copy in a chunk may begin

  void prepare();
  void wait(Chunk& chunk);
  void record(Chunk& chunk);
  Device& device() const { return stream_->device(); }

  std::shared_ptr<StreamHandle> stream_;
  Chunk chunks_[2];
  size_t filling_ = 0, used_ = 0;  // to the device: the chunk, and its bytes that hold copies
};

}  // namespace fovea::cuda
