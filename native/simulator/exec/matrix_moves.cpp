// ldmatrix, stmatrix, movmatrix: 8x8 matrices of 16-bit elements between shared memory and registers.
//
// Matrix i takes its eight row addresses (16 bytes each) from lanes 8i … 8i+7. In registers, lane l holds elements
// (l/4, 2(l%4)) and (l/4, 2(l%4)+1); with .trans, elements (2(l%4), l/4) and (2(l%4)+1, l/4).
#include <algorithm>
#include <cstring>

#include "exec/lanes.h"
#include "exec/memory.h"
#include "exec/registry.h"

namespace fovea::simulator {
namespace {

constexpr uint32_t kRowBytes = 16;

struct Matrix {
  uint16_t at[8][8] = {};
  bool bad[8][8] = {};  // poison, per element
};

// The register of a matrix, lane by lane.
void toRegister(Warp& warp, const Operand& result, const Matrix& matrix, bool transposed) {
  auto* d = warp.write<uint32_t>(result);
  LaneMask bad = 0;
  for (int lane = 0; lane < kLanes; lane++) {
    const int row = lane / 4, column = lane % 4 * 2;
    const uint16_t low = transposed ? matrix.at[column][row] : matrix.at[row][column];
    const uint16_t high = transposed ? matrix.at[column + 1][row] : matrix.at[row][column + 1];
    const bool isBad = transposed ? matrix.bad[column][row] || matrix.bad[column + 1][row]
                                  : matrix.bad[row][column] || matrix.bad[row][column + 1];
    d[lane] = static_cast<uint32_t>(high) << 16 | low;
    bad |= static_cast<LaneMask>(isBad) << lane;
  }
  warp.setPoison(result, kAllLanes, bad);
}

Matrix fromRegister(const Warp& warp, const Operand& source, bool transposed) {
  const auto* a = warp.read<uint32_t>(source);
  const LaneMask bad = warp.poisonOf(source);
  Matrix matrix;
  for (int lane = 0; lane < kLanes; lane++) {
    for (int k = 0; k < 2; k++) {
      const int row = transposed ? lane % 4 * 2 + k : lane / 4, column = transposed ? lane / 4 : lane % 4 * 2 + k;
      matrix.at[row][column] = static_cast<uint16_t>(a[lane] >> (16 * k));
      matrix.bad[row][column] = bad >> lane & 1;
    }
  }
  return matrix;
}

// The addresses of the rows; resolves generic ones. Returns the lanes that give one.
LaneMask rowAddresses(Cta& cta, Warp& warp, const Instruction& instruction, const Operand& base,
                      uint64_t (&addresses)[kLanes]) {
  const LaneMask lanes = instruction.vector == 4 ? kAllLanes : (1u << (8 * instruction.vector)) - 1;
  cta.checkDefined(warp, base, lanes, "a row address");
  forLanes(lanes, [&](int lane) {
    addresses[lane] = warp.bits(base, lane) + static_cast<uint64_t>(instruction.immediate);
    if (instruction.space == Space::kGeneric) resolveGeneric(addresses[lane]);
  });
  return lanes;
}

Outcome loadMatrix(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask) {
  uint64_t addresses[kLanes];
  const LaneMask lanes = rowAddresses(cta, warp, instruction, instruction.operand[0], addresses);
  MemoryAccess access;
  access.what = "read of a matrix row";
  Matrix matrices[4];
  forLanes(lanes, [&](int lane) {
    Matrix& matrix = matrices[lane / 8];
    const int row = lane % 8;
    if (addresses[lane] % kRowBytes) {
      cta.report(warp, lane, "misaligned",
                 "the row address " + hexadecimal(addresses[lane]) + " must be a multiple of 16");
      return;
    }
    // The lanes that receive the row are others than the one that gives its address: kEveryLane.
    const LaneBytes bytes = accessLane(cta, warp, kEveryLane, Space::kShared, addresses[lane], kRowBytes, access);
    if (!bytes.data) return;
    std::memcpy(matrix.at[row], bytes.data, kRowBytes);
    if (bytes.defined) return;
    for (int column = 0; column < 8; column++)
      matrix.bad[row][column] =
          !isDefined(cta, warp, lane, Space::kShared, addresses[lane] + 2 * static_cast<uint64_t>(column), 2);
  });
  countShared(cta, addresses, lanes, kRowBytes);
  for (int k = 0; k < instruction.vector; k++)
    toRegister(warp, instruction.operand[1 + k], matrices[k], instruction.mode);
  return Outcome::kNext;
}

Outcome storeMatrix(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask) {
  uint64_t addresses[kLanes];
  const LaneMask lanes = rowAddresses(cta, warp, instruction, instruction.operand[0], addresses);
  MemoryAccess access;
  access.what = "write of a matrix row";
  access.write = true;
  for (int k = 0; k < instruction.vector; k++) {
    const Matrix matrix = fromRegister(warp, instruction.operand[1 + k], instruction.mode);
    for (int row = 0; row < 8; row++) {
      const int lane = 8 * k + row;
      const LaneBytes bytes = accessLane(cta, warp, kEveryLane, Space::kShared, addresses[lane], kRowBytes, access);
      if (!bytes.data) continue;
      std::memcpy(bytes.data, matrix.at[row], kRowBytes);
      for (int column = 0; column < 8; column++)
        if (matrix.bad[row][column])
          markWritten(cta, warp, kEveryLane, Space::kShared, addresses[lane] + 2 * static_cast<uint64_t>(column), 2,
                      false);
    }
  }
  countShared(cta, addresses, lanes, kRowBytes);
  return Outcome::kNext;
}

void decodeMatrixAccess(Decoder& d) {
  Instruction& instruction = d.instruction();
  const bool stores = d.part(0) == "stmatrix";
  if (!d.has("m8n8") || d.type() != Type::kB16) d.unsupported();
  instruction.vector = d.has("x4") ? 4 : d.has("x2") ? 2 : 1;
  instruction.mode = d.has("trans");
  instruction.converged = true;
  instruction.propagatesPoison = false;
  instruction.hasEffect = true;
  instruction.space = d.has("shared") || d.has("shared::cta") ? Space::kShared : Space::kGeneric;
  d.address(stores ? 0 : 1, instruction.space);
  const Argument& list = d.argument(stores ? 1 : 0);
  if (list.elements.size() != instruction.vector) d.fail("wrong number of registers");
  for (const std::string& text : list.elements) stores ? d.use(text, Type::kB32) : d.define(text, Type::kB32);
  instruction.execute = stores ? storeMatrix : loadMatrix;
}

Outcome moveMatrix(Cta&, Warp& warp, const Instruction& instruction, LaneMask) {
  toRegister(warp, instruction.operand[0], fromRegister(warp, instruction.operand[1], false), true);
  return Outcome::kNext;
}
void decodeMoveMatrix(Decoder& d) {
  Instruction& instruction = d.instruction();
  instruction.converged = true;
  instruction.propagatesPoison = false;
  instruction.hasEffect = true;
  d.define(0, Type::kB32);
  d.use(1, Type::kB32);
  instruction.execute = moveMatrix;
}

}  // namespace

void registerMatrixMoves(Registry& registry) {
  registry["ldmatrix"] = registry["stmatrix"] = decodeMatrixAccess;
  registry["movmatrix"] = decodeMoveMatrix;
}

}  // namespace fovea::simulator
