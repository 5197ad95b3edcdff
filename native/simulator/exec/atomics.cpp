// atom and red: read-modify-write on global and shared memory, one lane after the other.
#include "exec/atomic_operations.h"

#include <cstring>
#include <unordered_map>

#include "exec/lanes.h"
#include "exec/memory.h"
#include "exec/numbers.h"
#include "exec/registry.h"

namespace fovea::simulator {
namespace {

enum AtomicOrder : uint8_t { kRelaxed = 0, kAcquire = 1, kRelease = 2, kCtaScope = 4 };

template <class T>
T combineIntegers(Atomic operation, T old, T value, T other) {
  switch (operation) {
    case Atomic::kAdd:
      return static_cast<T>(static_cast<std::make_unsigned_t<T>>(old) + static_cast<std::make_unsigned_t<T>>(value));
    case Atomic::kMin:
      return old < value ? old : value;
    case Atomic::kMax:
      return old > value ? old : value;
    case Atomic::kAnd:
      return old & value;
    case Atomic::kOr:
      return old | value;
    case Atomic::kXor:
      return old ^ value;
    case Atomic::kExchange:
      return value;
    case Atomic::kCompareAndSwap:
      return old == value ? other : old;
    case Atomic::kIncrement:
      return old >= value ? 0 : old + 1;
    case Atomic::kDecrement:
      return old == 0 || old > value ? value : old - 1;
  }
  return old;
}

template <class Format>
uint32_t addHalves(uint32_t a, uint32_t b, bool packed) {
  const auto half = [](uint32_t x, uint32_t y) -> uint32_t {
    return Format::fromFloat(Format::toFloat(static_cast<uint16_t>(x)) + Format::toFloat(static_cast<uint16_t>(y)));
  };
  return half(a, b) | (packed ? half(a >> 16, b >> 16) << 16 : 0);
}

// Minimum and maximum of 16-bit floats: only bulk reductions have them.
uint64_t combineFloats(Atomic operation, Type type, uint64_t old, uint64_t value) {
  const auto number = [&](uint64_t bits) {
    return type == Type::kBf16 ? Bfloat::toFloat(static_cast<uint16_t>(bits))
                               : Half::toFloat(static_cast<uint16_t>(bits));
  };
  const bool takesValue = operation == Atomic::kMin ? number(value) < number(old) : number(value) > number(old);
  return takesValue ? value : old;
}

// Operands: result, address, value(s) [, value to swap in]. `vector` elements are combined one by one.
Outcome atomic(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const auto width = static_cast<uint32_t>(sizeOf(instruction.type));
  const Operand &result = instruction.operand[0], &base = instruction.operand[1], &operand = instruction.operand[2];
  const bool swaps = instruction.operandCount > 3;
  const uint8_t order = instruction.modifier;
  const Scope scope = order & kCtaScope ? Scope::kCta : Scope::kDevice;
  cta.checkDefined(warp, base, mask, "an address");
  LaneMask badResults = 0, global = 0, shared = 0;
  uint64_t addresses[kLanes];
  for (LaneMask rest = mask; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    uint64_t& address = addresses[lane];
    address = warp.bits(base, lane) + static_cast<uint64_t>(instruction.immediate);
    const Space space = instruction.space == Space::kGeneric ? resolveGeneric(address) : instruction.space;
    if (space != Space::kGlobal && space != Space::kShared) {
      cta.report(warp, lane, "out-of-bounds-global", "atomic operation outside global and shared memory");
      continue;
    }
    (space == Space::kGlobal ? global : shared) |= 1u << lane;
    MemoryAccess access;
    access.strong = true;
    access.what = "atomic operation";
    const LaneBytes before = accessLane(cta, warp, lane, space, address, width, access);
    if (!before.data) continue;
    access.write = true;
    SyncVariable& variable = syncVariable(cta, space, address);
    observe(cta, warp, variable, order & kAcquire, scope);
    publish(cta, warp, variable, order & kRelease, scope);
    accessLane(cta, warp, lane, space, address, width, access);

    LaneMask bad = warp.poisonOf(operand);
    if (swaps) bad |= warp.poisonOf(instruction.operand[3]);
    bool defined = !(bad >> lane & 1);
    if (!defined && space == Space::kGlobal) {
      cta.report(warp, lane, "uninitialized",
                 "an uninitialised value is combined with global memory at " + hexadecimal(address));
      defined = true;
    }
    const bool replaces = instruction.mode == static_cast<uint8_t>(Atomic::kExchange);
    if (!before.defined && space == Space::kGlobal && !replaces)
      cta.report(warp, lane, "uninitialized",
                 "an atomic operation on uninitialised global memory at " + hexadecimal(address));
    uint64_t old = 0;
    std::memcpy(&old, before.data, width);
    const uint64_t next = combine(static_cast<Atomic>(instruction.mode), instruction.type, old,
                                  warp.bits(operand, lane), swaps ? warp.bits(instruction.operand[3], lane) : 0);
    std::memcpy(before.data, &next, width);
    badResults |= static_cast<LaneMask>(!before.defined) << lane;
    markWritten(cta, warp, lane, space, address, width,
                (defined && (before.defined || replaces)) || space == Space::kGlobal);
    warp.setBits(result, lane, isSigned(instruction.type) && width < 8 ? static_cast<uint32_t>(old) : old);
  }
  warp.setPoison(result, mask, badResults);
  if (global) countGlobal(cta, addresses, global, width);
  if (shared) countShared(cta, addresses, shared, width);
  return Outcome::kNext;
}

void decodeAtomic(Decoder& d) {
  Instruction& instruction = d.instruction();
  const bool returns = d.part(0) == "atom";
  const Type type = d.type();
  bool found = false;
  for (std::string_view part : d.statement().parts) {
    const auto operation = parseAtomic(part);
    if (!operation) continue;
    instruction.mode = static_cast<uint8_t>(*operation);
    found = true;
  }
  const auto operation = static_cast<Atomic>(instruction.mode);
  const bool isFloat = isFloating(type) || isPacked(type);
  if (!found || sizeOf(type) == 0 || d.has("v2") || d.has("v4") || (isFloat && operation != Atomic::kAdd))
    d.unsupported();
  instruction.type = type;
  instruction.propagatesPoison = false;
  instruction.hasEffect = true;
  if (d.has("acquire")) instruction.modifier = kAcquire;
  if (d.has("release")) instruction.modifier = kRelease;
  if (d.has("acq_rel")) instruction.modifier = kAcquire | kRelease;
  if (d.has("cta")) instruction.modifier |= kCtaScope;
  instruction.space = d.has("global")                           ? Space::kGlobal
                      : d.has("shared") || d.has("shared::cta") ? Space::kShared
                                                                : Space::kGeneric;
  if (instruction.space != Space::kShared) d.markCommunicating();
  size_t next = returns ? 1 : 0;
  returns ? d.define(0, type) : d.define("_", type);
  d.address(next++, instruction.space);
  d.use(next++, type);
  if (operation == Atomic::kCompareAndSwap) d.use(next++, type);
  instruction.execute = atomic;
}

}  // namespace

uint64_t combine(Atomic operation, Type type, uint64_t old, uint64_t value, uint64_t other) {
  if (isFloating(type) && operation != Atomic::kAdd) return combineFloats(operation, type, old, value);
  switch (type) {
    case Type::kF32:
      return std::bit_cast<uint32_t>(canonical(std::bit_cast<float>(static_cast<uint32_t>(old)) +
                                               std::bit_cast<float>(static_cast<uint32_t>(value))));
    case Type::kF64:
      return std::bit_cast<uint64_t>(std::bit_cast<double>(old) + std::bit_cast<double>(value));
    case Type::kF16:
    case Type::kF16x2:
      return addHalves<Half>(static_cast<uint32_t>(old), static_cast<uint32_t>(value), type == Type::kF16x2);
    case Type::kBf16:
    case Type::kBf16x2:
      return addHalves<Bfloat>(static_cast<uint32_t>(old), static_cast<uint32_t>(value), type == Type::kBf16x2);
    case Type::kS32:
      return static_cast<uint32_t>(combineIntegers(operation, static_cast<int32_t>(old), static_cast<int32_t>(value),
                                                   static_cast<int32_t>(other)));
    case Type::kS64:
      return static_cast<uint64_t>(combineIntegers(operation, static_cast<int64_t>(old), static_cast<int64_t>(value),
                                                   static_cast<int64_t>(other)));
    case Type::kB64:
    case Type::kU64:
      return combineIntegers(operation, old, value, other);
    case Type::kB16:
    case Type::kU16:
      return combineIntegers<uint16_t>(operation, static_cast<uint16_t>(old), static_cast<uint16_t>(value),
                                       static_cast<uint16_t>(other));
    default:
      return combineIntegers(operation, static_cast<uint32_t>(old), static_cast<uint32_t>(value),
                             static_cast<uint32_t>(other));
  }
}

std::optional<Atomic> parseAtomic(std::string_view name) {
  static const std::unordered_map<std::string_view, Atomic> operations = {
      {"add", Atomic::kAdd},       {"min", Atomic::kMin},
      {"max", Atomic::kMax},       {"and", Atomic::kAnd},
      {"or", Atomic::kOr},         {"xor", Atomic::kXor},
      {"exch", Atomic::kExchange}, {"cas", Atomic::kCompareAndSwap},
      {"inc", Atomic::kIncrement}, {"dec", Atomic::kDecrement}};
  const auto found = operations.find(name);
  return found == operations.end() ? std::nullopt : std::optional(found->second);
}

void registerAtomics(Registry& registry) { registry["atom"] = registry["red"] = decodeAtomic; }

}  // namespace fovea::simulator
