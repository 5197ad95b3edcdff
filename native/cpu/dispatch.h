// The kernels of the instruction set in use.
#pragma once
#include <string>
#include <vector>

#include "kernels/tasks.h"

namespace fovea::cpu {

/// Chosen once: FOVEA_CPU_ISA if set, else the best this processor runs. Throws std::runtime_error, every time, when
/// FOVEA_CPU_ISA names what this build or this processor lacks: a silent fallback would hide untested code.
const KernelTable& kernels();

/// Names of the instruction sets that are in this build and run on this processor, best first.
std::vector<std::string> instructionSets();

}  // namespace fovea::cpu
