// What the kernels that decode and merge are given: as the tiled ones, and results of splits in the workspace.
#pragma once
#include "../../attention/merge.h"
#include "tiled.h"

namespace fovea::cuda {

/// One entry of the table. "Tasks" are thread blocks: a launch has one row of them over all sequences.
struct alignas(16) DecodeSequence {
  Sequence sequence;  // with device pointers; its keys may be a part of a longer one's

  int64_t firstTask;  // of this sequence's splits x kv heads

  // In the workspace, [kvHeads][splits][rows]: for each row of a split the sum over its keys of 2^(s - reference) v
  // [resultFloats], and {reference in base 2, the same sum without v}. A sum of 0: no key was visible.
  float* results;
  float2* statistics;

  int32_t splitKeys, firstSplit, splits;
  int32_t queryAligned, keyAligned, valueAligned;  // whether 16-byte copies may be used
  int32_t resultFloats;                            // from one row of results to the next
  int32_t unused[3];
};

static_assert(sizeof(DecodeSequence) == decodeEntryBytes);

/// Some results of a sequence, of `splits` splits: those of row r of a kv head, as above, at index
/// kvHead * headStep + split * splitStep + firstRow + r.
struct alignas(16) MergeRun {
  const float* results;
  const float2* statistics;
  int64_t headStep, splitStep;
  int32_t splits, firstRow, unused[2];
};

static_assert(sizeof(MergeRun) == runEntryBytes);

/// A sequence whose results are merged.
struct alignas(16) MergeSequence {
  Sequence sequence;
  int64_t firstTask;     // of its rows of output
  const MergeRun* runs;  // in order of the keys
  int32_t splits;        // of all runs
  int32_t outputAligned, resultFloats, unused;
};

static_assert(sizeof(MergeSequence) == mergeEntryBytes);

struct DecodeArguments : RuleArguments {
  const DecodeSequence* table;
};

/// Of the kernel that merges results. The problem's sequences are those of the table.
struct MergeSplitsArguments {
  Problem problem;
  const MergeSequence* table;
};

/// Of the kernel that merges what mergeAttention is given.
struct MergeArguments {
  Merge merge;      // its parts are in device memory
  int32_t aligned;  // whether rows of all outputs start at multiples of four elements, which are neighbours
};

}  // namespace fovea::cuda
