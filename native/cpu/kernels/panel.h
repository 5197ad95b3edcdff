// The inner half of tiled attention: one panel of rows against one block of keys. What surrounds it is in tiled.cpp.
#pragma once
#include "ahead.h"
#include "exponentials.h"
#include "modifiers.h"
#include "rows.h"

namespace fovea::cpu::FOVEA_ISA {
namespace {  // one user, tiled.cpp

constexpr float headroom = 10;  // log2
/// From here on, what a sum that starts at minus the reference loses to rounding would show in the probabilities.
constexpr float largeReference = 1024;
constexpr float largeAlibiReference = 1 << 20;  // rounding 128 products beside it is off by 8 at most
/// Dims whose products are summed one after the other. The sum starts at minus the reference, so every addition rounds
/// as a number of that size does; products of further dims are summed by themselves, from zero.
constexpr int64_t chainDims = 128;

/// What a tile of scores needs besides the product.
enum class Edge : uint8_t {
  none,         // every row sees every key
  bounds,       // compare keys with each row's range
  alibi,        // ALiBi's term, every row sees every key
  alibiBounds,  // both
  mask,         // -inf where the modifier tile is that
  modifier,     // softcap, then add the modifier tile (bias, ALiBi beside others; -inf where masked)
};
constexpr bool hasAlibi(Edge edge) { return edge == Edge::alibi || edge == Edge::alibiBounds; }
constexpr bool hasBounds(Edge edge) { return edge == Edge::bounds || edge == Edge::alibiBounds; }

/// A panel: up to three vectors of rows that walk through the keys together.
struct Panel {
  int64_t width;                 // rows, padded to whole vectors
  int64_t rowBegin;              // first row
  int64_t rows;                  // real ones
  int64_t keyBegin, keyEnd;      // keys that some row sees
  int64_t innerBegin, innerEnd;  // keys that every row sees
  int64_t ends[panelVectors];    // where the keys end that some row of this vector sees, or of one before it
  int64_t begin[panelWidth], end[panelWidth];
  RowOwner owner[panelWidth];                       // lanes past the last row repeat it
  float slope[panelWidth], slopeLimit[panelWidth];  // ALiBi's

