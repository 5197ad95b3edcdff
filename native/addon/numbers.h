// Numbers and places of binding.d.ts, checked: what the readers of problems and merges share.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace fovea::addon {

constexpr int64_t maxLength = int64_t{1} << 40;  // products with heads stay inside 64 bits
constexpr int64_t maxHeads = 1 << 20;
constexpr int64_t anyInteger = int64_t{1} << 53;

/// Throws BoundsError unless `value` is an integer from `low` to `high`.
int64_t toInteger(const char* name, double value, int64_t low, int64_t high);

/// The furthest elements that a strided array touches, relative to its first one. Exact up to 2^53, and beyond it no
/// rounding brings them back under a storage's size.
struct Reach {
  double low = 0, high = 0;

  /// Adds a dimension of `size` >= 1 elements.
  void add(int64_t size, int64_t stride);
};

/// The address of element `offset` of a storage, after checking that all that `reach` tells lies inside it, aligned.
std::byte* elementAddress(const char* name, std::span<std::byte> storage, int64_t offset, int64_t elementBytes,
                          const Reach& reach);

/// Where empty arrays are: present, but never to be touched.
std::byte* nowhere();

/// Where something must be, known from its first part that was read on.
class Place {
 public:
  explicit Place(int& device) : device_(device) {}

  void require(const char* name, int device);

 private:
  int& device_;
  bool known_ = false;
};

}  // namespace fovea::addon
