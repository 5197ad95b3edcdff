// Names in a kernel body: registers, symbols, constants, labels; and what is left to do at its end.
#include <cctype>

#include "ptx/body.h"
#include "ptx/literal.h"
#include "ptx/slots.h"

namespace fovea::simulator {

// ---------------------------------------------------------------------------------------------- names and operands

bool BodyParser::findRegister(std::string_view name, RegisterClass& registerClass, int& number) const {
  size_t digits = name.size();
  while (digits > 0 && std::isdigit(static_cast<unsigned char>(name[digits - 1]))) digits--;
  const std::string whole(name);
  const std::string prefix(name.substr(0, digits));
  const int index = digits < name.size() && name.size() - digits < 9 ? std::stoi(whole.substr(digits)) : -1;
  for (int scope = scope_; scope >= 0; scope = scopes_[scope].parent) {
    const auto& registers = scopes_[scope].registers;
    if (const auto found = registers.find(whole); found != registers.end() && found->second.count == 0) {
      registerClass = found->second.registerClass;
      number = found->second.first;
      return true;
    }
    if (index < 0) continue;
    if (const auto found = registers.find(prefix); found != registers.end() && index < found->second.count) {
      registerClass = found->second.registerClass;
      number = found->second.first + index;
      return true;
    }
  }
  return false;
}

const BodyParser::Symbol* BodyParser::findSymbol(const std::string& name) const {
  for (int scope = scope_; scope >= 0; scope = scopes_[scope].parent) {
    const auto found = scopes_[scope].symbols.find(name);
    if (found != scopes_[scope].symbols.end()) return &found->second;
  }
  return nullptr;
}

Operand BodyParser::constant(uint64_t value, RegisterClass registerClass, bool dynamicShared) {
  Operand operand;
  operand.registerClass = registerClass;
  operand.isConstant = true;
  operand.uses = true;
  if (registerClass == RegisterClass::kPredicate) {
    operand.row = value != 0;
    return operand;
  }
  if (registerClass == RegisterClass::kWord) value &= 0xffffffffu;
  auto& known = dynamicShared ? dynamicRows_ : constantRows_;
  const auto [entry, isNew] =
      known.try_emplace({registerClass, value}, static_cast<int32_t>(kernel_->constants.size()));
  operand.row = entry->second;
  if (isNew) {
    const bool isDouble = registerClass == RegisterClass::kDouble;
    kernel_->constants.resize(kernel_->constants.size() + (isDouble ? 2 : 1));
    writeConstant(*kernel_, operand, value);
  }
  return operand;
}

Operand BodyParser::operand(const std::string& text, Type type, bool anyWidth, uint32_t line) {
  RegisterClass registerClass{};
  int number = 0;
  if (findRegister(text, registerClass, number)) {
    if (registerClass != classOf(type) && !(anyWidth && registerClass != RegisterClass::kPredicate))
      throw PtxError(line, "register " + text + " has the wrong size for type " + std::string(nameOf(type)));
    Operand operand;
    operand.registerClass = registerClass;
    operand.virtualRegister = number;
    return operand;
  }
  if (const Symbol* symbol = findSymbol(text)) return constant(symbol->value, classOf(type), symbol->dynamicShared);
  return constant(parseLiteral(text, type, line), classOf(type));
}

void BodyParser::add(Operand operand) { kernel_->operands.push_back(operand); }

// ---------------------------------------------------------------------------------------------- finishing

void BodyParser::resolveLabels() {
  const auto find = [&](const std::string& label, int scope, uint32_t line) {
    for (; scope >= 0; scope = scopes_[scope].parent) {
      const auto found = scopes_[scope].labels.find(label);
      if (found != scopes_[scope].labels.end()) return found->second;
    }
    throw PtxError(line, "undefined label '" + label + "'");
  };
  for (const Fixup& fixup : fixups_) {
    Instruction& instruction = kernel_->code[fixup.instruction];
    if (!fixup.isTable) {
      instruction.target = find(fixup.label, fixup.scope, fixup.line);
      continue;
    }
    const std::vector<std::string>* labels = nullptr;
    for (int scope = fixup.scope; scope >= 0 && !labels; scope = scopes_[scope].parent) {
      const auto found = scopes_[scope].branchTables.find(fixup.label);
      if (found != scopes_[scope].branchTables.end()) labels = &found->second;
    }
    if (!labels) throw PtxError(fixup.line, "undefined branch table '" + fixup.label + "'");
    instruction.target = static_cast<int32_t>(kernel_->branchTables.size());
    std::vector<int32_t>& table = kernel_->branchTables.emplace_back();
    for (const std::string& label : *labels) table.push_back(find(label, fixup.scope, fixup.line));
  }
}

void BodyParser::finish() {
  Kernel& kernel = *kernel_;
  // Falling off the end is a return; a label may stand there.
  Statement end;
  end.mnemonic = "exit";
  end.line = kernel.code.empty() ? 0 : kernel.code.back().line;
  emit(std::move(end), {});
  resolveLabels();
  for (size_t i = 0; i < kernel.code.size(); i++) {
    kernel.code[i].operand = kernel.operands.data() + operandRanges_[i].first;
  }
  for (const auto& [key, row] : dynamicRows_) {
    const uint64_t base = dynamicSharedBase(kernel);
    Operand operand;
    operand.row = row;
    operand.registerClass = key.first;
    writeConstant(kernel, operand, base);
  }
  kernel.virtualWords = counts_[static_cast<int>(RegisterClass::kWord)];
  assignSlots(kernel, counts_);
}

}  // namespace fovea::simulator
