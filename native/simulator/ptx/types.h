// Scalar types, state spaces and comparison operators of PTX, as the simulator names them.
#pragma once

#include <cstdint>
#include <string_view>

namespace fovea::simulator {

// Fundamental types; the packed ones (F16x2 …) travel in a 32-bit register.
enum class Type : uint8_t {
  kNone,
  kPredicate,
  kB8,
  kB16,
  kB32,
  kB64,
  kU8,
  kU16,
  kU32,
  kU64,
  kS8,
  kS16,
  kS32,
  kS64,
  kF16,
  kBf16,
  kTf32,
  kF32,
  kF64,
  kF16x2,
  kBf16x2,
  kU16x2,
  kS16x2,
};

// The kNone type stands for "not a type".
Type parseType(std::string_view name);
std::string_view nameOf(Type type);

// Bytes of one value in memory; 0 for predicates and kNone.
constexpr int sizeOf(Type type) {
  switch (type) {
    case Type::kB8:
    case Type::kU8:
    case Type::kS8:
      return 1;
    case Type::kB16:
    case Type::kU16:
    case Type::kS16:
    case Type::kF16:
    case Type::kBf16:
      return 2;
    case Type::kB64:
    case Type::kU64:
    case Type::kS64:
    case Type::kF64:
      return 8;
    case Type::kNone:
    case Type::kPredicate:
      return 0;
    default:
      return 4;
  }
}

constexpr bool isSigned(Type type) {
  return type == Type::kS8 || type == Type::kS16 || type == Type::kS32 || type == Type::kS64;
}
constexpr bool isFloating(Type type) {
  return type == Type::kF16 || type == Type::kBf16 || type == Type::kTf32 || type == Type::kF32 || type == Type::kF64;
}
constexpr bool isPacked(Type type) {
  return type == Type::kF16x2 || type == Type::kBf16x2 || type == Type::kU16x2 || type == Type::kS16x2;
}

// Where a memory instruction looks. kGeneric addresses are told apart by windows (see exec/memory.h).
enum class Space : uint8_t { kGeneric, kGlobal, kShared, kLocal, kParameter, kConstant };

// How registers are stored: up to 32 bits, 64 bits, one bit.
enum class RegisterClass : uint8_t { kWord, kDouble, kPredicate };

constexpr RegisterClass classOf(Type type) {
  if (type == Type::kPredicate) return RegisterClass::kPredicate;
  return sizeOf(type) == 8 ? RegisterClass::kDouble : RegisterClass::kWord;
}

}  // namespace fovea::simulator
