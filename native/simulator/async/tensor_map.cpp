// From a row of a box to addresses.
#include "async/tensor_map.h"

#include <algorithm>

namespace fovea::simulator {

BoxRow rowOf(const TensorMap& map, const std::array<int32_t, kMaxRank>& coordinates, uint32_t index) {
  const int64_t elementBytes = sizeOf(map.type);
  BoxRow row;
  row.offset = index * map.rowBytes();
  uint64_t base = map.address;
  for (size_t i = 1; i < map.rank; i++) {
    const int64_t at = static_cast<int64_t>(coordinates[i]) + index % map.box[i];
    index /= map.box[i];
    if (at < 0 || at > map.lastIndex[i]) return row;
    base += static_cast<uint64_t>(at) * map.strides[i - 1];
  }
  const int64_t first = coordinates[0], size = static_cast<int64_t>(map.lastIndex[0]) + 1;
  const int64_t begin = std::clamp<int64_t>(-first, 0, map.box[0]);
  const int64_t end = std::clamp<int64_t>(size - first, 0, map.box[0]);
  if (begin >= end) return row;
  row.begin = static_cast<uint32_t>(begin * elementBytes);
  row.end = static_cast<uint32_t>(end * elementBytes);
  row.global = base + static_cast<uint64_t>((first + begin) * elementBytes);
  return row;
}

}  // namespace fovea::simulator
