// ld, ldu, st, and the hints that move nothing (prefetch, applypriority, discard, createpolicy).
#include <cstring>

#include "exec/lanes.h"
#include "exec/memory.h"
#include "exec/registry.h"

namespace fovea::simulator {
namespace {

enum OrderingMode : uint8_t { kStrong = 1, kOrders = 2, kCtaScope = 4 };  // volatile or relaxed; acquire or release

Scope scopeOf(const Instruction& instruction) { return instruction.mode & kCtaScope ? Scope::kCta : Scope::kDevice; }

// A value of each lane into a register, which holds it extended to its own width.
template <class T, class Cell>
void deliver(Cell* to, const uint8_t* const* from, uint32_t offset, LaneMask mask) {
  forLanes(mask, [&](int lane) {
    T value;
    std::memcpy(&value, from[lane] + offset, sizeof(T));
    to[lane] = static_cast<Cell>(value);
  });
}
template <class T>
void deliver(Warp& warp, const Operand& to, const uint8_t* const* from, uint32_t offset, LaneMask mask) {
  if (to.registerClass == RegisterClass::kDouble) {
    deliver<T>(warp.write<uint64_t>(to), from, offset, mask);
  } else {
    deliver<T>(warp.write<uint32_t>(to), from, offset, mask);
  }
}
void deliver(Type type, Warp& warp, const Operand& to, const uint8_t* const* from, uint32_t offset, LaneMask mask) {
  switch (sizeOf(type)) {
    case 1:
      return isSigned(type) ? deliver<int8_t>(warp, to, from, offset, mask)
                            : deliver<uint8_t>(warp, to, from, offset, mask);
    case 2:
      return isSigned(type) ? deliver<int16_t>(warp, to, from, offset, mask)
                            : deliver<uint16_t>(warp, to, from, offset, mask);
    case 4:
      return isSigned(type) ? deliver<int32_t>(warp, to, from, offset, mask)
                            : deliver<uint32_t>(warp, to, from, offset, mask);
    default:
      return deliver<uint64_t>(warp, to, from, offset, mask);
  }
}

void countAccess(Cta& cta, Space space, const uint64_t* addresses, LaneMask global, LaneMask shared, uint32_t size) {
  if (global && space != Space::kConstant) countGlobal(cta, addresses, global, size);
  if (shared) countShared(cta, addresses, shared, size);
}

// The first of these lanes and those after it that access the same space. Their addresses become relative to it.
struct SameSpace {
  Space space;
  LaneMask lanes;
};
SameSpace firstSpace(const Instruction& instruction, uint64_t* addresses, LaneMask lanes) {
  if (instruction.space != Space::kGeneric) return {instruction.space, lanes};
  const Space space = spaceOf(addresses[std::countr_zero(lanes)]);
  LaneMask same = 0;
  for (LaneMask rest = lanes; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    if (spaceOf(addresses[lane]) != space) break;
    addresses[lane] -= windowOf(space);
    same |= 1u << lane;
  }
  return {space, same};
}

// Operands: address, then the elements.
Outcome load(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const auto width = static_cast<uint32_t>(sizeOf(instruction.type));
  const uint32_t size = width * instruction.vector;
  const Operand& base = instruction.operand[0];
  cta.checkDefined(warp, base, mask, "an address");
  MemoryAccess access;
  access.what = "read";
  access.strong = instruction.mode != 0;
  uint64_t addresses[kLanes];
  LaneMask global = 0, shared = 0;
  LaneMask bad[8] = {};
  static constexpr uint8_t kNothing[64] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  uint8_t* data[kLanes];
  forLanes(mask,
           [&](int lane) { addresses[lane] = warp.bits(base, lane) + static_cast<uint64_t>(instruction.immediate); });
  for (LaneMask rest = mask; rest;) {
    // What a strong read observes the next lane knows, so these go one by one.
    const auto [space, lanes] = firstSpace(instruction, addresses, access.strong ? rest & -rest : rest);
    rest &= ~lanes;
    if (space == Space::kGlobal || space == Space::kConstant) global |= lanes;
    if (space == Space::kShared) shared |= lanes;
    const LaneMask defined = accessLanes(cta, warp, lanes, space, addresses, size, access, data);
    const int first = std::countr_zero(lanes);
    if (access.strong && data[first] && (space == Space::kGlobal || space == Space::kShared))
      observe(cta, warp, syncVariable(cta, space, addresses[first]), instruction.mode & kOrders, scopeOf(instruction));
    for (LaneMask odd = lanes & ~defined; odd; odd &= odd - 1) {
      const int lane = std::countr_zero(odd);
      for (uint32_t k = 0; k < instruction.vector; k++) {
        const bool whole = data[lane] && isDefined(cta, warp, lane, space, addresses[lane] + k * width, width);
        bad[k] |= static_cast<LaneMask>(!whole) << lane;
      }
      if (!data[lane]) data[lane] = const_cast<uint8_t*>(kNothing);  // only read
    }
  }
  for (uint32_t k = 0; k < instruction.vector; k++) {
    deliver(instruction.type, warp, instruction.operand[1 + k], data, k * width, mask);
    warp.setPoison(instruction.operand[1 + k], mask, bad[k]);
  }
  countAccess(cta, instruction.space, addresses, global, shared, size);
  return Outcome::kNext;
}

Outcome store(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const auto width = static_cast<uint32_t>(sizeOf(instruction.type));
  const uint32_t size = width * instruction.vector;
  const Operand& base = instruction.operand[0];
  cta.checkDefined(warp, base, mask, "an address");
  MemoryAccess access;
  access.what = "write";
  access.write = true;
  access.strong = instruction.mode != 0;
  uint64_t addresses[kLanes];
  LaneMask global = 0, shared = 0, poison = 0;
  uint8_t* data[kLanes];
  forLanes(mask,
           [&](int lane) { addresses[lane] = warp.bits(base, lane) + static_cast<uint64_t>(instruction.immediate); });
  for (uint32_t k = 0; k < instruction.vector; k++) poison |= warp.poisonOf(instruction.operand[1 + k]) & mask;
  for (LaneMask rest = mask; rest;) {
    // One by one where a lane does more than its access: it publishes, or reports what it writes.
    const bool oneByOne = access.strong || poison;
    const auto [space, lanes] = firstSpace(instruction, addresses, oneByOne ? rest & -rest : rest);
    rest &= ~lanes;
    if (space == Space::kGlobal) global |= lanes;
    if (space == Space::kShared) shared |= lanes;
    if (access.strong && (space == Space::kGlobal || space == Space::kShared))
      publish(cta, warp, syncVariable(cta, space, addresses[std::countr_zero(lanes)]), instruction.mode & kOrders,
              scopeOf(instruction));
    accessLanes(cta, warp, lanes, space, addresses, size, access, data);
    for (LaneMask written = lanes; written; written &= written - 1) {
      const int lane = std::countr_zero(written);
      if (!data[lane]) continue;
      for (uint32_t k = 0; k < instruction.vector; k++) {
        const Operand& source = instruction.operand[1 + k];
        const uint64_t value = warp.bits(source, lane);
        std::memcpy(data[lane] + k * width, &value, width);
        const bool defined = !(warp.poisonOf(source) >> lane & 1);
        if (!defined && space == Space::kGlobal)
          cta.report(warp, lane, "uninitialized",
                     "an uninitialised value is written to global memory at " + hexadecimal(addresses[lane]));
        if (!defined || space != Space::kShared)
          markWritten(cta, warp, lane, space, addresses[lane] + k * width, width, defined || space == Space::kGlobal);
      }
    }
  }
  countAccess(cta, instruction.space, addresses, global, shared, size);
  return Outcome::kNext;
}

Space spaceNamed(const Decoder& d) {
  if (d.has("shared::cluster")) d.unsupported();
  if (d.has("global")) return Space::kGlobal;
  if (d.has("shared") || d.has("shared::cta")) return Space::kShared;
  if (d.has("local")) return Space::kLocal;
  if (d.has("param") || d.has("param::entry") || d.has("param::func")) return Space::kParameter;
  if (d.has("const")) return Space::kConstant;
  return Space::kGeneric;
}

void decodeAccess(Decoder& d) {
  Instruction& instruction = d.instruction();
  const bool isStore = d.part(0) == "st";
  const Type type = d.type();
  instruction.type = type;
  instruction.propagatesPoison = false;
  instruction.hasEffect = isStore;
  instruction.vector = d.has("v2") ? 2 : d.has("v4") ? 4 : d.has("v8") ? 8 : 1;
  if (d.has("acquire") || d.has("release")) instruction.mode = kStrong | kOrders;
  if (d.has("volatile") || d.has("relaxed") || d.has("mmio")) instruction.mode = kStrong;
  if (d.has("cta")) instruction.mode |= kCtaScope;
  if (sizeOf(type) == 0) d.unsupported();
  instruction.space = d.address(isStore ? 0 : 1, spaceNamed(d));
  if (instruction.mode && (instruction.space == Space::kGlobal || instruction.space == Space::kGeneric))
    d.markCommunicating();
  const Argument& value = d.argument(isStore ? 1 : 0);
  const auto element = [&](const std::string& text) { isStore ? d.use(text, type, true) : d.define(text, type, true); };
  if (value.kind == Argument::Kind::kVector) {
    if (value.elements.size() != instruction.vector) d.fail("wrong number of elements");
    for (const std::string& text : value.elements) element(text);
  } else {
    if (instruction.vector != 1) d.fail("needs a list of registers");
    element(value.text);
  }
  instruction.execute = isStore ? store : load;
}

Outcome nothing(Cta&, Warp&, const Instruction&, LaneMask) { return Outcome::kNext; }

void decodeHint(Decoder& d) { d.instruction().execute = nothing; }

Outcome makePolicy(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  forLanes(mask, [&](int lane) { warp.setBits(instruction.operand[0], lane, 0); });
  return Outcome::kNext;
}
void decodePolicy(Decoder& d) {
  d.define(0, Type::kB64);
  d.instruction().execute = makePolicy;
}

}  // namespace

void registerLoadsAndStores(Registry& registry) {
  registry["ld"] = registry["ldu"] = registry["st"] = decodeAccess;
  registry["prefetch"] = registry["prefetchu"] = registry["applypriority"] = registry["discard"] = decodeHint;
  registry["createpolicy"] = decodePolicy;
}

}  // namespace fovea::simulator
