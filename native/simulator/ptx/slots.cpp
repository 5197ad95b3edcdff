// Liveness analysis and linear scan.
#include "ptx/slots.h"

#include <algorithm>
#include <climits>
#include <queue>
#include <utility>

namespace fovea::simulator {
namespace {

class BitSet {
 public:
  explicit BitSet(size_t bits) : words_((bits + 63) / 64) {}
  void insert(size_t bit) { words_[bit / 64] |= 1ull << (bit % 64); }
  bool contains(size_t bit) const { return words_[bit / 64] >> (bit % 64) & 1; }
  void unite(const BitSet& other) {
    for (size_t i = 0; i < words_.size(); i++) words_[i] |= other.words_[i];
  }
  // this = used | (out & ~defined); true when that changed it.
  bool assignLiveIn(const BitSet& used, const BitSet& out, const BitSet& defined) {
    bool changed = false;
    for (size_t i = 0; i < words_.size(); i++) {
      const uint64_t value = used.words_[i] | (out.words_[i] & ~defined.words_[i]);
      changed |= value != words_[i];
      words_[i] = value;
    }
    return changed;
  }
  template <class Visit>
  void each(Visit visit) const {
    for (size_t i = 0; i < words_.size(); i++)
      for (uint64_t word = words_[i]; word; word &= word - 1)
        visit(i * 64 + static_cast<size_t>(__builtin_ctzll(word)));
  }

 private:
  std::vector<uint64_t> words_;
};

struct Block {
  int begin = 0;
  int end = 0;
  BitSet used, defined, in, out;
  explicit Block(size_t registers) : used(registers), defined(registers), in(registers), out(registers) {}
};

class SlotAssigner {
 public:
  SlotAssigner(Kernel& kernel, const int (&counts)[3]) : kernel_(kernel) {
    for (int c = 0; c < 3; c++) {
      first_[c] = total_;
      count_[c] = counts[c];
      total_ += static_cast<size_t>(counts[c]);
    }
  }

  void run() {
    findBlocks();
    for (Block& block : blocks_) summarize(block);
    propagate();
    measure();
    rewrite();
  }

 private:
  size_t id(const Operand& operand) const {
    return first_[static_cast<int>(operand.registerClass)] + static_cast<size_t>(operand.virtualRegister);
  }
  size_t guardId(const Instruction& instruction) const {
    return first_[static_cast<int>(RegisterClass::kPredicate)] + static_cast<size_t>(instruction.guard);
  }
  template <class Visit>
  void eachSuccessor(const Block& block, Visit visit) const {
    const Instruction& last = kernel_.code[block.end - 1];
    if (last.flow == Flow::kBranch) visit(blockOf_[last.target]);
    if (last.flow == Flow::kTable)
      for (int32_t target : kernel_.branchTables[last.target]) visit(blockOf_[target]);
    const bool fallsThrough = last.flow == Flow::kNext || last.guard >= 0;
    if (fallsThrough && block.end < static_cast<int>(kernel_.code.size())) visit(blockOf_[block.end]);
  }

  void findBlocks() {
    const int size = static_cast<int>(kernel_.code.size());
    std::vector<char> leads(size + 1, 0);
    leads[0] = 1;
    for (int i = 0; i < size; i++) {
      const Instruction& instruction = kernel_.code[i];
      if (instruction.flow == Flow::kNext) continue;
      leads[i + 1] = 1;
      if (instruction.flow == Flow::kBranch) leads[instruction.target] = 1;
      if (instruction.flow == Flow::kTable)
        for (int32_t target : kernel_.branchTables[instruction.target]) leads[target] = 1;
    }
    blockOf_.resize(size);
    for (int i = 0; i < size; i++) {
      if (leads[i]) {
        blocks_.emplace_back(total_);
        blocks_.back().begin = i;
      }
      blocks_.back().end = i + 1;
      blockOf_[i] = static_cast<int>(blocks_.size()) - 1;
    }
  }

  void summarize(Block& block) {
    for (int i = block.begin; i < block.end; i++) {
      const Instruction& instruction = kernel_.code[i];
      const auto use = [&](size_t register_) {
        if (!block.defined.contains(register_)) block.used.insert(register_);
      };
      if (instruction.guard >= 0) use(guardId(instruction));
      for (int k = 0; k < instruction.operandCount; k++) {
        const Operand& operand = instruction.operand[k];
        if (operand.virtualRegister >= 0 && (operand.uses || instruction.guard >= 0)) use(id(operand));
      }
      for (int k = 0; k < instruction.operandCount; k++) {
        const Operand& operand = instruction.operand[k];
        if (operand.virtualRegister >= 0 && operand.defines && instruction.guard < 0) block.defined.insert(id(operand));
      }
    }
  }

