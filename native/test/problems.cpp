#include "problems.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "check.h"

namespace fovea::test {

namespace {

uint16_t halfFromFloat(float value) {  // by arithmetic, to be no copy of the kernels' bit tricks
  if (std::isnan(value)) return 0x7e00;
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(double(value));
  if (magnitude >= 65520) return sign | 0x7c00;
  int exponent = magnitude == 0 ? -14 : std::max(-14, std::ilogb(magnitude));
  double fraction = std::nearbyint(std::ldexp(magnitude, 10 - exponent));  // to nearest even
  if (fraction >= 2048) fraction /= 2, exponent++;
  return uint16_t(sign | (fraction < 1024 ? int(fraction) : ((exponent + 15) << 10) + int(fraction) - 1024));
}

float floatFromHalf(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  double magnitude = exponent == 31  ? (fraction ? NAN : INFINITY)
                     : exponent == 0 ? std::ldexp(fraction, -24)
                                     : std::ldexp(1024 + fraction, exponent - 25);
  return float(half & 0x8000 ? -magnitude : magnitude);
}

double element(const View<const void>& view, DType type, int64_t head, int64_t row, int64_t column) {
  const int64_t index = head * view.headStride + row * view.rowStride + column * view.columnStride;
  return toFloat(static_cast<const char*>(view.data) + index * byteSize(type), type);
}

double keyElement(const Problem& problem, const Sequence& sequence, const View<const void>& view, int64_t pageStride,
                  int64_t head, int64_t key, int64_t column) {
  int64_t index = head * view.headStride + column * view.columnStride;
  if (problem.pageSize > 0)
    index += sequence.pageTable[key / problem.pageSize] * pageStride + key % problem.pageSize * view.rowStride;
  else
    index += key * view.rowStride;
  return toFloat(static_cast<const char*>(view.data) + index * byteSize(problem.dtype), problem.dtype);
}

/// A view of freshly allocated [heads][rows][columns] memory: heads or rows outermost, rows and columns with gaps, or
/// columns strided, as `variant` says; what lies in the gaps is NaN.
View<const void> allocateView(Example& example, DType type, int64_t heads, int64_t rows, int64_t columns, int variant,
                              std::mt19937& random, float spread) {
  View<const void> view;
  view.columnStride = variant == 3 ? 2 : 1;
  const int64_t width = columns * view.columnStride + (variant >= 2 ? 3 : 0);
  if (variant == 1) {  // [rows][heads][columns]
    view.headStride = width, view.rowStride = width * heads;
  } else {
    view.rowStride = width, view.headStride = width * rows;
  }
  const int64_t elements = std::max<int64_t>(1, heads * rows * width);
  char* data = static_cast<char*>(example.allocate(size_t(elements * byteSize(type))));
  for (int64_t i = 0; i < elements; i++) fromFloat(data + i * byteSize(type), type, NAN);
  std::normal_distribution<float> normal(0, spread);
  for (int64_t head = 0; head < heads; head++)
    for (int64_t row = 0; row < rows; row++)
      for (int64_t column = 0; column < columns; column++)
        fromFloat(data + (head * view.headStride + row * view.rowStride + column * view.columnStride) * byteSize(type),
                  type, normal(random));
  view.data = data;
  return view;
}

View<void> writable(const View<const void>& view) {
  return {const_cast<void*>(view.data), view.headStride, view.rowStride, view.columnStride};
}

View<float> allocateMatrix(Example& example, int64_t heads, int64_t rows, int64_t columns) {
  View<float> view{nullptr, rows * columns, columns, 1};
  const size_t elements = size_t(std::max<int64_t>(1, heads * rows * columns));
  view.data = static_cast<float*>(example.allocate(elements * 4));
  std::fill_n(view.data, elements, NAN);
  return view;
}

}  // namespace

void* Example::allocate(size_t bytes) {
  memory.push_back(std::make_unique<char[]>(bytes));
  return memory.back().get();
}

float toFloat(const void* from, DType type) {
  if (type == DType::float32) {
    float value;
    std::memcpy(&value, from, 4);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, from, 2);
  if (type == DType::float16) return floatFromHalf(half);
  const uint32_t bits = uint32_t(half) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

void fromFloat(void* to, DType type, float value) {
  if (type == DType::float32) {
    std::memcpy(to, &value, 4);
    return;
  }
  uint16_t half;
  if (type == DType::float16) {
    half = halfFromFloat(value);
  } else {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    half = std::isnan(value) ? 0x7fc0 : uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
  std::memcpy(to, &half, 2);
}

Example makeExample(Size size, DType dtype, uint32_t seed, float spread) {
  Example example;
  std::mt19937 random(seed);
  Problem& problem = example.problem;
  problem.dtype = dtype;
  problem.heads = size.heads, problem.kvHeads = size.kvHeads;
  problem.headDim = size.headDim, problem.valueDim = size.valueDim;
  problem.scale = 1 / std::sqrt(double(size.headDim));
  Sequence sequence;
  sequence.queryLength = sequence.queryRows = size.queryLength;
  sequence.keyLength = sequence.keyColumns = size.keyLength;
  sequence.queryOffset = size.keyLength - size.queryLength;
  sequence.query = allocateView(example, dtype, size.heads, size.queryLength, size.headDim, 0, random, spread);
  sequence.key = allocateView(example, dtype, size.kvHeads, size.keyLength, size.headDim, 0, random, spread);
  sequence.value = allocateView(example, dtype, size.kvHeads, size.keyLength, size.valueDim, 0, random, 1);
  sequence.output = writable(allocateView(example, dtype, size.heads, size.queryLength, size.valueDim, 0, random, NAN));
  sequence.lse = allocateMatrix(example, size.heads, size.queryLength, 1);
  example.sequences.push_back(sequence);
  example.bind();
  return example;
}

Example randomExample(uint32_t seed) {
  Example example;
  std::mt19937 random(seed);
  const auto pick = [&](int64_t from, int64_t to) { return std::uniform_int_distribution<int64_t>(from, to)(random); };
  const auto chance = [&](int percent) { return pick(1, 100) <= percent; };
  Problem& problem = example.problem;
  problem.dtype = DType(chance(50) ? 0 : pick(1, 2));
  problem.biasDtype = DType(pick(0, 2));
  problem.kvHeads = int32_t(pick(1, 3));
  problem.heads = problem.kvHeads * int32_t(chance(60) ? 1 : pick(2, 9));
  const int64_t dims[] = {1, 3, 8, 16, 17, 31, 32, 40, 64, 65, 80, 128};
  problem.headDim = int32_t(dims[pick(0, 11)]), problem.valueDim = int32_t(dims[pick(0, 11)]);
  problem.scale = chance(80) ? 1 / std::sqrt(double(problem.headDim)) : 0.5;
  problem.softcap = chance(25) ? 5 : 0;
  problem.causal = chance(40);
  problem.windowLeft = chance(25) ? pick(0, 200) : -1;
  problem.windowRight = chance(25) ? pick(0, 200) : -1;
  problem.pageSize = chance(25) ? int32_t(pick(1, 40)) : 0;
  problem.algorithm = chance(30) ? Algorithm::standard : Algorithm::tiled;
  const bool bias = chance(20), mask = chance(20), alibi = chance(20), sinks = chance(20), weights = chance(20);

  const int64_t count = chance(70) ? 1 : pick(2, 4);
  for (int64_t s = 0; s < count; s++) {
    Sequence sequence;
    sequence.queryLength = chance(40) ? pick(0, 9) : pick(10, chance(20) ? 500 : 120);
    sequence.keyLength = chance(15) ? pick(0, 5) : pick(1, chance(20) ? 2500 : 300);
    sequence.queryRows = sequence.queryLength + (chance(20) ? pick(1, 5) : 0);
    sequence.keyColumns = sequence.keyLength + (chance(20) ? pick(1, 5) : 0);
    sequence.queryOffset = chance(70) ? sequence.keyLength - sequence.queryLength : pick(-20, 50);
    sequence.query = allocateView(example, problem.dtype, problem.heads, sequence.queryRows, problem.headDim,
                                  int(pick(0, 3)), random, 1);
    if (problem.pageSize > 0) {
      // Pages as "heads" of one view: page p, kv head h, row r.
      const int64_t needed = (sequence.keyLength + problem.pageSize - 1) / problem.pageSize, pages = needed + 2;
      std::vector<int32_t> order;
      for (int64_t page = 0; page < pages; page++) order.push_back(int32_t(page));
      std::shuffle(order.begin(), order.end(), random);
      int32_t* table = static_cast<int32_t*>(example.allocate(size_t(std::max<int64_t>(1, needed)) * 4));
      std::copy_n(order.begin(), needed, table);
      sequence.pageTable = table;
      const auto paged = [&](int64_t dim, View<const void>& view, int64_t& stride) {
        view = allocateView(example, problem.dtype, pages * problem.kvHeads, problem.pageSize, dim, 0, random, 1);
        stride = view.headStride * problem.kvHeads;
      };
      paged(problem.headDim, sequence.key, sequence.keyPageStride);
      paged(problem.valueDim, sequence.value, sequence.valuePageStride);
    } else {
      sequence.key = allocateView(example, problem.dtype, problem.kvHeads, sequence.keyLength, problem.headDim,
                                  int(pick(0, 3)), random, 1);
      sequence.value = allocateView(example, problem.dtype, problem.kvHeads, sequence.keyLength, problem.valueDim,
                                    int(pick(0, 3)), random, 1);
    }
    sequence.output = writable(allocateView(example, problem.dtype, problem.heads, sequence.queryRows, problem.valueDim,
                                            int(pick(0, 3)), random, NAN));
    sequence.lse = allocateMatrix(example, problem.heads, sequence.queryRows, 1);
    if (weights) sequence.weights = allocateMatrix(example, problem.heads, sequence.queryRows, sequence.keyColumns);
    if (bias) {
      sequence.bias = allocateView(example, problem.biasDtype, problem.heads, sequence.queryLength, sequence.keyLength,
                                   int(pick(0, 3)), random, 1);
      if (chance(30)) sequence.bias.headStride = 0;
    }
    if (mask) {
      const int64_t bytes = std::max<int64_t>(1, sequence.queryLength * sequence.keyLength);
      uint8_t* data = static_cast<uint8_t*>(example.allocate(size_t(bytes)));
      const int share = int(pick(0, 100));
      for (int64_t i = 0; i < bytes; i++) data[i] = chance(share) ? uint8_t(pick(1, 255)) : 0;
      if (chance(50) && sequence.queryLength > 0) std::memset(data, 0, size_t(sequence.keyLength));  // an empty row
      sequence.mask = {data, 0, sequence.keyLength, 1};
    }
    const auto perHead = [&] {
      float* data = static_cast<float*>(example.allocate(size_t(problem.heads) * 4));
      for (int32_t h = 0; h < problem.heads; h++) data[h] = std::normal_distribution<float>(0, 1)(random);
      return data;
    };
    if (alibi) sequence.alibiSlopes = perHead();
    if (sinks) sequence.sinks = perHead();
    example.sequences.push_back(sequence);
  }
  example.bind();
  example.describe = "random problem " + std::to_string(seed);
  return example;
}

Row referenceRow(const Problem& problem, const Sequence& sequence, int64_t head, int64_t query) {
  const int64_t kvHead = head / problem.groupSize(), place = query + sequence.queryOffset;
  Row row{std::vector<double>(size_t(problem.valueDim)), std::vector<double>(size_t(sequence.keyColumns)), -INFINITY,
          0};
  if (query >= sequence.queryLength) return row;
  std::vector<double> scores(size_t(sequence.keyLength), -INFINITY);
  double top = sequence.sinks ? sequence.sinks[head] : -INFINITY;
  for (int64_t key = 0; key < sequence.keyLength; key++) {
    double score = 0;
    for (int64_t d = 0; d < problem.headDim; d++)
      score += element(sequence.query, problem.dtype, head, query, d) *
               keyElement(problem, sequence, sequence.key, sequence.keyPageStride, kvHead, key, d);
    score *= problem.scale;
    row.largest = std::max(row.largest, std::fabs(score));
    if (problem.softcap > 0) score = problem.softcap * std::tanh(score / problem.softcap);
    if (sequence.bias) score += element(sequence.bias, problem.biasDtype, head, query, key);
    if (sequence.alibiSlopes) score -= double(sequence.alibiSlopes[head]) * std::fabs(double(place - key));
    bool allowed = !problem.causal || key <= place;
    allowed = allowed && (problem.windowLeft < 0 || key >= place - problem.windowLeft);
    allowed = allowed && (problem.windowRight < 0 || key <= place + problem.windowRight);
    if (sequence.mask)
      allowed = allowed && sequence.mask.data[head * sequence.mask.headStride + query * sequence.mask.rowStride + key];
    if (allowed) {
      scores[size_t(key)] = score, top = std::max(top, score);
      row.largest = std::max(row.largest, std::fabs(score));
    }
  }
  if (top == -INFINITY) return row;
  double sum = sequence.sinks ? std::exp(sequence.sinks[head] - top) : 0;
  for (const double score : scores) sum += std::exp(score - top);
  row.lse = top + std::log(sum);
  for (int64_t key = 0; key < sequence.keyLength; key++) {
    const double weight = std::exp(scores[size_t(key)] - row.lse);
    row.weights[size_t(key)] = weight;
    if (weight > 0)
      for (int64_t d = 0; d < problem.valueDim; d++)
        row.output[size_t(d)] +=
            weight * keyElement(problem, sequence, sequence.value, sequence.valuePageStride, kvHead, key, d);
  }
  return row;
}

void checkAgainstReference(const Example& example, int64_t every) {
  const Problem& problem = example.problem;
  // float32: some roundings of a score per element (the contract, on the whole, is tested apart); 16 bit: the last
  // place.
  const double precision = problem.dtype == DType::float32 ? 8e-6 : problem.dtype == DType::float16 ? 1e-3 : 8e-3;
  for (size_t s = 0; s < example.sequences.size(); s++) {
    const Sequence& sequence = example.sequences[s];
    for (int64_t head = 0; head < problem.heads; head++)
      for (int64_t query = 0; query < sequence.queryRows; query += every) {
        const Row row = referenceRow(problem, sequence, head, query);
        const View<const void> output{sequence.output.data, sequence.output.headStride, sequence.output.rowStride,
                                      sequence.output.columnStride};
        double size = 0.8;  // what the weights average: |v| of normal numbers
        const double allowed = precision * (problem.dtype == DType::float32 ? std::max(1.0, row.largest / 8) : 1);
        for (const double o : row.output) size = std::max(size, std::fabs(o));
        for (int64_t d = 0; d < problem.valueDim; d++) {
          const double got = element(output, problem.dtype, head, query, d), want = row.output[size_t(d)];
          CHECK(std::fabs(got - want) <= allowed * size)
              << example.describe << " sequence " << s << " head " << head << " query " << query << " dim " << d
              << ": got " << got << ", want " << want;
        }
        const double lse = sequence.lse.data[head * sequence.lse.headStride + query * sequence.lse.rowStride];
        CHECK(lse == row.lse ||
              (std::isfinite(row.lse) && std::fabs(lse - row.lse) <= 1e-5 * std::max(1.0, std::fabs(row.lse))))
            << example.describe << " sequence " << s << " head " << head << " query " << query << " lse: got " << lse
            << ", want " << row.lse;
        if (!sequence.weights) continue;
        for (int64_t key = 0; key < sequence.keyColumns; key++) {
          const double got =
              sequence.weights.data[head * sequence.weights.headStride + query * sequence.weights.rowStride + key];
          const double want = row.weights[size_t(key)];
          CHECK(std::fabs(got - want) <= 1e-5 + 1e-4 * want * std::max(1.0, row.largest / 8))
              << example.describe << " sequence " << s << " head " << head << " query " << query << " key " << key
              << " weight: got " << got << ", want " << want;
        }
      }
  }
}

}  // namespace fovea::test
