// Decode's inner half for many rows, those of sequences that share a prefix: each lane is a row. Scores then need no
// sums over lanes, and softmax none over its keys; a key's numbers are broadcast, each to two vectors of rows. Every
// sum is made in the order in which decode_rows.h makes it, where lanes are dims or keys: a row has the same bits
// whether it is alone or one of many.
//
// Of 64 rows of 64 dims in float32, scores come to 94 % of the peak with AVX-512 (70 % with rows taken eight at a
// time), and to 90 % with AVX2, as those do. Of 16 rows, or 24, there is one vector, or half of one is in vain: those
// are FewRows'.
#pragma once
#include "decode_rows.h"

namespace fovea::cpu::FOVEA_ISA {
namespace {  // one user, decode.cpp

/// Keys that are scored for all rows before the next ones: their numbers stay in the L1 cache, as float32.
constexpr int64_t keysOfChunk = 16;

/// Up to this many are always FewRows'.
constexpr int64_t mostFewRows = 24;

/// sum[v][k] = the products of d = lane, lane + lanes, ... for V vectors of rows and K keys.
template <int lane, int V, int K>
FOVEA_INLINE void addDimsOfLane(Rows keys, const float* query, int64_t dims, int64_t held, Vec (&sum)[V][K]) {
#pragma GCC unroll 2
  for (int v = 0; v < V; v++)
#pragma GCC unroll 8
    for (int k = 0; k < K; k++) sum[v][k] = zero();
  for (int64_t d = lane; d < dims; d += lanes) {
    Vec q[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) q[v] = load(query + d * held + v * lanes);
#pragma GCC unroll 8
    for (int k = 0; k < K; k++) {
      const Factor key = factor(((const float*)(keys.data + k * keys.strideBytes))[d]);
#pragma GCC unroll 2
      for (int v = 0; v < V; v++) sum[v][k] = fma(key, q[v], sum[v][k]);
    }
  }
}

/// The same summed over lanes, as sumFour does it: the two that are half a vector apart where it is not of 8 lanes,
/// then neighbours. `first` and `number` are those of the pairs, or lanes.
template <int first, int number, int V, int K>
FOVEA_INLINE void addDims(Rows keys, const float* query, int64_t dims, int64_t held, Vec (&sum)[V][K]) {
  Vec other[V][K];
  if constexpr (number > 1) {
    addDims<first, number / 2>(keys, query, dims, held, sum);
    addDims<first + number / 2, number / 2>(keys, query, dims, held, other);
  } else {
    addDimsOfLane<first>(keys, query, dims, held, sum);
    if constexpr (lanes == 8) return;
    addDimsOfLane<first + lanes / 2>(keys, query, dims, held, other);
  }
#pragma GCC unroll 2
  for (int v = 0; v < V; v++)
#pragma GCC unroll 8
    for (int k = 0; k < K; k++) sum[v][k] += other[v][k];
}

/// scores[key][row] of V vectors of rows for `count` keys of float32. Calls scored(keys) now and then.
template <int V, class Scored>
FOVEA_INLINE void scoreVectors(Rows keys, int64_t count, const float* query, int64_t dims, int64_t held, float* scores,
                               Scored scored) {
  int64_t key = 0;
  const auto tile = [&]<int K>() __attribute__((always_inline)) {
    Vec sum[V][K];
    addDims<0, lanes == 8 ? lanes : lanes / 2>({keys.data + key * keys.strideBytes, keys.strideBytes}, query, dims,
                                               held, sum);
#pragma GCC unroll 8
    for (int k = 0; k < K; k++)
#pragma GCC unroll 2
      for (int v = 0; v < V; v++) store(scores + (key + k) * held + v * lanes, sum[v][k]);
    scored(K);
    key += K;
  };
  constexpr int tileKeys = manyRegisters && V == 1 ? 8 : 4;
  while (key + tileKeys <= count) tile.template operator()<tileKeys>();
  while (key < count) tile.template operator()<1>();
}

/// scores[key][row] of `held` rows for `count` keys. Asks for as many rows meanwhile.
template <DType type>
FOVEA_NOINLINE void scoreLanes(Rows keys, int64_t count, const float* query, int64_t dims, int64_t held, float* scores,
                               float* converted, Ahead& ahead) {
  const int64_t visits = (held + 2 * lanes - 1) / (2 * lanes);  // of a key
  for (int64_t chunk = 0, stop; chunk < count; chunk = stop) {
    stop = least(count, chunk + keysOfChunk);
    Rows rows{keys.data + chunk * keys.strideBytes, keys.strideBytes};
    if constexpr (type != DType::float32) {
      for (int64_t key = 0; key < stop - chunk; key++)
        for (int64_t d = 0; d < dims; d += lanes)
          store(converted + key * dims + d, loadLanes<type>(rows.data + key * rows.strideBytes + d * byteSize(type)));
      rows = {(const char*)converted, dims * 4};
    }
    int64_t done = 0, asked = 0;
    const auto scored = [&](int64_t number) __attribute__((always_inline)) {
      done += number;
      const int64_t due = done / visits;  // evenly, as in addValues
      if (due > asked) askRows<intoL1>(ahead, due - asked), asked = due;
    };
    int64_t row = 0;
    for (; row + 2 * lanes <= held; row += 2 * lanes)
      scoreVectors<2>(rows, stop - chunk, query + row, dims, held, scores + chunk * held + row, scored);
    if (row < held) scoreVectors<1>(rows, stop - chunk, query + row, dims, held, scores + chunk * held + row, scored);
  }
}

/// Scores of `count` keys for one vector of rows, of which `output` is the first's, become probabilities, as in
/// softmaxRow.
void softmaxLanes(float* scores, int64_t count, int64_t held, float* reference, float* sum, float* output,
                  int64_t dims) {
  Vec highest[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) highest[i] = broadcast(-infinity);
  int64_t key = 0;
  for (; key + 4 <= count; key += 4)
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) highest[i] = max(highest[i], load(scores + (key + i) * held));
  for (; key < count; key++) highest[0] = max(highest[0], load(scores + key * held));
  const Vec top = max(max(highest[0], highest[1]), max(highest[2], highest[3]));

