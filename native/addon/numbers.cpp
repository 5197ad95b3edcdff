#include "numbers.h"

#include <charconv>
#include <cmath>
#include <iterator>
#include <string>

#include "errors.h"

namespace fovea::addon {
namespace {

[[noreturn]] void failInteger(const char* name, double value, int64_t low, int64_t high) {
  char digits[32];
  const auto end = std::to_chars(digits, std::end(digits), value).ptr;
  throw BoundsError(std::string(name) + ": expected an integer from " + std::to_string(low) + " to " +
                    std::to_string(high) + ", got " + std::string(digits, end));
}

}  // namespace

int64_t toInteger(const char* name, double value, int64_t low, int64_t high) {
  if (!(std::abs(value) <= static_cast<double>(anyInteger))) failInteger(name, value, low, high);
  const auto integer = static_cast<int64_t>(value);
  if (static_cast<double>(integer) != value || integer < low || integer > high) failInteger(name, value, low, high);
  return integer;
}

void Reach::add(int64_t size, int64_t stride) {
  const double last = static_cast<double>(size - 1) * static_cast<double>(stride);
  (last < 0 ? low : high) += last;
}

std::byte* elementAddress(const char* name, std::span<std::byte> storage, int64_t offset, int64_t elementBytes,
                          const Reach& reach) {
  const auto elements = static_cast<double>(storage.size() / elementBytes);
  const double low = static_cast<double>(offset) + reach.low, high = static_cast<double>(offset) + reach.high;
  if (!(low >= 0 && high < elements)) {
    throw BoundsError(std::string(name) + ": touches elements " + std::to_string(low) + " to " + std::to_string(high) +
                      " of a storage of " + std::to_string(elements));
  }
  std::byte* first = storage.data() + offset * elementBytes;
  if (reinterpret_cast<uintptr_t>(first) % elementBytes != 0) {
    throw BoundsError(std::string(name) + ": its memory is not aligned to " + std::to_string(elementBytes) + " bytes");
  }
  return first;
}

std::byte* nowhere() {
  alignas(16) static std::byte bytes[16];
  return bytes;
}

void Place::require(const char* name, int device) {
  if (known_ && device != device_) throw BoundsError(std::string(name) + ": on another device than what came before");
  known_ = true;
  device_ = device;
}

}  // namespace fovea::addon
