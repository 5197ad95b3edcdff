// Merges attention over disjoint sets of keys: splits, segments of a cache, and what mergeAttention is given.
//
//   t = max_i m_i;  w_i = 2^(m_i - t);  l = sum_i w_i l_i;  output = sum_i w_i O_i / l;  lse = t + log l
//
// A warp takes one row of output, four neighbouring columns per lane, and sums the parts in their order. Parts that saw
// no key are not read. Others are even where their weight is 0 by underflow: a NaN in them counts.
//
// Floor: all parts read once and the output written once / bandwidth of device memory. Nothing else counts: two
// exponentials and one multiply-add per column for each part of a row, no shared memory.
#include "decode.h"
#include "softmax.cuh"
#include "tiled_rules.cuh"

namespace fovea::cuda {

/// Four neighbouring elements as float32; those from `end` on are not read. `aligned`: to four elements, unit stride.
FOVEA_DEVICE float4 loadFour(const float* from, int64_t stride, int column, int end, bool aligned) {
  if (aligned && column + 4 <= end) return *reinterpret_cast<const float4*>(from + column);
  float values[4] = {0, 0, 0, 0};
#pragma unroll
  for (int i = 0; i < 4; i++)
    if (column + i < end) values[i] = from[(column + i) * stride];
  return {values[0], values[1], values[2], values[3]};
}

template <class Element>
FOVEA_DEVICE float4 loadFour(const Element* from, int64_t stride, int column, int end, bool aligned) {
  uint2 pairs{0, 0};
  auto* bits = reinterpret_cast<uint16_t*>(&pairs);
  if (aligned && column + 4 <= end) {
    pairs = *reinterpret_cast<const uint2*>(from + column);
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++)
      if (column + i < end) bits[i] = from[(column + i) * stride].bits;
  }
  return {ptx::toFloat(Element{bits[0]}), ptx::toFloat(Element{bits[1]}), ptx::toFloat(Element{bits[2]}),
          ptx::toFloat(Element{bits[3]})};
}

/// The way back.
FOVEA_DEVICE void storeFour(float* to, int64_t stride, int column, int end, bool aligned, float4 values) {
  if (aligned && column + 4 <= end) {
    __stwb(reinterpret_cast<float4*>(to + column), values);  // the compiler would take a plain one apart
    return;
  }
  const float each[4] = {values.x, values.y, values.z, values.w};
#pragma unroll
  for (int i = 0; i < 4; i++)
    if (column + i < end) to[(column + i) * stride] = each[i];
}

template <class Element>
FOVEA_DEVICE void storeFour(Element* to, int64_t stride, int column, int end, bool aligned, float4 values) {
  const uint2 pairs{ptx::pack<Element>(values.x, values.y), ptx::pack<Element>(values.z, values.w)};
  if (aligned && column + 4 <= end) {
    __stwb(reinterpret_cast<uint2*>(to + column), pairs);
    return;
  }
  const uint32_t words[2] = {pairs.x, pairs.y};
#pragma unroll
  for (int i = 0; i < 4; i++)
    if (column + i < end) to[(column + i) * stride] = Element{static_cast<uint16_t>(words[i / 2] >> i % 2 * 16)};
}

/// Merges one row of `dims` columns and hands it out by store(column, four values). Returns its lse. `Parts` has
/// `together` (how many are to be on their way at once), `count`, reference(i), weight(i, t), sum(i), row(i) (null: saw
/// no key), values(row, column), finish(t, l). All lanes of a warp take part: each finds the rows of its parts for all.
template <class Parts, class Store>
FOVEA_DEVICE float mergeParts(const Parts& parts, int dims, Store store) {
  const int lane = laneIndex(), partCount = __shfl_sync(0xffffffff, parts.count, 0);  // which the compiler sees is one
  float top = negativeInfinity(), sum = 0;
#pragma unroll 1
  for (int i = lane; i < partCount; i += 32) top = fmaxf(top, parts.reference(i));
#pragma unroll
  for (int lanes = 1; lanes < 32; lanes *= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, lanes));
