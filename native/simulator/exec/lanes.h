// Helpers that several instruction families share.
#pragma once

#include <bit>
#include <string>

#include "exec/cta.h"

namespace fovea::simulator {

// For instructions with a membermask operand: whether all live lanes that it names are here. Reports lanes that execute
// the instruction without being named.
inline bool membersPresent(Cta& cta, Warp& warp, const Operand& members, LaneMask mask) {
  cta.checkDefined(warp, members, mask, "a membermask");
  const auto* row = warp.read<uint32_t>(members);
  const LaneMask named = row[std::countr_zero(mask)];
  const LaneMask unnamed = mask & ~named;
  if (unnamed)
    cta.report(warp, std::countr_zero(unnamed), "divergence",
               "the thread is not in its own membermask " + hexadecimal(named));
  forLanes(mask & named, [&](int lane) {
    if (row[lane] != named) cta.report(warp, lane, "divergence", "the membermask differs between lanes");
  });
  return (named & warp.live & ~mask) == 0;
}

// The narrow scalar types as they lie in 32-bit rows.
template <class T>
struct Cell {
  using Storage = uint32_t;
  static T load(uint32_t bits) { return static_cast<T>(bits); }
  static uint32_t store(T value) { return static_cast<std::make_unsigned_t<T>>(value); }
};
template <>
struct Cell<uint64_t> {
  using Storage = uint64_t;
  static uint64_t load(uint64_t bits) { return bits; }
  static uint64_t store(uint64_t value) { return value; }
};
template <>
struct Cell<int64_t> {
  using Storage = uint64_t;
  static int64_t load(uint64_t bits) { return static_cast<int64_t>(bits); }
  static uint64_t store(int64_t value) { return static_cast<uint64_t>(value); }
};
template <>
struct Cell<float> {
  using Storage = uint32_t;
  static float load(uint32_t bits) { return std::bit_cast<float>(bits); }
  static uint32_t store(float value) { return std::bit_cast<uint32_t>(value); }
};
template <>
struct Cell<double> {
  using Storage = uint64_t;
  static double load(uint64_t bits) { return std::bit_cast<double>(bits); }
  static uint64_t store(double value) { return std::bit_cast<uint64_t>(value); }
};

// d = f(a), d = f(a, b), d = f(a, b, c), lane by lane, in type T.
template <class T, class F>
inline __attribute__((always_inline)) void unary(Warp& warp, const Instruction& instruction, LaneMask mask, F f) {
  using S = typename Cell<T>::Storage;
  S* d = warp.write<S>(instruction.operand[0]);
  const S* a = warp.read<S>(instruction.operand[1]);
  forLanes(mask, [&](int i) { d[i] = Cell<T>::store(static_cast<T>(f(Cell<T>::load(a[i])))); });
}
template <class T, class F>
inline __attribute__((always_inline)) void binary(Warp& warp, const Instruction& instruction, LaneMask mask, F f) {
  using S = typename Cell<T>::Storage;
  S* d = warp.write<S>(instruction.operand[0]);
  const S* a = warp.read<S>(instruction.operand[1]);
  const S* b = warp.read<S>(instruction.operand[2]);
  forLanes(mask, [&](int i) { d[i] = Cell<T>::store(static_cast<T>(f(Cell<T>::load(a[i]), Cell<T>::load(b[i])))); });
}
template <class T, class F>
inline __attribute__((always_inline)) void ternary(Warp& warp, const Instruction& instruction, LaneMask mask, F f) {
  using S = typename Cell<T>::Storage;
  S* d = warp.write<S>(instruction.operand[0]);
  const S* a = warp.read<S>(instruction.operand[1]);
  const S* b = warp.read<S>(instruction.operand[2]);
  const S* c = warp.read<S>(instruction.operand[3]);
  forLanes(mask, [&](int i) {
    d[i] = Cell<T>::store(static_cast<T>(f(Cell<T>::load(a[i]), Cell<T>::load(b[i]), Cell<T>::load(c[i]))));
  });
}

}  // namespace fovea::simulator