  float* query;   // Q^T [words of a key][width]; of floats times Block::unit
  float* output;  // O^T [valueDim padded to tiles][width]
  float minusReference[panelWidth];
  float sum[panelWidth], blockSum[panelWidth];
  float factor[panelWidth];   // 1 / sum, sink included; for the second visit
  int32_t unset[panelWidth];  // all ones: no score seen yet, reference still 0
  bool anyUnset, anyLarge;    // whether a row is unset, or has a large reference
  bool allUnset;
  bool packed;  // the query
};

/// Strides are in words: of pairs a word holds two dims of a key, and of values, or probabilities, two keys.
struct Block {
  const Problem* problem;
  int64_t begin;      // the block's first key, from which the others here are counted
  int64_t keyWords;   // of a key
  float unit;         // makes scores of products, in base 2 unless softcap comes between
  const float* keys;  // [key][keyWords], rows keyStride apart: where they lie, or staged
  int64_t keyStride;
  int64_t tail;           // keys from here on lie at tailKeys, rows keyWords apart
  const float* tailKeys;  // a tile
  const float*
      values;  // d of a word of keys: [word * valueStride + d / 4 * valueTileStride + d % 4]; in place or packed
  int64_t valueStride, valueTileStride;
  float* probabilities;   // P^T [words of keyBlock keys][width]
  float* scores;          // of the tiles whose probabilities are to come; of floats the same as `probabilities`
  const float* modifier;  // [keyBlock][width] or null
  bool maskAlone;         // the modifier is 0 or -inf
  bool alibi;             // scores get ALiBi's term and nothing else
  float softcap;
  Ahead* ahead;
  float low[panelWidth], high[panelWidth];  // each row's range of keys, counted from the block's first
  float place[panelWidth];                  // ALiBi: each row's place among the keys, likewise
};

/// Adds the products of more than `chainDims` dims.
template <int NV, int rows, int First, Words words>
FOVEA_NOINLINE void multiplyWide(const float* keys, int64_t keyStride, const float* query, int64_t keyWords,
                                 Vec (&sum)[rows][NV]) {
  constexpr int64_t chain = chainDims / perWord(words);
  for (int64_t d = 0; d < keyWords; d += chain) {
    Vec part[rows][NV] = {};
    multiply<NV, rows, First, words>(keys + d, tileRows * keyStride, keyStride, 1, query + d * NV * lanes,
                                     least(keyWords - d, chain), part);
    for (int i = 0; i < rows; i++)
      for (int v = First; v < NV; v++) sum[i][v] += part[i][v];
  }
}

/// Products to capped scores, in base 2.
FOVEA_NOINLINE void capScores(Vec* scores, int64_t count, float softcap) {
  const float inverse = 1 / softcap > __FLT_MAX__ ? __FLT_MAX__ : 1 / softcap;
  for (int64_t i = 0; i < count; i++) scores[i] = tanh(scores[i] * inverse) * (softcap * log2e);
}

/// Scores of `4 * Tiles` keys starting at `key` (counted from the block's first), less each row's reference. Between
/// the products the exponentials of another tile, as many as there is room for. Sums of floats start at minus the
/// reference; of pairs, whose queries are not scaled, it is subtracted at last.
template <int NV, int First, int Tiles, Edge edge, Words words>
FOVEA_INLINE void scoreKeys(const Panel& panel, const Block& block, int64_t key, const float* minusReference,
                            Vec (&s)[tileRows * Tiles][NV], Exponentials<NV, First, words>& others) {
  constexpr int rows = tileRows * Tiles;
  const auto addReference = [&](auto add) __attribute__((always_inline)) {
#pragma GCC unroll 3
    for (int v = First; v < NV; v++) {
      const Vec start = edge == Edge::modifier ? zero() : load(minusReference + v * lanes);
#pragma GCC unroll 8
      for (int i = 0; i < rows; i++) {
        Vec term = start;
        if constexpr (hasAlibi(edge)) {
          const Slope slope{load(panel.slope + v * lanes), load(panel.slopeLimit + v * lanes)};
          term += alibiTerm(slope, load(block.place + v * lanes) - broadcast(float(key + i)), zero());
        }
        add(s[i][v], term);
      }
    }
  };
  addReference([](Vec & sum, Vec term)
                   __attribute__((always_inline)) { sum = words == Words::floats ? term : zero(); });

  const int64_t keyWords = block.keyWords;
  const float* keys = block.keys + key * block.keyStride;
  int64_t keyStride = block.keyStride;
  if (key >= block.tail) keys = block.tailKeys, keyStride = keyWords;
  if (keyWords <= chainDims / perWord(words)) {
    int64_t d = 0;
    const auto products = [&](int64_t depth) __attribute__((always_inline)) {
      multiply<NV, rows, First, words>(keys + d, tileRows * keyStride, keyStride, 1, panel.query + d * NV * lanes,
                                       depth, s);
      d += depth;
    };
    constexpr int64_t between = words == Words::pairs ? 2 / Tiles : 4;
    while (others.done < others.parts && d + tileRows * between <= keyWords)
      exponentiatePart(
          others, [&](int) __attribute__((always_inline)) { products(between); });
    products(keyWords - d);
  } else {
    Vec sum[rows][NV];  // s itself is never addressed and stays in registers
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
      for (int v = First; v < NV; v++) sum[i][v] = s[i][v];
    multiplyWide<NV, rows, First, words>(keys, keyStride, panel.query, keyWords, sum);
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
      for (int v = First; v < NV; v++) s[i][v] = sum[i][v];
  }
  if constexpr (words == Words::pairs) {
    const Vec unit = broadcast(block.unit);
    addReference([&](Vec & sum, Vec term) __attribute__((always_inline)) { sum = sum * unit + term; });
  }

  if constexpr (hasBounds(edge)) {
#pragma GCC unroll 3
    for (int v = First; v < NV; v++) {
      const Vec low = load(block.low + v * lanes), high = load(block.high + v * lanes);
#pragma GCC unroll 8
      for (int i = 0; i < rows; i++) {
        const Vec place = broadcast(float(key + i));
        s[i][v] = select((place >= low) & (place < high), s[i][v], broadcast(-infinity));
      }
    }
  }
  if constexpr (edge == Edge::mask) {
#pragma GCC unroll 3
    for (int v = First; v < NV; v++)
#pragma GCC unroll 8
      for (int i = 0; i < rows; i++) {
        const Vec added = load(block.modifier + (key + i) * panel.width + v * lanes);
        s[i][v] = select(added == -infinity, broadcast(-infinity), s[i][v]);
      }
  }
  if constexpr (edge == Edge::modifier) {
    if (block.softcap > 0) {
      Vec capped[rows][NV];  // s itself is never addressed and stays in registers
#pragma GCC unroll 8
      for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int v = First; v < NV; v++) capped[i][v] = s[i][v];
      capScores(&capped[0][0], rows * NV, block.softcap);
#pragma GCC unroll 8
      for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int v = First; v < NV; v++) s[i][v] = capped[i][v];
    }
    if (block.modifier) {
#pragma GCC unroll 8
      for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int v = First; v < NV; v++) {
          const Vec added = load(block.modifier + (key + i) * panel.width + v * lanes);
          s[i][v] = select(added == -infinity, broadcast(-infinity), s[i][v] + added);
        }
    }
#pragma GCC unroll 3
    for (int v = First; v < NV; v++) {
      const Vec reference = load(minusReference + v * lanes);
#pragma GCC unroll 8
      for (int i = 0; i < rows; i++) s[i][v] += reference;
    }
  }
}

