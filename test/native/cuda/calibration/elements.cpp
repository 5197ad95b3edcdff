// Expectations for instructions that compute each element by itself.
#include <algorithm>
#include <functional>

#include "inputs.h"

namespace fovea::test::calibration {
namespace {

constexpr int blocks = 8, count = blocks * warpSize;
using Operands = std::vector<uint32_t>;

Words halves(const std::string& name) { return randomWords(name, count); }

class List {
 public:
  /// `inputs`: one list of `count` words per operand.
  void add(const std::string& name, const std::vector<Words>& inputs, const std::function<uint32_t(const Operands&)>& f,
           Tolerance tolerance = {}) {
    Micro micro{name, Image::elements, blocks, concatenate(inputs), {}, tolerance};
    for (size_t i = 0; i < size_t(count); i++) {
      Operands operands;
      for (const Words& input : inputs) operands.push_back(input[i]);
      micro.expected.push_back(f(operands));
    }
    micros.push_back(std::move(micro));
  }
  std::vector<Micro> micros;
};

/// f of both 16-bit numbers of words.
uint32_t pairwise(const Format& format, const Operands& words, const std::function<uint32_t(const double*)>& f) {
  uint32_t result = 0;
  for (int half = 0; half < 2; half++) {
    double values[3];
    for (size_t i = 0; i < words.size(); i++) values[i] = decode(format, words[i] >> (16 * half) & 0xffff);
    result |= f(values) << (16 * half);
  }
  return result;
}

void addConversions(List& list) {
  const auto floatPairs = [](const char* name) {
    return std::vector<Words>{floats(name, count), floats(name, count, 17)};
  };
  struct Narrowing {
    const char* name;
    Format format;
    Rounding rounding;
    bool relu;
  };
  for (const auto& [name, format, rounding, relu] :
       {Narrowing{"cvt_rn_f16x2_f32", float16, Rounding::nearestEven, false},
        {"cvt_rz_f16x2_f32", float16, Rounding::towardsZero, false},
        {"cvt_rn_relu_f16x2_f32", float16, Rounding::nearestEven, true},
        {"cvt_rn_bf16x2_f32", bfloat16, Rounding::nearestEven, false},
        {"cvt_rz_bf16x2_f32", bfloat16, Rounding::towardsZero, false}})
    list.add(name, floatPairs(name), [=](const Operands& x) {  // the first operand goes to the upper half
      uint32_t both = 0;
      for (const uint32_t word : x) {
        const float value = asFloat(word);
        both = both << 16 | encode(format, relu && value < 0 ? 0 : value, rounding);
      }
      return both;
    });
  list.add("cvt_rn_f16_f32", {floats("f16", count)}, [](auto& x) { return encode(float16, asFloat(x[0])); });
  list.add("cvt_rn_bf16_f32", {floats("bf16", count)}, [](auto& x) { return encode(bfloat16, asFloat(x[0])); });
  list.add("cvt_rna_tf32_f32", {floats("tf32", count)},
           [](auto& x) { return encode(tf32, asFloat(x[0]), Rounding::nearestAway) << 13; });
  list.add("cvt_f32_f16", {halves("from f16")},
           [](auto& x) { return encode(float32, decode(float16, x[0] & 0xffff)); });
  // Out of range: the nearest integer that there is; NaN: 0.
  list.add("cvt_rni_s32_f32", {floats("to s32", count)}, [](auto& x) {
    const double value = std::nearbyint(double(asFloat(x[0])));
    return std::isnan(value) ? 0u : uint32_t(int32_t(std::clamp(value, -0x1p31, 0x1p31 - 1)));
  });
  list.add("cvt_rzi_u32_f32", {floats("to u32", count)}, [](auto& x) {
    const double value = std::trunc(double(asFloat(x[0])));
    return std::isnan(value) ? 0u : uint32_t(std::clamp(value, 0.0, 0x1p32 - 1));
  });
  list.add("cvt_rn_f32_s32", {randomWords("from s32", count)},
           [](auto& x) { return encode(float32, double(int32_t(x[0]))); });
}

void addApproximations(List& list) {
  const auto single = [&](const char* name, double relative, double absolute, double (*f)(double),
                          bool flushes = true) {
    list.add(name, {floats(name, count)},
             [=](auto& x) {
               const float input = asFloat(x[0]);
               const float result = float(f(flushes ? flush(input) : input));
               return asBits(flushes ? flush(result) : result);
             },
             {Tolerance::Format::single, relative, absolute});
  };
  single("ex2_approx_ftz_f32", 0x1p-22, 0, [](double x) { return std::exp2(x); });
  // Absolute where the input is in (0.5, 2), and relative beyond: there |log2| passes 1.
  single("lg2_approx_ftz_f32", 0x1p-22, 0x1p-22, [](double x) { return std::log2(x); });
  single("rcp_approx_ftz_f32", 0x1p-23, 0, [](double x) { return 1 / x; });
  single("sqrt_approx_ftz_f32", 0x1p-23, 0, [](double x) { return std::sqrt(x); });
  single("rsqrt_approx_ftz_f32", 0x1.2p-23, 0, [](double x) { return 1 / std::sqrt(x); });
  single(
      "tanh_approx_f32", 0x1p-11, 0, [](double x) { return std::tanh(x); }, false);
  const auto pair = [&](const char* name, double relative, double absolute, double (*f)(double)) {
    list.add(name, {halves(name)},
             [=](auto& x) { return pairwise(float16, x, [&](const double* v) { return encode(float16, f(v[0])); }); },
             {Tolerance::Format::halves, relative, absolute});
  };
  pair("tanh_approx_f16x2", 0, 0x1.02p-11, [](double x) { return std::tanh(x); });
  pair("ex2_approx_f16x2", 0x1.12p-10, 0x1p-24, [](double x) { return std::exp2(x); });
}

void addFloatArithmetic(List& list) {
  const auto two = [](const char* name) { return std::vector<Words>{floats(name, count), floats(name, count, 29)}; };
  const auto three = [&](const char* name) {
    auto inputs = two(name);
    inputs.push_back(floats(name, count, 41));
    return inputs;
  };
  list.add("fma_rn_f32", three("fma"),
           [](auto& x) { return asBits(std::fma(asFloat(x[0]), asFloat(x[1]), asFloat(x[2]))); });
  list.add("fma_rn_ftz_f32", three("fma ftz"), [](auto& x) {
    return asBits(flush(std::fma(flush(asFloat(x[0])), flush(asFloat(x[1])), flush(asFloat(x[2])))));
  });
  list.add("add_rz_f32", two("add"), [](auto& x) {
    const double a = asFloat(x[0]), b = asFloat(x[1]);
    return encode(float32, addToOdd(a, b),
                  std::isinf(a) || std::isinf(b) ? Rounding::nearestEven : Rounding::towardsZero);
  });
  // A NaN operand loses to a number, except with .NaN; -0 is less than +0.
  const auto largest = [](double a, double b, bool nanWins) {
    if (std::isnan(a) || std::isnan(b)) return nanWins || std::isnan(a) == std::isnan(b) ? NAN : std::isnan(a) ? b : a;
    if (a == b) return std::signbit(a) ? b : a;
    return std::max(a, b);
  };
  for (const bool nanWins : {false, true}) {
    list.add(nanWins ? "max_nan_f32" : "max_f32", two("max"),
             [=](auto& x) { return asBits(float(largest(asFloat(x[0]), asFloat(x[1]), nanWins))); });
    list.add(nanWins ? "max_nan_f16x2" : "max_f16x2", {halves("max a"), halves("max b")}, [=](auto& x) {
      return pairwise(float16, x, [&](const double* v) { return encode(float16, largest(v[0], v[1], nanWins)); });
    });
  }
  list.add("max_bf16x2", {halves("max c"), halves("max d")}, [=](auto& x) {
    return pairwise(bfloat16, x, [&](const double* v) { return encode(bfloat16, largest(v[0], v[1], false)); });
  });
  const auto fused = [](const Format& format, const Operands& x, bool relu) {
    return pairwise(format, x, [&](const double* v) {
      const double result = addToOdd(v[0] * v[1], v[2]);
      return encode(format, relu && std::signbit(result) && !std::isnan(result) ? 0 : result);
    });
  };
  const std::vector<Words> inputs{halves("fma a"), halves("fma b"), halves("fma c")};
  list.add("fma_rn_f16x2", inputs, [=](auto& x) { return fused(float16, x, false); });
  list.add("fma_rn_relu_f16x2", inputs, [=](auto& x) { return fused(float16, x, true); });
  list.add("fma_rn_bf16x2", inputs, [=](auto& x) { return fused(bfloat16, x, false); });
  list.add("mul_rn_f16x2", {halves("mul a"), halves("mul b")},
           [](auto& x) { return pairwise(float16, x, [](const double* v) { return encode(float16, v[0] * v[1]); }); });
}

void addIntegerArithmetic(List& list) {
  const Words a = randomWords("a", count), b = randomWords("b", count), c = randomWords("c", count);
  list.add("mad_lo_s32", {a, b, c}, [](auto& x) { return x[0] * x[1] + x[2]; });
  list.add("mul_hi_s32", {a, b}, [](auto& x) { return uint32_t(int64_t(int32_t(x[0])) * int32_t(x[1]) >> 32); });
  list.add("mul_hi_u32", {a, b}, [](auto& x) { return uint32_t(uint64_t(x[0]) * x[1] >> 32); });
  const auto wide = [](const auto& x) { return uint64_t(int64_t(int32_t(x[0])) * int32_t(x[1])) + x[2]; };
  list.add("mad_wide_s32", {a, b, c}, [=](auto& x) { return uint32_t(wide(x)); });
  for (int i = 0; i < count; i++)  // the second result
    list.micros.back().expected.push_back(uint32_t(wide(Words{a[size_t(i)], b[size_t(i)], c[size_t(i)]}) >> 32));
  // Each of four selectors takes a byte of {b, a}, or its sign eight times.
  list.add("prmt_b32", {a, b, c}, [](auto& x) {
    uint32_t result = 0;
    for (int i = 0; i < 4; i++) {
      const uint32_t selector = x[2] >> (4 * i) & 15;
      const uint64_t bytes = uint64_t(x[1]) << 32 | x[0];
      uint32_t byte = uint32_t(bytes >> (8 * (selector & 7))) & 0xff;
      if (selector & 8) byte = byte & 0x80 ? 0xff : 0;
      result |= byte << (8 * i);
    }
    return result;
  });
  list.add("lop3_b32", {a, b, c}, [](auto& x) {
    uint32_t result = 0;
    for (int i = 0; i < 32; i++) {
      const uint32_t row = (x[0] >> i & 1) << 2 | (x[1] >> i & 1) << 1 | (x[2] >> i & 1);
      result |= (0xe2u >> row & 1) << i;
    }
    return result;
  });
  list.add("shf_l_wrap_b32", {a, b, c},
           [](auto& x) { return uint32_t((uint64_t(x[1]) << 32 | x[0]) << (x[2] & 31) >> 32); });
  // Position and length are 8 bits each; past the top the field is filled with the top bit of what there is of it.
  const auto small = [](Words words) {
    for (uint32_t& word : words) word &= 0xffffff3f;  // only the lowest byte counts: up to 63
    return words;
  };
  list.add("bfe_s32", {a, small(b), small(c)}, [](auto& x) {
    const uint32_t position = x[1] & 0xff, length = x[2] & 0xff;
    if (length == 0) return 0u;
    const uint32_t top = std::min(position + length - 1, 31u);
    const uint32_t sign = x[0] >> top & 1;
    uint32_t result = 0;
    for (uint32_t i = 0; i < 32; i++) {
      const bool inside = i < length && position + i < 32;
      result |= (inside ? x[0] >> (position + i) & 1 : sign) << i;
    }
    return result;
  });
}

}  // namespace

std::vector<Micro> elementMicros() {
  List list;
  addConversions(list);
  addApproximations(list);
  addFloatArithmetic(list);
  addIntegerArithmetic(list);
  return std::move(list.micros);
}

}  // namespace fovea::test::calibration
