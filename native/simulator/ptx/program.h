// A decoded kernel: what the parser makes and the executor runs.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ptx/types.h"

namespace fovea::simulator {

class Cta;
struct Warp;
struct Instruction;

using LaneMask = uint32_t;  // bit i: lane i of the warp
constexpr int kLanes = 32;
constexpr LaneMask kAllLanes = ~0u;

// What an instruction did with the warp's program counter.
enum class Outcome : uint8_t {
  kNext,     // done; go on at the next instruction
  kJumped,   // done; the handler moved the program counter
  kBlocked,  // done and the program counter moved past it, but the warp now waits for a barrier
  kRetry,    // not done; try again later (other fragments and warps run meanwhile)
};

using Handler = Outcome (*)(Cta&, Warp&, const Instruction&, LaneMask);

// One register, constant, or predicate named by an instruction. `row` indexes a file of 32-lane rows (a 64-bit
// register takes two), or the predicate masks; constants have their own, read-only file.
struct Operand {
  int32_t row = -1;
  int32_t virtualRegister = -1;  // number of the PTX register within its class; -1 for constants
  RegisterClass registerClass = RegisterClass::kWord;
  bool isConstant = false;
  bool defines = false;
  bool uses = false;
  bool negated = false;  // predicates: !p
};

// How an instruction moves the program counter: what the liveness analysis needs to know.
enum class Flow : uint8_t { kNext, kBranch, kTable, kExit };

struct Instruction {
  Handler execute = nullptr;
  const Operand* operand = nullptr;  // `operandCount` of them, in the order the decoder added them
  uint16_t operandCount = 0;
  Flow flow = Flow::kNext;
  Type type = Type::kNone;        // the instruction's last type modifier
  Type sourceType = Type::kNone;  // cvt, set and mma: type of the inputs
  Space space = Space::kGeneric;
  uint8_t vector = 1;  // elements of a vector access; matrices of ldmatrix; bytes of cp.async
  uint8_t mode = 0;    // meaning is the instruction family's own
  uint8_t modifier = 0;
  bool flushSubnormals = false;  // .ftz
  bool saturate = false;         // .sat / .satfinite
  bool relu = false;
  bool converged = false;        // .aligned: every live lane of the warp must be here
  bool propagatesPoison = true;  // results are poison where a source is (the default rule)
  bool hasEffect = false;        // touches memory or other threads: whether it executes must be defined
  bool isProduct = false;        // wgmma.mma_async: its registers are its own until it was waited for
  bool guardNegated = false;
  int32_t guard = -1;         // predicate row, or -1
  int32_t target = -1;        // branch target (instruction index), or the number of its branch table
  int64_t immediate = 0;      // address offset, or an immediate of the family
  uint32_t line = 0;          // PTX line
  uint32_t location = 0;      // index into Kernel::locations
  std::string_view mnemonic;  // for reports
};

// A place in the CUDA source, from -lineinfo; file 0 means unknown.
struct SourceLocation {
  int file = 0;
  int line = 0;
  int inlinedFile = 0;  // where the call was, when the code was inlined
  int inlinedLine = 0;
  bool operator==(const SourceLocation&) const = default;
};

struct Parameter {
  std::string name;
  int offset = 0;
  int size = 0;
};

// 32 lanes of 32 bits: the unit of the register and constant files.
struct alignas(64) Row {
  std::array<uint32_t, kLanes> lane;
};

struct Kernel {
  std::string name;
  std::vector<Instruction> code;
  std::vector<Operand> operands;
  std::vector<Row> constants;
  std::vector<Parameter> parameters;
  std::vector<SourceLocation> locations{{}};
  std::vector<std::vector<int32_t>> branchTables;
  int parameterBytes = 0;
  int staticSharedBytes = 0;
  int dynamicSharedAlignment = 16;
  int localBytes = 0;  // per thread
  int rows = 0;        // rows of the register file
  int predicates = 0;
  int liveRegisters = 0;                 // most 32-bit registers live at once: the estimate when no cubin tells
  int maxThreads = 1024;                 // .maxntid / .reqntid
  std::array<int, 3> requiredThreads{};  // .reqntid, or zeros
  int maxRegisters = 0;                  // .maxnreg, or 0
  int virtualWords = 0;                  // 32-bit registers as the PTX names them
  bool usesProducts = false;             // has wgmma
  bool communicates = false;  // uses global atomics, volatile or acquire/release: CTAs may wait for one another
};

}  // namespace fovea::simulator
