// Gathers the instruction families.
#include "exec/registry.h"

namespace fovea::simulator {

DecodeFunction findDecoder(std::string_view word) {
  static const Registry registry = [] {
    Registry all;
    registerMoves(all);
    registerIntegers(all);
    registerBits(all);
    registerFloats(all);
    registerApproximations(all);
    registerComparisons(all);
    registerConversions(all);
    registerLoadsAndStores(all);
    registerAtomics(all);
    registerControl(all);
    registerBarriers(all);
    registerWarpExchange(all);
    registerMatrixMoves(all);
    registerMatrixProducts(all);
    registerAsyncCopies(all);
    registerMbarriers(all);
    registerWarpgroupProducts(all);
    registerRegisterPool(all);
    return all;
  }();
  const auto found = registry.find(word);
  return found == registry.end() ? nullptr : found->second;
}

}  // namespace fovea::simulator
