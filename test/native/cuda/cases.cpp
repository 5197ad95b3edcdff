#include "cases.h"

#include <algorithm>

namespace fovea::test {

const char* nameOf(Algorithm algorithm) {
  return algorithm == Algorithm::standard ? "standard" : algorithm == Algorithm::tiled ? "tiled" : "auto";
}

Case randomCase(DType dtype, uint64_t seed) {
  Random random(seed);
  const auto below = [&](int limit) { return int(random.bits() % uint64_t(limit)); };
  const auto often = [&](double share) { return random.uniform() < share; };
  const auto dims = [&] { return often(0.5) ? 16 * (1 + below(8)) : 1 + below(often(0.2) ? 256 : 130); };
  constexpr int groups[] = {1, 1, 2, 3, 4, 5, 7, 8, 16};
  Case about;
  about.name = std::string(nameOf(dtype)) + " random " + std::to_string(seed);
  about.seed = seed;
  about.dtype = dtype;
  about.biasDtype = DType(below(3));
  const int group = groups[below(9)];
  about.kvHeads = group > 4 ? 1 : 1 + below(2);
  about.heads = about.kvHeads * group;
  about.headDim = dims();
  about.valueDim = often(0.6) ? about.headDim : dims();
  const int sequences = 1 + below(3), most = 200 / group;
  about.queryLengths.clear(), about.keyLengths.clear();
  for (int i = 0; i < sequences; i++) {
    about.queryLengths.push_back(i > 0 && often(0.1) ? 0 : 1 + below(most));
    about.keyLengths.push_back(i > 0 && often(0.1) ? 0 : 1 + below(200));
  }
  about.causal = often(0.4);
  if (often(0.25)) about.windowLeft = below(150);
  if (often(0.25)) about.windowRight = below(150);
  if (often(0.3)) about.queryOffset = below(300) - 150;
  about.mask = often(0.2);
  about.alibi = often(0.2);
  about.sinks = often(0.2);
  about.softcap = often(0.2) ? 1 + 20 * random.uniform() : 0;
  about.scale = often(0.1) ? -0.1 : 0;
  about.bias = often(0.25) ? Case::Bias(1 + below(3)) : Case::Bias::none;
  about.lse = often(0.8);
  about.weights = often(0.2);
  about.pageSize = often(0.25) ? 1 + below(70) : 0;
  about.padding = often(0.3) ? below(80) : 0;
  about.rowsFirst = often(0.3);
  about.shift = often(0.2) ? 1 : 0;
  about.magnitude = often(0.1) ? 30 : 1;
  return about;
}

Tensors::Tensors(const Case& about) : about_(about) {
  Random random(about.seed);
  problem_.dtype = about.dtype;
  if (about.int8) problem_.storedDtype = DType::int8;
  problem_.algorithm = about.algorithm;
  problem_.biasDtype = about.biasDtype;
  problem_.heads = about.heads;
  problem_.kvHeads = about.kvHeads;
  problem_.headDim = about.headDim;
  problem_.valueDim = about.valueDim;
  problem_.scale = about.scale != 0 ? about.scale : 1 / std::sqrt(double(about.headDim));
  problem_.softcap = about.softcap;
  problem_.causal = about.causal;
  problem_.windowLeft = about.windowLeft;
  problem_.windowRight = about.windowRight;
  problem_.pageSize = about.pageSize;
  problem_.scoreStage = about.scoreStage;
  const int64_t heads = about.heads;
  const auto perHead = [&](double from, double to) {
    auto* values = static_cast<float*>(reserve(heads, DType::float32));
    for (int64_t head = 0; head < heads; head++) values[head] = float(from + (to - from) * random.uniform());
    return values;
  };
  const float* slopes = about.alibi ? perHead(0.01, 0.5) : nullptr;
  const float* sinks = about.sinks ? perHead(-2, 3) : nullptr;

  for (size_t i = 0; i < about.queryLengths.size(); i++) {
    Sequence sequence;
    sequence.queryLength = about.queryLengths[i];
    sequence.keyLength = about.keyLengths[i];
    sequence.queryRows = sequence.queryLength + about.padding;
    sequence.keyColumns = sequence.keyLength + about.padding;
    sequence.queryOffset = about.queryOffset.value_or(sequence.keyLength - sequence.queryLength);
    sequence.alibiSlopes = slopes;
    sequence.sinks = sinks;
    const int64_t rows = sequence.queryRows, columns = sequence.keyColumns;
    sequence.query = input({heads, rows, about.headDim}, sequence.queryLength, random, about.magnitude);
    if (about.pageSize > 0) {
      addPages(sequence, int64_t(i), random);
    } else {
      sequence.key = input({about.kvHeads, columns, about.headDim}, sequence.keyLength, random, 1);
      sequence.value = input({about.kvHeads, columns, about.valueDim}, sequence.keyLength, random, 1);
    }
    if (about.poisonMasked && sequence.keyLength > 0)  // element 0 of the last key
      store(about.dtype, const_cast<void*>(sequence.key.data), (sequence.keyLength - 1) * sequence.key.rowStride, NAN);
    if (about.infiniteKey) {
      for (int64_t row = 0; row < heads * rows; row++)
        store(about.dtype, const_cast<void*>(sequence.query.data), row * about.headDim, 1);
      store(about.dtype, const_cast<void*>(sequence.key.data), sequence.keyLength / 2 * about.headDim, -INFINITY);
    }
    if (about.infiniteValue)
      store(about.dtype, const_cast<void*>(sequence.value.data), (sequence.keyLength - 1) * about.valueDim, INFINITY);
    if (about.faintValue) store(about.dtype, const_cast<void*>(sequence.value.data), 0, NAN);
    if (about.maskAll)
      for (int64_t at = 0; at < about.kvHeads * columns * about.valueDim; at++)
        store(about.dtype, const_cast<void*>(sequence.value.data), at, NAN);
    const bool sharedByHeads = about.hides != Case::Hides::some && about.hides != Case::Hides::headTexts;
    if (about.mask) {
      const int64_t maskHeads = sharedByHeads ? 1 : heads, maskRows = about.hides == Case::Hides::padding ? 1 : rows;
      const int64_t size = maskHeads * maskRows * columns;
      auto* bytes = static_cast<uint8_t*>(reserve((size + 3) / 4, DType::float32));
      for (int64_t at = 0; at < size; at++)
        bytes[at] = about.hides == Case::Hides::some
                        ? !about.maskAll && random.uniform() < 0.7
                        : leaves(about.hides, sequence, at / columns / maskRows, at / columns % maskRows, at % columns);
      sequence.mask = {bytes, sharedByHeads ? 0 : maskRows * columns, maskRows > 1 ? columns : 0, 1};
    }
    if (about.bias != Case::Bias::none) {
      const bool full = about.bias == Case::Bias::full, perKey = about.bias == Case::Bias::perKey;
      const bool perRow = about.bias == Case::Bias::perRow;
      const int64_t biasHeads = perKey ? 1 : heads, biasRows = full || perRow ? rows : 1;
      const int64_t biasColumns = perRow ? 2 : columns, size = biasHeads * biasRows * biasColumns;
      void* values = reserve(size, about.biasDtype);
      for (int64_t at = 0; at < size; at++) {
        const bool left = about.hides == Case::Hides::some || !full ||
                          leaves(about.hides, sequence, at / columns / rows, at / columns % rows, at % columns);
        store(about.biasDtype, values, at, !left || random.uniform() < 0.1 ? -INFINITY : 2 * random.normal());
      }
      for (int64_t at = 0; about.faintValue && at < size; at++)
        store(about.biasDtype, values, at, at % columns % 64 < 16 ? -200 : 0);
      sequence.bias = {values, perKey ? 0 : biasRows * biasColumns, full || perRow ? biasColumns : 0, perRow ? 0 : 1};
    }
    sequence.output = output<void>({heads, rows, about.valueDim}, about.dtype);
    if (about.lse) sequence.lse = output<float>({heads, rows, 1}, DType::float32);
    if (about.weights) sequence.weights = output<float>({heads, rows, columns}, DType::float32);
    if (about.scoreStage != ScoreStage::none) sequence.scores = output<float>({heads, rows, columns}, DType::float32);
    sequences_.push_back(sequence);
  }
  problem_.sequences = sequences_.data();
  problem_.sequenceCount = int64_t(sequences_.size());
  if (about.sharedKeys > 0) {
    shared_.end = about.sharedKeys;
    segments_.assign(sequences_.size(), {&shared_, 1});
    problem_.segments = segments_.data();
  }
  clearOutputs();
}

bool leaves(Case::Hides hides, const Sequence& sequence, int64_t head, int64_t query, int64_t key) {
  const int64_t place = query + sequence.queryOffset;
  switch (hides) {
    case Case::Hides::texts:
      return key / 100 == place / 100 || key < 20;
    case Case::Hides::headTexts:
      return key / (100 + 150 * head) == place / (100 + 150 * head) || key < 20;
    case Case::Hides::future:
      return key <= place;
    case Case::Hides::padding:
      return key < sequence.keyLength * 2 / 5;
    case Case::Hides::single:
      return (key + query) % 97 != 13;
    case Case::Hides::allButLast:
      return key == sequence.keyLength - 1;
    case Case::Hides::some:
      break;
  }
  return true;
}

void* Tensors::reserve(int64_t elements, DType type) {
  storage_.emplace_back(size_t((elements + about_.shift) * byteSize(type)) + 16);
  return storage_.back().data() + about_.shift * byteSize(type);
}

View<const void> Tensors::input(const Shape& shape, int64_t validRows, Random& random, double magnitude) {
  const auto [heads, rows, columns] = shape;
  void* data = reserve(heads * rows * columns, about_.dtype);
  const View<const void> view = about_.rowsFirst ? View<const void>{data, columns, heads * columns, 1}
                                                 : View<const void>{data, rows * columns, columns, 1};
  for (int64_t head = 0; head < heads; head++)
    for (int64_t row = 0; row < rows; row++)
      for (int64_t column = 0; column < columns; column++) {
        double value = magnitude * random.normal();
        if (about_.outliers > 0 && random.uniform() < about_.outliers) value += 10 * random.normal();
        store(about_.dtype, data, head * view.headStride + row * view.rowStride + column,
              row < validRows ? value : NAN);
      }
  return view;
}

template <class Element>
View<Element> Tensors::output(const Shape& shape, DType type) {
  const auto [heads, rows, columns] = shape;
  const int64_t size = heads * rows * columns;
  auto* data = static_cast<Element*>(reserve(size, type));
  outputs_.emplace_back(data, size * byteSize(type));
  if (about_.rowsFirst) return {data, columns, heads * columns, 1};
  return {data, rows * columns, columns, 1};
}

/// Pages in a shuffled order, with one that nobody uses and NaN past the last key. Pages of all sequences are one array
/// where their scales are, with int8, and where they share some; else sequences have one each.
void Tensors::addPages(Sequence& sequence, int64_t sequenceIndex, Random& random) {
  const int64_t size = about_.pageSize, heads = about_.kvHeads;
  const auto pagesOf = [&](int keys) { return (keys + size - 1) / size + 1; };
  const int64_t pages = pagesOf(int(sequence.keyLength));
  const bool pooled = about_.int8 || about_.sharedKeys > 0;
  int64_t first = 0, all = pooled ? 0 : pages;
  for (size_t i = 0; pooled && i < about_.keyLengths.size(); i++) {
    if (int64_t(i) < sequenceIndex) first += pagesOf(about_.keyLengths[i]);
    all += pagesOf(about_.keyLengths[i]);
  }
  std::vector<int32_t> table(size_t(pages), 0);
  for (int64_t i = 0; i < pages; i++) table[size_t(i)] = int32_t(first + i);
  for (int64_t i = pages - 1; i > 0; i--) std::swap(table[size_t(i)], table[size_t(random.bits() % uint64_t(i + 1))]);
  const DType stored = problem_.kvDtype();
  const auto reserved = [&](int64_t columns, const View<const void>& before) {
    const void* data = pooled && sequenceIndex > 0 ? before.data : reserve(all * heads * size * columns, stored);
    return View<const void>{data, size * columns, columns, 1};
  };
  const Sequence* before = sequences_.empty() ? &sequence : sequences_.data();
  sequence.key = reserved(about_.headDim, before->key);
  sequence.value = reserved(about_.valueDim, before->value);
  sequence.keyPageStride = heads * size * about_.headDim;
  sequence.valuePageStride = heads * size * about_.valueDim;
  if (about_.int8 && sequenceIndex == 0) {
    problem_.keyScales = static_cast<float*>(reserve(all * heads * size, DType::float32));
    problem_.valueScales = static_cast<float*>(reserve(all * heads * size, DType::float32));
  }
  const int64_t shared = sequenceIndex > 0 ? about_.sharedKeys : 0;
  if (shared > 0) std::copy_n(pageTables_[0].begin(), shared / size, table.begin());
  const PageRows rows{shared, sequence.keyLength, first, pages, table.data()};
  fillPages(rows, about_.headDim, random, sequence.key, const_cast<float*>(problem_.keyScales));
  fillPages(rows, about_.valueDim, random, sequence.value, const_cast<float*>(problem_.valueScales));
  pageTables_.reserve(about_.queryLengths.size());
  pageTables_.push_back(std::move(table));
  sequence.pageTable = pageTables_[size_t(sequenceIndex)].data();
}

void Tensors::fillPages(const PageRows& rows, int64_t columns, Random& random, View<const void>& view, float* scales) {
  const int64_t size = about_.pageSize, heads = about_.kvHeads, perPage = heads * size;
  void* data = const_cast<void*>(view.data);
  for (int64_t row = rows.first * perPage; row < (rows.first + rows.count) * perPage; row++) {
    for (int64_t column = 0; column < columns; column++)
      store(problem_.kvDtype(), data, row * columns + column, about_.int8 ? 100 : NAN);
    if (about_.int8) scales[row] = NAN;
  }
  for (int64_t key = rows.begin; key < rows.end; key++)
    for (int64_t head = 0; head < heads; head++) {
      const int64_t row = (rows.table[key / size] * heads + head) * size + key % size;
      if (about_.int8) scales[row] = float(0.01 + 0.03 * random.uniform());
      for (int64_t column = 0; column < columns; column++)
        store(problem_.kvDtype(), data, row * columns + column,
              about_.int8 ? std::clamp(50 * random.normal(), -127., 127.) : random.normal());
    }
}

void Tensors::clearOutputs() {
  for (const auto& [data, bytes] : outputs_) std::memset(data, 0xff, size_t(bytes));  // NaN in every dtype
}

}  // namespace fovea::test