  const Vec before = load(reference);
  if (anyAbove(top, before)) {
    const Vec after = select(top > before, top, before), none = broadcast(-infinity);
    const Vec factor = select((before > none) & (top > before), exp2(before - after), broadcast(1));
    store(reference, after), store(sum, load(sum) * factor);
    for (int r = 0; r < lanes; r++) {
      if (factor[r] == 1) continue;
      const Vec rowFactor = broadcast(factor[r]);
      for (int64_t d = 0; d < dims; d += lanes) store(output + r * dims + d, load(output + r * dims + d) * rowFactor);
    }
  }
  const Vec highestYet = load(reference), base = select(highestYet == broadcast(-infinity), zero(), highestYet);
  Vec total[lanes];  // of the keys that have this lane in softmaxRow
#pragma GCC unroll 16
  for (int i = 0; i < lanes; i++) total[i] = zero();
  const auto add = [&](int i, int64_t at) __attribute__((always_inline)) {
    const Vec p = exp2(load(scores + at * held) - base);
    store(scores + at * held, p);
    total[i] += p;
  };
  for (key = 0; key + lanes <= count; key += lanes)
#pragma GCC unroll 16
    for (int i = 0; i < lanes; i++) add(i, key + i);
#pragma GCC unroll 16
  for (int i = 0; i < lanes; i++)
    if (key + i < count) add(i, key + i);
#pragma GCC unroll 4
  for (int width = lanes / 2; width > 0; width /= 2)  // as sumLanes
#pragma GCC unroll 8
    for (int i = 0; i < width; i++) total[i] += total[i + width];
  store(sum, load(sum) + total[0]);
}

/// How decode holds many rows: queries as columns, and all rows' scores for a key side by side.
struct ManyRows {
  /// Where FewRows takes longer: not where a good part of the last vector would be in vain (33 rows took 28 % longer).
  static bool suits(int64_t rows) { return rows > mostFewRows && roundUp(rows, lanes) - rows <= lanes / 4; }
  static int64_t held(int64_t rows) { return roundUp(rows, lanes); }
  static int64_t scoreStride(int64_t held, int64_t) { return held; }
  static int64_t scoreAt(int64_t key, int64_t stride) { return key * stride; }

  static void putQuery(const float* from, int64_t count, int64_t row, int64_t held, float* query, int64_t) {
    for (int64_t d = 0; d < count; d++) query[d * held + row] = from[d];
  }
  static void score(Rows keys, DType type, int64_t count, const float* query, int64_t dims, int64_t held, float* scores,
                    int64_t, float* converted, Ahead& ahead) {
    withType(type, [&]<DType t>() { scoreLanes<t>(keys, count, query, dims, held, scores, converted, ahead); });
  }
  static void scale(const float* factors, int64_t count, int64_t held, float* scores, int64_t) {
    for (int64_t i = 0; i < count; i++)
      for (int64_t r = 0; r < held; r += lanes)
        store(scores + i * held + r, load(scores + i * held + r) * broadcast(factors[i]));
  }
  template <class Use>
  static void withRow(float* scores, int64_t row, int64_t count, int64_t stride, float* copy, Use use) {
    for (int64_t i = 0; i < count; i++) copy[i] = scores[i * stride + row];
    use(copy);
    for (int64_t i = 0; i < count; i++) scores[i * stride + row] = copy[i];
  }
  static void softmax(float* scores, int64_t count, int64_t rows, int64_t stride, float* reference, float* sum,
                      float* output, int64_t dims) {
    for (int64_t r = 0; r < rows; r += lanes)
      softmaxLanes(scores + r, count, stride, reference + r, sum + r, output + r * dims, dims);
  }
  static void add(Rows values, DType type, int64_t count, const float* probabilities, int64_t stride, int64_t held,
                  float* output, int64_t dims, Ahead& ahead) {
    withType(type, [&]<DType t>() {
      addValues<t, anyRows, true>(values, count, probabilities, stride, held, output, dims, ahead);
    });
  }
};

}  // namespace
}  // namespace fovea::cpu::FOVEA_ISA