  // Backwards until nothing changes; a block is looked at again only when one that follows it has changed.
  void propagate() {
    std::vector<std::vector<size_t>> before(blocks_.size());
    for (size_t b = 0; b < blocks_.size(); b++)
      eachSuccessor(blocks_[b], [&](int successor) { before[static_cast<size_t>(successor)].push_back(b); });
    std::vector<char> stale(blocks_.size(), 1);
    for (bool again = true; again;) {
      again = false;
      for (size_t b = blocks_.size(); b-- > 0;) {
        if (!std::exchange(stale[b], 0)) continue;
        Block& block = blocks_[b];
        eachSuccessor(block, [&](int successor) { block.out.unite(blocks_[successor].in); });
        if (!block.in.assignLiveIn(block.used, block.out, block.defined)) continue;
        for (const size_t other : before[b]) stale[other] = 1;
        again = true;
      }
    }
  }

  // Positions are 2·instruction for reads and 2·instruction + 1 for writes.
  void measure() {
    begin_.assign(total_, INT_MAX);
    end_.assign(total_, -1);
    const auto touch = [&](size_t register_, int position) {
      begin_[register_] = std::min(begin_[register_], position);
      end_[register_] = std::max(end_[register_], position);
    };
    for (const Block& block : blocks_) {
      block.in.each([&](size_t register_) { touch(register_, block.begin * 2); });
      block.out.each([&](size_t register_) { touch(register_, block.end * 2); });
    }
    for (int i = 0; i < static_cast<int>(kernel_.code.size()); i++) {
      const Instruction& instruction = kernel_.code[i];
      if (instruction.guard >= 0) touch(guardId(instruction), i * 2);
      for (int k = 0; k < instruction.operandCount; k++) {
        const Operand& operand = instruction.operand[k];
        if (operand.virtualRegister < 0) continue;
        if (operand.uses) touch(id(operand), i * 2);
        if (operand.defines) touch(id(operand), i * 2 + 1);
      }
    }
  }

  // Rows for the registers of one class; returns how many were needed.
  int scan(RegisterClass registerClass, std::vector<int>& slot) {
    const int c = static_cast<int>(registerClass);
    std::vector<size_t> order;
    for (size_t i = first_[c]; i < first_[c] + static_cast<size_t>(count_[c]); i++)
      if (end_[i] >= 0) order.push_back(i);
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return begin_[a] < begin_[b]; });
    using Active = std::pair<int, int>;  // (end, slot)
    std::priority_queue<Active, std::vector<Active>, std::greater<>> active;
    std::vector<int> free;
    int used = 0;
    for (size_t register_ : order) {
      while (!active.empty() && active.top().first < begin_[register_]) {
        free.push_back(active.top().second);
        active.pop();
      }
      if (free.empty()) free.push_back(used++);
      slot[register_] = free.back();
      free.pop_back();
      active.emplace(end_[register_], slot[register_]);
    }
    return used;
  }

  void rewrite() {
    std::vector<int> slot(total_, 0);
    const int words = scan(RegisterClass::kWord, slot);
    const int doubles = scan(RegisterClass::kDouble, slot);
    const int predicates = scan(RegisterClass::kPredicate, slot);
    // One more of each takes what an instruction drops ("_").
    const int doubleBase = words + 1;
    kernel_.rows = doubleBase + 2 * (doubles + 1);
    kernel_.predicates = predicates + 1;
    kernel_.liveRegisters = words + 2 * doubles;
    for (Operand& operand : kernel_.operands) {
      if (operand.isConstant) continue;
      const bool isSink = operand.virtualRegister < 0;
      const int number = isSink ? 0 : slot[id(operand)];
      if (operand.registerClass == RegisterClass::kWord) operand.row = isSink ? words : number;
      if (operand.registerClass == RegisterClass::kDouble) operand.row = doubleBase + 2 * (isSink ? doubles : number);
      if (operand.registerClass == RegisterClass::kPredicate) operand.row = isSink ? predicates : number;
    }
    for (Instruction& instruction : kernel_.code)
      if (instruction.guard >= 0) instruction.guard = slot[guardId(instruction)];
  }

  Kernel& kernel_;
  size_t total_ = 0;
  size_t first_[3] = {};
  int count_[3] = {};
  std::vector<Block> blocks_;
  std::vector<int> blockOf_;
  std::vector<int> begin_, end_;
};

}  // namespace

void assignSlots(Kernel& kernel, const int (&counts)[3]) { SlotAssigner(kernel, counts).run(); }

}  // namespace fovea::simulator