template <int NV, int First, int Tiles, Edge edge, Words words>
FOVEA_INLINE void scoreKeys(const Panel& panel, const Block& block, int64_t key, const float* minusReference,
                            Vec (&s)[tileRows * Tiles][NV]) {
  Exponentials<NV, First, words> none{nullptr};
  scoreKeys<NV, First, Tiles, edge, words>(panel, block, key, minusReference, s, none);
}

/// Where scores are to be rounded before they are compared with the reference; modified ones and pairs' always are.
/// With ALiBi large references are mostly of keys far away, whose terms are as large: the sum starts at the difference,
/// and only references whose own rounding could take an exponent out of range are large.
template <Edge edge, Words words>
FOVEA_INLINE IntVec isLarge(Vec minusReference) {
  if constexpr (edge == Edge::modifier || (words == Words::pairs && !hasAlibi(edge))) return IntVec{};
  return fromBits(bits(minusReference) & 0x7fffffff) >= (hasAlibi(edge) ? largeAlibiReference : largeReference);
}

/// Rounds the scores of rows with a large reference before they are compared with it, where there are such.
template <int NV, int First, int Tiles, Edge edge, Words words>
FOVEA_NOINLINE void roundLarge(const Panel& panel, const Block& block, int64_t key, Vec* scores) {
  const float nothing[panelWidth] = {};
  Vec absolute[tileRows * Tiles][NV];
  scoreKeys<NV, First, Tiles, edge, words>(panel, block, key, nothing, absolute);
  for (int i = 0; i < tileRows * Tiles; i++)
    for (int v = First; v < NV; v++) {
      const Vec reference = load(panel.minusReference + v * lanes);
      scores[i * NV + v] = select(isLarge<edge, words>(reference), absolute[i][v] + reference, scores[i * NV + v]);
    }
}

