// The shapes that fovea_cuda_bench measures, in two sets.
#pragma once
#include <vector>

#include "../../attention/problem.h"

namespace fovea::bench {

/// What a call has beside plain attention; one at a time.
enum class Rule {
  none,
  bias,        // [heads, queries, keys], for the whole batch
  sharedBias,  // [queries, keys]
  mask,        // [heads, queries, keys], half of it true
  padding,     // a mask of [batch, 1, 1, keys], false behind each sequence's length
  texts,       // a mask of [queries, keys] for all heads and sequences: eight texts, each of which sees its own keys
  window,      // an eighth of the keys
  softcap,
  alibi,
  sinks,
  keyLengths,  // the lengths that `padding` has
  lse,
  weights,
  groupedHeads,  // four heads for each of the keys'
  pages1,        // of so many tokens, anywhere in memory
  pages16,
  pages64,
  int8Pages16,
  int8Pages64
};
const char* nameOf(Rule rule);

struct Shape {
  const char* kind;
  DType dtype;
  int64_t batch, heads, kvHeads, queryLength, keyLength, dim;
  bool causal;
  bool key;  // among those that say most
  Rule rule = Rule::none;

  int64_t window() const { return rule == Rule::window ? keyLength / 8 : -1; }  // keys before a query's own
  int64_t pageSize() const;
  bool int8() const { return rule == Rule::int8Pages16 || rule == Rule::int8Pages64; }
  bool ragged() const { return rule == Rule::padding || rule == Rule::keyLengths; }
  /// Keys that a sequence has: with lengths of their own from all of them down to half.
  int64_t keysOf(int64_t sequence) const {
    return ragged() ? keyLength * (2 * batch - sequence) / (2 * batch) : keyLength;
  }
  double flops() const;
};

/// Without rules: prefill, decode and chunks. The key ones first.
std::vector<Shape> plainShapes(int64_t tokens);

/// Each rule alone, and for each shape that has one the same without. The key ones first.
std::vector<Shape> rulesShapes(int64_t tokens);

}  // namespace fovea::bench
