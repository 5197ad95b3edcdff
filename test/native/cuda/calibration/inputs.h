// The inputs of micro-kernels, from integers alone, so that they are the same everywhere.
#pragma once
#include <string>

#include "calibration.h"
#include "formats.h"

namespace fovea::test::calibration {

/// Word i of the sequence that a name stands for: the name's FNV-1a hash plus i times 0x9e3779b9, mixed by xor with its
/// upper 16 bits, times 0x85ebca6b, xor with its upper 19 bits, times 0xc2b2ae35, xor with its upper 16 bits.
inline uint32_t randomWord(const std::string& name, uint32_t i) {
  uint32_t x = 0x811c9dc5;
  for (const char letter : name) x = (x ^ uint8_t(letter)) * 0x01000193;
  x += i * 0x9e3779b9;
  x = (x ^ x >> 16) * 0x85ebca6b;
  x = (x ^ x >> 13) * 0xc2b2ae35;
  return x ^ x >> 16;
}

inline Words randomWords(const std::string& name, size_t count) {
  Words words(count);
  for (size_t i = 0; i < count; i++) words[i] = randomWord(name, uint32_t(i));
  return words;
}

/// Numbers at which float32 and what it is converted to have edges.
inline const Words& floatEdges() {
  static const Words edges = [] {
    Words words{0x7f800000, 0x7fffffff, 0x7fc00123, 0x7f800001, 0x00000001, 0x007fffff, 0x00800000, 0x7f7fffff};
    for (const double value :
         {0.0,          0.5,           1.0,           1.5,          2.0,       2.5,     3.5,     16.0,
          126.0,        127.0,         128.0,         149.0,        65504.0,   65519.0, 65520.0, 65536.0,
          2147483520.0, 2147483648.0,  4294967040.0,  4294967296.0, 1e-3,      6e-8,    3e-8,    2.9e-8,
          6.1e-5,       1.00048828125, 1.00146484375, 1.00390625,   1.01171875})
      words.push_back(encode(float32, value));
    const size_t count = words.size();
    for (size_t i = 0; i < count; i++) words.push_back(words[i] ^ 0x80000000);
    return words;
  }();
  return edges;
}

/// Edges; then numbers of moderate size, in (-128, 128), one over up to 2^16; then any bits.
inline Words floats(const std::string& name, size_t count, size_t rotate = 0) {
  Words words = randomWords(name, count);
  const Words& edges = floatEdges();
  for (size_t i = 0; i < count; i++) {
    if (i < edges.size())
      words[i] = edges[(i + rotate) % edges.size()];
    else if (i % 4 != 0)
      words[i] = encode(float32, std::ldexp(double(int32_t(words[i])), i % 4 == 3 ? -36 : -24));
  }
  return words;
}

inline Words concatenate(const std::vector<Words>& parts) {
  Words all;
  for (const Words& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace fovea::test::calibration
