// The tokenizer and number reader.
#include "ptx/lexer.h"

#include <cctype>
#include <cstdlib>

namespace fovea::simulator {
namespace {

constexpr bool isWordCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' ||
         c == '%' || c == '.';
}

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
  std::vector<Token> tokens;
  tokens.reserve(source.size() / 5);
  uint32_t line = 1;
  size_t at = 0;
  const size_t size = source.size();
  const auto peek = [&](size_t index) { return index < size ? source[index] : '\0'; };
  while (at < size && source[at] != '\0') {
    const char c = source[at];
    if (c == '\n') {
      line++;
      at++;
    } else if (std::isspace(static_cast<unsigned char>(c))) {
      at++;
    } else if (c == '/' && peek(at + 1) == '/') {
      while (at < size && source[at] != '\n') at++;
    } else if (c == '/' && peek(at + 1) == '*') {
      for (at += 2; at < size && !(source[at] == '*' && peek(at + 1) == '/'); at++)
        if (source[at] == '\n') line++;
      at += 2;
    } else if (c == '"') {
      size_t end = at + 1;
      while (end < size && source[end] != '"') end += source[end] == '\\' ? 2 : 1;
      tokens.push_back({source.substr(at, end + 1 - at), line});
      at = end + 1;
    } else if (isWordCharacter(c)) {
      // "shared::cta" belongs to the word; a single ':' ends it (a label).
      size_t end = at;
      while (end < size && (isWordCharacter(source[end]) || (source[end] == ':' && peek(end + 1) == ':'))) {
        end += source[end] == ':' ? 2 : 1;
      }
      tokens.push_back({source.substr(at, end - at), line});
      at = end;
    } else {
      tokens.push_back({source.substr(at, 1), line});
      at++;
    }
  }
  return tokens;
}

int64_t parseInteger(std::string_view text, uint32_t line) {
  const bool negative = !text.empty() && text.front() == '-';
  std::string digits(negative ? text.substr(1) : text);
  if (!digits.empty() && (digits.back() == 'U' || digits.back() == 'u')) digits.pop_back();
  if (digits.empty() || !std::isdigit(static_cast<unsigned char>(digits.front())))
    throw PtxError(line, "expected an integer, got '" + std::string(text) + "'");
  const bool binary = digits.size() > 2 && digits[0] == '0' && (digits[1] == 'b' || digits[1] == 'B');
  char* end = nullptr;
  const uint64_t value = binary ? std::strtoull(digits.c_str() + 2, &end, 2) : std::strtoull(digits.c_str(), &end, 0);
  if (*end) throw PtxError(line, "expected an integer, got '" + std::string(text) + "'");
  return static_cast<int64_t>(negative ? 0 - value : value);
}

}  // namespace fovea::simulator
