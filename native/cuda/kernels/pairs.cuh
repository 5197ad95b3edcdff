// Pairs of rows and keys, as masks and biases are looked at to see which they leave.
#pragma once
#include "tile.cuh"
#include "tiled.h"

namespace fovea::cuda {

/// Queries, heads and keys, [first, first + count) each, whose pairs are a tile. One stands for all that are alike.
struct TilePairs {
  int64_t query, head, key;
  int queries, heads, keys;
};

/// Only the first of queries, or of heads, that have the same elements.
template <class Element>
FOVEA_DEVICE TilePairs distinctPairs(TilePairs tile, const View<const Element>& view) {
  if (view.rowStride == 0) tile.queries = 1;
  if (view.headStride == 0) tile.heads = 1;
  return tile;
}

/// Where row `row` of a tile, a query and a head, has key `key`.
template <class Element>
FOVEA_DEVICE const Element* elementsAt(const View<const Element>& view, const TilePairs& tile, Divisor heads, int row,
                                       int key) {
  const Divisor::Quotient at = heads.divide(row);
  return view.data + (tile.head + at.remainder) * view.headStride + (tile.query + at.quotient) * view.rowStride +
         (tile.key + key) * view.columnStride;
}

}  // namespace fovea::cuda
