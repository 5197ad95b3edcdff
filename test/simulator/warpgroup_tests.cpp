// wgmma: fragments, descriptors of every swizzle and both majornesses, groups, scales; setmaxnreg.
#include <cstring>

#include "harness.h"

namespace fovea::simulatorTest {
namespace {

constexpr int kM = 64, kK = 16;

uint16_t toHalf(float value) { return std::bit_cast<uint16_t>(static_cast<_Float16>(value)); }
uint16_t toBfloat(float value) { return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16); }

// Small integers: every sum is exact.
float aValue(int m, int k) { return static_cast<float>((m * 7 + k * 3) % 13 - 6); }
float bValue(int k, int n) { return static_cast<float>((k * 5 + n * 11) % 9 - 4); }
float cValue(int m, int n) { return static_cast<float>((m * 2 + n) % 7); }

// A matrix in shared memory, from the words of "Shared Memory Matrix Layout": atoms of 8 rows of a span's bytes.
// K-major rows are one MN each and run along k; MN-major rows are one k each and run along MN.
struct Layout {
  int span;  // bytes: 128, 64, 32, or 16 without swizzle
  bool mnMajor;
  int start;            // bytes, of the matrix in its place in shared memory
  int leading, stride;  // bytes
  int firstK = 0;       // k of the tile at which the product begins (K-major: the start moves along the row)

  // Byte of element (mn, k).
  int byteOf(int mn, int k) const {
    const int elements = span / 2;
    int row = 0, column = 0, atom = 0;
    if (mnMajor) {
      row = k % 8;
      column = mn % elements;
      atom = span > 16 ? mn / elements * leading + k / 8 * stride : mn / elements * stride + k / 8 * leading;
    } else {
      const int at = k + firstK;
      row = mn % 8;
      column = at % elements;
      atom = span > 16 ? mn / 8 * stride : mn / 8 * stride + at / 8 * leading;
    }
    const int byte = start + atom + row * span + column * 2;
    const int line = byte / 128, chunk = byte % 128 / 16, chunks = span / 16;
    return line * 128 + (chunk ^ line % chunks) * 16 + byte % 16;
  }
  uint64_t descriptor() const {
    const uint64_t mode = span == 128 ? 1 : span == 64 ? 2 : span == 32 ? 3 : 0;
    const int first = start + (mnMajor ? 0 : span > 16 ? firstK * 2 : firstK / 8 * leading);
    return static_cast<uint64_t>(first >> 4) | static_cast<uint64_t>(leading >> 4) << 16 |
           static_cast<uint64_t>(stride >> 4) << 32 | mode << 62;
  }
};

// A layout for `count` rows or columns from `start` on, with gaps where the offsets allow some.
Layout layoutFor(int span, bool mnMajor, int start, int count) {
  Layout layout{span, mnMajor, start, 0, 0};
  const int atom = 8 * span;
  if (mnMajor) {
    if (span > 16) {
      layout.stride = atom;                                 // the next 8 k
      layout.leading = 2 * atom + (count > 64 ? 1024 : 0);  // the next span
    } else {
      layout.stride = 2 * atom;  // the next 8 MN
      layout.leading = atom;     // the next 8 k
    }
  } else if (span > 16) {
    layout.stride = atom;  // the next 8 MN
    layout.firstK = span > 32 ? 16 : 0;
  } else {
    layout.leading = (count + 7) / 8 * atom;
    layout.stride = atom;
    layout.firstK = 16;
  }
  return layout;
}

struct Product {
  int columns;
  bool isBfloat;
  int spanA;  // 0: A in registers
  bool mnMajorA;
  int spanB;
  bool mnMajorB;
  int scaleA = 1, scaleB = 1;
  bool accumulates = true;

