// setp, set, selp, slct, testp.
#include <unordered_map>

#include "exec/lanes.h"
#include "exec/numbers.h"
#include "exec/registry.h"

namespace fovea::simulator {
namespace {

enum class Compare : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kEqu, kNeu, kLtu, kLeu, kGtu, kGeu, kNum, kNan };

bool parseCompare(std::string_view text, Compare& compare) {
  static const std::unordered_map<std::string_view, Compare> names = {
      {"eq", Compare::kEq},   {"ne", Compare::kNe},   {"lt", Compare::kLt},   {"le", Compare::kLe},
      {"gt", Compare::kGt},   {"ge", Compare::kGe},   {"lo", Compare::kLt},   {"ls", Compare::kLe},
      {"hi", Compare::kGt},   {"hs", Compare::kGe},   {"equ", Compare::kEqu}, {"neu", Compare::kNeu},
      {"ltu", Compare::kLtu}, {"leu", Compare::kLeu}, {"gtu", Compare::kGtu}, {"geu", Compare::kGeu},
      {"num", Compare::kNum}, {"nan", Compare::kNan}};
  const auto found = names.find(text);
  if (found == names.end()) return false;
  compare = found->second;
  return true;
}

// Ordered comparisons are false, and the …u ones true, when either side is NaN.
template <Compare kCompare, class T>
bool holds(T a, T b) {
  switch (kCompare) {
    case Compare::kEq:
      return a == b;
    case Compare::kNe:
      return a < b || a > b;
    case Compare::kLt:
      return a < b;
    case Compare::kLe:
      return a <= b;
    case Compare::kGt:
      return a > b;
    case Compare::kGe:
      return a >= b;
    case Compare::kEqu:
      return !(a < b || a > b);
    case Compare::kNeu:
      return a != b;
    case Compare::kLtu:
      return !(a >= b);
    case Compare::kLeu:
      return !(a > b);
    case Compare::kGtu:
      return !(a <= b);
    case Compare::kGeu:
      return !(a < b);
    case Compare::kNum:
      return a == a && b == b;
    case Compare::kNan:
      return a != a || b != b;
  }
  return false;
}

// Lane results as a mask. `load` turns stored bits into the compared type.
template <Compare kCompare, class S, class Load>
LaneMask compareLanes(const S* a, const S* b, Load load) {
  alignas(64) uint32_t flags[kLanes];
#pragma GCC ivdep
  for (int i = 0; i < kLanes; i++) flags[i] = holds<kCompare>(load(a[i]), load(b[i]));
  LaneMask mask = 0;
  for (int i = 0; i < kLanes; i++) mask |= flags[i] << i;
  return mask;
}
template <class S, class Load>
LaneMask compareBy(Compare compare, const S* a, const S* b, Load load) {
  switch (compare) {
    case Compare::kEq:
      return compareLanes<Compare::kEq>(a, b, load);
    case Compare::kNe:
      return compareLanes<Compare::kNe>(a, b, load);
    case Compare::kLt:
      return compareLanes<Compare::kLt>(a, b, load);
    case Compare::kLe:
      return compareLanes<Compare::kLe>(a, b, load);
    case Compare::kGt:
      return compareLanes<Compare::kGt>(a, b, load);
    case Compare::kGe:
      return compareLanes<Compare::kGe>(a, b, load);
    case Compare::kEqu:
      return compareLanes<Compare::kEqu>(a, b, load);
    case Compare::kNeu:
      return compareLanes<Compare::kNeu>(a, b, load);
    case Compare::kLtu:
      return compareLanes<Compare::kLtu>(a, b, load);
    case Compare::kLeu:
      return compareLanes<Compare::kLeu>(a, b, load);
    case Compare::kGtu:
      return compareLanes<Compare::kGtu>(a, b, load);
    case Compare::kGeu:
      return compareLanes<Compare::kGeu>(a, b, load);
    case Compare::kNum:
      return compareLanes<Compare::kNum>(a, b, load);
    case Compare::kNan:
      return compareLanes<Compare::kNan>(a, b, load);
  }
  return 0;
}

// `shift` picks the upper half of a packed pair.
LaneMask compareOperands(Warp& warp, const Instruction& instruction, Type type, int first, int shift = 0) {
  const Operand &x = instruction.operand[first], &y = instruction.operand[first + 1];
  const auto compare = static_cast<Compare>(instruction.mode);
  const bool ftz = instruction.flushSubnormals;
  const auto words = [&](auto load) {
    return compareBy(compare, warp.read<uint32_t>(x), warp.read<uint32_t>(y), load);
  };
  const auto doubles = [&](auto load) {
    return compareBy(compare, warp.read<uint64_t>(x), warp.read<uint64_t>(y), load);
  };
  switch (type) {
    case Type::kF32:
      if (ftz) return words([](uint32_t v) { return flush(std::bit_cast<float>(v)); });
      return words([](uint32_t v) { return std::bit_cast<float>(v); });
    case Type::kF64:
      return doubles([](uint64_t v) { return std::bit_cast<double>(v); });
    case Type::kF16:
    case Type::kF16x2:
      return words([=](uint32_t v) { return Half::toFloat(static_cast<uint16_t>(v >> shift)); });
    case Type::kBf16:
    case Type::kBf16x2:
      return words([=](uint32_t v) { return Bfloat::toFloat(static_cast<uint16_t>(v >> shift)); });
    case Type::kS16:
      return words([](uint32_t v) { return static_cast<int16_t>(v); });
    case Type::kU16:
    case Type::kB16:
      return words([](uint32_t v) { return static_cast<uint16_t>(v); });
    case Type::kS32:
      return words([](uint32_t v) { return static_cast<int32_t>(v); });
    case Type::kS64:
      return doubles([](uint64_t v) { return static_cast<int64_t>(v); });
    case Type::kU64:
    case Type::kB64:
      return doubles([](uint64_t v) { return v; });
    default:
      return words([](uint32_t v) { return v; });
  }
}

enum class Combine : uint8_t { kNone, kAnd, kOr, kXor };

LaneMask combine(uint8_t how, LaneMask result, LaneMask other) {
  switch (static_cast<Combine>(how)) {
    case Combine::kAnd:
      return result & other;
    case Combine::kOr:
      return result | other;
    case Combine::kXor:
      return result ^ other;
    case Combine::kNone:
      break;
  }
  return result;
}

// Operands: p, q, a, b [, c]. p = (a ⋈ b) ∘ c and q = !(a ⋈ b) ∘ c; for packed pairs q is the upper half's result.
Outcome setPredicate(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const bool packed = isPacked(instruction.type);
  const LaneMask result = compareOperands(warp, instruction, instruction.type, 2);
  const LaneMask second = packed ? compareOperands(warp, instruction, instruction.type, 2, 16) : ~result;
  const LaneMask other = instruction.operandCount > 4 ? warp.predicate(instruction.operand[4]) : 0;
  warp.setPredicate(instruction.operand[0], mask, combine(instruction.modifier, result, other));
  warp.setPredicate(instruction.operand[1], mask, combine(instruction.modifier, second, other));
  return Outcome::kNext;
}

// set.CmpOp.dtype.stype: all ones or 1.0.
Outcome setValue(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const Type source = instruction.sourceType;
  LaneMask low = compareOperands(warp, instruction, source, 1);
  LaneMask high = isPacked(source) ? compareOperands(warp, instruction, source, 1, 16) : 0;
  if (instruction.operandCount > 3) {
    const LaneMask other = warp.predicate(instruction.operand[3]);
    low = combine(instruction.modifier, low, other);
    high = combine(instruction.modifier, high, other);
  }
  auto* d = warp.write<uint32_t>(instruction.operand[0]);
  uint32_t one = ~0u;
  if (instruction.type == Type::kF32) one = std::bit_cast<uint32_t>(1.f);
  if (instruction.type == Type::kF16 || instruction.type == Type::kF16x2) one = Half::fromFloat(1.f);
  if (instruction.type == Type::kBf16 || instruction.type == Type::kBf16x2) one = Bfloat::fromFloat(1.f);
  const bool packed = isPacked(source);
  const bool isNarrow = packed || sizeOf(instruction.type) == 2;
  forLanes(mask, [&](int i) {
    const uint32_t unit = isNarrow ? one & 0xffff : one;
    d[i] = (low >> i & 1 ? unit : 0) | (packed && high >> i & 1 ? unit << 16 : 0);
  });
  return Outcome::kNext;
}

void decodeCompare(Decoder& d) {
  const bool isSet = d.part(0) == "set";
  Instruction& instruction = d.instruction();
  Compare compare{};
  if (!parseCompare(d.part(1), compare)) d.fail("unknown comparison");
  instruction.mode = static_cast<uint8_t>(compare);
  instruction.flushSubnormals = d.has("ftz");
  const Type type = d.type();
  const std::string_view how = d.part(2);
  instruction.modifier = static_cast<uint8_t>(how == "and"   ? Combine::kAnd
                                              : how == "or"  ? Combine::kOr
                                              : how == "xor" ? Combine::kXor
                                                             : Combine::kNone);
  const bool combines = instruction.modifier != 0;
  if (d.argumentCount() != (combines ? 4u : 3u)) d.fail("wrong number of arguments");
  if (isSet) {
    instruction.type = d.type(1);
    instruction.sourceType = type;
    d.define(0, instruction.type);
    instruction.execute = setValue;
  } else {
    instruction.type = type;
    d.define(0, Type::kPredicate);
    d.define(d.argument(0).second.empty() ? "_" : d.argument(0).second, Type::kPredicate);
    instruction.execute = setPredicate;
  }
  d.use(1, type);
  d.use(2, type);
  if (combines) d.use(3, Type::kPredicate);
}

// ---------------------------------------------------------------------------------------------- selection

template <class T>
Outcome select(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const LaneMask chooses = warp.predicate(instruction.operand[3]);
  const LaneMask bad = (warp.poisonOf(instruction.operand[1]) & chooses) |
                       (warp.poisonOf(instruction.operand[2]) & ~chooses) | warp.poisonOf(instruction.operand[3]);
  warp.setPoison(instruction.operand[0], mask, bad);
  T* d = warp.write<T>(instruction.operand[0]);
  const T* a = warp.read<T>(instruction.operand[1]);
  const T* b = warp.read<T>(instruction.operand[2]);
  forLanes(mask, [&](int i) { d[i] = chooses >> i & 1 ? a[i] : b[i]; });
  return Outcome::kNext;
}
void decodeSelect(Decoder& d) {
  const Type type = d.type();
  d.define(0, type);
  d.use(1, type);
  d.use(2, type);
  d.use(3, Type::kPredicate);
  d.instruction().propagatesPoison = false;
  d.instruction().execute = sizeOf(type) == 8 ? select<uint64_t> : select<uint32_t>;
}

// slct d, a, b, c: a where c >= 0.
template <class T>
Outcome selectBySign(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  T* d = warp.write<T>(instruction.operand[0]);
  const T* a = warp.read<T>(instruction.operand[1]);
  const T* b = warp.read<T>(instruction.operand[2]);
  const auto* c = warp.read<uint32_t>(instruction.operand[3]);
  const bool isFloat = instruction.sourceType == Type::kF32;
  forLanes(mask, [&](int i) {
    const bool atLeastZero = isFloat ? std::bit_cast<float>(c[i]) >= 0 : static_cast<int32_t>(c[i]) >= 0;
    d[i] = atLeastZero ? a[i] : b[i];
  });
  return Outcome::kNext;
}
void decodeSelectBySign(Decoder& d) {
  const Type type = d.type(1);
  d.instruction().sourceType = d.type();
  d.define(0, type);
  d.use(1, type);
  d.use(2, type);
  d.use(3, d.type());
  d.instruction().execute = sizeOf(type) == 8 ? selectBySign<uint64_t> : selectBySign<uint32_t>;
}

// testp.op: a property of a float.
Outcome testProperty(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const std::string_view property = instruction.mnemonic;
  const auto has = [&](const char* name) { return property.find(name) != std::string_view::npos; };
  LaneMask result = 0;
  forLanes(mask, [&](int i) {
    const double value = instruction.type == Type::kF64
                             ? warp.read<double>(instruction.operand[1])[i]
                             : static_cast<double>(warp.read<float>(instruction.operand[1])[i]);
    const int category =
        instruction.type == Type::kF64 ? std::fpclassify(value) : std::fpclassify(static_cast<float>(value));
    bool holds = false;
    if (has(".notanumber"))
      holds = category == FP_NAN;
    else if (has(".number"))
      holds = category != FP_NAN;
    else if (has(".finite"))
      holds = category != FP_NAN && category != FP_INFINITE;
    else if (has(".infinite"))
      holds = category == FP_INFINITE;
    else if (has(".subnormal"))
      holds = category == FP_SUBNORMAL;
    else if (has(".normal"))
      holds = category == FP_NORMAL;
    result |= static_cast<LaneMask>(holds) << i;
  });
  warp.setPredicate(instruction.operand[0], mask, result);
  return Outcome::kNext;
}
void decodeTestProperty(Decoder& d) {
  d.instruction().type = d.type();
  d.define(0, Type::kPredicate);
  d.use(1, d.type());
  d.instruction().execute = testProperty;
}

}  // namespace

void registerComparisons(Registry& registry) {
  registry["setp"] = registry["set"] = decodeCompare;
  registry["selp"] = decodeSelect;
  registry["slct"] = decodeSelectBySign;
  registry["testp"] = decodeTestProperty;
}

}  // namespace fovea::simulator
