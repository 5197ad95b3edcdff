// wgmma: matrix products of a warpgroup that run beside it, 64 rows by up to 256 columns, 16 deep.
//
// Warp w of the warpgroup owns rows 16w … 16w+15 of A and D, so each warp is simulated by itself. From issue to
// wgmma.wait_group a product owns its accumulator registers, and reads its A registers and shared memory.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "check/clock.h"
#include "ptx/program.h"

namespace fovea::simulator {

constexpr int kProductRows = 16;  // of one warp
constexpr int kProductDepth = 16;
constexpr int kProductColumns = 256;  // at most

// A matrix B as floats. The four warps of a warpgroup read the same one.
struct ProductColumns {
  uint64_t descriptor = 0, version = ~0ull;
  const Instruction* instruction = nullptr;
  std::bitset<kProductColumns> undefined;
  alignas(64) float values[kProductDepth][kProductColumns];
};

class OperandCache {
 public:
  // The place for what `instruction` reads through the descriptor: either filled from shared memory of this version, or
  // with another one in it.
  ProductColumns& at(const Instruction& instruction, uint64_t descriptor);

 private:
  std::array<std::unique_ptr<ProductColumns>, 32> entries_;
};

// A matrix A of one warp as floats.
struct ProductRowsA {
  std::bitset<kProductRows> undefined;
  float values[kProductRows][kProductDepth];
};

// sums[row][column] += a · b for `columns` columns, a multiple of 8.
void multiplyAccumulate(float* sums, int columns, const ProductRowsA& a, const ProductColumns& b);

struct WarpgroupProduct {
  const Instruction* instruction = nullptr;
  size_t accumulator = 0;
  uint64_t descriptorA = 0, descriptorB = 0;
  bool accumulates = true;        // scale-d
  std::array<Row, 4> registersA;  // unless A is in shared memory
  std::array<LaneMask, 4> poisonA{};
  uint32_t group = 0;
  bool isComputed = false;
  LocalTime known, proxied;  // of the warp, when it issued
  uint32_t lastSync = 0;
};

// What the four warps of a warpgroup issue, which must be the same, one product after the other.
class WarpgroupOrder {
 public:
  struct Issue {
    const Instruction* instruction = nullptr;
    uint64_t descriptorA = 0, descriptorB = 0;
    bool accumulates = true;
    bool operator==(const Issue&) const = default;
  };
  // Whether the warp's next product is what those of the others are that came first.
  bool add(int warp, const Issue& issue);
  // Whether all warps have issued as many.
  bool isEven() const { return issues_.empty(); }

 private:
  std::deque<Issue> issues_;  // that not all warps have come to
  uint64_t passed_ = 0;
  std::array<uint64_t, 4> counts_{};  // of each warp
};

// The products of one warp.
class WarpgroupProducts {
 public:
  explicit WarpgroupProducts(const Kernel& kernel);

  // Before any other instruction: whether it touches registers that products in flight use.
  void checkRegisters(Cta& cta, const Warp& warp, const Instruction& instruction);

  void fence();
  void issue(Cta& cta, Warp& warp, const Instruction& instruction);
  void commit() { group_++; }
  // All but the `keep` newest groups are over: their sums are in the registers.
  void wait(Cta& cta, Warp& warp, int64_t keep);
  bool isBusy() const { return !products_.empty(); }

 private:
  // The sums behind a list of registers, as a 16 x columns matrix, while products on them are in flight.
  struct Accumulator {
    const Instruction* instruction = nullptr;  // that names the registers
    int products = 0;
    int columns = 0;
    std::vector<float> sums;
    std::vector<LaneMask> poison;  // per register
  };

  size_t accumulatorOf(Cta& cta, Warp& warp, const Instruction& instruction, bool accumulates);
  void checkFence(Cta& cta, const Warp& warp, const Instruction& instruction);
  void compute(Cta& cta, Warp& warp, WarpgroupProduct& product);
  void release(Warp& warp, const WarpgroupProduct& product);

  // Per virtual 32-bit register: the fence epoch it was last accessed in, the accumulator it belongs to (0: none,
  // otherwise number + 1), how many products in flight read it as A.
  std::vector<uint32_t> touched_;
  std::vector<uint32_t> accumulating_;
  std::vector<uint32_t> readAsA_;
  std::vector<int32_t> owner_;  // per row: the virtual register whose accumulator goes there, or -1
  uint32_t epoch_ = 1;
  bool hasFence_ = false;
  uint32_t group_ = 0;
  std::deque<WarpgroupProduct> products_;
  std::vector<Accumulator> accumulators_;
};

// Reads a product's matrices from shared memory, with every check.
void readRows(Cta& cta, const Warp& warp, const WarpgroupProduct& product, ProductRowsA& a);
const ProductColumns& readColumns(Cta& cta, const Warp& warp, const WarpgroupProduct& product);

// The parts of a wgmma.mma_async instruction.
enum ProductMode : uint8_t { kRegistersA = 1, kTransposedA = 2, kTransposedB = 4, kNegated = 8 };
inline int columnsOf(const Instruction& instruction) { return static_cast<int>(instruction.immediate); }
inline int sumsOf(const Instruction& instruction) { return columnsOf(instruction) / 2; }

}  // namespace fovea::simulator
