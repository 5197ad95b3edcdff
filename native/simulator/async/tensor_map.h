// Tensor maps: what cuTensorMapEncodeTiled leaves in the 128 opaque bytes, and the way of a box through memory.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "ptx/types.h"

namespace fovea::simulator {

constexpr int kMaxRank = 5;
constexpr uint32_t kTensorMapBytes = 128;

// The order of CUtensorMapSwizzle.
enum class Swizzle : uint8_t { kNone, k32, k64, k128 };

// Bytes of a row over which the pattern runs, and the address bits that it mixes: 16-byte chunk number ^= row number.
constexpr uint32_t spanOf(Swizzle swizzle) { return swizzle == Swizzle::kNone ? 16 : 16u << static_cast<int>(swizzle); }
constexpr uint32_t swizzled(uint32_t address, Swizzle swizzle) {
  const uint32_t chunks = spanOf(swizzle) / 16 - 1;
  return address ^ ((address >> 7 & chunks) << 4);
}

struct TensorMap {
  static constexpr uint32_t kMagic = 0x70616d74;
  uint32_t magic = 0;
  uint8_t rank = 0;
  Type type = Type::kNone;
  Swizzle swizzle = Swizzle::kNone;
  uint8_t unused = 0;
  uint64_t address = 0;
  std::array<uint32_t, kMaxRank> lastIndex{};    // of each dimension: its size - 1
  std::array<uint16_t, kMaxRank> box{};          // elements
  std::array<uint64_t, kMaxRank - 1> strides{};  // bytes, of dimension 1 and up

  uint32_t rowBytes() const { return box[0] * static_cast<uint32_t>(sizeOf(type)); }
  uint32_t rows() const {
    uint32_t count = 1;
    for (int i = 1; i < rank; i++) count *= box[static_cast<size_t>(i)];
    return count;
  }
  uint32_t boxBytes() const { return rowBytes() * rows(); }
};
static_assert(sizeof(TensorMap) <= kTensorMapBytes);

// A row of a box: `bytes` of shared memory, densely one row behind the other before the swizzle; of these [begin, end)
// lie inside the tensor, the first of them at `global`.
struct BoxRow {
  uint32_t offset = 0;
  uint32_t begin = 0, end = 0;
  uint64_t global = 0;
};

BoxRow rowOf(const TensorMap& map, const std::array<int32_t, kMaxRank>& coordinates, uint32_t index);

}  // namespace fovea::simulator
