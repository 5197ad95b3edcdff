// The inner half of decode: scores of rows for keys that lie at one stride, what softmax makes of them, and sums of
// their values, for up to eight rows at a time. Many rows' scores are in decode_lanes.h, and what surrounds both in
// decode.cpp.
#pragma once
#include "ahead.h"
#include "pack.h"

namespace fovea::cpu::FOVEA_ISA {
namespace {  // one user, decode.cpp

constexpr int64_t rowGroup = 8;  // of one visit of a key, at most
constexpr int anyRows = 0;       // as a template's R: any multiple of rowsTogether, whose scores lie side by side
constexpr int rowsTogether = 4;  // whose sums stay in registers

/// Rows of keys or values as whole vectors of a dtype, or staged as float32 when they are not.
struct Rows {
  const char* data;     // first row
  int64_t strideBytes;  // to the next
};

/// Bytes that are asked for ahead of their turn, and rows beside them: as many values of float32 are read in one strip.
constexpr int64_t aheadBytes = 6144, aheadRows = 8;

/// scores[row][key] of R rows and K keys: the sums over lanes of their products, four at a time.
template <int R, int K>
FOVEA_INLINE void storeScores(const Vec (&sum)[R][K], float* scores, int64_t stride) {
  if constexpr (K == 4 && R % 4 == 0) {
#pragma GCC unroll 2
    for (int r = 0; r < R; r += 4) {
      const Vec four[4][4] = {{sum[r][0], sum[r][1], sum[r][2], sum[r][3]},
                              {sum[r + 1][0], sum[r + 1][1], sum[r + 1][2], sum[r + 1][3]},
                              {sum[r + 2][0], sum[r + 2][1], sum[r + 2][2], sum[r + 2][3]},
                              {sum[r + 3][0], sum[r + 3][1], sum[r + 3][2], sum[r + 3][3]}};
      storeSums(four, scores + r * stride, stride);
    }
  } else if constexpr (K == 4) {
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) storeAs(scores + r * stride, sumFour(sum[r][0], sum[r][1], sum[r][2], sum[r][3]));
  } else {
    const auto at = [&](int i) __attribute__((always_inline)) { return i < R * K ? sum[i / K][i % K] : zero(); };
#pragma GCC unroll 8
    for (int first = 0; first < R * K; first += 4) {
      const Quad sums = sumFour(at(first), at(first + 1), at(first + 2), at(first + 3));
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++)
        if (first + i < R * K) scores[(first + i) / K * stride + (first + i) % K] = sums[i];
    }
  }
}

/// Whether keys are read one after the other, as processors like it best. With more rows a few are read in step, which
/// share the loads of queries.
constexpr bool inTurn(int rows) { return rows < rowsTogether; }

/// scores[row][key] of R rows and K keys. Asks for `asked` rows meanwhile, one by one: of lines that are asked for in
/// their order processors see the next ones coming, and many at a time would have to wait.
template <DType type, int R, int K, bool oneByOne, int asked>
FOVEA_INLINE void scoreTile(Rows keys, const float* query, int64_t dims, float* scores, int64_t stride, Ahead& ahead) {
  Vec sum[R][K] = {};
  const auto add = [&](int first, int last, int64_t d) __attribute__((always_inline)) {
    Vec q[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) q[r] = load(query + r * dims + d);
#pragma GCC unroll 4
    for (int i = first; i < last; i++) {
      const Vec k = loadLanes<type>(keys.data + i * keys.strideBytes + d * byteSize(type));
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) sum[r][i] = fma(k, q[r], sum[r][i]);
    }
  };
  const auto addAll = [&](int first, int last) __attribute__((always_inline)) {
    int64_t d = 0;
    for (; d + 4 * lanes <= dims; d += 4 * lanes)  // a branch that is foreseen wrongly costs what is under way
#pragma GCC unroll 4
      for (int step = 0; step < 4; step++) add(first, last, d + step * lanes);
    for (; d < dims; d += lanes) add(first, last, d);
  };
  if constexpr (oneByOne) {
    static_assert(asked == K);
#pragma GCC unroll 4
    for (int i = 0; i < K; i++) {
      askRows<intoL1>(ahead, 1);
      addAll(i, i + 1);
    }
  } else if constexpr (asked == 0) {
    addAll(0, K);
  } else {
    const int64_t piece = asked > 1 ? roundUp(dims / asked, lanes) : dims;
    int64_t due = asked;
    for (int64_t begin = 0; begin < dims; begin += piece) {
      if (due > 0) askRows<intoL1>(ahead, 1), due--;
      for (int64_t d = begin; d < least(begin + piece, dims); d += lanes) add(0, K, d);
    }
    if (due > 0) askRows<intoL1>(ahead, due);
  }
  storeScores(sum, scores, stride);
}

