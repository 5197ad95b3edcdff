// One PTX text: its target, module-level variables, source files and functions. Kernels are decoded on demand, so that
// a module with many kernels loads fast.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ptx/lexer.h"
#include "ptx/program.h"

namespace fovea::simulator {

// A .global, .const, .shared, .local or .param variable.
struct Variable {
  std::string name;
  Space space = Space::kGlobal;
  int alignment = 1;
  int64_t size = 0;
  bool dynamic = false;  // extern .shared array[]: its size is the launch's
  std::vector<uint8_t> initial;
  std::vector<std::pair<int64_t, std::string>> references;  // (offset, symbol) of addresses inside `initial`
};

// The tokens of one .entry or .func.
struct FunctionText {
  std::string name;
  bool isEntry = false;
  std::vector<Variable> results;                                 // .func only
  std::vector<Variable> parameters;                              // in order
  size_t bodyBegin = 0;                                          // first token after '{'; 0 for a declaration
  std::vector<std::pair<std::string, std::vector<int>>> limits;  // .maxntid and friends
};

class Module {
 public:
  // Gives the device address of a module-level .global or .const variable.
  using AddressOf = std::function<uint64_t(const std::string&)>;

  // Throws PtxError.
  explicit Module(std::string source);

  const std::string& target() const { return target_; }  // "sm_80", "sm_90a"
  const std::vector<Variable>& variables() const { return variables_; }
  const std::vector<Variable>& sharedVariables() const { return shared_; }
  const std::map<std::string, FunctionText, std::less<>>& functions() const { return functions_; }
  const std::vector<Token>& tokens() const { return tokens_; }
  // Path of a source file, by its .file number; empty when unknown.
  const std::string& file(int number) const;

  // Throws PtxError when the kernel uses what the simulator does not know.
  std::unique_ptr<Kernel> decode(const std::string& entry, const AddressOf& addressOf) const;

 private:
  std::string source_;
  std::vector<Token> tokens_;
  std::string target_;
  std::vector<Variable> variables_;
  std::vector<Variable> shared_;
  std::map<std::string, FunctionText, std::less<>> functions_;
  std::map<int, std::string> files_;

  friend class ModuleParser;
};

// A cursor over tokens, shared by the module and function parsers.
class TokenCursor {
 public:
  TokenCursor(const std::vector<Token>& tokens, size_t at) : tokens_(tokens), at_(at) {}

  bool atEnd() const { return at_ >= tokens_.size(); }
  size_t position() const { return at_; }
  void moveTo(size_t position) { at_ = position; }
  uint32_t line() const { return tokens_.empty() ? 0 : tokens_[std::min(at_, tokens_.size() - 1)].line; }
  std::string_view peek(size_t ahead = 0) const {
    return at_ + ahead < tokens_.size() ? tokens_[at_ + ahead].text : std::string_view();
  }
  std::string_view next() {
    if (atEnd()) fail("unexpected end of the text");
    return tokens_[at_++].text;
  }
  bool accept(std::string_view text) {
    if (peek() != text) return false;
    at_++;
    return true;
  }
  void expect(std::string_view text) {
    if (!accept(text)) fail("expected '" + std::string(text) + "', got '" + std::string(peek()) + "'");
  }
  int64_t integer() {
    const bool negative = accept("-");
    const int64_t value = parseInteger(peek(), line());
    at_++;
    return negative ? -value : value;
  }
  [[noreturn]] void fail(const std::string& message) const { throw PtxError(line(), message); }

  // Parses ".align 16 .b8 name[32] = {…}", after the state space directive; stops before ',' ';' or ')'.
  Variable variable(Space space);

 private:
  std::vector<uint8_t> initialBytes(Type type, Variable& variable);

  const std::vector<Token>& tokens_;
  size_t at_;
};

}  // namespace fovea::simulator
