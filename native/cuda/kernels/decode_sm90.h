// What the decode kernel for Hopper is given, beside what decode.h describes.
#pragma once
#include "decode.h"
#include "tiled_sm90.h"

namespace fovea::cuda {

/// One entry of the table, with the copy engine's view of the sequence. Boxes are panels wide; their rows are all of a
/// kv head (query), and sm90BoxKeys() keys (key, value).
struct alignas(128) DecodeSm90Sequence : DecodeSequence {
  uint32_t unused[20] = {};  // maps are aligned: this is the same in all entries
  TensorMap query;           // [columns, heads of the group, queries, kvHeads]
  TensorMap key, value;      // [columns, keys (of a page), kvHeads, pages]; one page where there are none
  DecodeSm90Sequence() = default;
  explicit DecodeSm90Sequence(const DecodeSequence& entry) : DecodeSequence(entry), query(), key(), value() {}
};

static_assert(sizeof(DecodeSm90Sequence) == sm90DecodeEntryBytes);

struct DecodeSm90Arguments : RuleArguments {
  const DecodeSm90Sequence* table;
};

}  // namespace fovea::cuda