/// Number `part` of `parts` about equal shares.
constexpr int shareOf(int number, int part, int parts) { return number * (part + 1) / parts - number * part / parts; }

/// scores[row][key] of R rows for `count` keys; rows are whole vectors, queries pre-scaled. `brought`: rows before
/// these have read the keys.
template <DType type, int R, bool brought>
FOVEA_NOINLINE void scoreKeys(Rows keys, int64_t count, const float* query, int64_t dims, float* scores, int64_t stride,
                              Ahead& ahead) {
  // As many rows at a time as there are registers for their sums.
  constexpr int parts = R < rowsTogether ? 1 : R == 8 && !manyRegisters ? 3 : 2, rows = (R + parts - 1) / parts;
  int64_t key = 0;
  const auto score = [&]<int K>() __attribute__((always_inline)) {
    const auto scorePart = [&]<int part>() __attribute__((always_inline)) {
      constexpr int first = part * rows, number = R - first < rows ? R - first : rows;
      scoreTile<type, number, K, inTurn(R), brought ? 0 : shareOf(K, part, parts)>(
          {keys.data + key * keys.strideBytes, keys.strideBytes}, query + first * dims, dims,
          scores + first * stride + key, stride, ahead);
    };
    scorePart.template operator()<0>();
    if constexpr (parts > 1) scorePart.template operator()<1>();
    if constexpr (parts > 2) scorePart.template operator()<2>();
    key += K;
  };
  while (key + 4 <= count) score.template operator()<4>();
  if (key + 2 <= count) score.template operator()<2>();
  if (key < count) score.template operator()<1>();
}

/// Keys whose values addValues takes for one strip of dims: the fewer, the more often sums are loaded and stored; the
/// more, the further a column of them reaches.
constexpr int64_t keysOfStrip(DType type, int rows, bool brought) {
  if (rows != anyRows && inTurn(rows) && type == DType::float32) return rows;
  return (manyRegisters && brought) || byteSize(type) < 4 ? 16 : 8;
}
/// Sums of a strip, which stay in registers. Values that are not brought yet come no faster.
constexpr int sumsOfStrip(DType type, int rows, bool brought) {
  return manyRegisters && (brought || (rows == 8 && byteSize(type) < 4)) ? 16 : 8;
}

