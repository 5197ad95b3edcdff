// Decodes the body of one kernel. Called device functions are expanded in place: every call site gets its own copy,
// with parameters in thread-local memory, so the executor needs no call stack.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ptx/decoder.h"
#include "ptx/literal.h"
#include "ptx/module.h"

namespace fovea::simulator {

// Shared addresses start here (the first KiB is the system's, as on hardware), so that address 0 is never valid.
constexpr uint32_t kSharedBase = 1024;
constexpr uint32_t kLocalBase = 1024;

/// Where dynamic shared memory begins. ptxas (13.0) fills static memory up to a multiple of the alignment and puts the
/// rest behind it: an alignment of more than 1 KiB is of this place from kSharedBase on, not of the address.
inline uint32_t dynamicSharedBase(const Kernel& kernel) {
  return kSharedBase + static_cast<uint32_t>(alignUp(kernel.staticSharedBytes, kernel.dynamicSharedAlignment));
}

class BodyParser {
 public:
  BodyParser(const Module& module, const Module::AddressOf& addressOf);

  std::unique_ptr<Kernel> parse(const FunctionText& entry);

 private:
  friend class Decoder;

  struct Symbol {
    Space space = Space::kGlobal;
    uint64_t value = 0;
    bool dynamicShared = false;
  };
  struct RegisterRange {
    RegisterClass registerClass = RegisterClass::kWord;
    int first = 0;
    int count = 0;  // 0: a single register without a number
  };
  struct Scope {
    int parent = -1;
    std::unordered_map<std::string, RegisterRange> registers;  // by name, or by prefix for %r<8>
    std::unordered_map<std::string, int> labels;
    std::unordered_map<std::string, Symbol> symbols;
    std::unordered_map<std::string, std::vector<std::string>> branchTables;
  };
  struct Fixup {
    size_t instruction = 0;
    std::string label;
    int scope = 0;
    bool isTable = false;
    uint32_t line = 0;
  };

  // Parses up to the matching '}'. A `ret` jumps to `endLabel` when this is an expanded call.
  void block(TokenCursor& cursor, const std::string& endLabel);
  void registers(TokenCursor& cursor);
  void variables(TokenCursor& cursor, Space space);
  void location(TokenCursor& cursor);
  void statement(TokenCursor& cursor, const std::string& endLabel);
  void emit(Statement statement, Instruction instruction);
  void call(const Statement& statement, const Instruction& guard);
  std::vector<Argument> arguments(TokenCursor& cursor);
  Argument argument(TokenCursor& cursor);
  int openScope(int parent);
  int placeLocal(const Variable& variable);
  void placeShared(Scope& scope, const Variable& variable);
  void resolveLabels();
  void finish();

  bool findRegister(std::string_view name, RegisterClass& registerClass, int& number) const;
  const Symbol* findSymbol(const std::string& name) const;
  Operand constant(uint64_t value, RegisterClass registerClass, bool dynamicShared = false);
  Operand operand(const std::string& text, Type type, bool anyWidth, uint32_t line);
  void add(Operand operand);

  const Module& module_;
  const Module::AddressOf& addressOf_;
  std::unique_ptr<Kernel> kernel_;
  std::vector<Scope> scopes_;
  int scope_ = 0;
  int depth_ = 0;  // of expanded calls
  int expansions_ = 0;
  std::vector<std::pair<size_t, size_t>> operandRanges_;  // per instruction: first, count
  std::vector<Fixup> fixups_;
  std::map<std::pair<RegisterClass, uint64_t>, int32_t> constantRows_;
  std::map<std::pair<RegisterClass, uint64_t>, int32_t> dynamicRows_;
  int counts_[3] = {0, 0, 0};  // virtual registers per class
  uint32_t location_ = 0;
};

}  // namespace fovea::simulator