  std::string name() const {
    return "n" + std::to_string(columns) + (isBfloat ? " bf16" : " f16") + " A " + std::to_string(spanA) +
           (mnMajorA ? " M" : " K") + " B " + std::to_string(spanB) + (mnMajorB ? " N" : " K");
  }
};

constexpr int kStartB = 32 * 1024, kBytes = 96 * 1024;

std::string list(const std::string& prefix, int first, int count) {
  std::string text = "{";
  for (int i = 0; i < count; i++) text += (i ? ", " : "") + prefix + std::to_string(first + i);
  return text + "}";
}

// The shared memory comes from `in`, word by word; then A's registers, then the initial sums, one word per thread each.
void checkProduct(const Product& product) {
  const int sums = product.columns / 2;
  const auto code = [&](float value) { return product.isBfloat ? toBfloat(value) : toHalf(value); };
  // Positions count from the beginning of the dynamic shared memory, which is 1024-aligned.
  const Layout a = layoutFor(product.spanA ? product.spanA : 16, product.mnMajorA, 0, kM);
  const Layout b = layoutFor(product.spanB, product.mnMajorB, kStartB, product.columns);
  std::vector<uint32_t> input(kBytes / 4 + 128 * (4 + static_cast<size_t>(sums)), 0x7fff7fffu);
  const auto put = [&](int byte, float value) {
    const uint16_t bits = code(value);
    std::memcpy(reinterpret_cast<char*>(input.data()) + byte, &bits, 2);
  };
  for (int m = 0; m < kM; m++)
    for (int k = 0; k < kK && product.spanA; k++) put(a.byteOf(m, k), aValue(m, k));
  for (int n = 0; n < product.columns; n++)
    for (int k = 0; k < kK; k++) put(b.byteOf(n, k), bValue(k, n));
  for (int thread = 0; thread < 128; thread++) {
    const int g = thread % 32 / 4, t = thread % 4, first = thread / 32 * 16;
    for (int r = 0; r < 4; r++) {  // rows g, g + 8, g, g + 8; k 2t, 2t, 2t + 8, 2t + 8
      const int m = first + g + r % 2 * 8, k = 2 * t + r / 2 * 8;
      input[static_cast<size_t>(kBytes / 4 + r * 128 + thread)] =
          static_cast<uint32_t>(code(aValue(m, k + 1))) << 16 | code(aValue(m, k));
    }
    for (int r = 0; r < sums; r++)
      input[static_cast<size_t>(kBytes / 4 + (4 + r) * 128 + thread)] =
          F(cValue(first + g + 8 * (r / 2 % 2), 8 * (r / 4) + 2 * t + r % 2));
  }

  std::string body =
      ".reg .f32 %d<128>; .reg .b32 %a<4>; mov.u32 %r20, d; mov.u32 %r10, %r30;\n"
      "COPY: mul.wide.u32 %l1, %r10, 4; add.u64 %l1, %l30, %l1; mad.lo.u32 %r11, %r10, 4, %r20;\n"
      "ld.global.u32 %r12, [%l1]; st.shared.u32 [%r11], %r12; add.u32 %r10, %r10, 128;\n"
      "setp.lt.u32 %p4, %r10, " +
      std::to_string(kBytes / 4) +
      "; @%p4 bra COPY;\n"
      "fence.proxy.async.shared::cta; bar.sync 0; mul.wide.u32 %l1, %r30, 4; add.u64 %l2, %l30, %l1; add.u64 %l3, "
      "%l31, %l1;\n";
  const auto global = [&](int word) { return "[%l2+" + std::to_string(kBytes + word * 512) + "]"; };
  for (int r = 0; r < 4; r++) body += "ld.global.u32 %a" + std::to_string(r) + ", " + global(r) + ";\n";
  for (int r = 0; r < sums; r++) body += "ld.global.f32 %d" + std::to_string(r) + ", " + global(4 + r) + ";\n";
  // The start of the dynamic shared memory joins the descriptors.
  body += "cvt.u64.u32 %l4, %r20; shr.u64 %l4, %l4, 4; add.u64 %l5, %l4, " + std::to_string(a.descriptor()) +
          "; add.u64 %l6, %l4, " + std::to_string(b.descriptor()) + ";\nsetp.eq.u32 %p1, 1, " +
          (product.accumulates ? "1" : "0") + ";\nwgmma.fence.sync.aligned;\n";
  const std::string type = product.isBfloat ? "bf16" : "f16";
  body += "wgmma.mma_async.sync.aligned.m64n" + std::to_string(product.columns) + "k16.f32." + type + "." + type + " " +
          list("%d", 0, sums) + ", " + (product.spanA ? "%l5" : list("%a", 0, 4)) + ", %l6, %p1, " +
          std::to_string(product.scaleA) + ", " + std::to_string(product.scaleB) +
          (product.spanA ? (product.mnMajorA ? ", 1" : ", 0") : "") + (product.mnMajorB ? ", 1;\n" : ", 0;\n") +
          "wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n";
  for (int r = 0; r < sums; r++)
    body += "st.global.f32 [%l3+" + std::to_string(r * 512) + "], %d" + std::to_string(r) + ";\n";

  Run request;
  request.ptx = kernelText(body, ".extern .shared .align 1024 .b8 d[];", "sm_90a");
  request.input = input;
  request.block = 128;
  request.shared = kBytes;
  request.outputWords = static_cast<size_t>(128 * sums);
  const Outcome outcome = run(request);
  expectSuccess(outcome.loadResult, "loading");
  expectSuccess(outcome.result, product.name() + "\n" + outcome.reports);
  int wrong = 0;
  for (int thread = 0; thread < 128; thread++) {
    for (int r = 0; r < sums; r++) {
      const int m = thread / 32 * 16 + thread % 32 / 4 + 8 * (r / 2 % 2), n = 8 * (r / 4) + 2 * (thread % 4) + r % 2;
      float sum = 0;
      for (int k = 0; k < kK; k++) sum += aValue(m, k) * bValue(k, n);
      const float expected =
          static_cast<float>(product.scaleA * product.scaleB) * sum + (product.accumulates ? cValue(m, n) : 0.f);
      wrong += std::bit_cast<float>(outcome.output[static_cast<size_t>(r * 128 + thread)]) != expected;
    }
  }
  expectEqual(wrong, 0, product.name() + ": wrong sums");
  expectEqual<uint64_t>(counter(outcome.counters, "tensorFlops"), static_cast<uint64_t>(2 * kM * product.columns * kK),
                        "tensorFlops");
}

class Hopper {
 public:
  explicit Hopper(const char* completion = "late")
      : capability_("FOVEA_SIM_COMPUTE_CAPABILITY", "9.0", "8.0"), mode_("FOVEA_SIM_COMPLETION", completion, "late") {}

