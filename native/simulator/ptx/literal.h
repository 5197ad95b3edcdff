// Literals as bits, and constant rows.
#pragma once

#include <cstdint>
#include <string>

#include "ptx/program.h"

namespace fovea::simulator {

// An integer, 0fXXXXXXXX, 0dXXXXXXXXXXXXXXXX or decimal fraction, as the bits of `type`. Throws PtxError.
uint64_t parseLiteral(const std::string& text, Type type, uint32_t line);

constexpr int64_t alignUp(int64_t value, int64_t alignment) { return (value + alignment - 1) / alignment * alignment; }

// Fills the operand's constant row (two rows for 64-bit values) with the value in all lanes.
void writeConstant(Kernel& kernel, const Operand& operand, uint64_t value);

}  // namespace fovea::simulator
