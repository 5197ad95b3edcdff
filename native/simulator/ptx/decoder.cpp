// Arguments to operands, and literals to bits.
#include "ptx/decoder.h"

#include <bit>
#include <cstring>

#include "ptx/body.h"
#include "ptx/literal.h"

namespace fovea::simulator {

uint64_t parseLiteral(const std::string& text, Type type, uint32_t line) {
  const bool negative = !text.empty() && text[0] == '-';
  const std::string digits = negative ? text.substr(1) : text;
  const bool hexadecimal = digits.size() > 2 && digits[0] == '0';
  if (hexadecimal && (digits[1] == 'f' || digits[1] == 'F') && digits.size() == 10) {
    auto bits = static_cast<uint32_t>(std::stoul(digits.substr(2), nullptr, 16));
    if (negative) bits ^= 0x80000000u;
    return type == Type::kF64 ? std::bit_cast<uint64_t>(static_cast<double>(std::bit_cast<float>(bits))) : bits;
  }
  if (hexadecimal && (digits[1] == 'd' || digits[1] == 'D') && digits.size() == 18) {
    uint64_t bits = std::stoull(digits.substr(2), nullptr, 16);
    if (negative) bits ^= 1ull << 63;
    return type == Type::kF32 ? std::bit_cast<uint32_t>(static_cast<float>(std::bit_cast<double>(bits))) : bits;
  }
  if (digits.find('.') != std::string::npos) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (*end == '\0' && type == Type::kF64) return std::bit_cast<uint64_t>(value);
    if (*end == '\0' && type == Type::kF32) return std::bit_cast<uint32_t>(static_cast<float>(value));
  }
  if (digits.empty() || digits[0] < '0' || digits[0] > '9') throw PtxError(line, "unknown name '" + text + "'");
  return static_cast<uint64_t>(parseInteger(text, line));
}

void writeConstant(Kernel& kernel, const Operand& operand, uint64_t value) {
  for (int lane = 0; lane < kLanes; lane++) {
    if (operand.registerClass == RegisterClass::kDouble) {
      auto* bytes = reinterpret_cast<char*>(kernel.constants.data() + operand.row);
      std::memcpy(bytes + lane * 8, &value, 8);
    } else {
      kernel.constants[operand.row].lane[lane] = static_cast<uint32_t>(value);
    }
  }
}

bool Decoder::has(std::string_view part) const {
  for (size_t i = 1; i < statement_.parts.size(); i++)
    if (statement_.parts[i] == part) return true;
  return false;
}

std::string_view Decoder::part(size_t index) const {
  return index < statement_.parts.size() ? statement_.parts[index] : std::string_view();
}

Type Decoder::type(int fromEnd) const {
  for (size_t i = statement_.parts.size(); i-- > 1;) {
    const Type type = parseType(statement_.parts[i]);
    if (type != Type::kNone && fromEnd-- == 0) return type;
  }
  return Type::kNone;
}

const Argument& Decoder::argument(size_t index) const {
  if (index >= statement_.arguments.size()) fail("too few arguments");
  return statement_.arguments[index];
}

void Decoder::define(const std::string& text, Type type, bool anyWidth) {
  Operand operand;
  operand.registerClass = classOf(type);
  if (text != "_") {
    if (!isRegister(text)) fail("the destination '" + text + "' is not a register");
    operand = body_.operand(text, type, anyWidth, statement_.line);
  }
  operand.defines = true;
  body_.add(operand);
}

void Decoder::use(const std::string& text, Type type, bool anyWidth) {
  Operand operand = body_.operand(text, type, anyWidth, statement_.line);
  operand.uses = true;
  body_.add(operand);
}

void Decoder::update(const std::string& text, Type type) {
  if (!isRegister(text)) fail("'" + text + "' is not a register");
  Operand operand = body_.operand(text, type, false, statement_.line);
  operand.defines = true;
  operand.uses = true;
  body_.add(operand);
}

void Decoder::define(size_t index, Type type, bool anyWidth) { define(argument(index).text, type, anyWidth); }

void Decoder::use(size_t index, Type type, bool anyWidth) {
  const Argument& source = argument(index);
  if (source.kind != Argument::Kind::kWord)
    fail("argument " + std::to_string(index + 1) + " must be a register or constant");
  if (type == Type::kPredicate) {
    usePredicate(source.text, source.negated);
  } else {
    use(source.text, type, anyWidth);
  }
}

void Decoder::usePredicate(const std::string& text, bool negated) {
  Operand operand = body_.operand(text, Type::kPredicate, false, statement_.line);
  operand.uses = true;
  operand.negated = negated;
  body_.add(operand);
}

void Decoder::useConstant(uint64_t value, Type type) { body_.add(body_.constant(value, classOf(type))); }

Space Decoder::address(size_t index, Space space) {
  const Argument& source = argument(index);
  if (source.kind != Argument::Kind::kAddress) fail("argument " + std::to_string(index + 1) + " must be an [address]");
  Operand operand;
  if (isRegister(source.text)) {
    operand = body_.operand(source.text, Type::kB64, true, statement_.line);
  } else if (const auto* symbol = body_.findSymbol(source.text)) {
    operand = body_.constant(symbol->value, RegisterClass::kDouble, symbol->dynamicShared);
    if (space == Space::kParameter || space == Space::kConstant) space = symbol->space;
  } else {
    operand = body_.constant(parseLiteral(source.text, Type::kB64, statement_.line), RegisterClass::kDouble);
  }
  operand.uses = true;
  body_.add(operand);
  instruction_.immediate = source.offset;
  return space;
}

void Decoder::allOfType(Type type) {
  instruction_.type = type;
  define(0, type);
  for (size_t i = 1; i < argumentCount(); i++) use(i, type);
}

bool Decoder::isRegister(const std::string& text) const {
  RegisterClass registerClass{};
  int number = 0;
  return body_.findRegister(text, registerClass, number);
}

RegisterClass Decoder::classOfRegister(const std::string& text) const {
  RegisterClass registerClass = RegisterClass::kWord;
  int number = 0;
  body_.findRegister(text, registerClass, number);
  return registerClass;
}

int64_t Decoder::integer(size_t index) const { return parseInteger(argument(index).text, statement_.line); }

void Decoder::branchTo(const std::string& label) {
  instruction_.flow = Flow::kBranch;
  body_.fixups_.push_back({body_.kernel_->code.size(), label, body_.scope_, false, statement_.line});
}

void Decoder::branchTable(const std::string& name) {
  instruction_.flow = Flow::kTable;
  body_.fixups_.push_back({body_.kernel_->code.size(), name, body_.scope_, true, statement_.line});
}

void Decoder::markCommunicating() { body_.kernel_->communicates = true; }

void Decoder::markProducts() { body_.kernel_->usesProducts = true; }

void Decoder::fail(const std::string& message) const {
  throw PtxError(statement_.line, std::string(statement_.mnemonic) + ": " + message);
}

void Decoder::unsupported() const { fail("this form is not known to the simulator"); }

}  // namespace fovea::simulator