/// output[row][d] += sum over keys of p[row][key] v[key][d], a strip of dims at a time. Probabilities of a row's keys
/// are neighbours, and of a row and the next `stride` apart; those of any number of `rows` the other way round.
template <DType type, int R, bool brought>
FOVEA_NOINLINE void addValues(Rows values, int64_t count, const float* probabilities, int64_t stride, int64_t rows,
                              float* output, int64_t dims, Ahead& ahead) {
  constexpr bool few = R != anyRows;
  constexpr int together = few && R < rowsTogether ? R : rowsTogether,
                columns = sumsOfStrip(type, R, brought) / together;
  if constexpr (few) rows = R;
  const auto strip = [&]<int C>(int64_t row, int64_t key, int64_t stop, int64_t d) __attribute__((always_inline)) {
    Vec sum[together][C];
#pragma GCC unroll 8
    for (int r = 0; r < together; r++)
#pragma GCC unroll 8
      for (int c = 0; c < C; c++) sum[r][c] = load(output + (row + r) * dims + d + c * lanes);
    for (; key < stop; key++) {
      const char* at = values.data + key * values.strideBytes + d * byteSize(type);
      const auto p = [&](int r) __attribute__((always_inline)) {
        return broadcast(few ? probabilities[(row + r) * stride + key] : probabilities[key * stride + row + r]);
      };
      const auto v = [&](int c) __attribute__((always_inline)) {
        return loadLanes<type>(at + c * lanes * byteSize(type));
      };
      // All of the fewer ones are held: the others pass by.
      if constexpr (C > together) {
        Vec held[together];
#pragma GCC unroll 8
        for (int r = 0; r < together; r++) held[r] = p(r);
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) {
          const Vec value = v(c);
#pragma GCC unroll 8
          for (int r = 0; r < together; r++) sum[r][c] = fma(value, held[r], sum[r][c]);
        }
      } else {
        Vec held[C];
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) held[c] = v(c);
#pragma GCC unroll 8
        for (int r = 0; r < together; r++) {
          const Vec probability = p(r);
#pragma GCC unroll 8
          for (int c = 0; c < C; c++) sum[r][c] = fma(held[c], probability, sum[r][c]);
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < together; r++)
#pragma GCC unroll 8
      for (int c = 0; c < C; c++) store(output + (row + r) * dims + d + c * lanes, sum[r][c]);
  };
  constexpr int64_t atOnce = keysOfStrip(type, R, brought);
  const int64_t strips = rows / together * (dims / (columns * lanes));  // whole ones
  for (int64_t key = 0; key < count; key += atOnce) {
    const int64_t stop = least(count, key + atOnce);
    int64_t asked = key, done = 0;
    for (int64_t row = 0; row < rows; row += together) {
      int64_t d = 0;
      for (; d + columns * lanes <= dims; d += columns * lanes) {
        strip.template operator()<columns>(row, key, stop, d);
        if constexpr (atOnce > rowsTogether) {  // evenly: a burst would fill the processor's queue of misses
          done += stop - key;
          const int64_t due = least(stop, key + done / strips);
          if (due > asked) askRows<intoL1>(ahead, due - asked), asked = due;
        }
      }
      for (; d < dims; d += lanes) strip.template operator()<1>(row, key, stop, d);
    }
    askRows<intoL1>(ahead, stop - asked);
  }
}

/// scores[0, count) of one row become probabilities; its reference, sum and output follow a new maximum.
void softmaxRow(float* scores, int64_t count, float& reference, float& sum, float* output, int64_t dims) {
  int64_t padded = roundUp(count, lanes);
  for (int64_t i = count; i < padded; i++) scores[i] = -infinity;
  Vec highest = broadcast(-infinity);
  for (int64_t i = 0; i < padded; i += lanes) highest = max(highest, load(scores + i));
  const float top = maxLanes(highest);
  if (top > reference) {
    if (reference > -infinity) {  // else it is the first block with a key
      const Vec factor = exp2(broadcast(reference - top));
      for (int64_t d = 0; d < dims; d += lanes) store(output + d, load(output + d) * factor);
      sum *= factor[0];
    }
    reference = top;
  }
  const Vec base = broadcast(reference == -infinity ? 0 : reference);
  Vec total = zero();
  for (int64_t i = 0; i < padded; i += lanes) {
    const Vec p = exp2(load(scores + i) - base);
    store(scores + i, p);
    total += p;
  }
  sum += sumLanes(total);
}

