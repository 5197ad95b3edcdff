// A shape's tensors in one piece of memory, and the problem that they make.
#pragma once
#include <vector>

#include "shapes.h"

namespace fovea::bench {

class Tensors {
 public:
  /// What an input holds: numbers of the shape's dtype, float32, or a kind of its own.
  enum class Content { numbers, floats, scales, slopes, int8, mask, padding, texts, pageTable };
  struct Input {
    int64_t offset, bytes;
    Content content;
  };

  /// They begin at `memory`, on the host or the device, which is neither read nor written here.
  Tensors(const Shape& shape, Algorithm algorithm, uint64_t memory);
  Tensors(const Tensors&) = delete;
  Tensors& operator=(const Tensors&) = delete;

  const Problem& problem() const { return problem_; }
  int64_t bytes() const { return bytes_; }
  const std::vector<Input>& inputs() const { return inputs_; }
  /// What is to be written to an input, again and again until it is full.
  std::vector<uint8_t> content(const Input& input) const;

 private:
  uint64_t reserve(int64_t bytes);
  uint64_t reserve(int64_t bytes, Content content);
  void addDense();
  void addPages();
  void addRule();
  void addOutputs();

  const Shape shape_;
  const uint64_t memory_;
  int64_t bytes_ = 0;
  std::vector<Input> inputs_;
  std::vector<Sequence> sequences_;
  Problem problem_;
};

}  // namespace fovea::bench