#pragma unroll 1
  for (int i = lane; i < partCount; i += 32) sum += parts.weight(i, top) * parts.sum(i);
  const RowResult result = parts.finish(top, rowTotal<32>(sum));
#pragma unroll 1
  for (int first = 0; first < dims; first += 128) {
    const int column = first + lane * 4;
    float4 total{0, 0, 0, 0};
#pragma unroll 1
    for (int chunk = 0; chunk < partCount; chunk += 32) {
      const bool exists = chunk + lane < partCount;
      const float mine = exists ? parts.weight(chunk + lane, top) : 0.f;
      const auto myRow = reinterpret_cast<uintptr_t>(exists ? parts.row(chunk + lane) : nullptr);
      const int count = min(32, partCount - chunk);
      constexpr int together = Parts::together;
#pragma unroll(together == 1 ? 4 : 1)
      for (int part = 0; part < count; part += together) {
        using Row = decltype(parts.row(0));
        float weights[together];
        Row rows[together];  // past the last one there are none
        float4 values[together];
#pragma unroll
        for (int i = 0; i < together; i++) {
          weights[i] = __shfl_sync(0xffffffff, mine, part + i);
          rows[i] = reinterpret_cast<Row>(__shfl_sync(0xffffffff, myRow, part + i));
          if (column >= dims) rows[i] = nullptr;
        }
        // All loads before the first sum: else each part waits for its own.
#pragma unroll
        for (int i = 0; i < together; i++)
          if (rows[i]) values[i] = parts.values(rows[i], column);
#pragma unroll
        for (int i = 0; i < together; i++) {
          if (!rows[i]) continue;
          total.x = fmaf(weights[i], values[i].x, total.x);
          total.y = fmaf(weights[i], values[i].y, total.y);
          total.z = fmaf(weights[i], values[i].z, total.z);
          total.w = fmaf(weights[i], values[i].w, total.w);
        }
      }
    }
    const float factor = result.factor;
    if (factor == 0) total = {0, 0, 0, 0};
    if (column < dims) store(column, {total.x * factor, total.y * factor, total.z * factor, total.w * factor});
  }
  return result.lse;
}

/// One row's results of all splits (decode.h).
struct SplitParts {
  static constexpr int together = 8;
  const MergeRun* runs;
  int count, kvHead, rowInHead, resultFloats;
  float sink;

  /// The run of split i, and the row's index in its results.
  struct Place {
    const MergeRun* run;
    int64_t index;
  };
  FOVEA_DEVICE Place find(int i) const {
    const MergeRun* run = runs;
    while (i >= run->splits) i -= run->splits, run++;
    return {run, kvHead * run->headStep + i * run->splitStep + run->firstRow + rowInHead};
  }
  FOVEA_DEVICE float2 state(int i) const {
    const Place place = find(i);
    return place.run->statistics[place.index];
  }
  FOVEA_DEVICE float reference(int i) const {
    const float2 split = state(i);
    return split.y == 0 ? negativeInfinity() : split.x;
  }
  FOVEA_DEVICE float weight(int i, float top) const {
    const float2 split = state(i);
    return split.y == 0 ? 0.f : ptx::exp2(split.x - top);
  }
  FOVEA_DEVICE float sum(int i) const { return state(i).y; }
  FOVEA_DEVICE const float* row(int i) const {
    const Place place = find(i);
    if (place.run->statistics[place.index].y == 0) return nullptr;
    return place.run->results + place.index * resultFloats;
  }
  FOVEA_DEVICE static float4 values(const float* row, int column) {
    return *reinterpret_cast<const float4*>(row + column);
  }
  FOVEA_DEVICE RowResult finish(float top, float total) const { return finishRow(top, total, sink); }
};

