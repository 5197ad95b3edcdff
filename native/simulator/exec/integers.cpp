// Integer arithmetic: add sub mul mad div rem min max abs neg sad mul24 mad24, carries, dot products.
#include "exec/integers.h"

#include <algorithm>
#include <limits>

#include "exec/lanes.h"
#include "exec/registry.h"

namespace fovea::simulator {
namespace {

// At least 32 unsigned bits: arithmetic that wraps.
template <class T>
using Wrapping = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
template <class T>
Wrapping<T> wrap(T value) {
  return static_cast<Wrapping<T>>(value);
}

struct Add {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(wrap(a) + wrap(b));
  }
};
struct Subtract {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(wrap(a) - wrap(b));
  }
};
struct MultiplyLow {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(wrap(a) * wrap(b));
  }
};
struct MultiplyHigh {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (sizeof(T) == 8) {
      using Wide = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
      return static_cast<T>(static_cast<Wide>(a) * static_cast<Wide>(b) >> 64);
    } else {
      using Wide = std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>;
      return static_cast<T>(static_cast<Wide>(a) * static_cast<Wide>(b) >> (8 * sizeof(T)));
    }
  }
};
// Division by zero gives all ones on hardware; the language leaves it open.
struct Divide {
  template <class T>
  T operator()(T a, T b) const {
    if (b == 0) return static_cast<T>(~Wrapping<T>(0));
    if constexpr (std::is_signed_v<T>)
      if (b == -1) return static_cast<T>(0 - wrap(a));
    return static_cast<T>(a / b);
  }
};
struct Remainder {
  template <class T>
  T operator()(T a, T b) const {
    if (b == 0) return static_cast<T>(~Wrapping<T>(0));
    if constexpr (std::is_signed_v<T>)
      if (b == -1) return 0;
    return static_cast<T>(a % b);
  }
};
struct Minimum {
  template <class T>
  T operator()(T a, T b) const {
    return a < b ? a : b;
  }
};
struct Maximum {
  template <class T>
  T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};
struct Negate {
  template <class T>
  T operator()(T a) const {
    return static_cast<T>(0 - wrap(a));
  }
};
struct Absolute {
  template <class T>
  T operator()(T a) const {
    return static_cast<T>(a < 0 ? 0 - wrap(a) : wrap(a));
  }
};
struct MultiplyAddLow {
  template <class T>
  T operator()(T a, T b, T c) const {
    return static_cast<T>(wrap(a) * wrap(b) + wrap(c));
  }
};
struct MultiplyAddHigh {
  template <class T>
  T operator()(T a, T b, T c) const {
    return static_cast<T>(wrap(MultiplyHigh{}(a, b)) + wrap(c));
  }
};
struct AbsoluteDifference {
  template <class T>
  T operator()(T a, T b, T c) const {
    return static_cast<T>(wrap(c) + (a < b ? wrap(b) - wrap(a) : wrap(a) - wrap(b)));
  }
};
struct AddSaturating {
  int32_t operator()(int32_t a, int32_t b) const { return clamp(static_cast<int64_t>(a) + b); }
  static int32_t clamp(int64_t value) {
    return static_cast<int32_t>(
        std::clamp<int64_t>(value, std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()));
  }
};
struct SubtractSaturating {
  int32_t operator()(int32_t a, int32_t b) const { return AddSaturating::clamp(static_cast<int64_t>(a) - b); }
};
template <bool kHigh>
struct Multiply24 {
  template <class T>
  T operator()(T a, T b) const {
    const int64_t product = low24(a) * low24(b);
    return static_cast<T>(kHigh ? product >> 16 : product);
  }
  template <class T>
  static int64_t low24(T value) {
    const auto bits = static_cast<uint32_t>(value) << 8;
    return std::is_signed_v<T> ? static_cast<int32_t>(bits) >> 8 : static_cast<int64_t>(bits >> 8);
  }
};
template <bool kHigh>
struct MultiplyAdd24 {
  template <class T>
  T operator()(T a, T b, T c) const {
    return static_cast<T>(wrap(Multiply24<kHigh>{}(a, b)) + wrap(c));
  }
};

template <class T, class F>
Outcome runUnary(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  unary<T>(warp, instruction, mask, F{});
  return Outcome::kNext;
}
template <class T, class F>
Outcome runBinary(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  binary<T>(warp, instruction, mask, F{});
  return Outcome::kNext;
}
template <class T, class F>
Outcome runTernary(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  ternary<T>(warp, instruction, mask, F{});
  return Outcome::kNext;
}

