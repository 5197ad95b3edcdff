// Shared-memory matrices of wgmma: the 64-bit descriptor, and where each element lies.
//
// The canonical layouts in 16-byte chunks of 8 elements. "MN" is the row of A or the column of B.
//   K-major   a chunk holds 8 k of one MN. Swizzled: rows of a span's bytes, 8 of them to the next at the stride
//   offset.
//             Unswizzled: 8 x 8 blocks of 128 bytes; the leading offset goes to the next 8 k, the stride offset to the
//             next 8 MN.
//   MN-major  a chunk holds 8 MN of one k. Swizzled: one row of a span's bytes per k, 8 of them to the next at the
//   stride
//             offset; the leading offset goes to the next span of MN. Unswizzled: 8 x 8 blocks; the stride offset goes
//             to the next 8 MN, the leading offset to the next 8 k.
#pragma once

#include <cstdint>

#include "async/tensor_map.h"

namespace fovea::simulator {

struct MatrixDescriptor {
  uint32_t start = 0, leading = 0, stride = 0;  // bytes
  uint32_t baseOffset = 0;
  Swizzle swizzle = Swizzle::kNone;

  explicit MatrixDescriptor(uint64_t bits)
      : start(static_cast<uint32_t>(bits & 0x3fff) << 4),
        leading(static_cast<uint32_t>(bits >> 16 & 0x3fff) << 4),
        stride(static_cast<uint32_t>(bits >> 32 & 0x3fff) << 4),
        baseOffset(static_cast<uint32_t>(bits >> 49 & 7)) {
    constexpr Swizzle modes[4] = {Swizzle::kNone, Swizzle::k128, Swizzle::k64, Swizzle::k32};
    swizzle = modes[bits >> 62];
  }

  // Whether the pattern of the swizzle begins where the matrix does, so that a base offset of 0 is right.
  bool isAligned() const { return (start >> 7 & (spanOf(swizzle) / 16 - 1)) == 0; }

  // Of the chunk with element (mn, k); k, or mn when MN-major, is a multiple of 8.
  uint32_t address(uint32_t mn, uint32_t k, bool mnMajor) const {
    const uint32_t span = spanOf(swizzle), perSpan = span / 2;
    uint32_t offset = 0;
    if (swizzle == Swizzle::kNone) {
      offset =
          mnMajor ? mn / 8 * stride + k % 8 * 16 + k / 8 * leading : mn % 8 * 16 + mn / 8 * stride + k / 8 * leading;
    } else if (mnMajor) {
      offset = mn % perSpan * 2 + mn / perSpan * leading + k % 8 * span + k / 8 * stride;
    } else {
      offset = mn % 8 * span + mn / 8 * stride + k * 2;
    }
    return swizzled(start + offset, swizzle);
  }
};

}  // namespace fovea::simulator
