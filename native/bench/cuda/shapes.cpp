#include "shapes.h"

#include <algorithm>

namespace fovea::bench {
namespace {

constexpr int64_t width = 2048;  // heads x headDim of prefill

void keyOnesFirst(std::vector<Shape>& shapes) {
  std::stable_partition(shapes.begin(), shapes.end(), [](const Shape& shape) { return shape.key; });
}

}  // namespace

const char* nameOf(Rule rule) {
  static constexpr const char* names[] = {"",
                                          "bias",
                                          "bias of all heads",
                                          "mask",
                                          "key padding",
                                          "mask of texts",
                                          "window",
                                          "softcap",
                                          "alibi",
                                          "sinks",
                                          "key lengths",
                                          "lse",
                                          "weights",
                                          "grouped heads",
                                          "pages of 1",
                                          "pages of 16",
                                          "pages of 64",
                                          "int8 pages of 16",
                                          "int8 pages of 64"};
  return names[int(rule)];
}

int64_t Shape::pageSize() const {
  switch (rule) {
    case Rule::pages1:
      return 1;
    case Rule::pages16:
    case Rule::int8Pages16:
      return 16;
    case Rule::pages64:
    case Rule::int8Pages64:
      return 64;
    default:
      return 0;
  }
}

double Shape::flops() const {
  double pairs = double(queryLength * keyLength) / (causal ? 2 : 1) * double(batch);
  if (rule == Rule::texts) pairs /= 8;
  if (rule == Rule::keyLengths) {
    pairs = 0;
    for (int64_t i = 0; i < batch; i++) pairs += double(queryLength * keysOf(i));
  }
  if (rule == Rule::window) {  // the first rows see fewer, where they have no keys before
    const double seen = double(window() + 1), missing = queryLength > 1 ? seen * double(window()) / 2 : 0;
    pairs = double(batch) * (double(queryLength) * seen - missing);
  }
  return 4.0 * double(heads) * pairs * double(dim);
}

std::vector<Shape> plainShapes(int64_t tokens) {
  std::vector<Shape> shapes;
  for (const DType dtype : {DType::float16, DType::bfloat16, DType::float32}) {
    const bool half = dtype == DType::float16;
    for (const int64_t dim : {128, 64, 256})
      for (const bool causal : {false, true})
        for (int64_t length = std::min<int64_t>(512, tokens); length <= tokens; length *= 2) {
          const bool key =
              half ? length == 512 || length == tokens / 4 || length == tokens : dim == 128 && length == tokens / 4;
          shapes.push_back(
              {"prefill", dtype, tokens / length, width / dim, width / dim, length, length, dim, causal, key});
        }
    for (const int64_t batch : {1, 16, 64})
      for (const int64_t length : {tokens / 16, tokens / 2, 4 * tokens})
        if (batch * length <= 64 * tokens)
          shapes.push_back({"decode", dtype, batch, 32, 8, 1, length, 128, false, half && batch < 64});
    for (const int64_t batch : {1, 16})
      for (const int64_t queries : {8, 128, 512})
        for (const int64_t length : {tokens / 2, 2 * tokens})
          shapes.push_back({"chunk", dtype, batch, 32, 8, queries, length, 128, false, half && batch == 1});
  }
  keyOnesFirst(shapes);
  return shapes;
}

std::vector<Shape> rulesShapes(int64_t tokens) {
  std::vector<Shape> shapes;
  const auto add = [&](const Shape& plain, std::initializer_list<Rule> rules) {
    shapes.push_back(plain);
    for (const Rule rule : rules) {
      shapes.push_back(plain);
      shapes.back().rule = rule;
      if (rule == Rule::groupedHeads) shapes.back().kvHeads = plain.heads / 4;
    }
  };
  const int64_t length = tokens / 4;
  for (const int64_t dim : {128, 64}) {
    const int64_t heads = width / dim;
    const bool key = dim == 128;
    add({"prefill", DType::float16, 4, heads, heads, length, length, dim, false, key},
        {Rule::bias, Rule::sharedBias, Rule::mask, Rule::padding, Rule::texts, Rule::softcap, Rule::alibi, Rule::sinks,
         Rule::keyLengths, Rule::lse, Rule::weights});
    add({"prefill", DType::float16, 4, heads, heads, length, length, dim, true, key},
        {Rule::window, Rule::softcap, Rule::alibi, Rule::groupedHeads});
  }
  const int64_t keys = tokens / 2;
  add({"decode", DType::float16, 16, 32, 8, 1, keys, 128, false, true},
      {Rule::bias, Rule::mask, Rule::padding, Rule::window, Rule::softcap, Rule::alibi, Rule::sinks, Rule::keyLengths,
       Rule::lse, Rule::weights, Rule::pages1, Rule::pages16, Rule::pages64, Rule::int8Pages16, Rule::int8Pages64});
  // 32 rows for each head of keys: more than decode takes, so that Hopper's own kernel has them.
  add({"chunk", DType::float16, 16, 32, 8, 8, keys, 128, false, false},
      {Rule::bias, Rule::mask, Rule::softcap, Rule::alibi, Rule::keyLengths, Rule::pages1, Rule::pages16, Rule::pages64,
       Rule::int8Pages16, Rule::int8Pages64});
  const int64_t heads = width / 128;
  add({"prefill", DType::float32, 1, heads, heads, length, length, 128, false, false},
      {Rule::bias, Rule::mask, Rule::softcap, Rule::alibi});
  keyOnesFirst(shapes);
  return shapes;
}

}  // namespace fovea::bench
