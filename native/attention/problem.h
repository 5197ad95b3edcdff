// What to compute. A Problem is a list of sequences that share one set of rules; dense, ragged, paged and batched calls
// all become one. Plain data: no Node, no CUDA, no standard containers, so that every backend can read it.
//
// For query row i and key j of one head, p = i + queryOffset:
//   s = scale * q_i.k_j;  s = softcap * tanh(s / softcap);  s += bias[i,j];  s -= alibiSlope * |p - j|
//   allowed: j < keyLength, causal -> j <= p, window -> p - windowLeft <= j <= p + windowRight, mask true, bias > -inf
#pragma once
#include <cstdint>

namespace fovea {

/// int8: keys and values of quantised pages alone, each row times its scale. unset: see Problem::storedDtype.
enum class DType : uint8_t { float32, float16, bfloat16, int8, unset };
enum class Algorithm : uint8_t { automatic, standard, tiled };
/// Which scores `Sequence::scores` receives: after the scale, after the softcap, or after bias and ALiBi (masked:
/// -inf).
enum class ScoreStage : uint8_t { none, scaled, capped, biased };

constexpr int64_t byteSize(DType type) { return type == DType::float32 ? 4 : type == DType::int8 ? 1 : 2; }

/// A [heads, rows, columns] matrix per head somewhere in memory; strides in elements, any value, 0 included.
/// Rows are queries for query, output, mask, bias, weights and scores; keys for key and value.
template <class Element>
struct View {
  Element* data = nullptr;
  int64_t headStride = 0, rowStride = 0, columnStride = 0;

  constexpr explicit operator bool() const { return data != nullptr; }
};

/// Rows of `dims` elements that lie close together.
template <class Element>
inline bool isCompact(const View<Element>& view, int64_t dims) {
  return view.rowStride >= 0 && view.rowStride <= 2 * dims;
}

/// One sequence: its queries against its keys, for all heads.
struct Sequence {
  int64_t queryLength = 0;  // rows that attend
  int64_t queryRows = 0;    // rows of the outputs; those from queryLength on become 0 (lse: -inf)
  int64_t keyLength = 0;    // keys that exist; what lies past them is never read
  int64_t keyColumns = 0;   // columns of weights and scores; those from keyLength on become 0 (biased scores: -inf)
  int64_t queryOffset = 0;  // place of query 0 among the keys; may be negative

  View<const void> query;       // of Problem::dtype
  View<const void> key, value;  // of Problem::kvDtype()
  View<void> output;            // of Problem::dtype
  View<const uint8_t> mask;     // optional: non-zero may attend
  View<const void> bias;        // optional, of Problem::biasDtype
  View<float> lse;              // optional; columnStride unused
  View<float> weights, scores;  // optional

  // Paged keys and values (Problem::pageSize > 0): key j is row j % pageSize of page pageTable[j / pageSize], and page
  // p starts p * keyPageStride elements after key.data.
  const int32_t* pageTable = nullptr;
  int64_t keyPageStride = 0, valuePageStride = 0;

  const float* alibiSlopes = nullptr;  // optional, one per head
  const float* sinks = nullptr;        // optional, one per head: a logit without a value
};

/// Keys from the end of the segment before it (or 0) to `end`: the same ones in every sequence that names this `id`.
struct Segment {
  int32_t end, id;
};

/// A sequence's segments, in order of their keys. Each, and the keys behind the last, is computed by itself and the
/// parts are merged: whether other sequences share a segment changes who computes it, never the parts.
struct Segments {
  const Segment* data = nullptr;
  int64_t count = 0;
};

struct Problem {
  DType dtype = DType::float32;      // of query and output, and of key and value unless storedDtype says otherwise
  DType storedDtype = DType::unset;  // of key and value
  DType biasDtype = DType::float32;  // of bias
  int32_t heads = 0, kvHeads = 0;    // query head h reads kv head h / (heads / kvHeads)
  int32_t headDim = 0, valueDim = 0;
  double scale = 1;
  double softcap = 0;        // 0: none
  bool causal = false;       // j <= p
  int64_t windowLeft = -1;   // -1: unlimited
  int64_t windowRight = -1;  // -1: unlimited
  int32_t pageSize = 0;      // 0: keys and values are contiguous
  // int8 pages: what each row is to be multiplied by, [pages][kvHeads][pageSize]; the pages of all sequences are the
  // same.
  const float *keyScales = nullptr, *valueScales = nullptr;
  Algorithm algorithm = Algorithm::automatic;
  ScoreStage scoreStage = ScoreStage::none;

  const Segments* segments = nullptr;  // optional, of each sequence; a backend may ignore them
  const Sequence* sequences = nullptr;
  int64_t sequenceCount = 0;

  constexpr int32_t groupSize() const { return heads / kvHeads; }
  constexpr DType kvDtype() const { return storedDtype == DType::unset ? dtype : storedDtype; }
};

/// Keys [begin, end).
struct KeyRange {
  int64_t begin, end;
};

/// The keys that at least one of query rows [first, last] may see by length, causality and window (mask and bias
/// aside): a hull, since both ends of a row's range only grow with the row.
constexpr KeyRange visibleKeysOfRows(const Problem& problem, const Sequence& sequence, int64_t first, int64_t last) {
  const int64_t firstPlace = first + sequence.queryOffset, lastPlace = last + sequence.queryOffset;
  int64_t begin = 0, end = sequence.keyLength;
  if (problem.windowLeft >= 0 && firstPlace - problem.windowLeft > begin) begin = firstPlace - problem.windowLeft;
  if (problem.windowRight >= 0 && lastPlace + problem.windowRight + 1 < end) end = lastPlace + problem.windowRight + 1;
  if (problem.causal && lastPlace + 1 < end) end = lastPlace + 1;
  if (end <= begin) return {0, 0};
  return {begin, end};
}

/// Those that query row i may see.
constexpr KeyRange visibleKeys(const Problem& problem, const Sequence& sequence, int64_t queryRow) {
  return visibleKeysOfRows(problem, sequence, queryRow, queryRow);
}

}  // namespace fovea
