// Branches, exits, traps, and instructions that only wait.
#include "exec/lanes.h"
#include "exec/registry.h"

namespace fovea::simulator {
namespace {

Outcome branch(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  warp.branch(mask, instruction.target);
  return Outcome::kJumped;
}
void decodeBranch(Decoder& d) {
  d.branchTo(d.argument(0).text);
  d.instruction().execute = branch;
}

// brx.idx index, table: each lane goes to table[index].
Outcome indexedBranch(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const auto& table = cta.kernel.branchTables[static_cast<size_t>(instruction.target)];
  const Operand& index = instruction.operand[0];
  if (!cta.checkDefined(warp, index, mask, "a branch index"))
    throw FatalReport("uninitialized-branch", "a branch by an uninitialised index");
  const auto* row = warp.read<uint32_t>(index);
  while (mask) {
    const int lane = std::countr_zero(mask);
    if (row[lane] >= table.size())
      throw FatalReport("branch",
                        "branch index " + std::to_string(row[lane]) + " of a table of " + std::to_string(table.size()));
    LaneMask same = 0;
    forLanes(mask, [&](int i) { same |= static_cast<LaneMask>(row[i] == row[lane]) << i; });
    mask &= ~same;
    if (same == warp.mask) {
      warp.pc = table[row[lane]];
      return Outcome::kJumped;
    }
    warp.others.push_back({table[row[lane]], same, Fragment::Wait::kNothing});
    warp.mask &= ~same;
  }
  warp.pc++;  // lanes whose guard was false
  return Outcome::kJumped;
}
void decodeIndexedBranch(Decoder& d) {
  d.use(0, Type::kU32);
  d.branchTable(d.argument(1).text);
  d.instruction().execute = indexedBranch;
}

Outcome leave(Cta& cta, Warp& warp, const Instruction&, LaneMask mask) {
  if (mask != warp.mask) {
    // Lanes whose guard was false go on behind the exit.
    warp.pc++;
    if (mask) warp.exitLanes(mask);
  } else {
    warp.exitLanes(mask);
  }
  cta.completeBarriers();
  return Outcome::kJumped;
}
void decodeExit(Decoder& d) {
  d.instruction().flow = Flow::kExit;
  d.instruction().execute = leave;
}

Outcome trap(Cta& cta, Warp& warp, const Instruction&, LaneMask mask) {
  if (!mask) return Outcome::kNext;
  cta.report(warp, std::countr_zero(mask), "trap", "the kernel executed trap");
  throw FatalReport("trap", "stopped by a trap");
}
void decodeTrap(Decoder& d) {
  d.instruction().hasEffect = true;
  d.instruction().execute = trap;
}

Outcome assertion(Cta& cta, Warp& warp, const Instruction&, LaneMask mask) {
  cta.report(warp, std::countr_zero(mask), "assert", "an assertion of the kernel failed");
  throw FatalReport("assert", "stopped by a failed assertion");
}
void decodeAssertion(Decoder& d) {
  d.instruction().hasEffect = true;
  d.instruction().execute = assertion;
}

Outcome nothing(Cta&, Warp&, const Instruction&, LaneMask) { return Outcome::kNext; }
void decodeNothing(Decoder& d) { d.instruction().execute = nothing; }

}  // namespace

void registerControl(Registry& registry) {
  registry["bra"] = decodeBranch;
  registry["brx"] = decodeIndexedBranch;
  registry["ret"] = registry["exit"] = decodeExit;
  registry["trap"] = registry["brkpt"] = decodeTrap;
  registry["__assertfail"] = decodeAssertion;
  registry["nanosleep"] = registry["griddepcontrol"] = registry["pmevent"] = decodeNothing;
}

}  // namespace fovea::simulator
