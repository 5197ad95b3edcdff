// The instruction set: for the first word of each mnemonic, the function that decodes it. Each family of instructions
// is one file in exec/ (or async/) with its decoders beside the code that executes them.
#pragma once

#include <string_view>
#include <unordered_map>

#include "ptx/decoder.h"

namespace fovea::simulator {

using Registry = std::unordered_map<std::string_view, DecodeFunction>;

// Null when there is no such instruction.
DecodeFunction findDecoder(std::string_view word);

void registerMoves(Registry& registry);
void registerIntegers(Registry& registry);
void registerBits(Registry& registry);
void registerFloats(Registry& registry);
void registerApproximations(Registry& registry);
void registerComparisons(Registry& registry);
void registerConversions(Registry& registry);
void registerLoadsAndStores(Registry& registry);
void registerAtomics(Registry& registry);
void registerControl(Registry& registry);
void registerBarriers(Registry& registry);
void registerWarpExchange(Registry& registry);
void registerMatrixMoves(Registry& registry);
void registerMatrixProducts(Registry& registry);
void registerAsyncCopies(Registry& registry);
void registerMbarriers(Registry& registry);
void registerWarpgroupProducts(Registry& registry);
void registerRegisterPool(Registry& registry);

// The bulk forms of cp, which registerAsyncCopies owns.
void decodeBulk(Decoder& decoder);

}  // namespace fovea::simulator