/// Calls use.template operator()<type>().
template <class Use>
void withType(DType type, Use use) {
  if (type == DType::float32) return use.template operator()<DType::float32>();
  if (type == DType::float16) return use.template operator()<DType::float16>();
  if (type == DType::int8) return use.template operator()<DType::int8>();
  use.template operator()<DType::bfloat16>();
}

/// How decode holds few rows: queries as rows, and each one's scores for neighbouring keys side by side, `stride` from
/// the next row's. They are taken in groups of up to eight. ManyRows is the other way.
struct FewRows {
  /// Rows that are computed for `rows`: kernels exist for 1, 2, 4 and 8.
  static int64_t held(int64_t rows) {
    const int64_t last = rows % rowGroup;
    return rows - last + (last <= 2 ? last : last <= 4 ? 4 : rowGroup);
  }
  /// From one row's scores to the next one's: not a power of two, or those of many would meet in few of the L1 cache's
  /// sets.
  static int64_t scoreStride(int64_t, int64_t keyBlock) { return keyBlock + 16; }
  /// Of the first row's score for a key.
  static int64_t scoreAt(int64_t key, int64_t) { return key; }

  /// Makes `from` row `row` of the queries, which are [held][dims].
  static void putQuery(const float* from, int64_t count, int64_t row, int64_t, float* query, int64_t dims) {
    std::memcpy(query + row * dims, from, sizeof(float) * size_t(count));
  }
  static void score(Rows keys, DType type, int64_t count, const float* query, int64_t dims, int64_t held, float* scores,
                    int64_t stride, float*, Ahead& ahead) {
    withType(type, [&]<DType t>() {
      eachGroup(held, ahead, [&]<int R, bool brought>(int64_t r, Ahead& asked) {
        scoreKeys<t, R, brought>(keys, count, query + r * dims, dims, scores + r * stride, stride, asked);
      });
    });
  }
  /// Multiplies each key's scores.
  static void scale(const float* factors, int64_t count, int64_t held, float* scores, int64_t stride) {
    for (int64_t r = 0; r < held; r++)
      for (int64_t i = 0; i < count; i++) scores[r * stride + i] *= factors[i];
  }
  /// Calls use(row's scores of neighbouring keys).
  template <class Use>
  static void withRow(float* scores, int64_t row, int64_t, int64_t stride, float*, Use use) {
    use(scores + row * stride);
  }
  static void softmax(float* scores, int64_t count, int64_t rows, int64_t stride, float* reference, float* sum,
                      float* output, int64_t dims) {
    for (int64_t r = 0; r < rows; r++)
      softmaxRow(scores + r * stride, count, reference[r], sum[r], output + r * dims, dims);
  }
  static void add(Rows values, DType type, int64_t count, const float* probabilities, int64_t stride, int64_t held,
                  float* output, int64_t dims, Ahead& ahead) {
    withType(type, [&]<DType t>() {
      eachGroup(held, ahead, [&]<int R, bool brought>(int64_t r, Ahead& asked) {
        addValues<t, R, brought>(values, count, probabilities + r * stride, stride, R, output + r * dims, dims, asked);
      });
    });
  }

 private:
  /// Calls use.template operator()<R, brought>(r, ahead) for each group: R rows from row r on. The first one asks for
  /// what comes next.
  template <class Use>
  static void eachGroup(int64_t held, Ahead& ahead, Use use) {
    Ahead nothing;
    for (int64_t r = 0; r < held; r += rowGroup) {
      const int64_t group = least(held - r, rowGroup);
      Ahead& asked = r == 0 ? ahead : nothing;
      if (group == 1)
        use.template operator()<1, false>(r, asked);
      else if (group == 2)
        use.template operator()<2, false>(r, asked);
      else if (group == 4)
        use.template operator()<4, false>(r, asked);
      else if (r == 0)
        use.template operator()<8, false>(r, asked);
      else
        use.template operator()<8, true>(r, asked);
    }
  }
};

}  // namespace
}  // namespace fovea::cpu::FOVEA_ISA
