// Copies between ordinary host memory and the device, through a pair of pinned chunks: while the GPU copies one, the
// host fills or empties the other.
#pragma once
#include <functional>
#include <optional>

#include "memory.h"

namespace fovea::cuda {

/// Owns its chunks and events; one thread at a time.
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

  void prepare();
  void wait(Chunk& chunk);
  void record(Chunk& chunk);
  Device& device() const { return stream_->device(); }

  std::shared_ptr<StreamHandle> stream_;
  Chunk chunks_[2];
};

}  // namespace fovea::cuda
