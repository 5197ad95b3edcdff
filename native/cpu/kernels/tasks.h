// The surface of one instruction set's kernels: plain structs and function pointers, nothing that emits shared code.
#pragma once
#include "../../attention/merge.h"
#include "../../attention/plan.h"
#include "../../attention/row_store.h"

namespace fovea::cpu {

/// Unnormalised results of one (split of keys) x (block of rows), to be merged: for each row the sum over its keys of
/// 2^(s log2 e - reference) v, the same sum without v, and the reference.
struct Partial {
  float* output = nullptr;     // [rows][valueDim]
  float* sum = nullptr;        // [rows]; 0: no key was visible
  float* reference = nullptr;  // [rows]
};

/// Where a query of a segment comes from, which several sequences share.
struct QueryOwner {
  const Sequence* sequence;
  int64_t query;
};

/// A block of rows of one kv head, or of each of a few, against a range of keys. Row r is query r / groupSize,
/// head r % groupSize of the group.
struct Task {
  const Problem* problem;
  const Sequence* sequence;  // whose keys they are
  const QueryOwner* owners;  // of each query; absent: all are the sequence's own
  const SequencePlan* plan;
  int64_t kvHead, kvHeads;  // the first, and how many
  int64_t rowBegin, rowEnd;
  int64_t keyBegin, keyEnd;   // a split, or all keys
  Partial partial;            // where a split goes; absent: this task has all keys and writes the result itself
  int64_t partialHeadStride;  // floats from there to where the next kv head's goes
  const bool* cancelled;      // read with relaxed order at every block of keys
};

inline bool isCancelled(const Task& task) { return __atomic_load_n(task.cancelled, __ATOMIC_RELAXED); }

/// One stage of the standard algorithm for the rows [rowBegin, rowEnd) of one query head.
struct StandardTask {
  const Problem* problem;
  const Sequence* sequence;
  int64_t head;
  int64_t rowBegin, rowEnd;
  float* scores;  // [heads][queryLength][keyLength], float32
  const bool* cancelled;
};

struct KernelTable {
  const char* name;
  int lanes;
  bool multipliesPairs;  // of bfloat16

  /// Floats of scratch a task needs.
  int64_t (*tiledScratch)(const Problem&, const SequencePlan&);
  int64_t (*decodeScratch)(const Problem&, const SequencePlan&);
  int64_t (*standardScratch)(const Problem&);

  void (*tiled)(const Task&, float* scratch);
  void (*decode)(const Task&, float* scratch);
  /// Combines the splits of the rows of `task`: `partials[split]`, in order, all for the same rows.
  void (*merge)(const Task&, const Partial* partials, int64_t splits, float* scratch);

  /// Rows [begin, end) of a merge, as mergeRow() numbers them.
  int64_t (*mergePartsScratch)(const Merge&);
  void (*mergeParts)(const Merge&, int64_t begin, int64_t end, float* scratch);

  void (*standardScores)(const StandardTask&, float* scratch);
  void (*standardSoftmax)(const StandardTask&);
  void (*standardOutput)(const StandardTask&, float* scratch);

  int64_t (*storeScratch)(const RowStore&);
  /// Tokens [begin, end).
  void (*storeRows)(const RowStore&, int64_t begin, int64_t end, float* scratch);
};

}  // namespace fovea::cpu
