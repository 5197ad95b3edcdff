// Reports as text.
#include "check/report.h"

#include <cstdio>

namespace fovea::simulator {
namespace {

std::string triple(const std::array<uint32_t, 3>& values) {
  return "(" + std::to_string(values[0]) + ", " + std::to_string(values[1]) + ", " + std::to_string(values[2]) + ")";
}

}  // namespace

std::string hexadecimal(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string Report::text() const {
  std::string text = kind + ": " + message + "\n  kernel " + kernel + ", CTA " + triple(cta);
  if (lane >= 0) text += ", thread " + triple(thread);
  if (warp >= 0) text += " (warp " + std::to_string(warp) + (lane >= 0 ? ", lane " + std::to_string(lane) : "") + ")";
  if (ptxLine) text += "\n  PTX line " + std::to_string(ptxLine) + ": " + instruction;
  if (!source.empty()) text += "\n  " + source;
  if (count > 1) text += "\n  " + std::to_string(count) + " times";
  return text;
}

}  // namespace fovea::simulator
