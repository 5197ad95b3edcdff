// Module level of PTX: directives, variables, the outline of functions.
#include "ptx/module.h"

#include <algorithm>
#include <cstring>

#include "ptx/body.h"

namespace fovea::simulator {

// ---------------------------------------------------------------------------------------------- variables

Variable TokenCursor::variable(Space space) {
  Variable result;
  result.space = space;
  Type type = Type::kNone;
  int elements = 1;
  result.alignment = 0;
  for (; !peek().empty() && peek().front() == '.'; at_++) {
    const std::string_view word = peek();
    if (word == ".align") {
      at_++;
      result.alignment = static_cast<int>(parseInteger(peek(), line()));
    } else if (word == ".v2" || word == ".v4") {
      elements = word == ".v2" ? 2 : 4;
    } else if (word == ".ptr" || word == ".global" || word == ".shared" || word == ".const" || word == ".local" ||
               word == ".managed") {
      continue;  // pointer attributes of a kernel parameter
    } else if (word.rfind(".attribute", 0) == 0) {
      while (peek(1) != ")") at_++;
      at_++;
    } else {
      type = parseType(word.substr(1));
      if (type == Type::kNone) fail("unknown type '" + std::string(word) + "'");
    }
  }
  if (type == Type::kNone) fail("a variable needs a type");
  // ".param .u64 .ptr .align 1 name": the alignment there is the pointee's, but a larger one never hurts.
  result.alignment = std::max(result.alignment, sizeOf(type) * elements);
  result.name = std::string(next());
  int64_t count = elements;
  bool isOpen = false;
  while (accept("[")) {
    if (accept("]")) {
      isOpen = true;
      continue;
    }
    count *= integer();
    expect("]");
  }
  result.size = count * sizeOf(type);
  result.dynamic = isOpen;
  if (accept("=")) {
    result.initial = initialBytes(type, result);
    if (isOpen) result.size = static_cast<int64_t>(result.initial.size());
    result.dynamic = false;
  }
  return result;
}

std::vector<uint8_t> TokenCursor::initialBytes(Type type, Variable& variable) {
  std::vector<uint8_t> bytes;
  const size_t width = static_cast<size_t>(sizeOf(type));
  int depth = 0;
  do {
    if (accept("{")) {
      depth++;
      continue;
    }
    if (accept("}")) {
      depth--;
      continue;
    }
    if (accept(",")) continue;
    uint64_t value = 0;
    const std::string_view text = peek();
    const bool isHexFloat = text.size() > 2 && text[0] == '0' && std::strchr("fFdD", text[1]) && text[1] != '\0';
    if (isHexFloat) {
      value = std::stoull(std::string(text.substr(2)), nullptr, 16);
      at_++;
    } else if (text == "-" || std::isdigit(static_cast<unsigned char>(text.front()))) {
      value = static_cast<uint64_t>(integer());
    } else {
      if (text == "generic") {
        at_++;
        expect("(");
      }
      variable.references.emplace_back(static_cast<int64_t>(bytes.size()), std::string(next()));
      accept(")");
      if (accept("+")) value = static_cast<uint64_t>(integer());
    }
    const size_t at = bytes.size();
    bytes.resize(at + width);
    std::memcpy(&bytes[at], &value, width);
  } while (depth > 0);
  return bytes;
}

// ---------------------------------------------------------------------------------------------- module

class ModuleParser {
 public:
  explicit ModuleParser(Module& module) : module_(module), cursor_(module.tokens_, 0) {}

