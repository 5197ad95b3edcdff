// setmaxnreg: warps give registers back to their CTA's pool, and take them from it.
#include "exec/cta.h"
#include "exec/registry.h"

namespace fovea::simulator {
namespace {

constexpr int kStep = 8, kLeast = 24, kMost = 256;

// The pool is what the launch reserved: a warp that asks for more than is free waits until others gave back enough.
Outcome setRegisters(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask) {
  const auto wanted = static_cast<uint32_t>(instruction.immediate);
  const bool increases = instruction.mode;
  if (increases ? wanted < warp.registers : wanted > warp.registers) {
    cta.report(warp, -1, "registers",
               std::string("setmaxnreg.") + (increases ? "inc" : "dec") + " to " + std::to_string(wanted) +
                   " registers of a warp that has " + std::to_string(warp.registers));
    return Outcome::kNext;
  }
  if (increases) {
    const uint32_t needed = (wanted - warp.registers) * kLanes;
    if (needed > cta.freeRegisters) return Outcome::kRetry;
    cta.freeRegisters -= needed;
  } else {
    cta.freeRegisters += (warp.registers - wanted) * kLanes;
  }
  warp.registers = wanted;
  // All warps of a warpgroup execute the same ones.
  auto& changes = cta.registerChanges[warp.id / 4];
  if (warp.registerChanges == changes.size()) changes.push_back(&instruction);
  if (changes[warp.registerChanges++] != &instruction)
    cta.report(warp, -1, "registers", "the warps of a warpgroup execute different setmaxnreg");
  return Outcome::kNext;
}

void decode(Decoder& d) {
  Instruction& instruction = d.instruction();
  instruction.converged = true;
  instruction.hasEffect = true;
  instruction.mode = d.has("inc");
  if (!d.has("inc") && !d.has("dec")) d.unsupported();
  instruction.immediate = d.integer(0);
  if (instruction.immediate < kLeast || instruction.immediate > kMost || instruction.immediate % kStep)
    d.fail("a count of " + std::to_string(instruction.immediate) + ": must be a multiple of 8 from 24 to 256");
  instruction.execute = setRegisters;
}

}  // namespace

void registerRegisterPool(Registry& registry) { registry["setmaxnreg"] = decode; }

}  // namespace fovea::simulator
