// Memory that is kept and reused: fresh pages cost more than the arithmetic they hold.
#pragma once
#include <cstddef>

namespace fovea::cpu {

/// A wish for huge pages, for all whole pages of [data, data + bytes).
void preferHugePages(void* data, size_t bytes);

/// This thread's scratch, at least `floats` long, 64-byte aligned; grows and stays until the thread ends. Null when
/// memory is out.
float* threadScratch(size_t floats);

/// Memory shared by the tasks of one call. Small blocks are kept for the next call, large ones go back at once.
class Workspace {
 public:
  Workspace() = default;
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace() { release(); }

  /// False when memory is out.
  bool allocate(size_t bytes);
  void release();
  float* data() const { return data_; }

 private:
  float* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace fovea::cpu
