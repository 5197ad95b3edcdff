// Looking up what tile_map.cu found.
#pragma once
#include "ptx.cuh"
#include "tiled.h"

namespace fovea::cuda {

/// The key tiles that mask and bias leave of a row tile.
struct LeftTiles {
  const uint32_t* some = nullptr;  // a bit for each key tile: whether some pair is left; null: all are
  int words = 0;                   // after which those follow that say whether the mask hides none
  bool hasMask = false;

  /// The first tile from `tile` on that is left, before `end`; else `end` or more.
  FOVEA_DEVICE int from(int tile, int end) const {
    if (!some) return tile;
    while (tile < end) {
      const uint32_t bits = some[tile / 32] >> tile % 32;
      if (bits != 0) return tile + __ffs(static_cast<int>(bits)) - 1;
      tile = (tile / 32 + 1) * 32;
    }
    return end;
  }
  /// `first` and as many more as are left of [first, tile): where a tile would be if they followed one another.
  FOVEA_DEVICE int placeOf(int tile, int first) const {
    if (!some) return tile;
    int place = first;
#pragma unroll 1
    for (int at = first; at < tile; at = (at / 32 + 1) * 32) {
      uint32_t bits = some[at / 32] >> at % 32;
      if (tile - at < 32) bits &= (1u << (tile - at)) - 1;
      place += __popc(bits);
    }
    return place;
  }
  /// Whether the mask may hide pairs of a tile.
  FOVEA_DEVICE bool isMasked(int tile) const {
    return hasMask && !(some && (some[words + tile / 32] >> tile % 32 & 1) != 0);
  }
};

FOVEA_DEVICE LeftTiles leftTiles(const TiledSequence& entry, int kvHead, int rowTile) {
  const bool hasMask = bool(entry.sequence.mask);
  if (!entry.tileMap) return {nullptr, 0, hasMask};
  const int head = entry.mapHeads > 1 ? kvHead : 0, row = entry.mapRowTiles > 1 ? rowTile : 0;
  return {entry.tileMap + (int64_t{head} * entry.mapRowTiles + row) * 2 * entry.mapWords, entry.mapWords, hasMask};
}

}  // namespace fovea::cuda
