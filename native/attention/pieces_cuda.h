// The pieces of a call whose results are merged: sequences whose keys are split, by decode or by the tiled kernel, and
// those of a cache that was forked, whose keys are cut into segments. Pure functions, which planner and launch share.
#pragma once
#include <vector>

#include "plan.h"
#include "splits_cuda.h"

namespace fovea::cuda {

/// What tables and results in the workspace start at multiples of.
constexpr int64_t workspaceAlignment = 256;

/// Some rows against a run of keys. Its results stay unnormalised in the workspace.
struct Piece {
  Sequence sequence;            // cut to these keys. Of a shared one: the first owner's, with the rows of all of them
  std::vector<int32_t> owners;  // of a shared one: sequences whose rows follow each other, which see all these keys
  int64_t rows = 0;             // of each kv head
  KeySplits splits{0, 0, 1};
  int64_t results = 0, statistics = 0;  // byte offsets in the workspace's results
};

/// Where some results of a sequence lie: of row r of a kv head in split s at index
/// kvHead * headStep + s * splitStep + firstRow + r.
struct ResultRun {
  int64_t results = 0, statistics = 0;  // as above
  int64_t headStep = 0, splitStep = 0;
  int32_t splits = 0, firstRow = 0;
};

/// A sequence whose results are merged, from `runs` of them, in order of the keys.
struct MergedSequence {
  int32_t sequence = 0;
  int32_t firstRun = 0, runs = 0, splits = 0;
};

struct Pieces {
  std::vector<Piece> decode, decodeSm90, tiled,
      shared;  // by the kernel that computes them; shared ones by the tiled one too
  std::vector<MergedSequence> merged;
  std::vector<ResultRun> runs;
  int64_t owners = 0;       // queries of all shared pieces
  int64_t resultBytes = 0;  // workspace
};

/// The sequence with keys [begin, end) alone, numbered from 0 on. With pages both are multiples of their size, or the
/// last key's end.
Sequence cutSequence(const Problem& problem, const Sequence& sequence, int64_t begin, int64_t end);

/// Whether a sequence has few rows, whose pieces decode computes unless they are shared.
constexpr bool hasFewRows(const Problem& problem, const Sequence& sequence) {
  return sequence.queryLength * problem.groupSize() <= decodeRows;
}

/// Whether `sequence` may join those that share a segment with `first`: their rows become one matrix.
bool sharesWith(const Sequence& sequence, const Sequence& first);

/// Whether a sequence's results are merged, by its plan: else it writes its output itself.
constexpr bool isMerged(const SequencePlan& part) {
  return isCudaDecode(part.kernel) || part.keyBegin > 0 || part.splits > 1;
}

/// `plan` has the sequences' and the segments' kernels.
Pieces piecesOf(const Problem& problem, const Plan& plan);

/// The tables that describe them: of decode's pieces, of those of Hopper's decode, of shared ones, of their owners, of
/// what is merged, of runs.
int64_t decodeTableBytes(const Pieces& pieces);
int64_t decodeSm90TableBytes(const Pieces& pieces);
int64_t sharedTableBytes(const Pieces& pieces);
int64_t ownerTableBytes(const Pieces& pieces);
int64_t mergeTableBytes(const Pieces& pieces);
int64_t runTableBytes(const Pieces& pieces);
/// Workspace of all that: tables, then results.
int64_t piecesBytes(const Pieces& pieces);

}  // namespace fovea::cuda
