// ldmatrix, stmatrix, movmatrix, mma, against the element positions that PTX documents.
#include <cmath>

#include "harness.h"

namespace fovea::simulatorTest {
namespace {

const std::string kOut4 = "mul.wide.u32 %l1, %r30, 16; add.u64 %l1, %l31, %l1;\n";

// 16-bit element e of a shared memory filled with consecutive numbers is e.
const std::string kFill = R"(.shared .align 16 .b8 s[512]; mov.u32 %r20, s; mov.u32 %r21, 0; mul.lo.u32 %r22, %r30, 8;
  FILL: add.u32 %r23, %r22, %r21; add.u32 %r24, %r23, 1; shl.b32 %r24, %r24, 16; or.b32 %r24, %r24, %r23; mad.lo.u32 %r25, %r23, 2, %r20; st.shared.u32 [%r25], %r24;
  add.u32 %r21, %r21, 2; setp.lt.u32 %p7, %r21, 8; @%p7 bra FILL; bar.sync 0; mad.lo.u32 %r26, %r30, 16, %r20;
)";

Outcome runMatrix(const std::string& body, const std::vector<uint32_t>& input = {}) {
  Run request;
  request.ptx = kernelText(body, "", "sm_90");
  request.input = input;
  request.outputWords = 128;
  const Setting capability("FOVEA_SIM_COMPUTE_CAPABILITY", "9.0", "8.0");
  Outcome outcome = run(request);
  expectSuccess(outcome.loadResult, "loading");
  if (!outcome.loadResult) expectSuccess(outcome.result, "running\n" + outcome.reports);
  outcome.output.resize(128);
  return outcome;
}

uint32_t pair(uint32_t low, uint32_t high) { return high << 16 | low; }

void checkLoad(bool transposed) {
  const Outcome outcome =
      runMatrix(kFill + "ldmatrix.sync.aligned.m8n8.x4" + (transposed ? ".trans" : "") +
                ".shared.b16 {%r0, %r1, %r2, %r3}, [%r26];" + kOut4 + "st.global.v4.u32 [%l1], {%r0, %r1, %r2, %r3};");
  for (uint32_t lane = 0; lane < 32; lane++)
    for (uint32_t i = 0; i < 4; i++) {
      // Row r of matrix i is row 8i + r of the memory: elements 8(8i + r) + column.
      const auto element = [&](uint32_t row, uint32_t column) { return 8 * (8 * i + row) + column; };
      const uint32_t g = lane / 4, t = lane % 4;
      const uint32_t expected =
          transposed ? pair(element(2 * t, g), element(2 * t + 1, g)) : pair(element(g, 2 * t), element(g, 2 * t + 1));
      expect(outcome.output[lane * 4 + i] == expected,
             "lane " + std::to_string(lane) + " register " + std::to_string(i) + ": got " +
                 hexadecimal(outcome.output[lane * 4 + i]) + ", expected " + hexadecimal(expected));
    }
}

// ---------------------------------------------------------------------------------------------- mma

uint16_t toHalf(float value) { return std::bit_cast<uint16_t>(static_cast<_Float16>(value)); }
uint16_t toBfloat(float value) { return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16); }

struct Product {
  const char* mnemonic;
  int k;
  char input;  // 'h', 'b' or 't'
  bool halfResult;
};

// Small integers: exact in every format and sum.
float aValue(int row, int k) { return static_cast<float>((row * 3 + k * 5) % 7 - 3); }
float bValue(int k, int column) { return static_cast<float>((k * 2 + column * 3) % 5 - 2); }
float cValue(int row, int column) { return static_cast<float>(row - column); }

