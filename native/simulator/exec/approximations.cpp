// The special function unit: ex2 lg2 sin cos tanh rsqrt, within the errors that PTX documents.
#include "exec/lanes.h"
#include "exec/numbers.h"
#include "exec/registry.h"

namespace fovea::simulator {
namespace {

// tanh.approx is only good to a relative error of 2^-11; a kernel that counts on more must fail here too, so the result
// is rounded to that many bits. Subnormal results have fewer already.
float coarseTanh(float x) {
  const float y = std::tanh(x);
  if (!std::isnormal(y)) return y;
  return std::bit_cast<float>((std::bit_cast<uint32_t>(y) + 0x1000u) & 0xffffe000u);
}

struct Exp2 {
  float operator()(float x) const { return std::exp2(x); }
};
struct Exp2Flushing {
  float operator()(float x) const { return exp2Approximate(x); }
};
struct Log2 {
  float operator()(float x) const { return std::log2(x); }
};
struct Sine {
  float operator()(float x) const { return std::sin(x); }
};
struct Cosine {
  float operator()(float x) const { return std::cos(x); }
};
struct Tanh {
  float operator()(float x) const { return coarseTanh(x); }
};
struct ReciprocalSquareRoot {
  float operator()(float x) const { return 1.f / std::sqrt(x); }
};

void countExponentials(Cta& cta, const Instruction& instruction, LaneMask mask) {
  cta.counters.exponentials += static_cast<uint64_t>(std::popcount(mask)) * (isPacked(instruction.type) ? 2 : 1);
}
template <class F>
constexpr bool kIsExponential = std::is_same_v<F, Exp2> || std::is_same_v<F, Exp2Flushing>;

template <class F>
Outcome single(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  if constexpr (kIsExponential<F>) countExponentials(cta, instruction, mask);
  if (instruction.flushSubnormals) {
    unary<float>(warp, instruction, mask, [](float a) { return canonical(flush(F{}(flush(a)))); });
  } else {
    unary<float>(warp, instruction, mask, [](float a) { return canonical(F{}(a)); });
  }
  return Outcome::kNext;
}

template <class Format, class F>
Outcome narrow(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask mask) {
  if constexpr (kIsExponential<F>) countExponentials(cta, instruction, mask);
  const auto half = [](uint32_t bits) -> uint32_t {
    return Format::fromFloat(F{}(Format::toFloat(static_cast<uint16_t>(bits))));
  };
  const bool packed = isPacked(instruction.type);
  unary<uint32_t>(warp, instruction, mask, [&](uint32_t a) { return half(a) | (packed ? half(a >> 16) << 16 : 0); });
  return Outcome::kNext;
}

template <class F>
void decodeApproximation(Decoder& d) {
  const Type type = d.type();
  Instruction& instruction = d.instruction();
  d.allOfType(type);
  instruction.flushSubnormals = d.has("ftz");
  if (type == Type::kF32) {
    instruction.execute = single<F>;
  } else if (type == Type::kF16 || type == Type::kF16x2) {
    instruction.execute = narrow<Half, F>;
  } else if (type == Type::kBf16 || type == Type::kBf16x2) {
    instruction.execute = narrow<Bfloat, F>;
  } else {
    d.unsupported();
  }
}
void decodeExp2(Decoder& d) {
  d.has("ftz") && d.type() == Type::kF32 ? decodeApproximation<Exp2Flushing>(d) : decodeApproximation<Exp2>(d);
}

Outcome rsqrtDouble(Cta&, Warp& warp, const Instruction& instruction, LaneMask mask) {
  unary<double>(warp, instruction, mask, [](double a) { return 1. / std::sqrt(a); });
  return Outcome::kNext;
}
void decodeRsqrt(Decoder& d) {
  if (d.type() != Type::kF64) return decodeApproximation<ReciprocalSquareRoot>(d);
  d.allOfType(Type::kF64);
  d.instruction().execute = rsqrtDouble;
}

}  // namespace

void registerApproximations(Registry& registry) {
  registry["ex2"] = decodeExp2;
  registry["lg2"] = decodeApproximation<Log2>;
  registry["sin"] = decodeApproximation<Sine>;
  registry["cos"] = decodeApproximation<Cosine>;
  registry["tanh"] = decodeApproximation<Tanh>;
  registry["rsqrt"] = decodeRsqrt;
}

}  // namespace fovea::simulator
