#include "memory.h"

#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace fovea::cpu {

namespace {

constexpr size_t line = 64, hugePage = size_t(2) << 20;

/// Aligned, and in huge pages where it pays: one fault instead of five hundred.
float* allocateAligned(size_t bytes) {
  const size_t alignment = bytes >= hugePage ? hugePage : line;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  if (rounded < bytes) return nullptr;
  void* data = std::aligned_alloc(alignment, rounded);
  if (data && alignment == hugePage) preferHugePages(data, rounded);
  return static_cast<float*>(data);
}

struct Scratch {
  float* data = nullptr;
  size_t floats = 0;
  ~Scratch() { std::free(data); }
};

/// Blocks given back, up to `limit` bytes in all.
struct Kept {
  static constexpr size_t limit = size_t(64) << 20;
  struct Block {
    float* data;
    size_t bytes;
  };
  std::mutex mutex;
  std::vector<Block> blocks;
  size_t bytes = 0;
};

Kept& kept() {
  static Kept* instance = new Kept;  // never destroyed: pool threads may outlive static destruction
  return *instance;
}

}  // namespace

void preferHugePages([[maybe_unused]] void* data, [[maybe_unused]] size_t bytes) {
#if defined(__linux__)
  const uintptr_t page = uintptr_t(sysconf(_SC_PAGESIZE)), address = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = (address + page - 1) / page * page, end = (address + bytes) / page * page;
  if (begin < end)
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // a wish: no matter if it fails
#endif
}

float* threadScratch(size_t floats) {
  thread_local Scratch scratch;
  if (scratch.floats < floats) {
    std::free(scratch.data);
    scratch.floats = 0;
    scratch.data = allocateAligned(floats * sizeof(float));
    if (scratch.data) scratch.floats = floats;
  }
  return scratch.data;
}

bool Workspace::allocate(size_t bytes) {
  {
    Kept& store = kept();
    std::lock_guard lock(store.mutex);
    for (size_t i = 0; i < store.blocks.size(); i++) {
      // Not one that is much too large: it may be what a larger call is about to need.
      if (store.blocks[i].bytes < bytes || store.blocks[i].bytes / 4 > bytes) continue;
      data_ = store.blocks[i].data, bytes_ = store.blocks[i].bytes;
      store.bytes -= bytes_;
      store.blocks.erase(store.blocks.begin() + ptrdiff_t(i));
      return true;
    }
  }
  data_ = allocateAligned(bytes);
  bytes_ = data_ ? bytes : 0;
  return data_ != nullptr;
}

void Workspace::release() {
  if (!data_) return;
  float* const data = std::exchange(data_, nullptr);
  Kept& store = kept();
  std::lock_guard lock(store.mutex);
  if (bytes_ > Kept::limit / 2) {
    std::free(data);
    return;
  }
  store.blocks.push_back({data, bytes_});
  store.bytes += bytes_;
  while (store.bytes > Kept::limit) {  // oldest first
    store.bytes -= store.blocks.front().bytes;
    std::free(store.blocks.front().data);
    store.blocks.erase(store.blocks.begin());
  }
}

}  // namespace fovea::cpu
