// PTX text to tokens. A token is a word (directives, mnemonics with all their modifiers, registers, labels and numbers
// are one word each), a quoted string, or one punctuation character.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace fovea::simulator {

struct Token {
  std::string_view text;  // points into the source, which the module keeps
  uint32_t line = 0;      // 1-based line of the PTX text
};

// Text that is not PTX, or PTX that the simulator does not know. The message names the PTX line.
class PtxError : public std::runtime_error {
 public:
  PtxError(uint32_t line, const std::string& message)
      : std::runtime_error("ptx line " + std::to_string(line) + ": " + message) {}
};

std::vector<Token> tokenize(std::string_view source);

// Reads an integer literal (decimal, 0x…, 0b…, octal, trailing U, leading '-'); throws PtxError otherwise.
int64_t parseInteger(std::string_view text, uint32_t line);

}  // namespace fovea::simulator