 private:
  Setting capability_, mode_;
};

// Two products on one accumulator and one on another; the first wait leaves the last group in flight.
const std::string kGroups =
    R"(.reg .f32 %d<8>; .shared .align 1024 .b8 s[2048]; mov.u32 %r20, s; mad.lo.u32 %r1, %r30, 16, %r20;
  mov.u32 %r2, 0x3c003c00; st.shared.v4.u32 [%r1], {%r2, %r2, %r2, %r2}; fence.proxy.async; bar.sync 0;
  mov.f32 %d0, 0f00000000; mov.f32 %d1, %d0; mov.f32 %d2, %d0; mov.f32 %d3, %d0; mov.f32 %d4, %d0; mov.f32 %d5, %d0; mov.f32 %d6, %d0; mov.f32 %d7, %d0;
  cvt.u64.u32 %l4, %r20; shr.u64 %l4, %l4, 4; add.u64 %l4, %l4, 0x0000000800080000; setp.eq.u32 %p1, 1, 1; mov.u32 %r3, 0x3c003c00;
  wgmma.fence.sync.aligned;
)";
std::string smallProduct(int first) {
  return "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 " + list("%d", first, 4) +
         ", {%r3, %r3, %r3, %r3}, %l4, %p1, 1, 1, 0;\n";
}

// clang-format off
const Register kProducts[] = {
    {"wgmma/every swizzle and majorness", [] {
       for (const char* completion : {"early", "late"}) {
         const Hopper hopper(completion);
         for (int spanA : {0, 16, 32, 64, 128})
           for (int spanB : {16, 32, 64, 128})
             for (int majors = 0; majors < 4; majors++)
               if (spanA || !(majors & 1)) checkProduct({72, (spanA + spanB + majors) % 3 == 0, spanA, (majors & 1) != 0, spanB, (majors & 2) != 0});
       }
     }},
    {"wgmma/widths", [] {
       const Hopper hopper;
       for (int columns : {8, 16, 24, 64, 96, 192, 256}) checkProduct({columns, true, 128, false, 128, columns >= 64});
     }},
    {"wgmma/scales", [] {
       const Hopper hopper;
       checkProduct({16, false, 128, false, 128, false, -1, 1});
       checkProduct({16, false, 0, false, 128, false, 1, -1});
       checkProduct({16, false, 128, false, 128, false, -1, -1});
       checkProduct({16, false, 128, false, 128, false, 1, 1, false});
     }},
    {"wgmma/groups", [] {
       for (const char* completion : {"early", "late", "random"}) {
         const Hopper hopper(completion);
         Run request;
         request.ptx = kernelText(kGroups + smallProduct(0) + smallProduct(0) + "wgmma.commit_group.sync.aligned;\n" + smallProduct(4) +
                                  "wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 1; add.f32 %f0, %d0, %d3; wgmma.wait_group.sync.aligned 0; add.f32 %f0, %f0, %d7;"
                                  "mul.wide.u32 %l1, %r30, 4; add.u64 %l1, %l31, %l1; st.global.f32 [%l1], %f0;", "", "sm_90a");
         request.block = 128;
         request.outputWords = 128;
         const Outcome outcome = run(request);
         expectSuccess(outcome.loadResult, "loading");
         expectSuccess(outcome.result, "running\n" + outcome.reports);
         for (uint32_t i = 0; i < 128; i++) expectEqual(std::bit_cast<float>(outcome.output[i]), 32.f + 32.f + 16.f, "thread " + std::to_string(i));
       }
     }},
    // 64 registers for 256 threads: one warpgroup gives 40 of each thread, the other takes as many, and waits until it can.
    {"setmaxnreg/moves registers", [] {
       const Hopper hopper;
       for (const char* seed : {"0", "1", "2"}) {
         const Setting schedule("FOVEA_SIM_SEED", seed, "1");
         Run request;
         request.ptx = kernelText("setp.lt.u32 %p0, %r30, 128; @%p0 bra TAKE; setmaxnreg.dec.sync.aligned.u32 24; bra DONE; TAKE: setmaxnreg.inc.sync.aligned.u32 104; DONE:", "", "sm_90a");
         request.block = 256;
         const Outcome outcome = run(request);
         expectSuccess(outcome.loadResult, "loading");
         expectSuccess(outcome.result, "running\n" + outcome.reports);
       }
     }},
};
// clang-format on

}  // namespace
}  // namespace fovea::simulatorTest
