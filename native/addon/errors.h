// What the addon itself throws; addon.cpp turns it into a JavaScript Error with this code.
#pragma once
#include <stdexcept>
#include <string>

namespace fovea::addon {

/// The numbers would make native code touch memory outside a storage. The message begins with the field's or view's
/// name.
class BoundsError : public std::runtime_error {
 public:
  explicit BoundsError(const std::string& message) : std::runtime_error(message) {}
};

/// The processor's memory ran out. The message says what for.
class OutOfMemory : public std::runtime_error {
 public:
  explicit OutOfMemory(const std::string& message) : std::runtime_error(message) {}
};

}  // namespace fovea::addon