/// Rare: some score exceeds its row's reference by more than the headroom, or is the row's first. Raises the reference
/// of just those rows. Their scores are computed anew: relative to a reference far away (a bias of -1e9, say) they had
/// no digits left. So are all scores of rows with a large reference, which are rounded before they are compared with
/// it: equal scores stay equal, and the second visit, which does the same, finds the probabilities that were summed.
template <int NV, int First, Edge edge, Words words>
FOVEA_NOINLINE void moveReference(Panel& panel, const Block& block, int64_t key, int64_t firstKey,
                                  Vec (&scores)[tileRows][NV]) {
  const float nothing[panelWidth] = {};
  Vec absolute[tileRows][NV];
  if (panel.allUnset) {  // so the scores are absolute
    for (int i = 0; i < tileRows; i++)
      for (int v = First; v < NV; v++) absolute[i][v] = scores[i][v];
  } else {
    scoreKeys<NV, First, 1, edge, words>(panel, block, key, nothing, absolute);
  }
  bool anyUnset = false, anyLarge = false;
  for (int v = 0; v < First; v++) {
    anyUnset |= anyTrue(loadAs<IntVec>(panel.unset + v * lanes));
    anyLarge |= anyTrue(isLarge<edge, words>(load(panel.minusReference + v * lanes)));
  }
  for (int v = First; v < NV; v++) {
    const int at = v * lanes;
    const Vec before = load(panel.minusReference + at);
    const IntVec large = isLarge<edge, words>(before);
    for (int i = 0; i < tileRows; i++) scores[i][v] = select(large, absolute[i][v] + before, scores[i][v]);
    Vec top = broadcast(-infinity), absoluteTop = top;
    for (int i = 0; i < tileRows; i++) {
      top = max(scores[i][v], top);
      absoluteTop = max(absolute[i][v], absoluteTop);
    }
    const IntVec unset = loadAs<IntVec>(panel.unset + at);
    const IntVec first = unset & (absoluteTop > -infinity);
    const IntVec moved = first | (~unset & (top > headroom));
    const Vec after = select(moved, -absoluteTop, before);
    store(panel.minusReference + at, after);
    for (int i = 0; i < tileRows; i++) scores[i][v] = select(moved, absolute[i][v] + after, scores[i][v]);
    const IntVec stillUnset = unset & ~first;
    storeAs(panel.unset + at, stillUnset);
    anyUnset |= anyTrue(stillUnset);
    anyLarge |= anyTrue(isLarge<edge, words>(after));
    if (!anyTrue(moved & ~first)) continue;
    // The first time there is nothing to rescale.
    const Vec factor = select(moved & ~first, exp2(after - before), broadcast(1.f));
    const auto rescale = [&](float* at) { store(at, load(at) * factor); };
    rescale(panel.sum + at);
    rescale(panel.blockSum + at);
    for (int64_t done = firstKey; done < key; done += perWord(words)) {
      float* word = block.probabilities + done / perWord(words) * panel.width + at;
      if (words == Words::floats)
        rescale(word);
      else
        store(word, makePairs(firstOf(load(word)) * factor, secondOf(load(word)) * factor));
    }
    const int64_t dims = roundUp(block.problem->valueDim, tileRows);
    for (int64_t d = 0; d < dims; d++) rescale(panel.output + d * panel.width + at);
  }
  panel.anyUnset = anyUnset, panel.anyLarge = anyLarge, panel.allUnset = false;
  if constexpr (hasAlibi(edge)) {
    scoreKeys<NV, First, 1, edge, words>(panel, block, key, panel.minusReference, scores);
    if (anyLarge) roundLarge<NV, First, 1, edge, words>(panel, block, key, &scores[0][0]);
  }
}

/// Of the wanted lanes: their highest score of the block's first four keys becomes their reference, if they see any.
template <int NV, Words words>
FOVEA_NOINLINE void startReference(Panel& panel, const Block& block, const int32_t* wanted) {
  const float nothing[panelWidth] = {};
  Vec scores[tileRows][NV];
  scoreKeys<NV, 0, 1, Edge::alibiBounds, words>(panel, block, 0, nothing, scores);
  for (int v = 0; v < NV; v++) {
    const int at = v * lanes;
    Vec top = broadcast(-infinity);
    for (int i = 0; i < tileRows; i++) top = max(scores[i][v], top);
    const IntVec set = loadAs<IntVec>(wanted + at) & (top > -infinity);
    store(panel.minusReference + at, select(set, -top, load(panel.minusReference + at)));
    storeAs(panel.unset + at, loadAs<IntVec>(panel.unset + at) & ~set);
  }
}

