// Packs a kernel's virtual registers into few rows.
#pragma once

#include "ptx/program.h"

namespace fovea::simulator {

// nvcc's PTX has thousands of virtual registers, of which a few hundred live at once. Liveness over basic blocks gives
// each an interval; a linear scan gives rows to intervals, so that a warp's registers stay in cache. Values are kept
// per lane and a predicated write counts as a use of the old value, so the result is exact under divergence. `counts`:
// virtual registers per RegisterClass. Rewrites Operand::row and Instruction::guard.
void assignSlots(Kernel& kernel, const int (&counts)[3]);

}  // namespace fovea::simulator
