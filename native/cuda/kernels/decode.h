// What the kernels that decode and merge are given: as the tiled ones, and results of splits in the workspace.
#pragma once
#include "../../attention/merge.h"
#include "tiled.h"

namespace fovea::cuda {

/// One entry of the table. "Tasks" are thread blocks: a launch has one row of them over all sequences.
struct alignas(16) DecodeSequence {
  Sequence sequence;  // with device pointers

  int64_t firstTask, firstMergeTask;  // of this sequence's splits x kv heads, and of its rows of output
  int32_t splitKeys, firstSplit, splits;
  int32_t queryAligned, keyAligned, valueAligned, outputAligned;  // whether 16-byte copies may be used
  int32_t resultFloats;                                           // from one row of results to the next

  // In the workspace, [kvHeads][splits][rows]: for each row of a split the sum over its keys of 2^(s - reference) v
  // [resultFloats], and {reference in base 2, the same sum without v}. A sum of 0: no key was visible.
  float* results;
  float2* statistics;
};

static_assert(sizeof(DecodeSequence) == decodeEntryBytes);

struct DecodeArguments : RuleArguments {
  const DecodeSequence* table;
};

/// Of the kernel that merges what mergeAttention is given.
struct MergeArguments {
  Merge merge;      // its parts are in device memory
  int32_t aligned;  // whether rows of all outputs start at multiples of four elements, which are neighbours
};

}  // namespace fovea::cuda