void checkProduct(const Product& product) {
  const int perRegister = product.input == 't' ? 1 : 2;
  const int blocks = product.k / (4 * perRegister);
  const auto bits = [&](float value) -> uint32_t {
    return product.input == 'h' ? toHalf(value) : product.input == 'b' ? toBfloat(value) : F(value);
  };
  // Per lane: A registers, B registers, C registers, as the fragment tables of the documentation place them.
  const int aCount = 2 * blocks, bCount = blocks, cCount = product.halfResult ? 2 : 4;
  std::vector<uint32_t> input;
  for (int lane = 0; lane < 32; lane++) {
    const int g = lane / 4, t = lane % 4;
    for (int r = 0; r < aCount; r++) {
      const int row = g + 8 * (r % 2), k = t * perRegister + (r / 2) * 4 * perRegister;
      input.push_back(perRegister == 1 ? bits(aValue(row, k)) : pair(bits(aValue(row, k)), bits(aValue(row, k + 1))));
    }
    for (int r = 0; r < bCount; r++) {
      const int k = t * perRegister + r * 4 * perRegister;
      input.push_back(perRegister == 1 ? bits(bValue(k, g)) : pair(bits(bValue(k, g)), bits(bValue(k + 1, g))));
    }
    for (int r = 0; r < cCount; r++) {
      if (product.halfResult) {
        input.push_back(pair(toHalf(cValue(g + 8 * r, 2 * t)), toHalf(cValue(g + 8 * r, 2 * t + 1))));
      } else {
        input.push_back(F(cValue(g + 8 * (r / 2), 2 * t + r % 2)));
      }
    }
  }
  const int count = aCount + bCount + cCount;
  std::string body = "mul.wide.u32 %l2, %r30, " + std::to_string(4 * count) + "; add.u64 %l2, %l30, %l2;\n";
  for (int i = 0; i < count; i++)
    body += "ld.global.u32 %r" + std::to_string(i) + ", [%l2+" + std::to_string(4 * i) + "];\n";
  const auto list = [](int first, int size) {
    std::string text = "{";
    for (int i = 0; i < size; i++) text += (i ? ", %r" : "%r") + std::to_string(first + i);
    return text + "}";
  };
  body += std::string(product.mnemonic) + " " + list(16, cCount) + ", " + list(0, aCount) + ", " +
          list(aCount, bCount) + ", " + list(aCount + bCount, cCount) + ";\n" + kOut4;
  for (int i = 0; i < cCount; i++)
    body += "st.global.u32 [%l1+" + std::to_string(4 * i) + "], %r" + std::to_string(16 + i) + ";\n";
  const Outcome outcome = runMatrix(body, input);
  for (int lane = 0; lane < 32; lane++) {
    const int g = lane / 4, t = lane % 4;
    for (int r = 0; r < 4; r++) {
      const int row = g + 8 * (r / 2), column = 2 * t + r % 2;
      float expected = cValue(row, column);
      for (int k = 0; k < product.k; k++) expected += aValue(row, k) * bValue(k, column);
      const uint32_t word = outcome.output[static_cast<size_t>(lane * 4 + (product.halfResult ? r / 2 : r))];
      const uint32_t actual = product.halfResult ? (word >> (16 * (r % 2)) & 0xffff) : word;
      const uint32_t want = product.halfResult ? toHalf(expected) : F(expected);
      expect(actual == want, std::string(product.mnemonic) + " row " + std::to_string(row) + " column " +
                                 std::to_string(column) + ": got " + hexadecimal(actual) + ", expected " +
                                 hexadecimal(want));
    }
  }
  expectEqual<uint64_t>(counter(outcome.counters, "tensorFlops"), static_cast<uint64_t>(2 * 16 * 8 * product.k),
                        "tensorFlops");
}

// clang-format off
const Register kMatrix[] = {
    {"ldmatrix/x4", [] { checkLoad(false); }},
    {"ldmatrix/x4.trans", [] { checkLoad(true); }},
    {"ldmatrix/x1 uses the addresses of lanes 0-7 only", [] {
       const Outcome outcome = runMatrix(kFill + "setp.ge.u32 %p0, %r30, 8; @%p0 mov.u32 %r26, 0; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r0}, [%r26];" + kOut4 + "st.global.u32 [%l1], %r0;");
       for (uint32_t lane = 0; lane < 32; lane++) {
         const uint32_t first = 8 * (lane / 4) + 2 * (lane % 4);
         expectEqual(outcome.output[lane * 4], pair(first, first + 1), "lane " + std::to_string(lane));
       }
     }},
    {"stmatrix is the inverse of ldmatrix", [] {
       for (const char* trans : {"", ".trans"}) {
         const Outcome outcome = runMatrix(kFill + ".shared .align 16 .b8 q[512]; mov.u32 %r10, q; mad.lo.u32 %r10, %r30, 16, %r10; ldmatrix.sync.aligned.m8n8.x4" + trans +
                                           ".shared.b16 {%r0, %r1, %r2, %r3}, [%r26]; stmatrix.sync.aligned.m8n8.x4" + trans +
                                           ".shared.b16 [%r10], {%r0, %r1, %r2, %r3}; bar.warp.sync -1; ld.shared.v4.u32 {%r0, %r1, %r2, %r3}, [%r10];" + kOut4 + "st.global.v4.u32 [%l1], {%r0, %r1, %r2, %r3};");
         for (uint32_t i = 0; i < 128; i++) expectEqual(outcome.output[i], pair(2 * i, 2 * i + 1), "word " + std::to_string(i));
       }
     }},
    {"movmatrix", [] {
       const Outcome outcome = runMatrix(kFill + "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r0}, [%r26]; movmatrix.sync.aligned.m8n8.trans.b16 %r1, %r0; ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%r2}, [%r26];" + kOut4 + "st.global.u32 [%l1], %r1; st.global.u32 [%l1+4], %r2;");
       for (uint32_t lane = 0; lane < 32; lane++) expectEqual(outcome.output[lane * 4], outcome.output[lane * 4 + 1], "lane " + std::to_string(lane));
     }},
    {"mma/f16 k16", [] { checkProduct({"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", 16, 'h', false}); }},
    {"mma/f16 k8", [] { checkProduct({"mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", 8, 'h', false}); }},
    {"mma/f16 k16, f16 sums", [] { checkProduct({"mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16", 16, 'h', true}); }},
    {"mma/f16 k8, f16 sums", [] { checkProduct({"mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16", 8, 'h', true}); }},
    {"mma/bf16 k16", [] { checkProduct({"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", 16, 'b', false}); }},
    {"mma/bf16 k8", [] { checkProduct({"mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32", 8, 'b', false}); }},
    {"mma/tf32 k8", [] { checkProduct({"mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", 8, 't', false}); }},
    {"mma/tf32 k4", [] { checkProduct({"mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32", 4, 't', false}); }},
};
// clang-format on

}  // namespace
}  // namespace fovea::simulatorTest
