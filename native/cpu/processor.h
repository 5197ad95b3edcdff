// The machine's processor.
#pragma once
#include <string>

namespace fovea::cpu {

/// Logical processors this process may run on (>= 1).
int processorCount();
/// As the operating system names it; "CPU" where it does not.
std::string processorName();

}  // namespace fovea::cpu
