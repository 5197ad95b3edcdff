// Floating-point arithmetic: add sub mul fma/mad div rcp sqrt min max abs neg copysign, in f32, f64, f16, bf16 and the
// packed pairs. Integer types go on to integers.cpp.
#include "exec/integers.h"
#include "exec/lanes.h"
#include "exec/numbers.h"
#include "exec/registry.h"

namespace fovea::simulator {
namespace {

Rounding roundingOf(const Decoder& d) {
  if (d.has("rz")) return Rounding::kZero;
  if (d.has("rm")) return Rounding::kDown;
  if (d.has("rp")) return Rounding::kUp;
  return Rounding::kNearest;
}

// ---------------------------------------------------------------------------------------------- operations
// Each gives the result with round-to-nearest, and with a directed rounding.

struct Add {
  template <class T>
  T operator()(T a, T b) const {
    return a + b;
  }
  template <class T>
  T rounded(T a, T b, Rounding r) const {
    return addRounded(a, b, r);
  }
};
struct Subtract {
  template <class T>
  T operator()(T a, T b) const {
    return a - b;
  }
  template <class T>
  T rounded(T a, T b, Rounding r) const {
    return addRounded(a, -b, r);
  }
};
struct Multiply {
  template <class T>
  T operator()(T a, T b) const {
    return a * b;
  }
  template <class T>
  T rounded(T a, T b, Rounding r) const {
    return multiplyRounded(a, b, r);
  }
};
struct Divide {
  template <class T>
  T operator()(T a, T b) const {
    return a / b;
  }
  template <class T>
  T rounded(T a, T b, Rounding r) const {
    return divideRounded(a, b, r);
  }
};
struct Fused {
  template <class T>
  T operator()(T a, T b, T c) const {
    return std::fma(a, b, c);
  }
  template <class T>
  T rounded(T a, T b, T c, Rounding r) const {
    return fusedRounded(a, b, c, r);
  }
};
struct SquareRoot {
  template <class T>
  T operator()(T a) const {
    return std::sqrt(a);
  }
  template <class T>
  T rounded(T a, Rounding r) const {
    return squareRootRounded(a, r);
  }
};
struct Reciprocal {
  template <class T>
  T operator()(T a) const {
    return T(1) / a;
  }
  template <class T>
  T rounded(T a, Rounding r) const {
    return divideRounded(T(1), a, r);
  }
};
// -0 < +0, and a NaN loses against a number.
struct Minimum {
  template <class T>
  T operator()(T a, T b) const {
    const T smaller = a < b || (a == b && std::signbit(a)) ? a : b;
    return a != a ? b : b != b ? a : smaller;
  }
};
struct Maximum {
  template <class T>
  T operator()(T a, T b) const {
    const T larger = a > b || (a == b && !std::signbit(a)) ? a : b;
    return a != a ? b : b != b ? a : larger;
  }
};
template <class F>
struct NanWins {
  template <class T>
  T operator()(T a, T b) const {
    return a != a ? a : b != b ? b : F{}(a, b);
  }
};
struct Negate {
  template <class T>
  T operator()(T a) const {
    return -a;
  }
};
struct Absolute {
  template <class T>
  T operator()(T a) const {
    return std::fabs(a);
  }
};

// ---------------------------------------------------------------------------------------------- f32 and f64

// The plain case: nearest, no .ftz, no .sat.
template <class T, class F, int kSources>
Outcome plain(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  if constexpr (kSources == 1) unary<T>(warp, instruction, mask, [](T a) { return canonical(F{}(a)); });
  if constexpr (kSources == 2) binary<T>(warp, instruction, mask, [](T a, T b) { return canonical(F{}(a, b)); });
  if constexpr (kSources == 3)
    ternary<T>(warp, instruction, mask, [](T a, T b, T c) { return canonical(F{}(a, b, c)); });
  return Outcome::kNext;
}
template <class T, class F, int kSources>
Outcome modified(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const auto rounding = static_cast<Rounding>(instruction.mode);
  const bool ftz = instruction.flushSubnormals, saturates = instruction.saturate;
  const auto in = [=](T value) { return ftz ? flush(value) : value; };
  const auto out = [=](T value) {
    value = canonical(ftz ? flush(value) : value);
    return saturates ? saturateToUnit(value) : value;
  };
  const auto compute = [=](auto... values) {
    if constexpr (requires { F{}.rounded(values..., rounding); }) {
      if (rounding != Rounding::kNearest) return out(F{}.rounded(in(values)..., rounding));
    }
    return out(F{}(in(values)...));
  };
  if constexpr (kSources == 1) unary<T>(warp, instruction, mask, compute);
  if constexpr (kSources == 2) binary<T>(warp, instruction, mask, compute);
  if constexpr (kSources == 3) ternary<T>(warp, instruction, mask, compute);
  return Outcome::kNext;
}

// ---------------------------------------------------------------------------------------------- f16 and bf16

// a + b rounded to odd, which a rounding to fewer bits cannot tell from the exact sum.
double addToOdd(double a, double b) {
  const double sum = a + b;
  if (!std::isfinite(sum) || sum == 0) return sum;
  const double part = sum - a, error = (a - (sum - part)) + (b - part);
  const auto bits = std::bit_cast<uint64_t>(sum);
  if (error == 0 || bits % 2 == 1) return sum;
  return std::bit_cast<double>((error > 0) == (sum > 0) ? bits + 1 : bits - 1);
}

// Computes in float (for fma in double, where the product is exact and the sum rounded to odd) and rounds to the
// format.
template <class Format, class F, int kSources>
uint16_t narrow(const Instruction& instruction, uint16_t a, uint16_t b, uint16_t c) {
  const bool ftz = instruction.flushSubnormals;
  const auto in = [=](uint16_t bits) {
    // Half subnormals have a zero exponent field; .ftz exists for halves only.
    return Format::toFloat(ftz && (bits & 0x7c00) == 0 ? static_cast<uint16_t>(bits & 0x8000) : bits);
  };
  double wide = 0;
  float value = 0;
  if constexpr (kSources == 1) value = F{}(in(a));
  if constexpr (kSources == 2) value = F{}(in(a), in(b));
  if constexpr (kSources == 3) {
    static_assert(std::is_same_v<F, Fused>);
    wide = addToOdd(static_cast<double>(in(a)) * static_cast<double>(in(b)), static_cast<double>(in(c)));
  }
  uint16_t result = kSources == 3 ? Format::fromDouble(wide) : Format::fromFloat(value);
  if (ftz && (result & 0x7c00) == 0) result &= 0x8000;
  if (instruction.saturate) result = Format::fromFloat(saturateToUnit(Format::toFloat(result)));
  if (instruction.relu && (result & 0x8000) && Format::toFloat(result) == Format::toFloat(result)) result = 0;
  return result;
}

template <class Format, class F, int kSources, bool kPacked>
Outcome narrowFloat(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  auto* d = warp.write<uint32_t>(instruction.operand[0]);
  const uint32_t* source[3] = {};
  for (int k = 0; k < kSources; k++) source[k] = warp.read<uint32_t>(instruction.operand[k + 1]);
  const auto at = [&](int k, int i) { return k < kSources ? source[k][i] : 0; };
  const auto half = [&](int i, int shift) -> uint32_t {
    return narrow<Format, F, kSources>(instruction, static_cast<uint16_t>(at(0, i) >> shift),
                                       static_cast<uint16_t>(at(1, i) >> shift),
                                       static_cast<uint16_t>(at(2, i) >> shift));
  };
  forLanes(mask, [&](int i) {
    uint32_t result = half(i, 0);
    if constexpr (kPacked) result |= half(i, 16) << 16;
    d[i] = result;
  });
  return Outcome::kNext;
}

// abs and neg of 16-bit formats only touch the sign; NaN included.
template <class F, bool kPacked>
Outcome signOnly(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  const uint32_t signs = kPacked ? 0x80008000u : 0x8000u;
  unary<uint32_t>(warp, instruction, mask,
                  [=](uint32_t a) { return std::is_same_v<F, Negate> ? a ^ signs : a & ~signs; });
  return Outcome::kNext;
}

// ---------------------------------------------------------------------------------------------- decoding

template <class F, int kSources>
void decodeFloat(Decoder& d) {
  const Type type = d.type();
  Instruction& instruction = d.instruction();
  if (d.argumentCount() != kSources + 1) d.fail("wrong number of arguments");
  d.allOfType(type);
  instruction.flushSubnormals = d.has("ftz");
  instruction.saturate = d.has("sat");
  instruction.relu = d.has("relu");
  instruction.mode = static_cast<uint8_t>(roundingOf(d));
  if (d.has("xorsign")) d.unsupported();
  const bool isPlain = !instruction.flushSubnormals && !instruction.saturate && instruction.mode == 0;
  switch (type) {
    case Type::kF32:
      instruction.execute = isPlain ? plain<float, F, kSources> : modified<float, F, kSources>;
      return;
    case Type::kF64:
      instruction.execute = isPlain ? plain<double, F, kSources> : modified<double, F, kSources>;
      return;
    case Type::kF16:
      instruction.execute = narrowFloat<Half, F, kSources, false>;
      return;
    case Type::kF16x2:
      instruction.execute = narrowFloat<Half, F, kSources, true>;
      return;
    case Type::kBf16:
      instruction.execute = narrowFloat<Bfloat, F, kSources, false>;
      return;
    case Type::kBf16x2:
      instruction.execute = narrowFloat<Bfloat, F, kSources, true>;
      return;
    default:
      d.unsupported();
  }
}

bool isFloatType(const Decoder& d) {
  const Type type = d.type();
  return isFloating(type) || type == Type::kF16x2 || type == Type::kBf16x2;
}
template <class F, int kSources>
void decodeEither(Decoder& d) {
  isFloatType(d) ? decodeFloat<F, kSources>(d) : decodeIntegerArithmetic(d);
}
template <class F>
void decodeExtremum(Decoder& d) {
  if (!isFloatType(d)) return decodeIntegerArithmetic(d);
  d.has("NaN") ? decodeFloat<NanWins<F>, 2>(d) : decodeFloat<F, 2>(d);
}
template <class F>
void decodeSign(Decoder& d) {
  if (!isFloatType(d)) return decodeIntegerArithmetic(d);
  const Type type = d.type();
  if (type == Type::kF32 || type == Type::kF64) return decodeFloat<F, 1>(d);
  d.allOfType(type);
  d.instruction().execute = isPacked(type) ? signOnly<F, true> : signOnly<F, false>;
}

// copysign d, a, b: b with the sign of a.
template <class T>
Outcome copySign(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  constexpr T sign = T(1) << (8 * sizeof(T) - 1);
  binary<T>(warp, instruction, mask, [](T a, T b) { return (a & sign) | (b & ~sign); });
  return Outcome::kNext;
}
void decodeCopySign(Decoder& d) {
  d.allOfType(d.type());
  d.instruction().execute = d.type() == Type::kF64 ? copySign<uint64_t> : copySign<uint32_t>;
}

}  // namespace

void registerFloats(Registry& registry) {
  registry["add"] = decodeEither<Add, 2>;
  registry["sub"] = decodeEither<Subtract, 2>;
  registry["mul"] = decodeEither<Multiply, 2>;
  registry["div"] = decodeEither<Divide, 2>;  // .approx and .full: the exact quotient is within their error
  registry["mad"] = decodeEither<Fused, 3>;
  registry["fma"] = decodeFloat<Fused, 3>;
  registry["rcp"] = decodeFloat<Reciprocal, 1>;
  registry["sqrt"] = decodeFloat<SquareRoot, 1>;
  registry["min"] = decodeExtremum<Minimum>;
  registry["max"] = decodeExtremum<Maximum>;
  registry["neg"] = decodeSign<Negate>;
  registry["abs"] = decodeSign<Absolute>;
  registry["copysign"] = decodeCopySign;
}

}  // namespace fovea::simulator
