// What atom, red and bulk reductions compute.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "ptx/types.h"

namespace fovea::simulator {

enum class Atomic : uint8_t { kAdd, kMin, kMax, kAnd, kOr, kXor, kExchange, kCompareAndSwap, kIncrement, kDecrement };

// "add", "min", …
std::optional<Atomic> parseAtomic(std::string_view name);

// The new value of one element, all as bits of `type`. `other` is what a compare-and-swap stores.
uint64_t combine(Atomic operation, Type type, uint64_t old, uint64_t value, uint64_t other = 0);

}  // namespace fovea::simulator
