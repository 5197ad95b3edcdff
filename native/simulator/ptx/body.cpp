// Statements, scopes, variables and calls of a kernel body.
#include "ptx/body.h"

#include <algorithm>
#include <cctype>

#include "exec/registry.h"
#include "ptx/literal.h"

namespace fovea::simulator {
namespace {

constexpr int kMaxExpansions = 4096;
constexpr int kMaxCallDepth = 64;

std::vector<std::string_view> split(std::string_view mnemonic) {
  std::vector<std::string_view> parts;
  for (size_t at = 0; at <= mnemonic.size();) {
    const size_t dot = std::min(mnemonic.find('.', at), mnemonic.size());
    parts.push_back(mnemonic.substr(at, dot - at));
    at = dot + 1;
  }
  return parts;
}

}  // namespace

BodyParser::BodyParser(const Module& module, const Module::AddressOf& addressOf)
    : module_(module), addressOf_(addressOf), kernel_(std::make_unique<Kernel>()) {}

std::unique_ptr<Kernel> BodyParser::parse(const FunctionText& entry) {
  kernel_->name = entry.name;
  openScope(-1);
  for (const Variable& shared : module_.sharedVariables()) placeShared(scopes_[0], shared);
  for (const Variable& global : module_.variables())
    scopes_[0].symbols[global.name] = {Space::kGlobal, addressOf_(global.name), false};

  openScope(0);
  for (const Variable& parameter : entry.parameters) {
    Kernel& kernel = *kernel_;
    const auto offset = static_cast<int>(alignUp(kernel.parameterBytes, parameter.alignment));
    kernel.parameters.push_back({parameter.name, offset, static_cast<int>(parameter.size)});
    kernel.parameterBytes = offset + static_cast<int>(parameter.size);
    scopes_[scope_].symbols[parameter.name] = {Space::kParameter, static_cast<uint64_t>(offset), false};
  }
  for (const auto& [directive, values] : entry.limits) {
    if (directive == ".maxntid" || directive == ".reqntid") {
      int threads = 1;
      for (size_t i = 0; i < values.size(); i++) {
        threads *= values[i];
        if (directive == ".reqntid" && i < 3) kernel_->requiredThreads[i] = values[i];
      }
      kernel_->maxThreads = threads;
    } else if (directive == ".maxnreg") {
      kernel_->maxRegisters = values.at(0);
    }
  }
  TokenCursor cursor(module_.tokens(), entry.bodyBegin);
  block(cursor, "");
  finish();
  return std::move(kernel_);
}

int BodyParser::openScope(int parent) {
  scopes_.emplace_back();
  scopes_.back().parent = parent;
  return scope_ = static_cast<int>(scopes_.size()) - 1;
}

void BodyParser::block(TokenCursor& cursor, const std::string& endLabel) {
  const int outer = scope_;
  int depth = 1;
  while (depth > 0) {
    const std::string_view word = cursor.peek();
    if (cursor.accept("{")) {
      openScope(scope_);
      depth++;
    } else if (cursor.accept("}")) {
      scope_ = scopes_[scope_].parent;
      depth--;
    } else if (cursor.accept(";")) {
      continue;
    } else if (cursor.accept(".reg")) {
      registers(cursor);
    } else if (cursor.accept(".local") || cursor.accept(".param")) {
      variables(cursor, Space::kLocal);
    } else if (cursor.accept(".shared")) {
      variables(cursor, Space::kShared);
    } else if (cursor.accept(".loc")) {
      location(cursor);
    } else if (cursor.accept(".pragma")) {
      while (!cursor.accept(";")) cursor.next();
    } else if (cursor.peek(1) == ":") {
      const std::string label(word);
      cursor.moveTo(cursor.position() + 2);
      if (cursor.accept(".branchtargets")) {
        std::vector<std::string>& table = scopes_[scope_].branchTables[label];
        do table.emplace_back(cursor.next());
        while (cursor.accept(","));
        cursor.expect(";");
      } else {
        scopes_[scope_].labels[label] = static_cast<int>(kernel_->code.size());
      }
    } else {
      statement(cursor, endLabel);
    }
  }
  scope_ = outer;
}

// ---------------------------------------------------------------------------------------------- declarations

void BodyParser::registers(TokenCursor& cursor) {
  while (cursor.peek() == ".v2" || cursor.peek() == ".v4") cursor.fail("vector registers are not supported");
  const std::string_view word = cursor.next();
  const Type type = parseType(word.substr(1));
  if (type == Type::kNone) cursor.fail("unknown register type '" + std::string(word) + "'");
  const RegisterClass registerClass = classOf(type);
  int& count = counts_[static_cast<int>(registerClass)];
  do {
    const std::string name(cursor.next());
    int declared = 0;
    if (cursor.accept("<")) {
      declared = static_cast<int>(cursor.integer());
      cursor.expect(">");
    }
    scopes_[scope_].registers[name] = {registerClass, count, declared};
    count += std::max(declared, 1);
  } while (cursor.accept(","));
  cursor.expect(";");
}

int BodyParser::placeLocal(const Variable& variable) {
  const auto offset = static_cast<int>(alignUp(kernel_->localBytes, std::max(variable.alignment, 1)));
  kernel_->localBytes = offset + static_cast<int>(variable.size);
  return offset + static_cast<int>(kLocalBase);
}

void BodyParser::placeShared(Scope& scope, const Variable& variable) {
  if (variable.dynamic) {
    kernel_->dynamicSharedAlignment = std::max(kernel_->dynamicSharedAlignment, variable.alignment);
    scope.symbols[variable.name] = {Space::kShared, 0, true};
    return;
  }
  const auto offset = static_cast<int>(alignUp(kernel_->staticSharedBytes, std::max(variable.alignment, 1)));
  kernel_->staticSharedBytes = offset + static_cast<int>(variable.size);
  scope.symbols[variable.name] = {Space::kShared, kSharedBase + static_cast<uint64_t>(offset), false};
}

void BodyParser::variables(TokenCursor& cursor, Space space) {
  do {
    const Variable variable = cursor.variable(space);
    if (space == Space::kShared) {
      placeShared(scopes_[scope_], variable);
    } else {
      scopes_[scope_].symbols[variable.name] = {Space::kLocal, static_cast<uint64_t>(placeLocal(variable)), false};
    }
  } while (cursor.accept(","));
  cursor.expect(";");
}

void BodyParser::location(TokenCursor& cursor) {
  SourceLocation location;
  location.file = static_cast<int>(cursor.integer());
  location.line = static_cast<int>(cursor.integer());
  cursor.integer();  // column
  while (cursor.accept(",")) {
    const std::string_view attribute = cursor.next();
    if (attribute == "function_name") {
      cursor.next();
      if (cursor.accept("+")) cursor.integer();
    } else if (attribute == "inlined_at") {
      location.inlinedFile = static_cast<int>(cursor.integer());
      location.inlinedLine = static_cast<int>(cursor.integer());
      cursor.integer();
    } else {
      cursor.fail("unknown .loc attribute '" + std::string(attribute) + "'");
    }
  }
  if (!(kernel_->locations.back() == location)) kernel_->locations.push_back(location);
  location_ = static_cast<uint32_t>(kernel_->locations.size()) - 1;
}

// ---------------------------------------------------------------------------------------------- statements

Argument BodyParser::argument(TokenCursor& cursor) {
  const auto word = [&] {
    std::string text = cursor.accept("-") ? "-" : "";
    return text + std::string(cursor.next());
  };
  Argument result;
  if (cursor.accept("{") || cursor.peek() == "(") {
    const bool isGroup = cursor.accept("(");
    const std::string_view close = isGroup ? ")" : "}";
    result.kind = Argument::Kind::kVector;
    while (!cursor.accept(close)) {
      if (!cursor.accept(",")) result.elements.push_back(word());
    }
  } else if (cursor.accept("[")) {
    result.kind = Argument::Kind::kAddress;
    result.text = word();
    if (cursor.accept("+")) {
      result.offset = cursor.integer();
    } else if (cursor.peek() == "-") {
      result.offset = cursor.integer();
    }
    if (cursor.accept(",")) {
      cursor.expect("{");
      while (!cursor.accept("}")) {
        if (!cursor.accept(",")) result.coordinates.push_back(word());
      }
    }
    cursor.expect("]");
  } else {
    result.negated = cursor.accept("!");
    result.text = word();
    if (cursor.accept("|")) result.second = std::string(cursor.next());
  }
  return result;
}

std::vector<Argument> BodyParser::arguments(TokenCursor& cursor) {
  std::vector<Argument> list;
  while (!cursor.accept(";")) {
    if (!cursor.accept(",")) list.push_back(argument(cursor));
  }
  return list;
}

void BodyParser::statement(TokenCursor& cursor, const std::string& endLabel) {
  Instruction instruction;
  if (cursor.accept("@")) {
    instruction.guardNegated = cursor.accept("!");
    RegisterClass registerClass{};
    int number = 0;
    if (!findRegister(cursor.peek(), registerClass, number) || registerClass != RegisterClass::kPredicate)
      cursor.fail("the guard '" + std::string(cursor.peek()) + "' is not a predicate register");
    instruction.guard = number;
    cursor.next();
  }
  Statement statement;
  statement.line = cursor.line();
  statement.mnemonic = cursor.next();
  if (!std::isalpha(static_cast<unsigned char>(statement.mnemonic.front())) && statement.mnemonic.front() != '_')
    throw PtxError(statement.line, "unexpected '" + std::string(statement.mnemonic) + "'");
  statement.arguments = arguments(cursor);
  if (statement.mnemonic == "ret" || statement.mnemonic == "ret.uni") {
    if (!endLabel.empty()) {
      statement.mnemonic = "bra";
      statement.arguments.emplace_back();
      statement.arguments[0].text = endLabel;
    }
  }
  emit(std::move(statement), instruction);
}

void BodyParser::emit(Statement statement, Instruction instruction) {
  statement.parts = split(statement.mnemonic);
  if (statement.parts[0] == "call") {
    call(statement, instruction);
    return;
  }
  const DecodeFunction decode = findDecoder(statement.parts[0]);
  if (!decode) throw PtxError(statement.line, "unknown instruction '" + std::string(statement.mnemonic) + "'");
  instruction.line = statement.line;
  instruction.location = location_;
  instruction.mnemonic = statement.mnemonic;
  const size_t first = kernel_->operands.size();
  Decoder decoder(*this, statement, instruction);
  decode(decoder);
  instruction.operandCount = static_cast<uint16_t>(kernel_->operands.size() - first);
  operandRanges_.emplace_back(first, instruction.operandCount);
  kernel_->code.push_back(instruction);
}

// Expands a call: the callee's parameters become names for the caller's parameter variables, its body is parsed in a
// scope of its own, and its returns jump behind it.
void BodyParser::call(const Statement& statement, const Instruction& guard) {
  const auto fail = [&](const std::string& message) { throw PtxError(statement.line, message); };
  if (guard.guard >= 0) fail("a predicated call is not supported");
  size_t at = 0;
  std::vector<std::string> results;
  if (statement.arguments.at(0).kind == Argument::Kind::kVector) results = statement.arguments[at++].elements;
  const std::string callee = statement.arguments.at(at++).text;
  std::vector<std::string> parameters;
  if (at < statement.arguments.size()) parameters = statement.arguments[at].elements;

  const auto found = module_.functions().find(callee);
  if (found == module_.functions().end()) fail("call of '" + callee + "': indirect calls are not supported");
  const FunctionText& function = found->second;
  const int caller = scope_;
  if (function.bodyBegin == 0) {  // the runtime's own functions
    if (callee != "__assertfail") fail("call of the undefined function '" + callee + "'");
    Statement assertion;
    assertion.mnemonic = "__assertfail";
    assertion.line = statement.line;
    emit(std::move(assertion), {});
    return;
  }
  if (++depth_ > kMaxCallDepth || ++expansions_ > kMaxExpansions) fail("calls nest too deeply (recursion?)");
  if (results.size() != function.results.size() || parameters.size() != function.parameters.size())
    fail("call of '" + callee + "' with a wrong number of arguments");
  const auto symbolOf = [&](const std::string& name) {
    const Symbol* symbol = findSymbol(name);
    if (!symbol) fail("unknown parameter variable '" + name + "'");
    return *symbol;
  };
  Scope inner;
  inner.parent = 0;
  for (size_t i = 0; i < results.size(); i++) inner.symbols[function.results[i].name] = symbolOf(results[i]);
  for (size_t i = 0; i < parameters.size(); i++) inner.symbols[function.parameters[i].name] = symbolOf(parameters[i]);
  scopes_.push_back(std::move(inner));
  const int scope = scope_ = static_cast<int>(scopes_.size()) - 1;
  const uint32_t location = location_;
  TokenCursor cursor(module_.tokens(), function.bodyBegin);
  const std::string endLabel = "return from " + callee;
  block(cursor, endLabel);
  scopes_[scope].labels[endLabel] = static_cast<int>(kernel_->code.size());
  scope_ = caller;
  location_ = location;
  depth_--;
}

}  // namespace fovea::simulator
