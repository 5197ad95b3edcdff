// Matrices of wgmma, from shared memory and registers to floats.
#include <cstring>

#include "async/matrix_descriptor.h"
#include "async/warpgroup_products.h"
#include "exec/cta.h"
#include "exec/numbers.h"
#include "ptx/body.h"

namespace fovea::simulator {
namespace {

constexpr uint32_t kChunkBytes = 16;
constexpr int kPerChunk = 8;

void toFloats(Type type, const uint8_t* bytes, float* values, int count) {
  const auto* bits = reinterpret_cast<const uint16_t*>(bytes);
  type == Type::kF16 ? Half::toFloats(bits, values, count) : Bfloat::toFloats(bits, values, count);
}

// Reads chunks of one matrix on behalf of a product.
class Reader {
 public:
  Reader(Cta& cta, const Warp& warp, const WarpgroupProduct& product) : cta_(cta), warp_(warp) {
    access_.warp = warp.id;
    access_.lane = kAnyLane;
    access_.lastSync = product.lastSync;
    access_.known = &product.known;
    access_.proxied = &product.proxied;
  }
  ~Reader() {
    if (violation_.kind) cta_.report(warp_, -1, violation_);
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  // Checks 16 bytes; `undefined` gets a bit for each element that is. False when they are outside shared memory.
  bool check(uint32_t address, unsigned& undefined) {
    undefined = 0;
    if (address < kSharedBase || address + kChunkBytes > cta_.shared.end()) {
      cta_.report(
          warp_, -1, "out-of-bounds-shared",
          "wgmma reads shared memory at " + hexadecimal(address) + ", which ends at " + hexadecimal(cta_.shared.end()));
      return false;
    }
    // The warp waits for the product no sooner than at its next moment.
    if (cta_.shared.readAsync(address, kChunkBytes, access_, warp_.now() + 1, violation_)) return true;
    for (uint32_t i = 0; i < kPerChunk; i++)
      undefined |= static_cast<unsigned>(!cta_.shared.isDefined(address + 2 * i, 2)) << i;
    return true;
  }

 private:
  Cta& cta_;
  const Warp& warp_;
  SharedAccess access_;
  Violation violation_;
};

bool checkDescriptor(Cta& cta, const Warp& warp, const MatrixDescriptor& descriptor) {
  if (descriptor.baseOffset == 0 && descriptor.isAligned()) return true;
  cta.report(warp, -1, "wgmma-descriptor",
             "a matrix at " + hexadecimal(descriptor.start) + " with base offset " +
                 std::to_string(descriptor.baseOffset) +
                 ": simulated are matrices that start where the pattern of their swizzle does, with base offset 0");
  return false;
}

void rowsFromRegisters(const WarpgroupProduct& product, ProductRowsA& a) {
  for (int k = 0; k < 4; k++) {
    // Read in lane order, the register is a row-major 8 x 8 block: rows g or g + 8, k from 0 or from 8.
    float block[8 * kPerChunk];
    toFloats(product.instruction->sourceType, reinterpret_cast<const uint8_t*>(product.registersA[k].lane.data()),
             block, 8 * kPerChunk);
    const int firstRow = 8 * (k % 2), firstDepth = 8 * (k / 2);
    for (int g = 0; g < 8; g++) {
      std::memcpy(&a.values[firstRow + g][firstDepth], block + g * kPerChunk, kPerChunk * sizeof(float));
      if (product.poisonA[k] >> (4 * g) & 15) a.undefined.set(static_cast<size_t>(firstRow + g));
    }
  }
}

void rowsFromMemory(Cta& cta, const Warp& warp, const WarpgroupProduct& product, ProductRowsA& a) {
  const MatrixDescriptor descriptor(product.descriptorA);
  if (!checkDescriptor(cta, warp, descriptor)) return;
  Reader reader(cta, warp, product);
  const bool rowMajor = product.instruction->mode & kTransposedA;
  const int first = warp.id % 4 * kProductRows;
  const int outer = rowMajor ? kProductDepth : kProductRows;
  for (int i = 0; i < outer; i++) {
    for (int j = 0; j < 2 * kPerChunk; j += kPerChunk) {
      const int row = rowMajor ? j : i, depth = rowMajor ? i : j;
      const uint32_t at =
          descriptor.address(static_cast<uint32_t>(first + row), static_cast<uint32_t>(depth), rowMajor);
      unsigned undefined = 0;
      if (!reader.check(at, undefined)) return;
      float chunk[kPerChunk];
      toFloats(product.instruction->sourceType, cta.shared.at(at), chunk, kPerChunk);
      for (int e = 0; e < kPerChunk; e++) {
        (rowMajor ? a.values[row + e][depth] : a.values[row][depth + e]) = chunk[e];
        if (undefined >> e & 1) a.undefined.set(static_cast<size_t>(rowMajor ? row + e : row));
      }
    }
  }
}

}  // namespace

void readRows(Cta& cta, const Warp& warp, const WarpgroupProduct& product, ProductRowsA& a) {
  std::memset(a.values, 0, sizeof a.values);
  a.undefined.reset();
  if (product.instruction->mode & kRegistersA) {
    rowsFromRegisters(product, a);
  } else {
    rowsFromMemory(cta, warp, product, a);
  }
  if (!(product.instruction->mode & kNegated)) return;
  for (auto& row : a.values)
    for (float& value : row) value = -value;
}

ProductColumns& OperandCache::at(const Instruction& instruction, uint64_t descriptor) {
  const uint64_t hash = (descriptor ^ reinterpret_cast<uintptr_t>(&instruction)) * 0x9e3779b97f4a7c15ull >> 59;
  auto& entry = entries_[hash];
  if (!entry) entry = std::make_unique<ProductColumns>();
  return *entry;
}

const ProductColumns& readColumns(Cta& cta, const Warp& warp, const WarpgroupProduct& product) {
  const Instruction& instruction = *product.instruction;
  const MatrixDescriptor descriptor(product.descriptorB);
  const bool columnMajor = instruction.mode & kTransposedB;
  ProductColumns& b = cta.operands.at(instruction, product.descriptorB);
  const bool known =
      b.instruction == &instruction && b.descriptor == product.descriptorB && b.version == cta.shared.version();
  if (!known) {
    b.instruction = &instruction;
    b.descriptor = product.descriptorB;
    b.version = cta.shared.version();
    b.undefined.reset();
  }
  if (!checkDescriptor(cta, warp, descriptor)) {
    std::memset(b.values, 0, sizeof b.values);
    return b;
  }
  Reader reader(cta, warp, product);
  for (int column = 0; column < columnsOf(instruction); column += kPerChunk) {
    for (int i = 0; i < 2 * kPerChunk; i++) {
      // MN-major: 16 chunks of 8 columns, one per k. K-major: two for each of 8 columns.
      const int n = columnMajor ? column : column + i / 2, k = columnMajor ? i : i % 2 * kPerChunk;
      const uint32_t at = descriptor.address(static_cast<uint32_t>(n), static_cast<uint32_t>(k), columnMajor);
      unsigned undefined = 0;
      if (!reader.check(at, undefined)) return b;
      if (known) continue;
      if (columnMajor) {
        toFloats(instruction.sourceType, cta.shared.at(at), &b.values[k][n], kPerChunk);
        for (int e = 0; undefined >> e; e++)
          if (undefined >> e & 1) b.undefined.set(static_cast<size_t>(n + e));
      } else {
        float chunk[kPerChunk];
        toFloats(instruction.sourceType, cta.shared.at(at), chunk, kPerChunk);
        for (int e = 0; e < kPerChunk; e++) b.values[k + e][n] = chunk[e];
        if (undefined) b.undefined.set(static_cast<size_t>(n));
      }
    }
  }
  return b;
}

}  // namespace fovea::simulator
