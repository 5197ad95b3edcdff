#include "pieces_cuda.h"

#include <algorithm>

#include "planner.h"
#include "tiles_sm90.h"

namespace fovea::cuda {
namespace {

class Collector {
 public:
  Collector(const Problem& problem, const Plan& plan) : problem_(problem), plan_(plan), runs_(plan.sequences.size()) {}

  Pieces collect() {
    for (const SegmentPlan& segment : plan_.segments) addSegment(segment);
    for (size_t i = 0; i < plan_.sequences.size(); i++) {
      const SequencePlan& part = plan_.sequences[i];
      if (!isMerged(part)) continue;
      const Sequence& sequence = problem_.sequences[i];
      const Sequence rest =
          part.keyBegin > 0 ? cutSequence(problem_, sequence, part.keyBegin, sequence.keyLength) : sequence;
      addOwn(rest, part, int32_t(i));
      MergedSequence& merged = pieces_.merged.emplace_back();
      merged.sequence = int32_t(i);
      merged.firstRun = int32_t(pieces_.runs.size());
      // Segments come in the order in which sequences brought them.
      std::stable_sort(runs_[i].begin(), runs_[i].end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
      for (const auto& [begin, run] : runs_[i]) {
        pieces_.runs.push_back(run);
        merged.runs++, merged.splits += run.splits;
      }
    }
    // The longest splits first, so that none of them begins when all others are done. Nothing else depends on the
    // order.
    for (auto* split : {&pieces_.decode, &pieces_.decodeSm90})
      std::stable_sort(split->begin(), split->end(),
                       [](const Piece& a, const Piece& b) { return a.splits.keys > b.splits.keys; });
    return std::move(pieces_);
  }

 private:
  int64_t take(int64_t bytes) {
    const int64_t at = pieces_.resultBytes;
    pieces_.resultBytes += roundUp(bytes, workspaceAlignment);
    return at;
  }

  /// Room for the results of a piece.
  void takeResults(Piece& piece) {
    const int64_t rows = piece.rows * problem_.kvHeads * piece.splits.count;
    piece.results = take(rows * roundUp(problem_.valueDim, 4) * int64_t(sizeof(float)));
    piece.statistics = take(rows * int64_t(2 * sizeof(float)));
  }

  /// Where the results of a piece lie that are of rows from `firstRow` on, [kvHeads][splits][rows].
  ResultRun runOf(const Piece& piece, int64_t firstRow) const {
    const auto& [keys, first, splits] = piece.splits;
    return {piece.results, piece.statistics, splits * piece.rows, piece.rows, int32_t(splits), int32_t(firstRow)};
  }

  /// Rows of one sequence against keys that no other shares.
  void addOwn(const Sequence& cut, const SequencePlan& plan, int32_t index) {
    Piece piece;
    piece.sequence = cut;
    piece.sequence.queryRows = cut.queryLength;  // the merge writes those past it
    piece.rows = cut.queryLength * problem_.groupSize();
    piece.splits = {plan.keySplit, plan.firstSplit, plan.splits};
    if (piece.rows == 0 || cut.keyLength == 0 || piece.splits.count == 0) return;
    takeResults(piece);
    runs_[size_t(index)].push_back({plan.keyBegin, runOf(piece, 0)});
    auto& pieces = plan.kernel == Kernel::cudaDecode       ? pieces_.decode
                   : plan.kernel == Kernel::cudaDecodeSm90 ? pieces_.decodeSm90
                                                           : pieces_.tiled;
    pieces.push_back(std::move(piece));
  }

  void addSegment(const SegmentPlan& segment) {
    const int64_t begin = segment.plan.keyBegin, end = segment.keyEnd;
    const Sequence& first = problem_.sequences[segment.sequences[0]];
    if (!segment.shareable) return addOwn(cutSequence(problem_, first, begin, end), segment.plan, segment.sequences[0]);
    Piece piece;
    piece.owners = segment.sequences;
    int64_t queries = 0;
    for (const int32_t owner : segment.sequences) queries += problem_.sequences[owner].queryLength;
    piece.rows = queries * problem_.groupSize();
    piece.sequence = cutSequence(problem_, first, begin, end);
    piece.sequence.queryLength = piece.sequence.queryRows = queries;
    piece.splits = {segment.plan.keySplit, 0, segment.plan.splits};
    takeResults(piece);
    int64_t firstRow = 0;
    for (const int32_t owner : segment.sequences) {
      runs_[size_t(owner)].push_back({begin, runOf(piece, firstRow)});
      firstRow += problem_.sequences[owner].queryLength * problem_.groupSize();
    }
    pieces_.owners += queries;
    pieces_.shared.push_back(std::move(piece));
  }

  const Problem& problem_;
  const Plan& plan_;
  Pieces pieces_;
  std::vector<std::vector<std::pair<int64_t, ResultRun>>> runs_;  // of each sequence, with the first key of each
};

int64_t tableBytes(size_t entries, int64_t entryBytes) {
  return roundUp(int64_t(entries) * entryBytes, workspaceAlignment);
}

}  // namespace

Sequence cutSequence(const Problem& problem, const Sequence& sequence, int64_t begin, int64_t end) {
  Sequence cut = sequence;
  cut.keyLength = cut.keyColumns = end - begin;
  cut.queryOffset -= begin;
  const auto moved = [](const void* data, int64_t elements, DType type) -> const void* {
    return data ? static_cast<const char*>(data) + elements * byteSize(type) : nullptr;
  };
  if (problem.pageSize > 0) {
    if (cut.pageTable) cut.pageTable += begin / problem.pageSize;
  } else {
    cut.key.data = moved(cut.key.data, begin * cut.key.rowStride, problem.kvDtype());
    cut.value.data = moved(cut.value.data, begin * cut.value.rowStride, problem.kvDtype());
  }
  if (cut.mask) cut.mask.data += begin * cut.mask.columnStride;
  cut.bias.data = moved(cut.bias.data, begin * cut.bias.columnStride, problem.biasDtype);
  return cut;
}

bool sharesWith(const Sequence& sequence, const Sequence& first) {
  return !sequence.mask && !sequence.bias && sequence.alibiSlopes == first.alibiSlopes &&
         sequence.query.headStride == first.query.headStride && sequence.query.rowStride == first.query.rowStride &&
         sequence.query.columnStride == first.query.columnStride;
}

Pieces piecesOf(const Problem& problem, const Plan& plan) { return Collector(problem, plan).collect(); }

int64_t decodeTableBytes(const Pieces& pieces) { return tableBytes(pieces.decode.size(), decodeEntryBytes); }
int64_t decodeSm90TableBytes(const Pieces& pieces) {
  return tableBytes(pieces.decodeSm90.size(), sm90DecodeEntryBytes);
}
int64_t sharedTableBytes(const Pieces& pieces) { return tableBytes(pieces.shared.size(), tiledEntryBytes); }
int64_t ownerTableBytes(const Pieces& pieces) { return tableBytes(size_t(pieces.owners), ownerEntryBytes); }
int64_t mergeTableBytes(const Pieces& pieces) { return tableBytes(pieces.merged.size(), mergeEntryBytes); }
int64_t runTableBytes(const Pieces& pieces) { return tableBytes(pieces.runs.size(), runEntryBytes); }

int64_t piecesBytes(const Pieces& pieces) {
  return decodeTableBytes(pieces) + decodeSm90TableBytes(pieces) + sharedTableBytes(pieces) + ownerTableBytes(pieces) +
         mergeTableBytes(pieces) + runTableBytes(pieces) + pieces.resultBytes;
}

}  // namespace fovea::cuda
