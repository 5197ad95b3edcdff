// Names of the scalar types.
#include "ptx/types.h"

#include <array>
#include <utility>

namespace fovea::simulator {
namespace {

constexpr std::array kNames = {
    std::pair<std::string_view, Type>{"pred", Type::kPredicate},
    std::pair<std::string_view, Type>{"b8", Type::kB8},
    std::pair<std::string_view, Type>{"b16", Type::kB16},
    std::pair<std::string_view, Type>{"b32", Type::kB32},
    std::pair<std::string_view, Type>{"b64", Type::kB64},
    std::pair<std::string_view, Type>{"u8", Type::kU8},
    std::pair<std::string_view, Type>{"u16", Type::kU16},
    std::pair<std::string_view, Type>{"u32", Type::kU32},
    std::pair<std::string_view, Type>{"u64", Type::kU64},
    std::pair<std::string_view, Type>{"s8", Type::kS8},
    std::pair<std::string_view, Type>{"s16", Type::kS16},
    std::pair<std::string_view, Type>{"s32", Type::kS32},
    std::pair<std::string_view, Type>{"s64", Type::kS64},
    std::pair<std::string_view, Type>{"f16", Type::kF16},
    std::pair<std::string_view, Type>{"bf16", Type::kBf16},
    std::pair<std::string_view, Type>{"tf32", Type::kTf32},
    std::pair<std::string_view, Type>{"f32", Type::kF32},
    std::pair<std::string_view, Type>{"f64", Type::kF64},
    std::pair<std::string_view, Type>{"f16x2", Type::kF16x2},
    std::pair<std::string_view, Type>{"bf16x2", Type::kBf16x2},
    std::pair<std::string_view, Type>{"u16x2", Type::kU16x2},
    std::pair<std::string_view, Type>{"s16x2", Type::kS16x2},
};

}  // namespace

Type parseType(std::string_view name) {
  for (const auto& [text, type] : kNames)
    if (text == name) return type;
  return Type::kNone;
}

std::string_view nameOf(Type type) {
  for (const auto& [text, candidate] : kNames)
    if (candidate == type) return text;
  return "none";
}

}  // namespace fovea::simulator
