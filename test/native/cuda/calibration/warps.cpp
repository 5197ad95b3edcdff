// Expectations for exchanges within a warp, asynchronous copies and atomics.
#include <algorithm>
#include <functional>

#include "inputs.h"

namespace fovea::test::calibration {
namespace {

constexpr int blocks = 4, count = blocks * warpSize;

/// The words of one warp, by lane, from a list over all warps.
Words ofWarp(const Words& all, int warp, size_t operand = 0) {
  const auto begin = all.begin() + int64_t(operand) * count + warp * warpSize;
  return {begin, begin + warpSize};
}

class List {
 public:
  /// f(lane, first operand and second operand of the warp's lanes).
  void add(const std::string& name, const std::vector<Words>& operands, int results,
           const std::function<uint32_t(int result, int lane, const Words& a, const Words& b)>& f) {
    Micro micro{name, Image::warps, blocks, concatenate(operands), {}, {}};
    for (int result = 0; result < results; result++)
      for (int warp = 0; warp < blocks; warp++)
        for (int lane = 0; lane < warpSize; lane++)
          micro.expected.push_back(
              f(result, lane, ofWarp(micro.input, warp), operands.size() > 1 ? ofWarp(micro.input, warp, 1) : Words()));
    micros.push_back(std::move(micro));
  }
  std::vector<Micro> micros;
};

void addShuffles(List& list) {
  const Words values = randomWords("shuffled", count);
  Words steps = randomWords("steps", count);
  const auto add = [&](const char* name, bool perLane,
                       const std::function<int(int lane, int step, bool& valid)>& source) {
    Words by = steps;
    if (!perLane)  // up, down and bfly: any lane may have its own step too, but kernels use one for all
      for (int i = 0; i < count; i++) by[size_t(i)] = steps[size_t(i / warpSize)];
    list.add(name, {values, by}, 2, [=](int result, int lane, const Words& a, const Words& b) {
      bool valid = true;
      const int from = source(lane, int(b[size_t(lane)] & 31), valid);
      return result == 1 ? uint32_t(valid) : a[size_t(valid ? from : lane)];
    });
  };
  add("shfl_bfly", false, [](int lane, int step, bool&) { return lane ^ step; });
  add("shfl_up", false, [](int lane, int step, bool& valid) {
    valid = lane - step >= 0;
    return lane - step;
  });
  add("shfl_down_16", false, [](int lane, int step, bool& valid) {  // within segments of 16 lanes
    valid = lane + step <= (lane | 15);
    return lane + step;
  });
  add("shfl_idx_8", true, [](int lane, int step, bool&) { return (lane & ~7) | (step & 7); });
}

void addVotes(List& list) {
  list.add("vote_ballot", {randomWords("ballot", count)}, 1, [](int, int lane, const Words& a, const Words&) {
    uint32_t ballot = 0;
    for (int i = 0; i < 20; i++) ballot |= (a[size_t(i)] & 1) << i;
    return lane < 20 ? ballot : 0;
  });
  Words values(count, 0);  // the warps: nobody, one lane, all but one, all
  std::fill(values.begin() + 2 * warpSize, values.end(), 5);
  values[warpSize + 9] = 1;
  values[2 * warpSize + 30] = 0;
  list.add("vote_all_any_uni", {values}, 1, [](int, int, const Words& a, const Words&) {
    const auto set = [](uint32_t word) { return word != 0; };
    const bool all = std::all_of(a.begin(), a.end(), set), any = std::any_of(a.begin(), a.end(), set);
    return uint32_t(all) | uint32_t(any) << 1 | uint32_t(all || !any) << 2;
  });
  list.add("match_any", {randomWords("match", count)}, 1, [](int, int lane, const Words& a, const Words&) {
    uint32_t same = 0;
    for (int i = 0; i < warpSize; i++) same |= uint32_t(a[size_t(i)] % 5 == a[size_t(lane)] % 5) << i;
    return same;
  });
}

uint32_t larger(uint32_t a, uint32_t b) { return int32_t(a) > int32_t(b) ? a : b; }
uint32_t smaller(uint32_t a, uint32_t b) { return std::min(a, b); }
uint32_t sum(uint32_t a, uint32_t b) { return a + b; }
uint32_t difference(uint32_t a, uint32_t b) { return a ^ b; }

using Fold = uint32_t (*)(uint32_t, uint32_t);

void addReductions(List& list) {
  for (const auto& [name, fold] : {std::pair<const char*, Fold>{"redux_add_u32", sum},
                                   {"redux_max_s32", larger},
                                   {"redux_min_u32", smaller},
                                   {"redux_xor_b32", difference}})
    list.add(name, {randomWords(name, count)}, 1, [fold = fold](int, int, const Words& a, const Words&) {
      uint32_t result = a[0];
      for (int i = 1; i < warpSize; i++) result = fold(result, a[size_t(i)]);
      return result;
    });
  for (const auto& [name, fold] : {std::pair<const char*, Fold>{"atom_add_u32", sum},
                                   {"atom_max_s32", larger},
                                   {"atom_min_u32", smaller},
                                   {"atom_xor_b32", difference}})
    list.add(name, {randomWords(name, count), randomWords("initial", count)}, 1,
             [fold = fold](int, int lane, const Words& a, const Words& initial) {
               uint32_t cell = initial[size_t(lane % 4)];
               for (int i = lane % 4; i < warpSize; i += 4) cell = fold(cell, a[size_t(i)]);
               return cell;
             });
  list.add("atom_inc_u32", {randomWords("inc", count), randomWords("initial", count)}, 1,
           [](int, int, const Words&, const Words& initial) {  // counts 0 to 5 and begins again
             return (initial[0] % 6 + warpSize) % 6;
           });
  Micro red{"red_add_f32", Image::warps, blocks, randomWords("red", count), Words(count, 0), {}};
  int64_t sums[4] = {};
  for (int i = 0; i < count; i++) sums[i % 4] += int(red.input[size_t(i)] % 2001) - 1000;
  for (size_t i = 0; i < 4; i++) red.expected[i] = asBits(float(sums[i]));
  list.micros.push_back(std::move(red));
}

/// Operand 0: bytes that come from memory; then each thread's source.
void addCopies(List& list) {
  for (const auto& [name, bytes] : {std::pair{"cp_async_cg_16", 16}, {"cp_async_ca_8", 8}, {"cp_async_ca_4", 4}}) {
    const int words = bytes / 4;
    const Words source = randomWords(name, size_t(count * words));
    Micro micro{name, Image::warps, blocks, concatenate({randomWords("sizes", count), source}), {}, {}};
    for (int word = 0; word < words; word++)
      for (int i = 0; i < count; i++) {
        const int valid = int(micro.input[size_t(i)] % uint32_t(bytes + 1)) - 4 * word;  // of this word's bytes
        const uint32_t mask = valid >= 4 ? 0xffffffff : valid <= 0 ? 0 : (1u << (8 * valid)) - 1;
        micro.expected.push_back(source[size_t(i * words + word)] & mask);
      }
    list.micros.push_back(std::move(micro));
  }
}

}  // namespace

std::vector<Micro> warpMicros() {
  List list;
  addShuffles(list);
  addVotes(list);
  addReductions(list);
  addCopies(list);
  return std::move(list.micros);
}

}  // namespace fovea::test::calibration
