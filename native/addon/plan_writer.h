// From a Plan to the numbers of binding.d.ts.
#pragma once
#include <span>

#include "attention/plan.h"

namespace fovea::addon {

/// Writes the fields of planFields, then those of planPartFields for each part: all sequences that run by one kernel.
/// Throws BoundsError when they do not fit.
void writePlan(const Plan& plan, std::span<double> fields);

}  // namespace fovea::addon
