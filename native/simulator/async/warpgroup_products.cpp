// The products that a warp has in flight, and whose registers are whose.
#include "async/warpgroup_products.h"

#include <algorithm>

#include "exec/cta.h"
#include "exec/numbers.h"

namespace fovea::simulator {
namespace {

// Where element `lane` of accumulator register `r` lies in the 16 x columns matrix.
size_t indexOf(int r, int lane, int columns) {
  const int row = lane / 4 + 8 * (r / 2 % 2), column = 8 * (r / 4) + lane % 4 * 2 + r % 2;
  return static_cast<size_t>(row * columns + column);
}

size_t numberOf(const Operand& operand) { return static_cast<size_t>(operand.virtualRegister); }

bool isWord(const Operand& operand) {
  return operand.registerClass == RegisterClass::kWord && operand.virtualRegister >= 0;
}

}  // namespace

bool WarpgroupOrder::add(int warp, const Issue& issue) {
  const size_t index = static_cast<size_t>(counts_[static_cast<size_t>(warp % 4)]++ - passed_);
  if (index == issues_.size()) issues_.push_back(issue);
  const bool same = issues_[index] == issue;
  for (; !issues_.empty() && *std::min_element(counts_.begin(), counts_.end()) > passed_; passed_++)
    issues_.pop_front();
  return same;
}

WarpgroupProducts::WarpgroupProducts(const Kernel& kernel)
    : touched_(static_cast<size_t>(kernel.virtualWords)),
      accumulating_(touched_.size()),
      readAsA_(touched_.size()),
      owner_(static_cast<size_t>(kernel.rows), -1) {}

void WarpgroupProducts::fence() {
  hasFence_ = true;
  epoch_++;
}

void WarpgroupProducts::checkRegisters(Cta& cta, const Warp& warp, const Instruction& instruction) {
  if (instruction.isProduct) return;
  for (int i = 0; i < instruction.operandCount; i++) {
    const Operand& operand = instruction.operand[i];
    if (!isWord(operand)) continue;
    const size_t number = numberOf(operand);
    touched_[number] = epoch_;
    if (products_.empty()) continue;
    if (accumulating_[number])
      cta.report(warp, -1, "wgmma-accumulator",
                 std::string("an accumulator register is ") + (operand.defines ? "written" : "read") +
                     " while a wgmma on it is in flight (before wgmma.wait_group)");
    if (operand.defines && readAsA_[number])
      cta.report(warp, -1, "wgmma-operand", "a register is written while a wgmma in flight reads it as its matrix A");
    // A register of another name has taken the row: nobody will read what the product leaves there.
    int32_t& owner = owner_[static_cast<size_t>(operand.row)];
    if (operand.defines && owner >= 0 && owner != operand.virtualRegister) owner = -1;
  }
}

void WarpgroupProducts::checkFence(Cta& cta, const Warp& warp, const Instruction& instruction) {
  if (!hasFence_) cta.report(warp, -1, "wgmma-fence", "there is no wgmma.fence before the first wgmma");
  for (int i = 0; i < instruction.operandCount; i++) {
    const Operand& operand = instruction.operand[i];
    if (isWord(operand) && touched_[numberOf(operand)] == epoch_) {
      cta.report(warp, -1, "wgmma-fence",
                 "a register of this wgmma was accessed with no wgmma.fence between the access and the wgmma");
      return;
    }
  }
}

size_t WarpgroupProducts::accumulatorOf(Cta& cta, Warp& warp, const Instruction& instruction, bool accumulates) {
  const int count = sumsOf(instruction);
  const uint32_t first = accumulating_[numberOf(instruction.operand[0])];
  bool same = true;
  for (int r = 0; r < count; r++) same &= accumulating_[numberOf(instruction.operand[r])] == first;
  if (first && same && accumulators_[first - 1].columns == columnsOf(instruction)) return first - 1;
  if (first || !same)
    cta.report(warp, -1, "wgmma-accumulator",
               "the accumulator shares registers with one of another shape that is in flight");

  const auto free = std::find_if(accumulators_.begin(), accumulators_.end(),
                                 [](const Accumulator& accumulator) { return accumulator.products == 0; });
  const auto number = static_cast<size_t>(free - accumulators_.begin());
  if (free == accumulators_.end()) accumulators_.emplace_back();
  Accumulator& accumulator = accumulators_[number];
  accumulator.instruction = &instruction;
  accumulator.columns = columnsOf(instruction);
  accumulator.sums.assign(static_cast<size_t>(kProductRows * accumulator.columns), 0.f);
  accumulator.poison.assign(static_cast<size_t>(count), 0);
  for (int r = 0; r < count; r++) {
    const Operand& operand = instruction.operand[r];
    accumulating_[numberOf(operand)] = static_cast<uint32_t>(number) + 1;
    owner_[static_cast<size_t>(operand.row)] = operand.virtualRegister;
    if (!accumulates) continue;
    accumulator.poison[static_cast<size_t>(r)] = warp.poisonOf(operand);
    const auto* row = warp.read<float>(operand);
    for (int lane = 0; lane < kLanes; lane++) accumulator.sums[indexOf(r, lane, accumulator.columns)] = row[lane];
  }
  return number;
}

// Operands: accumulators, A (four registers or a descriptor), descriptor of B, scale-d.
void WarpgroupProducts::issue(Cta& cta, Warp& warp, const Instruction& instruction) {
  checkFence(cta, warp, instruction);
  const Operand* next = instruction.operand + sumsOf(instruction);
  WarpgroupProduct& product = products_.emplace_back();
  product.instruction = &instruction;
  product.group = group_;
  const auto descriptor = [&](const Operand& operand) {
    cta.checkDefined(warp, operand, kAllLanes, "a matrix descriptor");
    const auto* bits = warp.read<uint64_t>(operand);
    if (std::any_of(bits, bits + kLanes, [&](uint64_t other) { return other != bits[0]; }))
      cta.report(warp, -1, "wgmma-descriptor", "the matrix descriptor differs between lanes");
    return bits[0];
  };
  if (instruction.mode & kRegistersA) {
    for (size_t k = 0; k < 4; k++, next++) {
      std::copy_n(warp.read<uint32_t>(*next), kLanes, product.registersA[k].lane.begin());
      product.poisonA[k] = warp.poisonOf(*next);
      readAsA_[numberOf(*next)]++;
    }
  } else {
    product.descriptorA = descriptor(*next++);
  }
  product.descriptorB = descriptor(*next++);
  cta.checkDefined(warp, *next, kAllLanes, "scale-d");
  const LaneMask scale = warp.predicate(*next);
  if (scale != 0 && scale != kAllLanes) cta.report(warp, -1, "divergence", "scale-d differs between lanes");
  product.accumulates = scale != 0;
  const WarpgroupOrder::Issue issued{&instruction, product.descriptorA, product.descriptorB, product.accumulates};
  if (!cta.warpgroups[warp.id / 4].add(warp.id, issued))
    cta.report(warp, -1, "wgmma-warpgroup",
               "the warps of a warpgroup issue different wgmma, or through different descriptors");
  product.accumulator = accumulatorOf(cta, warp, instruction, product.accumulates);
  accumulators_[product.accumulator].products++;
  product.known = warp.known.local;
  product.proxied = warp.proxied;
  product.lastSync = warp.lastSync;
  warp.tick();
  cta.counters.tensorFlops += static_cast<uint64_t>(2 * kProductRows * columnsOf(instruction) * kProductDepth);
  const bool mayBegin = std::all_of(products_.begin(), products_.end() - 1,
                                    [](const WarpgroupProduct& earlier) { return earlier.isComputed; });
  if (!cta.completesLate() && mayBegin) compute(cta, warp, product);
}

void WarpgroupProducts::compute(Cta& cta, Warp& warp, WarpgroupProduct& product) {
  const Cta::Executing executing(cta, product.instruction);
  product.isComputed = true;
  Accumulator& accumulator = accumulators_[product.accumulator];
  if (!product.accumulates) {
    std::fill(accumulator.sums.begin(), accumulator.sums.end(), 0.f);
    std::fill(accumulator.poison.begin(), accumulator.poison.end(), 0);
  }
  ProductRowsA a;
  readRows(cta, warp, product, a);
  const ProductColumns& b = readColumns(cta, warp, product);
  multiplyAccumulate(accumulator.sums.data(), accumulator.columns, a, b);
  if (a.undefined.none() && b.undefined.none()) return;
  // An element is poison where its row of A or its column of B is.
  for (size_t r = 0; r < accumulator.poison.size(); r++) {
    for (int lane = 0; lane < kLanes; lane++) {
      const size_t index = indexOf(static_cast<int>(r), lane, accumulator.columns);
      const size_t row = index / static_cast<size_t>(accumulator.columns),
                   column = index % static_cast<size_t>(accumulator.columns);
      accumulator.poison[r] |= static_cast<LaneMask>(a.undefined[row] || b.undefined[column]) << lane;
    }
  }
}

void WarpgroupProducts::release(Warp& warp, const WarpgroupProduct& product) {
  const Instruction& instruction = *product.instruction;
  if (instruction.mode & kRegistersA)
    for (int k = 0; k < 4; k++) readAsA_[numberOf(instruction.operand[sumsOf(instruction) + k])]--;
  Accumulator& accumulator = accumulators_[product.accumulator];
  if (--accumulator.products) return;
  for (int r = 0; r < sumsOf(*accumulator.instruction); r++) {
    const Operand& operand = accumulator.instruction->operand[r];
    accumulating_[numberOf(operand)] = 0;
    int32_t& owner = owner_[static_cast<size_t>(operand.row)];
    if (owner != operand.virtualRegister) continue;
    owner = -1;
    auto* row = warp.write<float>(operand);
    for (int lane = 0; lane < kLanes; lane++)
      row[lane] = canonical(accumulator.sums[indexOf(r, lane, accumulator.columns)]);
    warp.setPoison(operand, kAllLanes, accumulator.poison[static_cast<size_t>(r)]);
  }
}

void WarpgroupProducts::wait(Cta& cta, Warp& warp, int64_t keep) {
  while (!products_.empty() && static_cast<int64_t>(group_) - products_.front().group > keep) {
    if (!products_.front().isComputed) compute(cta, warp, products_.front());
    release(warp, products_.front());
    products_.pop_front();
  }
  warp.tick();
}

}  // namespace fovea::simulator
