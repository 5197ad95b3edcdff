// wgmma.mma_async, wgmma.fence, wgmma.commit_group, wgmma.wait_group.
#include "async/warpgroup_products.h"
#include "exec/cta.h"
#include "exec/registry.h"

namespace fovea::simulator {
namespace {

Outcome product(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask) {
  warp.products->issue(cta, warp, instruction);
  return Outcome::kNext;
}
Outcome fence(Cta&, Warp& warp, const Instruction&, LaneMask) {
  warp.products->fence();
  return Outcome::kNext;
}
Outcome commit(Cta&, Warp& warp, const Instruction&, LaneMask) {
  warp.products->commit();
  return Outcome::kNext;
}
Outcome wait(Cta& cta, Warp& warp, const Instruction& instruction, LaneMask) {
  warp.products->wait(cta, warp, instruction.immediate);
  return Outcome::kNext;
}

// 128 of "m64n128k16"; 0 for other shapes.
int parseColumns(std::string_view shape) {
  if (!shape.starts_with("m64n") || !shape.ends_with("k16")) return 0;
  int columns = 0;
  for (char digit : shape.substr(4, shape.size() - 7)) {
    if (digit < '0' || digit > '9') return 0;
    columns = 10 * columns + (digit - '0');
  }
  return columns % 8 == 0 && columns <= kProductColumns ? columns : 0;
}

// wgmma.mma_async.sync.aligned.shape.f32.type.type d, a, b-desc, scale-d, scale-a, scale-b [, trans-a], trans-b
void decodeProduct(Decoder& d) {
  Instruction& instruction = d.instruction();
  const int columns = parseColumns(d.part(4));
  instruction.sourceType = d.type();
  const bool is16 = instruction.sourceType == Type::kF16 || instruction.sourceType == Type::kBf16;
  if (!columns || !is16 || d.type(1) != d.type() || d.type(2) != Type::kF32) d.unsupported();
  instruction.immediate = columns;
  instruction.isProduct = true;
  const Argument &sums = d.argument(0), &a = d.argument(1);
  if (sums.elements.size() != static_cast<size_t>(columns / 2))
    d.fail("needs " + std::to_string(columns / 2) + " accumulator registers");
  for (const std::string& text : sums.elements) d.update(text, Type::kF32);
  const bool inRegisters = a.kind == Argument::Kind::kVector;
  if (inRegisters) {
    instruction.mode |= kRegistersA;
    if (a.elements.size() != 4) d.fail("needs 4 registers of A");
    for (const std::string& text : a.elements) {
      if (!d.isRegister(text)) d.fail("A must be in registers");
      d.use(text, Type::kB32);
    }
  } else {
    d.use(1, Type::kB64);
  }
  d.use(2, Type::kB64);
  d.use(3, Type::kPredicate);
  if (d.argumentCount() != (inRegisters ? 7 : 8)) d.fail("wrong number of arguments");
  const auto isSet = [&](size_t index, int64_t clear) {
    const int64_t value = d.integer(index);
    if (value != 1 && value != clear) d.fail("an immediate of " + std::to_string(value));
    return value != clear;
  };
  if (isSet(4, -1) != isSet(5, -1)) instruction.mode |= kNegated;
  if (!inRegisters && isSet(6, 0)) instruction.mode |= kTransposedA;
  if (isSet(d.argumentCount() - 1, 0)) instruction.mode |= kTransposedB;
  instruction.execute = product;
}

void decode(Decoder& d) {
  Instruction& instruction = d.instruction();
  instruction.converged = true;
  instruction.propagatesPoison = false;
  instruction.hasEffect = true;
  d.markProducts();
  if (d.part(1) == "mma_async") {
    decodeProduct(d);
  } else if (d.part(1) == "fence") {
    instruction.execute = fence;
  } else if (d.part(1) == "commit_group") {
    instruction.execute = commit;
  } else if (d.part(1) == "wait_group") {
    instruction.immediate = d.integer(0);
    instruction.execute = wait;
  } else {
    d.unsupported();
  }
}

}  // namespace

void registerWarpgroupProducts(Registry& registry) { registry["wgmma"] = decode; }

}  // namespace fovea::simulator
