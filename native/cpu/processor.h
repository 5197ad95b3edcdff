// The machine's processor.
#pragma once

namespace fovea::cpu {

/// Logical processors this process may run on (>= 1).
int processorCount();

}  // namespace fovea::cpu
