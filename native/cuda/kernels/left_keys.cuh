// The keys of a split that mask and bias leave, found out before the first is fetched: those before the first and
// behind the last are not read. So a mask of padding, or of one of many texts, costs decode what it leaves. (Keys
// between are read and hidden: splits are short, of 256 to 512 keys up to 32k, so that gaps are ends of some.)
//
// One warp looks and tells the others, so that they agree whatever happens to the mask meanwhile. Nothing else is on
// its way by then: a wait for memory at each end, or, where rows differ, one for each of them. By estimate a wait is a
// microsecond at most, of the 25 that decode of 64 MB takes. Of many rows that differ it is not worth that.
#pragma once
#include "pairs.cuh"
#include "scores.cuh"
#include "sequences.cuh"

namespace fovea::cuda {

/// Keys [begin, end): none where begin is not before end.
struct KeySpan {
  int begin, end;
};

constexpr int keysLookedAt = 256;  // together
constexpr int rowsLookedAt = 8;    // at most, that differ

/// The first and behind the last of keys [from, from + 256) in `span` that some row has left: `span.end` and 0 if none.
template <class Element, class IsLeft>
FOVEA_DEVICE KeySpan lookAtKeys(const View<const Element>& view, const TilePairs& pairs, KeySpan span, int from,
                                IsLeft isLeft) {
  const Divisor heads(pairs.heads);
  const int first = from + laneIndex();
  const int64_t step = 32 * view.columnStride;  // read once
  const auto isInside = [&](int i) { return first + 32 * i >= span.begin && first + 32 * i < span.end; };
  KeySpan left{span.end, 0};
#pragma unroll 1
  for (int row = 0; row < pairs.queries * pairs.heads; row++) {
    const Element* at = elementsAt(view, pairs, heads, row, first);
    Element elements[keysLookedAt / 32];
#pragma unroll
    for (int i = 0; i < keysLookedAt / 32; i++, at = ptx::anew(at + step)) {
      elements[i] = Element{};
      if (isInside(i)) elements[i] = *at;
    }
    __syncwarp();  // all are asked for before one is looked at
#pragma unroll
    for (int i = 0; i < keysLookedAt / 32; i++)
      if (isInside(i) && isLeft(elements[i]))
        left = {min(left.begin, first + 32 * i), max(left.end, first + 32 * i + 1)};
  }
  return {__reduce_min_sync(0xffffffff, left.begin), __reduce_max_sync(0xffffffff, left.end)};
}

/// A span without what no row has left at its ends. All lanes of a warp have the same.
template <class Element, class IsLeft>
FOVEA_DEVICE KeySpan leftSpan(const View<const Element>& view, const TilePairs& all, KeySpan span, IsLeft isLeft) {
  const TilePairs pairs = distinctPairs(all, view);
  if (pairs.queries * pairs.heads > rowsLookedAt) return span;
  KeySpan left{span.end, 0};
#pragma unroll 1
  for (int from = span.begin; from < span.end && left.end == 0; from += keysLookedAt)
    left = lookAtKeys(view, pairs, span, from, isLeft);
  if (left.end == 0) return {0, 0};
  // What lies behind the last of these, from the end on.
  const KeySpan rest{left.end, span.end};
#pragma unroll 1
  for (int to = rest.end; to > rest.begin; to -= keysLookedAt) {
    const KeySpan last = lookAtKeys(view, pairs, rest, to - keysLookedAt, isLeft);
    if (last.end == 0) continue;
    left.end = last.end;
    break;
  }
  return left;
}

template <class Element>
FOVEA_DEVICE KeySpan leftByBias(const View<const void>& any, const TilePairs& pairs, KeySpan span) {
  const View<const Element> bias{static_cast<const Element*>(any.data), any.headStride, any.rowStride,
                                 any.columnStride};
  return leftSpan(bias, pairs, span, [](Element element) { return ptx::toFloat(element) != negativeInfinity(); });
}

/// What mask and bias leave of a span, for all rows of a kv head. A call: inlined, the kernels' loops took up to 60
/// registers more.
__device__ __noinline__ KeySpan leftKeys(const Problem& problem, const Sequence& sequence, int kvHead, KeySpan span) {
  const int group = problem.groupSize();
  const TilePairs pairs{0, int64_t{kvHead} * group, 0, int(sequence.queryLength), group, 0};
  if (sequence.mask) span = leftSpan(sequence.mask, pairs, span, [](uint8_t allowed) { return allowed != 0; });
  if (!sequence.bias) return span;
  switch (problem.biasDtype) {
    case DType::float32:
      return leftByBias<float>(sequence.bias, pairs, span);
    case DType::float16:
      return leftByBias<Half>(sequence.bias, pairs, span);
    default:
      return leftByBias<BFloat>(sequence.bias, pairs, span);
  }
}

}  // namespace fovea::cuda