  void parse() {
    while (!cursor_.atEnd()) {
      const std::string_view word = cursor_.next();
      if (word == ".version" || word == ".address_size") {
        cursor_.next();
      } else if (word == ".target") {
        module_.target_ = std::string(cursor_.next());
        while (cursor_.accept(",")) cursor_.next();
      } else if (word == ".visible" || word == ".extern" || word == ".weak" || word == ".common") {
        continue;
      } else if (word == ".global" || word == ".const" || word == ".shared") {
        variable(word);
      } else if (word == ".entry" || word == ".func") {
        function(word == ".entry");
      } else if (word == ".file") {
        file();
      } else if (word == ".section") {
        cursor_.next();
        skipBraces();
      } else if (word == ".pragma" || word == ".alias") {
        skipPast(";");
      } else if (word == ";") {
        continue;
      } else {
        cursor_.fail("unexpected '" + std::string(word) + "' at module level");
      }
    }
    if (module_.target_.empty()) throw PtxError(1, "no .target directive: not a PTX text");
  }

 private:
  void skipPast(std::string_view text) {
    while (cursor_.next() != text) {
    }
  }
  // The cursor stands before '{' or just inside (depth 1).
  void skipBraces(int depth = 0) {
    if (depth == 0) {
      cursor_.expect("{");
      depth = 1;
    }
    while (depth > 0) {
      const std::string_view word = cursor_.next();
      if (word == "{") depth++;
      if (word == "}") depth--;
    }
  }

  void variable(std::string_view spaceWord) {
    const Space space = spaceWord == ".shared"  ? Space::kShared
                        : spaceWord == ".const" ? Space::kConstant
                                                : Space::kGlobal;
    do {
      Variable variable = cursor_.variable(space);
      (space == Space::kShared ? module_.shared_ : module_.variables_).push_back(std::move(variable));
    } while (cursor_.accept(","));
    cursor_.expect(";");
  }

  std::vector<Variable> parameterList() {
    std::vector<Variable> list;
    if (!cursor_.accept("(")) return list;
    while (!cursor_.accept(")")) {
      if (cursor_.accept(",")) continue;
      const std::string_view word = cursor_.next();
      if (word == ".param") {
        list.push_back(cursor_.variable(Space::kParameter));
      } else if (word == ".reg") {
        cursor_.fail("register parameters of functions are not supported");
      } else {
        cursor_.fail("expected .param, got '" + std::string(word) + "'");
      }
    }
    return list;
  }

  void function(bool isEntry) {
    FunctionText text;
    text.isEntry = isEntry;
    if (!isEntry) text.results = parameterList();
    text.name = std::string(cursor_.next());
    text.parameters = parameterList();
    while (cursor_.peek() != "{" && cursor_.peek() != ";") {
      std::string directive(cursor_.next());
      std::vector<int> values;
      while (!cursor_.peek().empty() &&
             (std::isdigit(static_cast<unsigned char>(cursor_.peek().front())) || cursor_.peek() == ",")) {
        if (!cursor_.accept(",")) values.push_back(static_cast<int>(cursor_.integer()));
      }
      text.limits.emplace_back(std::move(directive), std::move(values));
    }
    if (cursor_.accept(";")) {
      module_.functions_.try_emplace(text.name, text);  // a declaration; a definition may follow or have come
      return;
    }
    cursor_.expect("{");
    text.bodyBegin = cursor_.position();
    skipBraces(1);
    module_.functions_[text.name] = std::move(text);
  }

  void file() {
    const int number = static_cast<int>(cursor_.integer());
    const std::string_view quoted = cursor_.next();
    module_.files_[number] = std::string(quoted.substr(1, quoted.size() - 2));
    while (cursor_.accept(",")) cursor_.next();
  }

  Module& module_;
  TokenCursor cursor_;
};

Module::Module(std::string source) : source_(std::move(source)), tokens_(tokenize(source_)) {
  ModuleParser(*this).parse();
}

const std::string& Module::file(int number) const {
  static const std::string none;
  const auto found = files_.find(number);
  return found == files_.end() ? none : found->second;
}

std::unique_ptr<Kernel> Module::decode(const std::string& entry, const AddressOf& addressOf) const {
  return BodyParser(*this, addressOf).parse(functions_.at(entry));
}

}  // namespace fovea::simulator