template <class T>
struct Tag {
  using type = T;
};
// Calls f(Tag<T>) for the integer type; false when it is not one of 16, 32 or 64 bits.
template <class F>
bool withInteger(Type type, F f) {
  switch (type) {
    case Type::kS16:
      f(Tag<int16_t>{});
      return true;
    case Type::kU16:
      f(Tag<uint16_t>{});
      return true;
    case Type::kS32:
      f(Tag<int32_t>{});
      return true;
    case Type::kU32:
      f(Tag<uint32_t>{});
      return true;
    case Type::kS64:
      f(Tag<int64_t>{});
      return true;
    case Type::kU64:
      f(Tag<uint64_t>{});
      return true;
    default:
      return false;
  }
}
template <class F>
void chooseUnary(Decoder& d) {
  d.allOfType(d.type());
  if (d.argumentCount() != 2) d.fail("needs two arguments");
  if (!withInteger(d.type(), [&](auto t) { d.instruction().execute = runUnary<typename decltype(t)::type, F>; }))
    d.unsupported();
}
template <class F>
void chooseBinary(Decoder& d) {
  d.allOfType(d.type());
  if (d.argumentCount() != 3) d.fail("needs three arguments");
  if (!withInteger(d.type(), [&](auto t) { d.instruction().execute = runBinary<typename decltype(t)::type, F>; }))
    d.unsupported();
}
template <class F>
void chooseTernary(Decoder& d) {
  d.allOfType(d.type());
  if (d.argumentCount() != 4) d.fail("needs four arguments");
  if (!withInteger(d.type(), [&](auto t) { d.instruction().execute = runTernary<typename decltype(t)::type, F>; }))
    d.unsupported();
}

// ---------------------------------------------------------------------------------------------- wide products

// d (twice as wide) = a · b [+ c]
template <class Narrow, class Wide>
Outcome multiplyWide(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  using D = typename Cell<Wide>::Storage;
  D* d = warp.write<D>(instruction.operand[0]);
  const auto* a = warp.read<uint32_t>(instruction.operand[1]);
  const auto* b = warp.read<uint32_t>(instruction.operand[2]);
  const auto product = [&](int i) {
    return static_cast<D>(static_cast<Wide>(static_cast<Narrow>(a[i]))) *
           static_cast<D>(static_cast<Wide>(static_cast<Narrow>(b[i])));
  };
  if (instruction.operandCount == 4) {
    const D* c = warp.read<D>(instruction.operand[3]);
    forLanes(mask, [&](int i) { d[i] = product(i) + c[i]; });
  } else {
    forLanes(mask, [&](int i) { d[i] = product(i); });
  }
  return Outcome::kNext;
}

void decodeWide(Decoder& d) {
  const Type type = d.type();
  const Type wide = sizeOf(type) == 2 ? Type::kB32 : Type::kB64;
  d.instruction().type = type;
  d.define(0, wide);
  d.use(1, type);
  d.use(2, type);
  if (d.argumentCount() == 4) d.use(3, wide);
  switch (type) {
    case Type::kS16:
      d.instruction().execute = multiplyWide<int16_t, int32_t>;
      break;
    case Type::kU16:
      d.instruction().execute = multiplyWide<uint16_t, uint32_t>;
      break;
    case Type::kS32:
      d.instruction().execute = multiplyWide<int32_t, int64_t>;
      break;
    case Type::kU32:
      d.instruction().execute = multiplyWide<uint32_t, uint64_t>;
      break;
    default:
      d.unsupported();
  }
}

// ---------------------------------------------------------------------------------------------- extended precision

enum CarryMode : uint8_t { kReadsCarry = 1, kWritesCarry = 2, kSubtracts = 4, kMultiplies = 8, kHighHalf = 16 };

// add.cc addc sub.cc subc mad.cc madc: the carry flag is CC.CF; for subtraction it is the borrow.
template <class T>
Outcome extended(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  T* d = warp.write<T>(instruction.operand[0]);
  const T* a = warp.read<T>(instruction.operand[1]);
  const T* b = warp.read<T>(instruction.operand[2]);
  const uint8_t mode = instruction.mode;
  const T* c = mode & kMultiplies ? warp.read<T>(instruction.operand[3]) : nullptr;
  LaneMask carries = 0;
  forLanes(mask, [&](int i) {
    const unsigned __int128 in = mode & kReadsCarry ? warp.carry >> i & 1 : 0;
    unsigned __int128 x = a[i], y = b[i];
    if (mode & kMultiplies) {
      x = isSigned(instruction.type)
              ? static_cast<unsigned __int128>(static_cast<__int128>(static_cast<std::make_signed_t<T>>(a[i])) *
                                               static_cast<std::make_signed_t<T>>(b[i]))
              : static_cast<unsigned __int128>(a[i]) * b[i];
      x = static_cast<T>(mode & kHighHalf ? x >> (8 * sizeof(T)) : x);
      y = c[i];
    }
    const unsigned __int128 sum = mode & kSubtracts ? x - y - in : x + y + in;
    d[i] = static_cast<T>(sum);
    carries |= static_cast<LaneMask>(sum >> (8 * sizeof(T)) & 1) << i;
  });
  LaneMask bad = mode & kReadsCarry ? warp.carryPoison : 0;
  for (int k = 1; k < instruction.operandCount; k++) bad |= warp.poisonOf(instruction.operand[k]);
  warp.setPoison(instruction.operand[0], mask, bad);
  if (mode & kWritesCarry) {
    warp.carry = (warp.carry & ~mask) | carries;
    warp.carryPoison = (warp.carryPoison & ~mask) | (bad & mask);
  }
  return Outcome::kNext;
}