/// Scores of `4 * Tiles` keys starting at `key` become probabilities, those of `exponentials` by the way: what it holds
/// afterwards still are scores. `first` is the first key of this block that the panel visits: what lies before it in
/// the buffer is not its own. References and sums go by four keys, however many are computed together: a row may stand
/// in a panel of any width, beside others with whom it shares keys.
template <int NV, int First, int Tiles, Edge edge, bool online, Words words>
FOVEA_INLINE void scoreTile(Panel& panel, const Block& block, int64_t key, int64_t first,
                            Exponentials<NV, First, words>& exponentials) {
  constexpr int rows = tileRows * Tiles;
  Vec s[rows][NV];
  if constexpr (!online) {
    // The second visit: the reference is final, only the weights are wanted. Scores as when the reference moved:
    // absolute ones, but with ALiBi only where the reference is large.
    const float nothing[panelWidth] = {};
    constexpr bool relative = hasAlibi(edge);
    const float *start = relative ? panel.minusReference : nothing, *after = relative ? nothing : panel.minusReference;
    scoreKeys<NV, First, Tiles, edge, words>(panel, block, key, start, s);
    if constexpr (relative)
      if (__builtin_expect(panel.anyLarge, 0)) {
        Vec copy[rows][NV];  // so that s itself is never addressed and stays in registers
        for (int i = 0; i < rows; i++)
          for (int v = First; v < NV; v++) copy[i][v] = s[i][v];
        roundLarge<NV, First, Tiles, edge, words>(panel, block, key, &copy[0][0]);
        for (int i = 0; i < rows; i++)
          for (int v = First; v < NV; v++) s[i][v] = copy[i][v];
      }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
      for (int v = First; v < NV; v++)
        store(block.scores + ((key + i) * NV + v) * lanes,
              exp2(s[i][v] + load(after + v * lanes)) * load(panel.factor + v * lanes));
    return;
  }
  scoreKeys<NV, First, Tiles, edge, words>(panel, block, key, panel.minusReference, s, exponentials);
  finishExponentials(exponentials);

  Vec top[NV];
#pragma GCC unroll 3
  for (int v = First; v < NV; v++) {
    top[v] = broadcast(-infinity);
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) top[v] = max(s[i][v], top[v]);  // a NaN is dropped: it may be another row's
    if (v > First) top[First] = max(top[v], top[First]);
  }
  if (__builtin_expect(panel.anyUnset || panel.anyLarge || anyAbove(top[First], broadcast(headroom)), 0)) {
    if constexpr (Tiles > 1) {
      for (int tile = 0; tile < Tiles; tile++)
        scoreTile<NV, First, 1, edge, online, words>(panel, block, key + tile * tileRows, first, exponentials);
      return;
    } else {
      Vec copy[rows][NV];  // so that s itself is never addressed and stays in registers
      for (int i = 0; i < rows; i++)
        for (int v = First; v < NV; v++) copy[i][v] = s[i][v];
      moveReference<NV, First, edge, words>(panel, block, key, first, copy);
#pragma GCC unroll 8
      for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int v = First; v < NV; v++) s[i][v] = copy[i][v];
    }
  }

  float* probabilities = block.probabilities + key / perWord(words) * NV * lanes;
  float* scores = words == Words::floats ? probabilities : block.scores;
#pragma GCC unroll 8
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
    for (int v = First; v < NV; v++) store(scores + (i * NV + v) * lanes, s[i][v]);
  exponentials.scores = scores, exponentials.probabilities = probabilities;
  exponentials.parts = Tiles * (NV - First);
  // Where rows differ in their keys there are few tiles.
  if (!betweenProducts || hasBounds(edge)) finishExponentials(exponentials);
}

/// `4 * Tiles` dims of O^T += V^T P^T over keys [begin, ..) of the block, of each vector up to its own last key. Summed
/// from zero and then added: one rounding per block instead of one per key keeps the error flat over long sequences.
template <int NV, int Tiles, Words words>
FOVEA_INLINE void accumulateTiles(Panel& panel, const Block& block, int64_t begin, const int64_t (&ends)[NV],
                                  int64_t dim) {
  constexpr int rows = tileRows * Tiles;
  askAhead(*block.ahead);
  Vec o[rows][NV];
#pragma GCC unroll 8
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
    for (int v = 0; v < NV; v++) o[i][v] = zero();
  const float* values = block.values + dim / tileRows * block.valueTileStride;
  const auto add = [&]<int First>(int64_t from, int64_t to) __attribute__((always_inline)) {
    const int64_t word = (from + perWord(words) - 1) / perWord(words), end = (to + perWord(words) - 1) / perWord(words);
    multiply<NV, rows, First, words>(values + word * block.valueStride, block.valueTileStride, 1, block.valueStride,
                                     block.probabilities + word * NV * lanes, end - word, o);
  };
  add.template operator()<0>(begin, ends[0]);
  if constexpr (NV > 1) add.template operator()<1>(ends[0], ends[1]);
  if constexpr (NV > 2) add.template operator()<2>(ends[1], ends[2]);
  float* output = panel.output + dim * NV * lanes;
#pragma GCC unroll 8
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
    for (int v = 0; v < NV; v++) {
      float* at = output + (i * NV + v) * lanes;
      store(at, load(at) + o[i][v]);
    }
}

