// Logic, shifts, bit fields, byte permutes.
#include <algorithm>

#include "exec/lanes.h"
#include "exec/registry.h"

namespace fovea::simulator {
namespace {

// ---------------------------------------------------------------------------------------------- and or xor not cnot

enum class Logic : uint8_t { kAnd, kOr, kXor };

template <Logic kOperation, class T>
T apply(T a, T b) {
  if constexpr (kOperation == Logic::kAnd) return a & b;
  if constexpr (kOperation == Logic::kOr) return a | b;
  return a ^ b;
}

template <Logic kOperation, class T>
Outcome logic(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const Operand &x = instruction.operand[1], &y = instruction.operand[2];
  LaneMask bad = (warp.poisonOf(x) | warp.poisonOf(y)) & mask;
  if (bad && kOperation != Logic::kXor) {
    // A defined 0 decides an and, defined ones decide an or.
    const T* a = warp.read<T>(x);
    const T* b = warp.read<T>(y);
    const LaneMask badA = warp.poisonOf(x), badB = warp.poisonOf(y);
    constexpr T decides = kOperation == Logic::kAnd ? T(0) : ~T(0);
    forLanes(bad, [&](int i) {
      if ((!(badA >> i & 1) && a[i] == decides) || (!(badB >> i & 1) && b[i] == decides)) bad &= ~(1u << i);
    });
  }
  warp.setPoison(instruction.operand[0], mask, bad);
  binary<T>(warp, instruction, mask, [](T a, T b) { return apply<kOperation>(a, b); });
  return Outcome::kNext;
}

template <Logic kOperation>
Outcome logicPredicate(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const Operand &x = instruction.operand[1], &y = instruction.operand[2];
  const LaneMask a = warp.predicate(x), b = warp.predicate(y);
  const LaneMask badA = warp.poisonOf(x), badB = warp.poisonOf(y);
  LaneMask bad = badA | badB;
  if (kOperation == Logic::kAnd) bad &= ~((~badA & ~a) | (~badB & ~b));
  if (kOperation == Logic::kOr) bad &= ~((~badA & a) | (~badB & b));
  warp.setPoison(instruction.operand[0], mask, bad);
  warp.setPredicate(instruction.operand[0], mask, apply<kOperation>(a, b));
  return Outcome::kNext;
}

template <Logic kOperation>
void decodeLogic(Decoder& d) {
  const Type type = d.type();
  d.allOfType(type);
  d.instruction().propagatesPoison = false;
  d.instruction().execute = type == Type::kPredicate ? logicPredicate<kOperation>
                            : sizeOf(type) == 8      ? logic<kOperation, uint64_t>
                                                     : logic<kOperation, uint32_t>;
}

Outcome notPredicate(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  warp.setPredicate(instruction.operand[0], mask, ~warp.predicate(instruction.operand[1]));
  return Outcome::kNext;
}

template <class T, class F>
Outcome runUnary(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  unary<T>(warp, instruction, mask, F{});
  return Outcome::kNext;
}
struct Not {
  template <class T>
  T operator()(T a) const {
    return static_cast<T>(~a);
  }
};
struct IsZero {
  template <class T>
  T operator()(T a) const {
    return a == 0;
  }
};
struct Reverse {
  template <class T>
  T operator()(T a) const {
    T r = 0;
    for (size_t i = 0; i < 8 * sizeof(T); i++) r |= static_cast<T>(a >> i & 1) << (8 * sizeof(T) - 1 - i);
    return r;
  }
};

template <class F>
void decodeUnary(Decoder& d) {
  const Type type = d.type();
  d.allOfType(type);
  Instruction& instruction = d.instruction();
  switch (sizeOf(type)) {
    case 2:
      instruction.execute = runUnary<uint16_t, F>;
      break;
    case 4:
      instruction.execute = runUnary<uint32_t, F>;
      break;
    case 8:
      instruction.execute = runUnary<uint64_t, F>;
      break;
    default:
      d.unsupported();
  }
}
void decodeNot(Decoder& d) {
  if (d.type() != Type::kPredicate) return decodeUnary<Not>(d);
  d.allOfType(Type::kPredicate);
  d.instruction().execute = notPredicate;
}

// ---------------------------------------------------------------------------------------------- counts

// popc clz bfind: from 32 or 64 bits to a u32.
template <class T, class F>
Outcome count(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  using S = typename Cell<T>::Storage;
  auto* d = warp.write<uint32_t>(instruction.operand[0]);
  const S* a = warp.read<S>(instruction.operand[1]);
  forLanes(mask, [&](int i) { d[i] = F{}(Cell<T>::load(a[i])); });
  return Outcome::kNext;
}
struct Population {
  template <class T>
  uint32_t operator()(T a) const {
    return static_cast<uint32_t>(std::popcount(static_cast<std::make_unsigned_t<T>>(a)));
  }
};
struct LeadingZeros {
  template <class T>
  uint32_t operator()(T a) const {
    return static_cast<uint32_t>(std::countl_zero(static_cast<std::make_unsigned_t<T>>(a)));
  }
};
// Position of the most significant bit that is not the sign; all ones when there is none.
struct FindLast {
  template <class T>
  uint32_t operator()(T a) const {
    const auto bits = static_cast<std::make_unsigned_t<T>>(a < 0 ? ~a : a);
    return bits ? static_cast<uint32_t>(8 * sizeof(T) - 1) - static_cast<uint32_t>(std::countl_zero(bits)) : ~0u;
  }
};
struct FindLastShift {
  template <class T>
  uint32_t operator()(T a) const {
    const uint32_t at = FindLast{}(a);
    return at == ~0u ? at : static_cast<uint32_t>(8 * sizeof(T) - 1) - at;
  }
};

template <class F>
void decodeCount(Decoder& d) {
  const Type type = d.type();
  d.instruction().type = type;
  d.define(0, Type::kU32);
  d.use(1, type);
  Instruction& instruction = d.instruction();
  switch (type) {
    case Type::kB32:
    case Type::kU32:
      instruction.execute = count<uint32_t, F>;
      break;
    case Type::kS32:
      instruction.execute = count<int32_t, F>;
      break;
    case Type::kB64:
    case Type::kU64:
      instruction.execute = count<uint64_t, F>;
      break;
    case Type::kS64:
      instruction.execute = count<int64_t, F>;
      break;
    default:
      d.unsupported();
  }
}
void decodeFind(Decoder& d) { d.has("shiftamt") ? decodeCount<FindLastShift>(d) : decodeCount<FindLast>(d); }

// ---------------------------------------------------------------------------------------------- shifts

// Shift amounts beyond the width are clamped to it.
template <class T, bool kLeft>
Outcome shift(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  using S = typename Cell<T>::Storage;
  constexpr uint32_t width = 8 * sizeof(T);
  S* d = warp.write<S>(instruction.operand[0]);
  const S* a = warp.read<S>(instruction.operand[1]);
  const auto* b = warp.read<uint32_t>(instruction.operand[2]);
  forLanes(mask, [&](int i) {
    const T value = Cell<T>::load(a[i]);
    if constexpr (kLeft) {
      d[i] = b[i] >= width ? 0 : Cell<T>::store(static_cast<T>(value << b[i]));
    } else if constexpr (std::is_signed_v<T>) {
      d[i] = Cell<T>::store(static_cast<T>(value >> std::min(b[i], width - 1)));
    } else {
      d[i] = b[i] >= width ? 0 : Cell<T>::store(static_cast<T>(value >> b[i]));
    }
  });
  return Outcome::kNext;
}

void decodeShift(Decoder& d) {
  const Type type = d.type();
  const bool left = d.part(0) == "shl";
  Instruction& instruction = d.instruction();
  instruction.type = type;
  d.define(0, type);
  d.use(1, type);
  d.use(2, Type::kU32);
  switch (type) {
    case Type::kB16:
    case Type::kU16:
      instruction.execute = left ? shift<uint16_t, true> : shift<uint16_t, false>;
      break;
    case Type::kS16:
      instruction.execute = left ? shift<uint16_t, true> : shift<int16_t, false>;
      break;
    case Type::kB32:
    case Type::kU32:
      instruction.execute = left ? shift<uint32_t, true> : shift<uint32_t, false>;
      break;
    case Type::kS32:
      instruction.execute = left ? shift<uint32_t, true> : shift<int32_t, false>;
      break;
    case Type::kB64:
    case Type::kU64:
      instruction.execute = left ? shift<uint64_t, true> : shift<uint64_t, false>;
      break;
    case Type::kS64:
      instruction.execute = left ? shift<uint64_t, true> : shift<int64_t, false>;
      break;
    default:
      d.unsupported();
  }
}

enum FunnelMode : uint8_t { kFunnelRight = 1, kFunnelClamp = 2 };

// shf: shifts the 64 bits b:a and takes the upper (left) or lower (right) half.
Outcome funnel(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const bool right = instruction.mode & kFunnelRight, clamps = instruction.mode & kFunnelClamp;
  ternary<uint32_t>(warp, instruction, mask, [=](uint32_t a, uint32_t b, uint32_t c) {
    const uint32_t n = clamps ? std::min(c, 32u) : c & 31;
    const uint64_t both = static_cast<uint64_t>(b) << 32 | a;
    return static_cast<uint32_t>(right ? both >> n : both << n >> 32);
  });
  return Outcome::kNext;
}
void decodeFunnel(Decoder& d) {
  d.allOfType(Type::kB32);
  d.instruction().mode = static_cast<uint8_t>((d.has("r") ? kFunnelRight : 0) | (d.has("clamp") ? kFunnelClamp : 0));
  d.instruction().execute = funnel;
}

// ---------------------------------------------------------------------------------------------- bit fields

template <class T>
Outcome insertField(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  constexpr uint32_t width = 8 * sizeof(T);
  T* f = warp.write<T>(instruction.operand[0]);
  const T* a = warp.read<T>(instruction.operand[1]);
  const T* b = warp.read<T>(instruction.operand[2]);
  const auto* position = warp.read<uint32_t>(instruction.operand[3]);
  const auto* length = warp.read<uint32_t>(instruction.operand[4]);
  forLanes(mask, [&](int i) {
    const uint32_t at = position[i] & 255, count = length[i] & 255;
    const T ones = count >= width ? ~T(0) : (T(1) << count) - 1;
    const T field = at >= width ? 0 : ones << at;
    f[i] = (b[i] & ~field) | (at >= width ? 0 : (a[i] << at) & field);
  });
  return Outcome::kNext;
}
void decodeInsert(Decoder& d) {
  const Type type = d.type();
  for (int i = 0; i < 5; i++) i == 0 ? d.define(0, type) : d.use(static_cast<size_t>(i), i < 3 ? type : Type::kU32);
  d.instruction().execute = sizeOf(type) == 8 ? insertField<uint64_t> : insertField<uint32_t>;
}

// Signed fields are extended with their top bit, or the source's sign where the field passes its end.
template <class T>
Outcome extractField(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  constexpr uint32_t width = 8 * sizeof(T);
  const bool extends = isSigned(instruction.type);
  T* d = warp.write<T>(instruction.operand[0]);
  const T* a = warp.read<T>(instruction.operand[1]);
  const auto* position = warp.read<uint32_t>(instruction.operand[2]);
  const auto* length = warp.read<uint32_t>(instruction.operand[3]);
  forLanes(mask, [&](int i) {
    const uint32_t at = position[i] & 255, count = std::min(length[i] & 255, width);
    const T ones = count >= width ? ~T(0) : (T(1) << count) - 1;
    T value = (at >= width ? 0 : a[i] >> at) & ones;
    if (extends && count > 0 && (a[i] >> std::min(at + count - 1, width - 1) & 1)) {
      const uint32_t filled = at >= width ? 0 : std::min(count, width - at);
      value |= ~(filled >= width ? ~T(0) : (T(1) << filled) - 1);
    }
    d[i] = value;
  });
  return Outcome::kNext;
}
void decodeExtract(Decoder& d) {
  const Type type = d.type();
  d.instruction().type = type;
  d.define(0, type);
  d.use(1, type);
  d.use(2, Type::kU32);
  d.use(3, Type::kU32);
  d.instruction().execute = sizeOf(type) == 8 ? extractField<uint64_t> : extractField<uint32_t>;
}

// bmsk: ones at [a, a + b); szext: the low b bits of a, extended. Modes as for shf.
Outcome maskBits(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const bool clamps = instruction.mode & kFunnelClamp;
  binary<uint32_t>(warp, instruction, mask, [=](uint32_t a, uint32_t b) {
    const uint32_t at = clamps ? a : a & 31, count = clamps ? b : b & 31;
    if (at >= 32 || count == 0) return 0u;
    return static_cast<uint32_t>(((count >= 32 ? 0xffffffffull : (1ull << count) - 1) << at));
  });
  return Outcome::kNext;
}
Outcome extendBits(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const bool clamps = instruction.mode & kFunnelClamp, extends = isSigned(instruction.type);
  binary<uint32_t>(warp, instruction, mask, [=](uint32_t a, uint32_t b) {
    const uint32_t count = clamps ? b : b & 31;
    if (count >= 32) return a;
    const uint32_t ones = (1u << count) - 1;
    return extends && count && a >> (count - 1) & 1 ? a | ~ones : a & ones;
  });
  return Outcome::kNext;
}
void decodeMaskOrExtend(Decoder& d) {
  d.allOfType(d.type());
  d.instruction().mode = d.has("clamp") ? kFunnelClamp : 0;
  d.instruction().execute = d.part(0) == "bmsk" ? maskBits : extendBits;
}

// ---------------------------------------------------------------------------------------------- lop3 prmt

Outcome lookup(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const auto table = static_cast<uint8_t>(instruction.mode);
  ternary<uint32_t>(warp, instruction, mask, [=](uint32_t a, uint32_t b, uint32_t c) {
    uint32_t r = 0;
    for (int row = 0; row < 8; row++)
      if (table >> row & 1) r |= (row & 4 ? a : ~a) & (row & 2 ? b : ~b) & (row & 1 ? c : ~c);
    return r;
  });
  return Outcome::kNext;
}
void decodeLookup(Decoder& d) {
  if (d.argumentCount() != 5) d.unsupported();
  d.define(0, Type::kB32);
  for (size_t i = 1; i < 4; i++) d.use(i, Type::kB32);
  d.instruction().mode = static_cast<uint8_t>(d.integer(4));
  d.instruction().execute = lookup;
}

uint32_t permute(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t bytes = static_cast<uint64_t>(b) << 32 | a;
  uint32_t result = 0;
  for (int k = 0; k < 4; k++) {
    const uint32_t pick = selector >> (4 * k) & 15;
    auto byte = static_cast<uint32_t>(bytes >> (8 * (pick & 7)) & 255);
    if (pick & 8) byte = byte & 128 ? 255 : 0;  // the byte's sign, eight times
    result |= byte << (8 * k);
  }
  return result;
}

// The selector that a special mode stands for, from the low two bits of c.
uint32_t selectorFor(std::string_view mode, uint32_t c) {
  const uint32_t i = c & 3;
  if (mode == "f4e") return 0x3210u + 0x1111u * i;
  if (mode == "b4e") {
    static constexpr uint32_t table[4] = {0x5670, 0x6701, 0x7012, 0x0123};
    return table[i];
  }
  if (mode == "rc8") return 0x1111u * i;
  if (mode == "ecl") {
    static constexpr uint32_t table[4] = {0x3210, 0x3211, 0x3222, 0x3333};
    return table[i];
  }
  if (mode == "ecr") {
    static constexpr uint32_t table[4] = {0x0000, 0x1110, 0x2210, 0x3210};
    return table[i];
  }
  return i & 1 ? 0x3232 : 0x1010;  // rc16
}

Outcome permuteBytes(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  ternary<uint32_t>(warp, instruction, mask, permute);
  return Outcome::kNext;
}
Outcome permuteSpecial(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const std::string_view mode = instruction.mnemonic.substr(instruction.mnemonic.rfind('.') + 1);
  ternary<uint32_t>(warp, instruction, mask,
                    [=](uint32_t a, uint32_t b, uint32_t c) { return permute(a, b, selectorFor(mode, c)); });
  return Outcome::kNext;
}
void decodePermute(Decoder& d) {
  d.allOfType(Type::kB32);
  d.instruction().execute = d.statement().parts.size() > 2 ? permuteSpecial : permuteBytes;
}

}  // namespace

void registerBits(Registry& registry) {
  registry["and"] = decodeLogic<Logic::kAnd>;
  registry["or"] = decodeLogic<Logic::kOr>;
  registry["xor"] = decodeLogic<Logic::kXor>;
  registry["not"] = decodeNot;
  registry["cnot"] = decodeUnary<IsZero>;
  registry["brev"] = decodeUnary<Reverse>;
  registry["popc"] = decodeCount<Population>;
  registry["clz"] = decodeCount<LeadingZeros>;
  registry["bfind"] = decodeFind;
  registry["shl"] = registry["shr"] = decodeShift;
  registry["shf"] = decodeFunnel;
  registry["bfi"] = decodeInsert;
  registry["bfe"] = decodeExtract;
  registry["bmsk"] = registry["szext"] = decodeMaskOrExtend;
  registry["lop3"] = decodeLookup;
  registry["prmt"] = decodePermute;
}

}  // namespace fovea::simulator
