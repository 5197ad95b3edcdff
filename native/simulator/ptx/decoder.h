// What an instruction family sees while it decodes one statement: the mnemonic's parts, the arguments, and the means to
// turn arguments into operands. Families register a decoder per first word of the mnemonic (exec/registry.h).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ptx/program.h"

namespace fovea::simulator {

class BodyParser;

// One argument as written.
struct Argument {
  enum class Kind : uint8_t { kWord, kVector, kAddress };
  Kind kind = Kind::kWord;
  std::string text;                      // register, number, symbol; with a leading '-' for negative numbers
  std::string second;                    // what follows '|'
  bool negated = false;                  // '!' before a predicate
  std::vector<std::string> elements;     // {a, b, …}
  int64_t offset = 0;                    // [text + offset]
  std::vector<std::string> coordinates;  // [text, {x, y}]
};

struct Statement {
  std::string_view mnemonic;
  std::vector<std::string_view> parts;  // the mnemonic split at '.'
  std::vector<Argument> arguments;
  uint32_t line = 0;
};

class Decoder {
 public:
  Decoder(BodyParser& body, const Statement& statement, Instruction& instruction)
      : body_(body), statement_(statement), instruction_(instruction) {}

  Instruction& instruction() { return instruction_; }
  const Statement& statement() const { return statement_; }

  bool has(std::string_view part) const;
  std::string_view part(size_t index) const;
  // The last type among the modifiers, or the one before it, …; kNone when there are fewer.
  Type type(int fromEnd = 0) const;
  size_t argumentCount() const { return statement_.arguments.size(); }
  const Argument& argument(size_t index) const;

  // Adds an operand. A register must be of the type's class unless `anyWidth` (ld, st, cvt).
  void define(const std::string& text, Type type, bool anyWidth = false);
  void use(const std::string& text, Type type, bool anyWidth = false);
  // A register that is both read and written.
  void update(const std::string& text, Type type);
  void define(size_t argument, Type type, bool anyWidth = false);
  void use(size_t argument, Type type, bool anyWidth = false);
  void usePredicate(const std::string& text, bool negated);
  void useConstant(uint64_t value, Type type);

  // Adds the address of a [base+offset] argument: one operand (32 or 64 bits wide) and Instruction::immediate. Returns
  // the space that a symbol names, or `space`.
  Space address(size_t argument, Space space);

  // The usual shape: destination and all sources have the instruction's last type.
  void allOfType(Type type);

  bool isRegister(const std::string& text) const;
  RegisterClass classOfRegister(const std::string& text) const;
  // The argument as an integer literal.
  int64_t integer(size_t argument) const;

  // Control flow.
  void branchTo(const std::string& label);
  void branchTable(const std::string& name);
  void markCommunicating();
  void markProducts();

  [[noreturn]] void fail(const std::string& message) const;
  [[noreturn]] void unsupported() const;

 private:
  BodyParser& body_;
  const Statement& statement_;
  Instruction& instruction_;
};

using DecodeFunction = void (*)(Decoder&);

}  // namespace fovea::simulator
