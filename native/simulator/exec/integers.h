// Integer arithmetic shares its mnemonics (add, mul, min, …) with floating point; floats.cpp hands integer types on
// here.
#pragma once

#include "ptx/decoder.h"

namespace fovea::simulator {

void decodeIntegerArithmetic(Decoder& decoder);

}  // namespace fovea::simulator
