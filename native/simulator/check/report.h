// What a check found: the text that makes a launch fail.
#pragma once

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace fovea::simulator {

struct Report {
  std::string kind;     // "race-shared", "out-of-bounds-global", …: stable, tests name it
  std::string message;  // one sentence
  std::string kernel;
  std::array<uint32_t, 3> cta{};
  std::array<uint32_t, 3> thread{};
  int warp = -1;  // -1: the CTA as a whole
  int lane = -1;  // -1: the warp as a whole
  uint32_t ptxLine = 0;
  std::string instruction;
  std::string source;  // "file.cu:12 (inlined at file.cu:80)", empty without -lineinfo
  uint64_t count = 1;  // how often the same instruction of the same CTA was reported for the same kind

  std::string text() const;
};

// Ends a CTA at once: what follows would have no meaning.
class FatalReport : public std::runtime_error {
 public:
  FatalReport(std::string kind, const std::string& message) : std::runtime_error(message), kind(std::move(kind)) {}
  std::string kind;
};

std::string hexadecimal(uint64_t value);

}  // namespace fovea::simulator