template <class Element>
FOVEA_DEVICE void mergeSplits(const MergeSplitsArguments& arguments) {
  const Problem& problem = arguments.problem;
  const MergeSequence& entry =
      findSequence(arguments.table, problem.sequenceCount, &MergeSequence::firstTask, blockIdx.x);
  const Sequence& sequence = entry.sequence;
  const int64_t index = (int64_t(blockIdx.x) - entry.firstTask) * decodeWarps + warpIndex();
  if (index >= problem.heads * sequence.queryRows) return;
  const int head = int(index / sequence.queryRows), query = int(index - head * sequence.queryRows);
  const int group = problem.groupSize(), kvHead = head / group;
  const bool exists = query < sequence.queryLength;
  const SplitParts parts{entry.runs,
                         exists ? entry.splits : 0,
                         kvHead,
                         query * group + head % group,
                         entry.resultFloats,
                         exists && sequence.sinks ? sequence.sinks[head] : negativeInfinity()};
  const View<void>& output = sequence.output;
  auto* to = static_cast<Element*>(output.data) + head * output.headStride + query * output.rowStride;
  const float lse = mergeParts(parts, problem.valueDim, [&](int column, float4 values) {
    storeFour(to, output.columnStride, column, problem.valueDim, entry.outputAligned != 0, values);
  });
  if (sequence.lse && laneIndex() == 0)
    sequence.lse.data[head * sequence.lse.headStride + query * sequence.lse.rowStride] = lse;
}

/// One row of what mergeAttention is given.
template <class Element>
struct AttentionParts {
  /// They are few, and take many registers: columns may be anywhere, and are converted.
  static constexpr int together = 1;
  const MergePart* parts;
  int count, dims;
  MergeRow place;
  bool aligned;

  FOVEA_DEVICE float reference(int i) const { return parts[i].lse.data[place.offsetIn(parts[i].lse)]; }
  FOVEA_DEVICE float weight(int i, float top) const {
    const float lse = reference(i);
    if (lse == negativeInfinity()) return 0;
    return lse == top ? 1.f : ptx::exp2((lse - top) * log2e);  // equal infinities are equal
  }
  FOVEA_DEVICE float sum(int) const { return 1; }
  FOVEA_DEVICE const MergePart* row(int i) const { return reference(i) == negativeInfinity() ? nullptr : parts + i; }
  FOVEA_DEVICE float4 values(const MergePart* part, int column) const {
    const auto& output = part->output;
    return loadFour(static_cast<const Element*>(output.data) + place.offsetIn(output), output.columnStride, column,
                    dims, aligned);
  }
  FOVEA_DEVICE RowResult finish(float top, float total) const {
    if (total == 0) return {0, negativeInfinity()};
    return {1 / total, fmaf(ptx::log2(total), ln2, top)};
  }
};

template <class Element>
FOVEA_DEVICE void mergeAttention(const MergeArguments& arguments) {
  const Merge& merge = arguments.merge;
  const int64_t index = int64_t(blockIdx.x) * decodeWarps + warpIndex();
  if (index >= merge.rowCount()) return;
  const int dims = int(merge.dims);
  const AttentionParts<Element> parts{merge.parts, int(merge.partCount), dims, mergeRow(merge, index),
                                      arguments.aligned != 0};
  auto* to = static_cast<Element*>(merge.output.data) + parts.place.offsetIn(merge.output);
  const float lse = mergeParts(parts, dims, [&](int column, float4 values) {
    storeFour(to, merge.output.columnStride, column, dims, parts.aligned, values);
  });
  if (laneIndex() == 0) merge.lse.data[parts.place.offsetIn(merge.lse)] = lse;
}

#define FOVEA_MERGE(suffix, Element)                                                        \
  extern "C" __global__ void __launch_bounds__(decodeThreads)                               \
      fovea_merge_splits_##suffix(const __grid_constant__ MergeSplitsArguments arguments) { \
    mergeSplits<Element>(arguments);                                                        \
  }                                                                                         \
  extern "C" __global__ void __launch_bounds__(decodeThreads)                               \
      fovea_merge_attention_##suffix(const __grid_constant__ MergeArguments arguments) {    \
    mergeAttention<Element>(arguments);                                                     \
  }
FOVEA_MERGE(float32, float)
FOVEA_MERGE(float16, Half)
FOVEA_MERGE(bfloat16, BFloat)

}  // namespace fovea::cuda
