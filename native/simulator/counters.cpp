// Sums and JSON.
#include "counters.h"

#include <vector>

namespace fovea::simulator {

void Counters::add(const Counters& other) {
  std::vector<uint64_t> values;
  each(other, [&](const char*, uint64_t value) { values.push_back(value); });
  size_t next = 0;
  each(*this, [&](const char*, uint64_t& value) { value += values[next++]; });
}

std::string Counters::json() const {
  std::string text = "{";
  each(*this, [&](const char* name, uint64_t value) {
    if (text.size() > 1) text += ",";
    text += "\"" + std::string(name) + "\":" + std::to_string(value);
  });
  return text + "}";
}

}  // namespace fovea::simulator
