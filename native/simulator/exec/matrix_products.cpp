// mma.sync: D = A·B + C on fragments, with f16, bf16 and tf32 inputs.
//
// With g = lane/4 and t = lane%4, a register of A or B, read in lane order, is one row-major 8 x 8 block of 16-bit
// elements (8 x 4 of tf32): A's registers are the blocks of rows g and g+8 for each k block in turn, B's are [n][k]
// blocks. C and D (16 x 8): c0 c1 = row g, columns 2t, 2t+1; c2 c3 = row g+8; with f16 sums, c0 and c1 hold such pairs.
// Sums of 16-bit products are fused multiply-adds in float in the order of k; hardware sums wider and in another order.
// This file is compiled with -ffp-contract=fast, so that the vector statement below becomes a fused multiply-add. Sums
// of tf32, by which kernels put float32 together, are wide and then cut off to float, as hardware does it: over many
// instructions that is a drift which kernels for float32 must avoid.
#include <cmath>
#include <cstring>
#include <string>

#include "exec/lanes.h"
#include "exec/numbers.h"
#include "exec/registry.h"

namespace fovea::simulator {
namespace {

constexpr int kM = 16, kN = 8;
using Columns = float __attribute__((vector_size(kN * sizeof(float))));
using WideColumns = double __attribute__((vector_size(kN * sizeof(double))));

struct Half16 : Half {
  static constexpr int kPerRegister = 2;
};
struct Bfloat16 : Bfloat {
  static constexpr int kPerRegister = 2;
};
struct Tf32 {
  static constexpr int kPerRegister = 1;
};

// The elements of one register in lane order.
template <class Input>
void elements(const uint32_t* row, float* values) {
  if constexpr (Input::kPerRegister == 2) {
    Input::toFloats(reinterpret_cast<const uint16_t*>(row), values, 2 * kLanes);
  } else {
    // The low 13 bits of tf32 are ignored.
    for (int lane = 0; lane < kLanes; lane++) values[lane] = std::bit_cast<float>(row[lane] & 0xffffe000u);
  }
}

template <class Input, int kK>
Columns sumOfProducts(Columns sum, const float* left, const float (&right)[kK][kN]) {
  for (int k = 0; k < kK; k++) {
    Columns row;
    std::memcpy(&row, right[k], sizeof row);
    sum += left[k] * row;
  }
  return sum;
}

template <>
Columns sumOfProducts<Tf32, 8>(Columns sum, const float* left, const float (&right)[8][kN]) {
  WideColumns wide = __builtin_convertvector(sum, WideColumns);
  for (int k = 0; k < 8; k++) {
    Columns row;
    std::memcpy(&row, right[k], sizeof row);
    wide += double{left[k]} * __builtin_convertvector(row, WideColumns);
  }
  for (int n = 0; n < kN; n++) {
    // One bit pattern less is the next value towards 0.
    const auto nearest = static_cast<float>(wide[n]);
    const bool tooLarge = std::abs(double{nearest}) > std::abs(wide[n]);
    sum[n] = std::bit_cast<float>(std::bit_cast<uint32_t>(nearest) - tooLarge);
  }
  return sum;
}

// Which rows (of A) or columns (of B) of a register hold poison.
unsigned poisonedGroups(LaneMask poison) {
  unsigned groups = 0;
  for (int g = 0; g < 8; g++) groups |= static_cast<unsigned>((poison >> (4 * g) & 15) != 0) << g;
  return groups;
}

// Operands: the registers of D, A, B, C.
template <class Input, int kK, bool kHalfSums>
Outcome product(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask) {
  constexpr int width = 4 * Input::kPerRegister;  // of a k block
  constexpr int blocks = kK / width;
  constexpr int sums = kHalfSums ? 2 : 4;  // registers
  const Operand* d = instruction.operand;
  const Operand* a = d + sums;
  const Operand* b = a + 2 * blocks;
  const Operand* c = b + blocks;
  float left[kM][kK], right[kK][kN], block[8 * width];
  Columns sum[kM];
  LaneMask poison = 0;
  for (int k = 0; k < blocks; k++) {
    for (int half = 0; half < 2; half++) {
      elements<Input>(warp.read<uint32_t>(a[2 * k + half]), block);
      for (int g = 0; g < 8; g++) std::memcpy(&left[8 * half + g][k * width], block + g * width, width * sizeof(float));
      poison |= warp.poisonOf(a[2 * k + half]);
    }
    elements<Input>(warp.read<uint32_t>(b[k]), block);
    for (int n = 0; n < kN; n++)
      for (int i = 0; i < width; i++) right[k * width + i][n] = block[n * width + i];
    poison |= warp.poisonOf(b[k]);
  }
  for (int r = 0; r < sums; r++) {
    const auto* row = warp.read<uint32_t>(c[r]);
    poison |= warp.poisonOf(c[r]);
    for (int lane = 0; lane < kLanes; lane++) {
      const int g = lane / 4, column = lane % 4 * 2;
      if constexpr (kHalfSums) {
        sum[g + 8 * r][column] = Half::toFloat(static_cast<uint16_t>(row[lane]));
        sum[g + 8 * r][column + 1] = Half::toFloat(static_cast<uint16_t>(row[lane] >> 16));
      } else {
        sum[g + 8 * (r / 2)][column + r % 2] = std::bit_cast<float>(row[lane]);
      }
    }
  }

  for (int m = 0; m < kM; m++) sum[m] = sumOfProducts<Input, kK>(sum[m], left[m], right);
  cta.counters.tensorFlops += static_cast<uint64_t>(2 * kM * kN * kK);

  // An element is poison where its row of A, its column of B or its own C is.
  unsigned badRows = 0, badColumns = 0;
  if (poison) {
    for (int k = 0; k < blocks; k++) {
      badRows |= poisonedGroups(warp.poisonOf(a[2 * k])) | poisonedGroups(warp.poisonOf(a[2 * k + 1])) << 8;
      badColumns |= poisonedGroups(warp.poisonOf(b[k]));
    }
  }
  for (int r = 0; r < sums; r++) {
    LaneMask bad = poison ? warp.poisonOf(c[r]) : 0;
    auto* row = warp.write<uint32_t>(d[r]);
    for (int lane = 0; lane < kLanes; lane++) {
      const int m = lane / 4 + 8 * (kHalfSums ? r : r / 2), column = lane % 4 * 2;
      if constexpr (kHalfSums) {
        row[lane] = static_cast<uint32_t>(Half::fromFloat(sum[m][column + 1])) << 16 | Half::fromFloat(sum[m][column]);
      } else {
        row[lane] = std::bit_cast<uint32_t>(canonical(sum[m][column + r % 2]));
      }
      if (!poison) continue;
      const unsigned columns = kHalfSums ? 3u << column : 1u << (column + r % 2);
      bad |= static_cast<LaneMask>((badRows >> m & 1) || (badColumns & columns)) << lane;
    }
    warp.setPoison(d[r], kAllLanes, bad);
  }
  return Outcome::kNext;
}

Handler handlerOf(Type input, int k, bool halfSums) {
  if (input == Type::kF16) {
    if (halfSums) return k == 16 ? product<Half16, 16, true> : product<Half16, 8, true>;
    return k == 16 ? product<Half16, 16, false> : product<Half16, 8, false>;
  }
  if (input == Type::kBf16) return k == 16 ? product<Bfloat16, 16, false> : product<Bfloat16, 8, false>;
  return k == 8 ? product<Tf32, 8, false> : product<Tf32, 4, false>;
}

// mma.sync.aligned.shape.row.col.dtype.atype.btype.ctype
void decodeProduct(Decoder& d) {
  Instruction& instruction = d.instruction();
  instruction.type = d.type(3);
  instruction.sourceType = d.type(2);
  const bool inputsMatch = d.type(2) == d.type(1) && d.type(3) == d.type(0);
  const Type input = instruction.sourceType;
  const bool is16 = input == Type::kF16 || input == Type::kBf16;
  int k = 0;
  if (d.has("m16n8k16") && is16) k = 16;
  if (d.has("m16n8k8") && (is16 || input == Type::kTf32)) k = 8;
  if (d.has("m16n8k4") && input == Type::kTf32) k = 4;
  const bool halves = instruction.type == Type::kF16;
  if (!k || !inputsMatch || (halves ? input != Type::kF16 : instruction.type != Type::kF32)) d.unsupported();
  if (!d.has("row") || !d.has("col") || !d.has("sync") || d.argumentCount() != 4) d.unsupported();
  instruction.converged = true;
  instruction.propagatesPoison = false;
  instruction.hasEffect = true;
  const size_t blocks = static_cast<size_t>(k) / (is16 ? 8 : 4);
  const size_t sums = halves ? 2 : 4;
  const size_t sizes[4] = {sums, 2 * blocks, blocks, sums};
  for (size_t i = 0; i < 4; i++) {
    const std::vector<std::string>& registers = d.argument(i).elements;
    if (registers.size() != sizes[i])
      d.fail("argument " + std::to_string(i + 1) + " needs " + std::to_string(sizes[i]) + " registers");
    for (const std::string& text : registers) i == 0 ? d.define(text, Type::kB32) : d.use(text, Type::kB32);
  }
  instruction.execute = handlerOf(input, k, halves);
}

}  // namespace

void registerMatrixProducts(Registry& registry) { registry["mma"] = decodeProduct; }

}  // namespace fovea::simulator
