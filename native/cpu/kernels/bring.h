// What tiled attention brings into a thread's scratch: queries, keys and values, as words of float32 or of two numbers
// of bfloat16. Who computes with them is in panel.h.
#pragma once
#include "panel.h"

namespace fovea::cpu::FOVEA_ISA {
namespace {  // one user, tiled.cpp

/// Floats between two value tiles: a line more than the keys take, so that tiles do not meet in the same cache sets.
constexpr int64_t packedTileStride(int64_t keyBlock) { return keyBlock * tileRows + 16; }

/// Whether products are of pairs.
bool hasPairs(const Problem& problem) { return multipliesPairs && takesPairs(problem); }
/// Of a key, or a query.
int64_t keyWords(const Problem& problem) { return hasPairs(problem) ? (problem.headDim + 1) / 2 : problem.headDim; }

/// Where everything of a task lies in the thread's scratch.
struct Scratch {
  Panel* panels;
  float *query, *output, *keys, *values, *probabilities, *scores, *modifier, *staging;
};

/// Lays the scratch out from `base`; returns its size in floats (call with null to learn it).
int64_t layOut(const Problem& problem, const SequencePlan& plan, float* base, Scratch& scratch) {
  const int64_t panels = roundUp(plan.queryBlock, panelWidth) / panelWidth;
  const int64_t dims = roundUp(problem.valueDim, tileRows), keyBlock = plan.keyBlock;
  const int64_t longest = most(most(problem.headDim, dims), keyBlock) + lanes;
  int64_t used = 0;
  const auto take = [&](int64_t floats) {
    float* at = base + used;
    used += roundUp(floats, 16);
    return at;
  };
  scratch.panels = (Panel*)take(panels * int64_t(sizeof(Panel) / sizeof(float)));
  const int64_t pairs = hasPairs(problem) ? 2 : 1;
  scratch.query = take(panels * panelWidth * keyWords(problem));
  scratch.output = take(panels * panelWidth * dims);
  scratch.keys = take(keyBlock * keyWords(problem));
  scratch.values = take(dims / tileRows * packedTileStride(keyBlock / pairs));
  scratch.probabilities = take(keyBlock / pairs * panelWidth);
  // Weights are wanted of a whole block.
  scratch.scores = pairs == 1 ? scratch.probabilities : take(keyBlock * panelWidth);
  scratch.modifier = take(keyBlock * panelWidth);
  scratch.staging = take(lanes * longest);
  return used;
}

/// Whether rows of keys or values can be read where they lie: float32, neighbours, at one stride. Rows far apart (a
/// layout with heads inside) meet few of the L1 cache's sets.
bool inPlace(const Problem& problem, const View<const void>& view, int64_t dims) {
  return problem.kvDtype() == DType::float32 && problem.pageSize == 0 && view.columnStride == 1 &&
         isCompact(view, dims);
}

/// Makes scores of products, in base 2 unless softcap comes between.
float unitOf(const Problem& problem) {
  return float(problem.softcap > 0 ? problem.scale : problem.scale * 1.4426950408889634);
}

/// `count` elements of 16 bits, `stride` apart, as neighbours, and 0 from there to `padded`.
void gatherHalves(const void* from, int64_t stride, int64_t count, int64_t padded, void* to) {
  auto* at = (char*)to;
  if (stride == 1)
    std::memcpy(at, from, size_t(2 * count));
  else
    for (int64_t i = 0; i < count; i++) std::memcpy(at + 2 * i, (const char*)from + 2 * i * stride, 2);
  std::memset(at + 2 * count, 0, size_t(2 * (padded - count)));
}

/// A row of bfloat16 as words of pairs: where it lies, if it is that already, else copied into `staging`. An odd last
/// one has 0 beside it.
const float* rowAsPairs(const void* from, int64_t stride, int64_t count, float* staging) {
  if (stride == 1 && count % 2 == 0 && (uintptr_t)from % sizeof(float) == 0) return (const float*)from;
  gatherHalves(from, stride, count, count + count % 2, staging);
  return staging;
}

/// The panel's queries, packed, and scaled unless they are pairs. Late: until then they are asked for.
void packQueries(const Task& task, const Scratch& scratch, Panel& panel) {
  if (panel.packed) return;
  panel.packed = true;
  const Problem& problem = *task.problem;
  const bool pairs = hasPairs(problem);
  const float factor = unitOf(problem);
  const int64_t staging = problem.headDim + lanes;
  for (int64_t lane = 0; lane < panel.width; lane += lanes) {
    const float* rows[lanes];
    for (int64_t i = 0; i < lanes; i++) {
      if (lane + i >= panel.rows) {
        rows[i] = rows[i - 1];
        continue;
      }
      const RowOwner& owner = panel.owner[lane + i];
      const View<const void>& query = owner.sequence->query;
      const int64_t at = owner.head * query.headStride + owner.query * query.rowStride;
      const void* row = elementAt(query.data, problem.dtype, at);
      float* own = scratch.staging + i * staging;
      rows[i] = pairs ? rowAsPairs(row, query.columnStride, problem.headDim, own)
                      : rowAsFloat(row, problem.dtype, query.columnStride, problem.headDim, own);
    }
    if (pairs)
      interleaveChanged(
          rows, keyWords(problem), panel.query + lane, panel.width,
          [](Vec words) __attribute__((always_inline)) { return words; });
    else
      interleaveRows(rows, problem.headDim, panel.query + lane, panel.width, factor);
  }
}

/// Whether rows of keys are pairs where they lie.
bool hasPairsInPlace(const Problem& problem, const View<const void>& view) {
  const bool atWords = problem.headDim % 2 == 0 && view.rowStride % 2 == 0 && view.headStride % 2 == 0 &&
                       (uintptr_t)view.data % sizeof(float) == 0;
  return atWords && problem.pageSize == 0 && view.columnStride == 1 && isCompact(view, problem.headDim);
}

/// Keys [begin, end), rounded up to whole tiles, as rows of words: in place if they are that, else staged, as is a last
/// tile that reaches past the sequence; what is missing from it is zero.
void bringKeys(const Task& task, const Scratch& scratch, int64_t begin, int64_t end, Block& block) {
  const Problem& problem = *task.problem;
  const Sequence& sequence = *task.sequence;
  const bool pairs = hasPairs(problem);
  const int64_t headDim = problem.headDim, words = block.keyWords, stop = roundUp(end, tileRows);
  const auto row = [&](int64_t key) {
    return keyRow(problem, sequence, sequence.key, sequence.keyPageStride, task.kvHead, key);
  };
  block.tail = INT64_MAX, block.tailKeys = scratch.keys;
  if (pairs ? hasPairsInPlace(problem, sequence.key) : inPlace(problem, sequence.key, headDim)) {
    block.keys = (const float*)row(begin), block.keyStride = sequence.key.rowStride / (pairs ? 2 : 1);
    if (stop <= sequence.keyLength) return;
    block.tail = stop - tileRows - begin;
    begin = stop - tileRows;
  } else {
    block.keys = scratch.keys, block.keyStride = words;
  }
  for (int64_t key = begin; key < end; key++) {
    float* own = scratch.keys + (key - begin) * words;
    if (pairs) {
      const float* from = rowAsPairs(row(key), sequence.key.columnStride, headDim, own);
      if (from != own) std::memcpy(own, from, sizeof(float) * size_t(words));
      continue;
    }
    readRow(row(key), problem.kvDtype(), sequence.key.columnStride, headDim, own);
    if (problem.keyScales) multiplyRow(own, headDim, *keyScale(problem, sequence, problem.keyScales, task.kvHead, key));
  }
  std::memset(scratch.keys + (end - begin) * words, 0, sizeof(float) * size_t((stop - end) * words));
}

/// Values [begin, end) as pairs of keys, packed as tiles [dim / 4][pair][4].
void packValuePairs(const Task& task, const Scratch& scratch, int64_t begin, int64_t end, Block& block) {
  const Problem& problem = *task.problem;
  const Sequence& sequence = *task.sequence;
  const int64_t valueDim = problem.valueDim, stride = sequence.value.columnStride;
  const int64_t dims = roundUp(valueDim, lanes), tiles = roundUp(valueDim, tileRows) / tileRows;
  const auto row = [&](int64_t key, float* staging) -> const void* {
    const void* from = nullptr;
    if (key < end) from = keyRow(problem, sequence, sequence.value, sequence.valuePageStride, task.kvHead, key);
    if (from && stride == 1 && valueDim == dims) return from;
    if (from)
      gatherHalves(from, stride, valueDim, dims, staging);
    else
      std::memset(staging, 0, size_t(2 * dims));
    return staging;
  };
  block.values = scratch.values, block.valueStride = tileRows;
  block.valueTileStride = packedTileStride(task.plan->keyBlock / 2);
  for (int64_t key = begin; key < end; key += 2) {
    const auto* first = (const uint16_t*)row(key, scratch.staging);
    const auto* second = (const uint16_t*)row(key + 1, scratch.staging + dims);
    float* to = scratch.values + (key - begin) / 2 * tileRows;
    for (int64_t tile = 0; tile < tiles; tile += lanes / tileRows) {
      Quad quads[lanes / tileRows];
      storeAs(quads, loadPairs(first + tile * tileRows, second + tile * tileRows));
      for (int64_t q = 0; q < lanes / tileRows && tile + q < tiles; q++)
        storeAs(to + (tile + q) * block.valueTileStride, quads[q]);
    }
  }
}

/// Values [begin, end), likewise; packed as tiles [dim / 4][key][4] where a column of them would meet few cache sets.
void bringValues(const Task& task, const Scratch& scratch, int64_t begin, int64_t end, Block& block) {
  const Problem& problem = *task.problem;
  const Sequence& sequence = *task.sequence;
  const int64_t valueDim = problem.valueDim, staging = valueDim + lanes, whole = roundDown(valueDim, tileRows);
  if (hasPairs(problem)) return packValuePairs(task, scratch, begin, end, block);
  const auto row = [&](int64_t key) {
    return keyRow(problem, sequence, sequence.value, sequence.valuePageStride, task.kvHead, key);
  };
  if (!task.plan->packValues && whole == valueDim && inPlace(problem, sequence.value, valueDim)) {
    block.values = (const float*)row(begin);
    block.valueStride = sequence.value.rowStride, block.valueTileStride = tileRows;
    return;
  }
  block.values = scratch.values, block.valueStride = tileRows,
  block.valueTileStride = packedTileStride(task.plan->keyBlock);
  for (int64_t key = begin; key < end; key += tileRows) {
    const float* rows[4];
    for (int64_t i = 0; i < tileRows; i++) {
      float* own = scratch.staging + i * staging;
      rows[i] = own;
      if (key + i < end)
        rows[i] = rowAsFloat(row(key + i), problem.kvDtype(), sequence.value.columnStride, valueDim, own);
      else
        std::memset(own, 0, sizeof(float) * size_t(valueDim));
      if (problem.valueScales && key + i < end)
        multiplyRow(own, valueDim, *keyScale(problem, sequence, problem.valueScales, task.kvHead, key + i));
    }
    // Four keys at a time fill a cache line of each tile.
    float* line = scratch.values + (key - begin) * tileRows;
    int64_t d = 0;
    for (; wideTranspose && d + lanes <= whole; d += lanes) {
      Vec v[tileRows];
#pragma GCC unroll 4
      for (int i = 0; i < tileRows; i++) v[i] = load(rows[i] + d);
      exchangeQuads(v[0], v[1], v[2], v[3]);
#pragma GCC unroll 4
      for (int i = 0; i < tileRows; i++, line += block.valueTileStride) store(line, v[i]);
    }
    for (; d < whole; d += tileRows, line += block.valueTileStride)
      for (int64_t i = 0; i < tileRows; i++) storeAs(line + i * tileRows, loadAs<Quad>(rows[i] + d));
    for (int64_t i = 0; whole < valueDim && i < tileRows; i++) {
      float last[tileRows] = {};
      for (int64_t d = whole; d < valueDim; d++) last[d - whole] = rows[i][d];
      storeAs(line + i * tileRows, loadAs<Quad>(last));
    }
  }
}

}  // namespace
}  // namespace fovea::cpu::FOVEA_ISA
