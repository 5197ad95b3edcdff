#include "staging.h"

#include <algorithm>

namespace fovea::cuda {

Staging::~Staging() {
  const CurrentContext current(device());
  for (Chunk& chunk : chunks_) {
    if (chunk.inFlight) driver().cuEventSynchronize(chunk.copied);  // the GPU must not write into freed memory
    if (chunk.copied) driver().cuEventDestroy(chunk.copied);
  }
}

void Staging::prepare() {
  for (Chunk& chunk : chunks_) {
    if (!chunk.copied)
      device().check(driver().cuEventCreate(&chunk.copied, CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING),
                     "making an event");
    if (!chunk.memory) chunk.memory.emplace(device(), chunkBytes);
  }
}

void Staging::wait(Chunk& chunk) {
  if (!chunk.inFlight) return;
  device().check(driver().cuEventSynchronize(chunk.copied), "waiting for a copy");
  chunk.inFlight = false;
}

void Staging::record(Chunk& chunk) {
  device().check(driver().cuEventRecord(chunk.copied, stream_->get()), "recording a copy");
  chunk.inFlight = true;
}

void Staging::toDevice(CUdeviceptr to, size_t bytes, const Part& fill) {
  if (bytes == 0) return;
  const CurrentContext current(device());
  prepare();
  for (size_t offset = 0; offset < bytes;) {
    if (used_ == chunkBytes) {
      filling_ ^= 1;
      wait(chunks_[filling_]);
      used_ = 0;
    }
    Chunk& chunk = chunks_[filling_];
    const size_t part = std::min(chunkBytes - used_, bytes - offset);
    std::byte* memory = chunk.memory->data() + used_;
    fill(memory, offset, part);
    device().check(driver().cuMemcpyHtoDAsync(to + offset, memory, part, stream_->get()), "copying to the device");
    used_ += (part + granule - 1) / granule * granule;
    offset += part;
    record(chunk);  // anew: the stream's order makes the last copy's end that of all
  }
}

void Staging::toHost(CUdeviceptr from, size_t bytes, const Part& empty) {
  if (bytes == 0) return;
  const CurrentContext current(device());
  prepare();
  const auto start = [&](size_t offset) {
    if (offset >= bytes) return;
    Chunk& chunk = chunks_[offset / chunkBytes % 2];
    wait(chunk);
    device().check(driver().cuMemcpyDtoHAsync(chunk.memory->data(), from + offset, std::min(chunkBytes, bytes - offset),
                                              stream_->get()),
                   "copying from the device");
    record(chunk);
  };
  start(0);
  for (size_t offset = 0; offset < bytes; offset += chunkBytes) {
    start(offset + chunkBytes);
    Chunk& chunk = chunks_[offset / chunkBytes % 2];
    wait(chunk);
    empty(chunk.memory->data(), offset, std::min(chunkBytes, bytes - offset));
  }
}

}  // namespace fovea::cuda
