// Rules of the tiled kernels: softcap, bias, ALiBi and the masks, on scores in registers.
//
// Each rule is a pass of its own over the tile, so that a call pays for what it uses. Tiles that only the scale is left
// to do for never come here.
#pragma once
#include "products.cuh"
#include "scores.cuh"
#include "sequences.cuh"
#include "tile_map.cuh"

namespace fovea::cuda {

/// The rows of the task of that number among all sequences' tasks.
FOVEA_DEVICE TiledPlace placeOf(const TiledSequence& entry, int kvHeads, int64_t taskOfAll) {
  return tiledPlace(int(taskOfAll - entry.firstTask), entry.rowTiles, entry.sectionHeads, kvHeads);
}

/// Where a warp's tile of scores lies: rows from `row` on, keys from `key` on.
struct ScorePlace {
  int kvHead, row, key;
  const QueryOwner* owners = nullptr;  // where queries are several sequences'
};

/// A row of the tile by its query and its head.
struct PackedRow {
  int query, head;
};

FOVEA_DEVICE PackedRow packedRow(const RuleArguments& arguments, int kvHead, int row) {
  const Divisor::Quotient place = arguments.group.divide(row);
  return {place.quotient, kvHead * int(arguments.group.divisor) + place.remainder};
}

/// Whether more than a positive scale is done to scores, beside hiding some.
FOVEA_DEVICE bool isModified(const RuleArguments& arguments, const Sequence& sequence) {
  return sequence.bias || sequence.alibiSlopes || arguments.softcap > 0 || !(arguments.scale > 0);
}

/// The keys that all existing rows of [row, row + rows) see.
FOVEA_DEVICE KeyRange keysOfEveryRow(const RuleArguments& arguments, const Sequence& sequence, int row, int rows) {
  const int first = arguments.group.divide(row).quotient, end = arguments.group.divide(row + rows - 1).quotient;
  const KeyRange a = visibleKeys(arguments.problem, sequence, first),
                 b = visibleKeys(arguments.problem, sequence, min(end, int(sequence.queryLength) - 1));
  return {a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};
}

/// A bias that is finite in base 2 if it is at all.
FOVEA_DEVICE float limitBias(float bias) {
  constexpr float limit = largestFloat / (1.0001f * log2e);
  return fabsf(bias) > limit && fabsf(bias) <= largestFloat ? copysignf(limit, bias) : bias;
}

/// The columns of a tile that a thread's row sees: [begin, end), counted from the thread's first one, which is
/// `firstKey`.
struct SeenColumns {
  int begin, end;
  FOVEA_DEVICE SeenColumns(int2 keys, int firstKey) : begin(keys.x - firstKey), end(keys.y - firstKey) {}
  template <class Tile>
  FOVEA_DEVICE bool has(int j) const {
    const int column = Tile::column(j) - Tile::column(0);  // a constant
    return column >= begin && column < end;
  }
  template <class Tile>
  FOVEA_DEVICE bool hasAll() const {
    return begin <= 0 && has<Tile>(Tile::columnsPerThread - 1);
  }
};

/// Two neighbouring elements, which one load brings.
template <class Element>
struct alignas(2 * sizeof(Element)) ElementPair {
  Element first, second;
};

/// Whether the elements of an even column and the next one are such a pair, in every row.
template <class Element>
FOVEA_DEVICE bool hasPairs(const View<const Element>& view) {
  const auto place = static_cast<int64_t>(reinterpret_cast<uintptr_t>(view.data) / sizeof(Element));
  return view.columnStride == 1 && (place | view.headStride | view.rowStride) % 2 == 0;
}

/// Calls action(score, element) for row i of the tile and what `view` has for it. All are asked for before one is
/// looked at: one by one, a tile would wait for memory 64 times. By pairs where all lanes' rows i see the whole tile
/// (`seesAll`): half the loads, and half of what they ask of the L1 cache. Elsewhere none is read of columns that the
/// row does not see, of which seenBy(row) tells, and 1 takes its place.
template <class Element, class Tile, class SeenBy, class Action>
FOVEA_DEVICE void withElements(const RuleArguments& arguments, const View<const Element>& view, const ScorePlace& place,
                               Tile& tile, int i, bool seesAll, SeenBy seenBy, Action action) {
  const PackedRow row = packedRow(arguments, place.kvHead, place.row + tile.row(i));
  const int64_t stride = view.columnStride;
  const Element* from = view.data + (row.head * view.headStride + row.query * view.rowStride) +
                        (ptx::anew(place.key) + tile.column(0)) * stride;
  if constexpr (Tile::lanesPerRow == 4) {  // those whose lanes have neighbouring columns
    if (__all_sync(0xffffffff, seesAll && hasPairs(view))) {
      ElementPair<Element> pairs[Tile::columnsPerThread / 2];
#pragma unroll
      for (int j = 0; j < Tile::columnsPerThread; j += 2)
        pairs[j / 2] = *reinterpret_cast<const ElementPair<Element>*>(from + (tile.column(j) - tile.column(0)));
#pragma unroll
      for (int j = 0; j < Tile::columnsPerThread; j += 2) {
        action(tile.at(i, j), pairs[j / 2].first);
        action(tile.at(i, j + 1), pairs[j / 2].second);
      }
      __syncwarp();  // as below
      return;
    }
  }
  const SeenColumns seen = seenBy(tile.row(i));
  Element elements[Tile::columnsPerThread];
#pragma unroll
  for (int j = 0; j < Tile::columnsPerThread; j++) {
    if (j > 0) from += (tile.column(j) - tile.column(j - 1)) * stride;
    elements[j] = Element{1};
    if (seen.template has<Tile>(j)) elements[j] = *from;
  }
#pragma unroll
  for (int j = 0; j < Tile::columnsPerThread; j++) action(tile.at(i, j), elements[j]);
  __syncwarp();  // or the compiler would ask for those of two rows at once, which takes more registers than there are
}

/// Adds the bias to the keys that the ranges left.
template <class Element, class Tile, class SeenBy>
FOVEA_DEVICE void addBias(const RuleArguments& arguments, const Sequence& sequence, const ScorePlace& place, Tile& tile,
                          uint32_t seeAll, SeenBy seenBy) {
  const View<const void>& any = sequence.bias;
  const View<const Element> view{static_cast<const Element*>(any.data), any.headStride, any.rowStride,
                                 any.columnStride};
#pragma unroll
  for (int i = 0; i < Tile::rowsPerThread; i++)
    withElements(arguments, view, place, tile, i, seeAll >> i & 1, seenBy, [](float& score, Element element) {
      const float bias = ptx::toFloat(element);
      const float finite = std::is_same_v<Element, Half> ? bias : limitBias(bias);
      score = bias == negativeInfinity() ? bias : fmaf(finite, log2e, score);  // even where the score is NaN
    });
}

template <class Tile, class SeenBy>
FOVEA_DEVICE void addBias(const RuleArguments& arguments, const Sequence& sequence, const ScorePlace& place, Tile& tile,
                          uint32_t seeAll, SeenBy seenBy) {
  switch (arguments.problem.biasDtype) {
    case DType::float32:
      return addBias<float>(arguments, sequence, place, tile, seeAll, seenBy);
    case DType::float16:
      return addBias<Half>(arguments, sequence, place, tile, seeAll, seenBy);
    default:
      return addBias<BFloat>(arguments, sequence, place, tile, seeAll, seenBy);
  }
}

template <class Tile>
FOVEA_DEVICE void addDistances(const RuleArguments& arguments, const Sequence& sequence, const ScorePlace& place,
                               Tile& tile) {
#pragma unroll
  for (int i = 0; i < Tile::rowsPerThread; i++) {
    const PackedRow row = packedRow(arguments, place.kvHead, place.row + tile.row(i));
    const float slope = sequence.alibiSlopes[row.head] * log2e;
    int64_t distance = row.query + sequence.queryOffset - place.key;
    if (place.owners) distance = place.owners[min(row.query, int(sequence.queryLength) - 1)].place - place.key;
    const float first = static_cast<float>(distance - tile.column(0));  // one conversion of 64 bits: they are slow
#pragma unroll
    for (int j = 0; j < Tile::columnsPerThread; j++)
      tile.at(i, j) -= slope * fabsf(first - static_cast<float>(tile.column(j) - tile.column(0)));
  }
}

template <class Tile, class SeenBy>
FOVEA_DEVICE void applyMask(const RuleArguments& arguments, const Sequence& sequence, const ScorePlace& place,
                            Tile& tile, uint32_t seeAll, SeenBy seenBy) {
  const View<const uint8_t> mask = sequence.mask;  // read once
#pragma unroll
  for (int i = 0; i < Tile::rowsPerThread; i++)
    withElements(arguments, mask, place, tile, i, seeAll >> i & 1, seenBy, [](float& score, uint8_t allowed) {
      if (!allowed) score = negativeInfinity();
    });
}

/// The keys that a row sees by length, causality and window; none past the last query.
FOVEA_DEVICE int2 keysOfRow(const RuleArguments& arguments, const Sequence& sequence, int row) {
  const int query = arguments.group.divide(row).quotient;
  if (query >= sequence.queryLength) return {0, 0};
  const KeyRange keys = visibleKeys(arguments.problem, sequence, query);
  return {int(keys.begin), int(keys.end)};
}

/// Hides the keys that a row does not see; seenBy(row) tells the columns that it does. Returns a bit for each row of
/// this thread: whether it sees all of them.
template <class Tile, class SeenBy>
FOVEA_DEVICE uint32_t hideRanges(Tile& tile, SeenBy seenBy) {
  uint32_t seeAll = 0;
#pragma unroll
  for (int i = 0; i < Tile::rowsPerThread; i++) {
    const SeenColumns seen = seenBy(tile.row(i));
    seeAll |= uint32_t(seen.template hasAll<Tile>()) << i;
#pragma unroll
    for (int j = 0; j < Tile::columnsPerThread; j++)
      if (!seen.template has<Tile>(j)) tile.at(i, j) = negativeInfinity();
  }
  return seeAll;
}

/// Products to scores, -inf where masked. Returns what a score is to be multiplied with to be in base 2: the scale is
/// left to the exponentials where nothing but hiding came between. keysAt(row): those that row `row` of the tile sees.
/// isMasked(): whether there is a mask that may hide anything here.
template <class Tile, class IsMasked, class KeysAt>
FOVEA_DEVICE float applyRules(const RuleArguments& arguments, const Sequence& sequence, const ScorePlace& place,
                              Tile& tile, IsMasked isMasked, KeysAt keysAt) {
  const float scale = arguments.scale, softcap = arguments.softcap;
  const bool modified = isModified(arguments, sequence);
  if (softcap > 0) {
    const float unit = fminf(fmaxf(scale / softcap, -largestFloat), largestFloat);  // infinite times 0 would be NaN
    forEach(tile, [&](float& score, int, int) { score = softcap * log2e * tanhOf(score * unit); });
  } else if (modified) {
    forEach(tile, [&](float& score, int, int) { score *= scale * log2e; });
  }
  if (sequence.alibiSlopes) addDistances(arguments, sequence, place, tile);  // to all: -inf + inf would be NaN
  const auto seenBy = [&](int row) { return SeenColumns(keysAt(row), place.key + tile.column(0)); };
  const uint32_t seeAll = hideRanges(tile, seenBy);
  if (sequence.bias) addBias(arguments, sequence, place, tile, seeAll, seenBy);
  if (isMasked()) applyMask(arguments, sequence, place, tile, seeAll, seenBy);
  return modified ? 1 : scale * log2e;
}

template <class Tile, class IsMasked>
FOVEA_DEVICE float applyRules(const RuleArguments& arguments, const Sequence& sequence, const ScorePlace& place,
                              Tile& tile, IsMasked isMasked) {
  return applyRules(arguments, sequence, place, tile, isMasked,
                    [&](int row) { return keysOfRow(arguments, sequence, place.row + row); });
}

}  // namespace fovea::cuda
