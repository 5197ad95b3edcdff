// Expectations for matrix instructions, from the fragment layouts of the documentation: with g = lane / 4 and
// t = lane % 4, a register of an 8 x 8 matrix of 16-bit elements holds [g][2t] (lower half) and [g][2t + 1].
#include "inputs.h"

namespace fovea::test::calibration {
namespace {

constexpr int blocks = 4, count = blocks * warpSize;

/// Element [row][column] of matrix i whose rows of eight the 32 row addresses name, lane 5 l mod 32 for lane l.
uint32_t element(const Words& input, int warp, int matrix, int row, int column) {
  const int stored = (8 * matrix + row) * 5 % 32;
  return input[size_t((warp * warpSize + stored) * 4 + column / 2)] >> (16 * (column % 2)) & 0xffff;
}

Micro load(int matrices, bool transposed) {
  const std::string name = "ldmatrix_x" + std::to_string(matrices) + (transposed ? "_trans" : "");
  Micro micro{name, Image::matrices, blocks, randomWords("ldmatrix", count * 4), {}, {}};
  for (int i = 0; i < matrices; i++)
    for (int thread = 0; thread < count; thread++) {
      const int warp = thread / warpSize, g = thread % warpSize / 4, t = thread % 4;
      const auto at = [&](int k) {
        return transposed ? element(micro.input, warp, i, 2 * t + k, g) : element(micro.input, warp, i, g, 2 * t + k);
      };
      micro.expected.push_back(at(1) << 16 | at(0));
    }
  return micro;
}

/// Element [row][column] of the 8 x 8 matrix in one register of a warp.
uint32_t fragmentElement(const Words& words, int warp, int row, int column) {
  return words[size_t(warp * warpSize + row * 4 + column / 2)] >> (16 * (column % 2)) & 0xffff;
}

Micro transpose() {
  Micro micro{"movmatrix_trans", Image::matrices, blocks, randomWords("movmatrix", count), {}, {}};
  for (int thread = 0; thread < count; thread++) {
    const int warp = thread / warpSize, g = thread % warpSize / 4, t = thread % 4;
    micro.expected.push_back(fragmentElement(micro.input, warp, 2 * t + 1, g) << 16 |
                             fragmentElement(micro.input, warp, 2 * t, g));
  }
  return micro;
}

Micro store(int matrices, bool transposed) {
  const std::string name = "stmatrix_x" + std::to_string(matrices) + (transposed ? "_trans" : "");
  Micro micro{name, Image::hopper, blocks, randomWords("stmatrix", count * 4), Words(count * 4, 0), {}};
  for (int warp = 0; warp < blocks; warp++)
    for (int i = 0; i < matrices; i++) {
      const Words fragment(micro.input.begin() + i * count, micro.input.begin() + (i + 1) * count);
      for (int row = 0; row < 8; row++)
        for (int column = 0; column < 8; column++) {
          const int stored = (8 * i + row) * 5 % 32;
          const uint32_t value =
              transposed ? fragmentElement(fragment, warp, column, row) : fragmentElement(fragment, warp, row, column);
          micro.expected[size_t(column / 2 * count + warp * warpSize + stored)] |= value << (16 * (column % 2));
        }
    }
  return micro;
}

enum class Numbers {
  integers,   // small ones, whose sums are exact in any order
  lowBits,    // the same, in words whose other bits are any: a tf32 number has the upper 19
  fractions,  // whose sums are rounded
  subnormal,  // the least there are, times large ones, which makes small integers of 2^-16; and times an infinity once
};

struct Product {
  const char* name;
  Format format;
  int depth;
  Numbers numbers;
};

/// D = A B + C for A [16 x depth], B [depth x 8], C [16 x 8].
Micro multiply(const Product& product) {
  const int perRegister = product.format.mantissaBits == tf32.mantissaBits && product.format.nan == tf32.nan ? 1 : 2;
  const int width = 4 * perRegister, kBlocks = product.depth / width, aRegisters = 2 * kBlocks;
  const int operands = aRegisters + kBlocks + 4;
  Micro micro{product.name, Image::matrices, blocks, Words(size_t(operands * count)), Words(4 * count), {}};
  if (product.numbers == Numbers::fractions)
    micro.tolerance.absolute = 17 * 0x1p-22;  // 17 terms of at most 1, each cut to 23 bits
  const bool isSubnormal = product.numbers == Numbers::subnormal;
  const auto number = [&](uint32_t i, int exponent) {  // which subnormal products take
    const uint32_t word = randomWord(product.name, i);
    if (isSubnormal) return std::ldexp(word % 2 == 0 ? word % 7 + 1.0 : -1.0 - word % 7, exponent);
    return product.numbers == Numbers::fractions ? std::ldexp(double(int(word % 2047) - 1023), -10)
                                                 : double(int(word % 15) - 7);
  };
  const uint32_t shift = perRegister == 1 ? 13 : 0;  // of a tf32 number in its word
  const auto code = [&](double value) { return encode(product.format, value) << shift; };
  for (int warp = 0; warp < blocks; warp++) {
    const auto a = [&](int row, int k) {
      return number(uint32_t((warp * 16 + row) * 16 + k), k % 2 == 0 ? -136 : 120);
    };
    const auto b = [&](int k, int column) {
      if (isSubnormal && warp == 3 && k == 0 && column == 5) return double(INFINITY);
      return number(uint32_t(4096 + (warp * 16 + k) * 8 + column), k % 2 == 0 ? 120 : -136);
    };
    const auto c = [&](int row, int column) { return number(uint32_t(8192 + (warp * 16 + row) * 8 + column), -16); };
    for (int lane = 0; lane < warpSize; lane++) {
      const int g = lane / 4, t = lane % 4, thread = warp * warpSize + lane;
      const auto put = [&](int operand, uint32_t word) {
        const int at = operand * count + thread;
        if (product.numbers == Numbers::lowBits && operand < aRegisters + kBlocks)
          word |= randomWord("low bits", uint32_t(at)) & ((1u << shift) - 1);
        micro.input[size_t(at)] = word;
      };
      for (int r = 0; r < aRegisters; r++) {  // rows g and g + 8 of each block of columns in turn
        const int row = g + r % 2 * 8, k = r / 2 * width + t * perRegister;
        put(r, code(a(row, k)) | (perRegister == 2 ? code(a(row, k + 1)) << 16 : 0));
      }
      for (int r = 0; r < kBlocks; r++) {
        const int k = r * width + t * perRegister;
        put(aRegisters + r, code(b(k, g)) | (perRegister == 2 ? code(b(k + 1, g)) << 16 : 0));
      }
      for (int r = 0; r < 4; r++) {  // rows g, g, g + 8, g + 8; columns 2t, 2t + 1
        const int row = g + r / 2 * 8, column = 2 * t + r % 2;
        put(aRegisters + kBlocks + r, encode(float32, c(row, column)));
        double sum = c(row, column);
        for (int k = 0; k < product.depth; k++) sum += a(row, k) * b(k, column);
        micro.expected[size_t(r * count + thread)] = encode(float32, sum);
      }
    }
  }
  return micro;
}

}  // namespace

std::vector<Micro> matrixMicros() {
  std::vector<Micro> micros;
  for (const int matrices : {1, 2, 4})
    for (const bool transposed : {false, true}) micros.push_back(load(matrices, transposed));
  micros.push_back(transpose());
  micros.push_back(multiply({"mma_m16n8k16_f16", float16, 16, Numbers::integers}));
  micros.push_back(multiply({"mma_m16n8k16_bf16", bfloat16, 16, Numbers::integers}));
  micros.push_back(multiply({"mma_m16n8k8_tf32", tf32, 8, Numbers::integers}));
  micros.push_back(multiply({"mma_tf32_low_bits", tf32, 8, Numbers::lowBits}));
  micros.push_back(multiply({"mma_tf32_subnormal", tf32, 8, Numbers::subnormal}));
  micros.push_back(multiply({"mma_m16n8k8_f16", float16, 8, Numbers::integers}));
  micros.push_back(multiply({"mma_rounding_f16", float16, 16, Numbers::fractions}));
  return micros;
}

std::vector<Micro> hopperMicros() {
  std::vector<Micro> micros{store(1, false), store(2, false), store(4, false), store(4, true)};
  const Words a = randomWords("a", count), b = randomWords("b", count);
  Micro widen{"cvt_f32_bf16", Image::hopper, blocks, a, {}, {}};
  Micro add{"add_rn_bf16x2", Image::hopper, blocks, concatenate({a, b}), {}, {}};
  Micro multiply{"mul_rn_bf16x2", Image::hopper, blocks, concatenate({a, b}), {}, {}};
  for (size_t i = 0; i < size_t(count); i++) {
    widen.expected.push_back(encode(float32, decode(bfloat16, a[i] & 0xffff)));
    uint32_t sum = 0, product = 0;
    for (int half = 0; half < 32; half += 16) {
      const double x = decode(bfloat16, a[i] >> half & 0xffff), y = decode(bfloat16, b[i] >> half & 0xffff);
      sum |= encode(bfloat16, addToOdd(x, y)) << half;
      product |= encode(bfloat16, x * y) << half;
    }
    add.expected.push_back(sum);
    multiply.expected.push_back(product);
  }
  micros.push_back(std::move(widen));
  micros.push_back(std::move(add));
  micros.push_back(std::move(multiply));
  micros.push_back({"elect_sync", Image::hopper, blocks, {}, Words(count, 1), {}});
  return micros;
}

}  // namespace fovea::test::calibration