template <int NV, Words words>
FOVEA_INLINE void accumulateOutput(Panel& panel, const Block& block, int64_t begin, const int64_t (&ends)[NV]) {
  constexpr int tiles = tilesTogether(NV, words), step = tileRows * tiles;
  const int64_t dims = roundUp(block.problem->valueDim, tileRows);
  int64_t d = 0;
  for (; d + step <= dims; d += step) accumulateTiles<NV, tiles, words>(panel, block, begin, ends, d);
  if constexpr (tiles > 1)
    if (d < dims) accumulateTiles<NV, 1, words>(panel, block, begin, ends, d);
}

/// One panel against keys [begin, end) of the block; those in [innerBegin, innerEnd) are seen by every row.
template <int NV, bool online, Words words>
FOVEA_NOINLINE void visit(Panel& panel, const Block& block, int64_t begin, int64_t end, int64_t innerBegin,
                          int64_t innerEnd) {
  const int64_t stop = roundUp(end, tileRows);
  int64_t ends[NV];  // where the keys end that the vectors up to this one see
  for (int v = 0; v < NV; v++) ends[v] = end;
  int64_t key = begin;
  const auto walk = [&]<Edge edge, int First = 0>(int64_t to) __attribute__((always_inline)) {
    // Of pairs two of three vectors where most of the work is: compilers take seconds for each kind of tile.
    constexpr int tiles = tilesTogether(NV - First, edge == Edge::none ? words : Words::floats),
                  step = tileRows * tiles;
    Exponentials<NV, First, words> exponentials{panel.blockSum};
    // The first scores set the references, by four keys.
    if constexpr (tiles > 1 && online)
      if (panel.allUnset && key + tileRows <= to)
        scoreTile<NV, First, 1, edge, online, words>(panel, block, key, begin, exponentials), key += tileRows;
    // Two tiles at a time are neighbours.
    for (const int64_t last = tiles > 1 ? least(to, block.tail) : to; key + step <= last; key += step) {
      askAhead(*block.ahead);
      scoreTile<NV, First, tiles, edge, online, words>(panel, block, key, begin, exponentials);
    }
    if constexpr (tiles > 1)
      for (; key + tileRows <= to; key += tileRows)
        scoreTile<NV, First, 1, edge, online, words>(panel, block, key, begin, exponentials);
    finishExponentials(exponentials);
  };
  if (block.modifier && block.maskAlone) {
    walk.template operator()<Edge::mask>(stop);
  } else if (block.modifier || block.softcap > 0) {
    walk.template operator()<Edge::modifier>(stop);
  } else {
    const int64_t inner = roundUp(innerBegin, tileRows);
    const auto walkRanges = [&]<Edge everywhere, Edge bounded>() __attribute__((always_inline)) {
      if (inner + tileRows <= innerEnd) {
        walk.template operator()<bounded>(inner < begin ? begin : inner);
        walk.template operator()<everywhere>(innerEnd);
      }
      // Causality takes vectors away one by one. The second visit's weights are 0 where a row sees nothing.
      if constexpr (online) {
        for (int v = 0; v < NV - 1; v++) ends[v] = clamp(roundUp(panel.ends[v] - block.begin, tileRows), key, end);
        walk.template operator()<bounded>(roundUp(ends[0], tileRows));
        if constexpr (NV > 1) walk.template operator()<bounded, 1>(roundUp(ends[1], tileRows));
        if constexpr (NV > 2) walk.template operator()<bounded, 2>(stop);
      } else {
        walk.template operator()<bounded>(stop);
      }
    };
    if (block.alibi)
      walkRanges.template operator()<Edge::alibi, Edge::alibiBounds>();
    else
      walkRanges.template operator()<Edge::none, Edge::bounds>();
  }
  if constexpr (online) {
#pragma GCC unroll 3
    for (int v = 0; v < NV; v++) {
      float *sum = panel.sum + v * lanes, *blockSum = panel.blockSum + v * lanes;
      store(sum, load(sum) + load(blockSum));
      store(blockSum, zero());
    }
    accumulateOutput<NV, words>(panel, block, begin, ends);
  }
}

}  // namespace
}  // namespace fovea::cpu::FOVEA_ISA