void decodeExtended(Decoder& d) {
  const std::string_view word = d.part(0);
  uint8_t mode = d.has("cc") ? kWritesCarry : 0;
  if (word.back() == 'c') mode |= kReadsCarry;
  if (word.substr(0, 3) == "sub") mode |= kSubtracts;
  if (word.substr(0, 3) == "mad") mode |= kMultiplies | (d.has("hi") ? kHighHalf : 0);
  d.instruction().mode = mode;
  d.instruction().propagatesPoison = false;
  d.allOfType(d.type());
  if (sizeOf(d.type()) == 4) {
    d.instruction().execute = extended<uint32_t>;
  } else if (sizeOf(d.type()) == 8) {
    d.instruction().execute = extended<uint64_t>;
  } else {
    d.unsupported();
  }
}

// ---------------------------------------------------------------------------------------------- dot products

// dp4a: four 8-bit products; dp2a: two of 16 by 8 bits, of the low or high half of b. Sums into 32 bits.
Outcome dotProduct(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const bool four = instruction.mode == 4;
  const bool signedA = instruction.sourceType == Type::kS32, signedB = instruction.type == Type::kS32;
  const int first = instruction.modifier;
  const auto element = [](uint32_t bits, int width, int index, bool isSigned) -> int64_t {
    const uint32_t value = bits >> (width * index) & ((1u << width) - 1);
    return isSigned && value >> (width - 1) ? static_cast<int64_t>(value) - (1ll << width) : value;
  };
  ternary<uint32_t>(warp, instruction, mask, [&](uint32_t a, uint32_t b, uint32_t c) {
    int64_t sum = c;
    for (int k = 0; k < (four ? 4 : 2); k++)
      sum += element(a, four ? 8 : 16, k, signedA) * element(b, 8, first + k, signedB);
    return static_cast<uint32_t>(sum);
  });
  return Outcome::kNext;
}

void decodeDotProduct(Decoder& d) {
  d.instruction().mode = d.part(0) == "dp4a" ? 4 : 2;
  d.instruction().modifier = d.has("hi") ? 2 : 0;
  d.instruction().sourceType = d.type(1);
  d.allOfType(d.type());
  d.instruction().execute = dotProduct;
}

}  // namespace

void decodeIntegerArithmetic(Decoder& d) {
  const std::string_view word = d.part(0);
  if (d.has("cc") || word == "addc" || word == "subc" || word == "madc") {
    decodeExtended(d);
  } else if (word == "add" || word == "sub") {
    if (d.has("sat")) {
      d.allOfType(Type::kS32);
      d.instruction().execute =
          word == "add" ? runBinary<int32_t, AddSaturating> : runBinary<int32_t, SubtractSaturating>;
    } else if (word == "add") {
      chooseBinary<Add>(d);
    } else {
      chooseBinary<Subtract>(d);
    }
  } else if (word == "mul" || word == "mad") {
    const bool adds = word == "mad";
    if (d.has("wide")) {
      decodeWide(d);
    } else if (d.has("sat")) {
      d.unsupported();
    } else if (d.has("hi")) {
      adds ? chooseTernary<MultiplyAddHigh>(d) : chooseBinary<MultiplyHigh>(d);
    } else if (d.has("lo")) {
      adds ? chooseTernary<MultiplyAddLow>(d) : chooseBinary<MultiplyLow>(d);
    } else {
      d.unsupported();
    }
  } else if (word == "mul24") {
    d.has("hi") ? chooseBinary<Multiply24<true>>(d) : chooseBinary<Multiply24<false>>(d);
  } else if (word == "mad24") {
    if (d.has("sat")) d.unsupported();
    d.has("hi") ? chooseTernary<MultiplyAdd24<true>>(d) : chooseTernary<MultiplyAdd24<false>>(d);
  } else if (word == "div") {
    chooseBinary<Divide>(d);
  } else if (word == "rem") {
    chooseBinary<Remainder>(d);
  } else if (word == "min") {
    chooseBinary<Minimum>(d);
  } else if (word == "max") {
    chooseBinary<Maximum>(d);
  } else if (word == "neg") {
    chooseUnary<Negate>(d);
  } else if (word == "abs") {
    chooseUnary<Absolute>(d);
  } else if (word == "sad") {
    chooseTernary<AbsoluteDifference>(d);
  } else {
    d.unsupported();
  }
}

void registerIntegers(Registry& registry) {
  for (const char* word : {"addc", "subc", "madc", "mad24", "mul24", "rem", "sad"})
    registry[word] = decodeIntegerArithmetic;
  registry["dp4a"] = decodeDotProduct;
  registry["dp2a"] = decodeDotProduct;
}

}  // namespace fovea::simulator
