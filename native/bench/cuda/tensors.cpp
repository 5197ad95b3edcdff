#include "tensors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

namespace fovea::bench {
namespace {

constexpr int64_t alignment = 256;

template <class Element>
Element* at(uint64_t memory, int64_t bytes = 0) {
  return reinterpret_cast<Element*>(memory + uint64_t(bytes));
}

uint32_t next(uint32_t& state) { return state = state * 1664525 + 1013904223; }

template <class Element>
std::vector<uint8_t> bytesOf(const std::vector<Element>& elements) {
  std::vector<uint8_t> bytes(elements.size() * sizeof(Element));
  std::memcpy(bytes.data(), elements.data(), bytes.size());
  return bytes;
}

/// The nearest float16 or bfloat16 of a number that is neither large nor small, else 0.
uint16_t halfOf(DType dtype, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const int dropped = dtype == DType::float16 ? 13 : 16;
  const uint32_t sign = bits >> 31 << 15, bias = dtype == DType::float16 ? (127 - 15) << 23 : 0;
  if (std::fabs(value) < 0x1p-14f) return uint16_t(sign);
  bits = (bits & 0x7fffffff) - bias;
  return uint16_t(sign | ((bits + (1u << (dropped - 1)) - 1 + (bits >> dropped & 1)) >> dropped));
}

/// Of the standard normal distribution, as PyTorch has them: a GPU's clock depends on the bits that it multiplies, and
/// how often rows are rescaled on the scores.
std::vector<uint8_t> numbers(DType dtype, uint32_t state) {
  std::vector<float> values(1 << 20);
  std::mt19937 generator(state);
  std::normal_distribution<float> normal;
  for (float& value : values) value = normal(generator);
  if (dtype == DType::float32) return bytesOf(values);
  std::vector<uint16_t> halves;
  halves.reserve(values.size());
  for (const float value : values) halves.push_back(halfOf(dtype, value));
  return bytesOf(halves);
}

std::vector<uint8_t> slopes(int64_t heads) {
  std::vector<float> values;
  for (int64_t head = 0; head < heads; head++)
    values.push_back(float(std::exp2(-8.0 * double(head + 1) / double(heads))));
  return bytesOf(values);
}

/// All pages of the batch, in any order.
std::vector<uint8_t> pageTable(int64_t pages, uint32_t state) {
  std::vector<int32_t> table(static_cast<size_t>(pages));
  std::iota(table.begin(), table.end(), 0);
  for (size_t i = table.size() - 1; i > 0; i--) std::swap(table[i], table[next(state) % (i + 1)]);
  return bytesOf(table);
}

}  // namespace

Tensors::Tensors(const Shape& shape, Algorithm algorithm, uint64_t memory)
    : shape_(shape), memory_(memory), sequences_(size_t(shape.batch)) {
  problem_.dtype = problem_.biasDtype = shape.dtype;
  problem_.algorithm = algorithm;
  problem_.heads = int32_t(shape.heads);
  problem_.kvHeads = int32_t(shape.kvHeads);
  problem_.headDim = problem_.valueDim = int32_t(shape.dim);
  problem_.scale = 1 / std::sqrt(double(shape.dim));
  problem_.causal = shape.causal;
  problem_.windowLeft = shape.window();
  if (shape.rule == Rule::softcap) problem_.softcap = 30;
  problem_.sequences = sequences_.data();
  problem_.sequenceCount = shape.batch;
  const int64_t head = shape.queryLength * shape.dim, bytes = shape.heads * head * byteSize(shape.dtype);
  const uint64_t queries = reserve(shape.batch * bytes, Content::numbers);
  for (int64_t i = 0; i < shape.batch; i++) {
    Sequence& sequence = sequences_[size_t(i)];
    sequence.queryLength = sequence.queryRows = shape.queryLength;
    sequence.keyLength = shape.rule == Rule::keyLengths ? shape.keysOf(i) : shape.keyLength;
    sequence.keyColumns = shape.keyLength;
    sequence.queryOffset = sequence.keyLength - shape.queryLength;
    sequence.query = {at<void>(queries, i * bytes), head, shape.dim, 1};
  }
  if (shape.pageSize() > 0)
    addPages();
  else
    addDense();
  addRule();
  addOutputs();
}

uint64_t Tensors::reserve(int64_t bytes) {
  const uint64_t begin = memory_ + uint64_t(bytes_);
  bytes_ += (bytes + alignment - 1) / alignment * alignment;
  return begin;
}

uint64_t Tensors::reserve(int64_t bytes, Content content) {
  inputs_.push_back({bytes_, bytes, content});
  return reserve(bytes);
}

/// [batch, kvHeads, length, dim]
void Tensors::addDense() {
  const int64_t head = shape_.keyLength * shape_.dim, bytes = shape_.kvHeads * head * byteSize(shape_.dtype);
  const uint64_t keys = reserve(shape_.batch * bytes, Content::numbers);
  const uint64_t values = reserve(shape_.batch * bytes, Content::numbers);
  for (int64_t i = 0; i < shape_.batch; i++) {
    sequences_[size_t(i)].key = {at<void>(keys, i * bytes), head, shape_.dim, 1};
    sequences_[size_t(i)].value = {at<void>(values, i * bytes), head, shape_.dim, 1};
  }
}

/// [pages, kvHeads, pageSize, dim]
void Tensors::addPages() {
  const int64_t size = shape_.pageSize(), each = (shape_.keyLength + size - 1) / size, pages = shape_.batch * each;
  const int64_t rows = pages * shape_.kvHeads * size;
  const DType stored = shape_.int8() ? DType::int8 : shape_.dtype;
  const Content content = shape_.int8() ? Content::int8 : Content::numbers;
  const uint64_t keys = reserve(rows * shape_.dim * byteSize(stored), content);
  const uint64_t values = reserve(rows * shape_.dim * byteSize(stored), content);
  const uint64_t table = reserve(pages * int64_t(sizeof(int32_t)), Content::pageTable);
  problem_.pageSize = int32_t(size);
  problem_.storedDtype = stored;
  if (shape_.int8()) {
    problem_.keyScales = at<float>(reserve(rows * int64_t(sizeof(float)), Content::scales));
    problem_.valueScales = at<float>(reserve(rows * int64_t(sizeof(float)), Content::scales));
  }
  for (int64_t i = 0; i < shape_.batch; i++) {
    Sequence& sequence = sequences_[size_t(i)];
    sequence.key = {at<void>(keys), size * shape_.dim, shape_.dim, 1};
    sequence.value = {at<void>(values), size * shape_.dim, shape_.dim, 1};
    sequence.keyPageStride = sequence.valuePageStride = shape_.kvHeads * size * shape_.dim;
    sequence.pageTable = at<int32_t>(table, i * each * int64_t(sizeof(int32_t)));
  }
}

/// What the rule reads.
void Tensors::addRule() {
  const int64_t keys = shape_.keyLength, pairs = shape_.queryLength * keys;
  const int64_t element = byteSize(shape_.dtype), floats = shape_.heads * int64_t(sizeof(float));
  switch (shape_.rule) {
    case Rule::bias: {
      const View<const void> view = {at<void>(reserve(shape_.heads * pairs * element, Content::numbers)), pairs, keys,
                                     1};
      for (Sequence& sequence : sequences_) sequence.bias = view;
      break;
    }
    case Rule::sharedBias: {
      const View<const void> view = {at<void>(reserve(pairs * element, Content::numbers)), 0, keys, 1};
      for (Sequence& sequence : sequences_) sequence.bias = view;
      break;
    }
    case Rule::mask: {
      const View<const uint8_t> view = {at<uint8_t>(reserve(shape_.heads * pairs, Content::mask)), pairs, keys, 1};
      for (Sequence& sequence : sequences_) sequence.mask = view;
      break;
    }
    case Rule::padding: {
      const uint64_t masks = reserve(shape_.batch * keys, Content::padding);
      for (int64_t i = 0; i < shape_.batch; i++) sequences_[size_t(i)].mask = {at<uint8_t>(masks, i * keys), 0, 0, 1};
      break;
    }
    case Rule::texts: {
      const View<const uint8_t> view = {at<uint8_t>(reserve(pairs, Content::texts)), 0, keys, 1};
      for (Sequence& sequence : sequences_) sequence.mask = view;
      break;
    }
    case Rule::alibi: {
      const float* values = at<float>(reserve(floats, Content::slopes));
      for (Sequence& sequence : sequences_) sequence.alibiSlopes = values;
      break;
    }
    case Rule::sinks: {
      const float* values = at<float>(reserve(floats, Content::floats));
      for (Sequence& sequence : sequences_) sequence.sinks = values;
      break;
    }
    default:
      break;
  }
}

void Tensors::addOutputs() {
  const int64_t queries = shape_.queryLength, rows = shape_.heads * queries;
  for (Sequence& sequence : sequences_) {
    const uint64_t output = reserve(rows * shape_.dim * byteSize(shape_.dtype));
    sequence.output = {at<void>(output), queries * shape_.dim, shape_.dim, 1};
    if (shape_.rule == Rule::lse) sequence.lse = {at<float>(reserve(rows * int64_t(sizeof(float)))), queries, 1, 0};
    if (shape_.rule == Rule::weights) {
      const uint64_t weights = reserve(rows * shape_.keyLength * int64_t(sizeof(float)));
      sequence.weights = {at<float>(weights), queries * shape_.keyLength, shape_.keyLength, 1};
    }
  }
}

std::vector<uint8_t> Tensors::content(const Input& input) const {
  uint32_t state = uint32_t(input.offset / alignment + 1);  // differs, lest keys be the queries
  std::vector<uint8_t> bytes;
  switch (input.content) {
    case Content::numbers:
      return numbers(shape_.dtype, state);
    case Content::floats:
      return numbers(DType::float32, state);
    case Content::scales:
      return bytesOf(std::vector<float>(1 << 10, 1 / 74.f));  // of bytes, whose standard deviation that is
    case Content::slopes:
      return slopes(shape_.heads);
    case Content::pageTable:
      return pageTable(input.bytes / int64_t(sizeof(int32_t)), state);
    case Content::padding:
      for (int64_t i = 0; i < shape_.batch; i++)
        for (int64_t key = 0; key < shape_.keyLength; key++) bytes.push_back(key < shape_.keysOf(i));
      return bytes;
    case Content::texts:
      for (int64_t query = 0; query < shape_.queryLength; query++)
        for (int64_t key = 0; key < shape_.keyLength; key++)
          bytes.push_back(8 * key / shape_.keyLength == 8 * query / shape_.queryLength);
      return bytes;
    case Content::int8:
    case Content::mask:
      bytes.resize(999983);  // a prime, lest all rows be alike
      for (uint8_t& byte : bytes) {
        byte = uint8_t(next(state) >> 24);
        if (input.content == Content::mask) byte &= 1;
      }
      return bytes;
  }
  return bytes;
}

}  // namespace fovea::bench
