// Tables of a call, from the host's entries to what writes them on the device (kernels/table.h).
#pragma once
#include <type_traits>
#include <vector>

#include "devices.h"
#include "kernels/table.h"

namespace fovea::cuda {

/// Arrays of up to this many words are written as tables are, by launches. A copy takes less time by itself, but
/// between kernels of a stream several microseconds more.
constexpr size_t mostWrittenWords = 2 * largeTableWords;

/// Loads the kernels that write tables.
void loadTables(Device& device);

/// Tables that are written by one launch, or by as few as hold them.
class Tables {
 public:
  /// Entries of words of 32 bits, without padding, in which anything might differ. Nothing is kept of them.
  template <class Entry>
  void add(const Entry* entries, size_t count, CUdeviceptr to) {
    static_assert(sizeof(Entry) % sizeof(uint32_t) == 0 && std::has_unique_object_representations_v<Entry>);
    add(reinterpret_cast<const char*>(entries), int(sizeof(Entry) / sizeof(uint32_t)), int64_t(count), to);
  }
  template <class Entry>
  void add(const std::vector<Entry>& entries, CUdeviceptr to) {
    add(entries.data(), entries.size(), to);
  }
  /// Enqueues the launches.
  void write(Device& device, CUstream stream) const;
  size_t launches() const { return pieces_.size(); }

 private:
  struct Piece {
    std::vector<TableRun> runs;
    std::vector<uint32_t> content;
    int64_t words = 0;  // that it writes
  };
  void add(const char* entries, int words, int64_t count, CUdeviceptr to);

  std::vector<Piece> pieces_;
};

}  // namespace fovea::cuda
