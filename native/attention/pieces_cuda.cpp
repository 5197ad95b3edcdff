#include "pieces_cuda.h"

#include <algorithm>

#include "planner.h"

namespace fovea::cuda {
namespace {

class Collector {
 public:
  Collector(const Problem& problem, const Plan& plan) : problem_(problem), plan_(plan), runs_(plan.sequences.size()) {}

  Pieces collect() {
    for (const SegmentPlan& segment : plan_.segments) addSegment(segment);
    for (size_t i = 0; i < plan_.sequences.size(); i++) {
      const SequencePlan& part = plan_.sequences[i];
      if (part.kernel != Kernel::cudaDecode && part.keyBegin == 0) continue;  // it writes its output itself
      const Sequence& sequence = problem_.sequences[i];
      const Sequence rest =
          part.keyBegin > 0 ? cutSequence(problem_, sequence, part.keyBegin, sequence.keyLength) : sequence;
      addOwn(rest, part.keyBegin, part.kernel, int32_t(i));
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
    std::stable_sort(pieces_.decode.begin(), pieces_.decode.end(),
                     [](const Piece& a, const Piece& b) { return a.splits.keys > b.splits.keys; });
    return std::move(pieces_);
  }

 private:
  int64_t take(int64_t bytes) {
    const int64_t at = pieces_.resultBytes;
    pieces_.resultBytes += roundUp(bytes, workspaceAlignment);
    return at;
  }

  /// Room for the results of `splits` splits of a piece.
  void takeResults(Piece& piece, int64_t splits) {
    const int64_t rows = piece.rows * problem_.kvHeads * splits;
    piece.results = take(rows * roundUp(problem_.valueDim, 4) * int64_t(sizeof(float)));
    piece.statistics = take(rows * int64_t(2 * sizeof(float)));
  }

  /// Rows of one sequence against keys that no other shares.
  void addOwn(const Sequence& cut, int64_t begin, Kernel kernel, int32_t index) {
    Piece piece;
    piece.sequence = cut;
    piece.rows = cut.queryLength * problem_.groupSize();
    const bool decode = kernel == Kernel::cudaDecode;
    if (decode) piece.splits = decodeSplits(problem_, cut);
    const int64_t splits = piece.splits.count;
    if (piece.rows == 0 || cut.keyLength == 0 || splits == 0) return;
    takeResults(piece, splits);
    const int64_t perHead = splits * piece.rows;
    runs_[size_t(index)].push_back({begin, {piece.results, piece.statistics, perHead, piece.rows, int32_t(splits), 0}});
    (decode ? pieces_.decode : pieces_.tiled).push_back(std::move(piece));
  }

  void addSegment(const SegmentPlan& segment) {
    const int64_t begin = segment.plan.keyBegin, end = segment.keyEnd;
    const Sequence& first = problem_.sequences[segment.sequences[0]];
    if (!segment.shareable)
      return addOwn(cutSequence(problem_, first, begin, end), begin, segment.plan.kernel, segment.sequences[0]);
    Piece piece;
    piece.owners = segment.sequences;
    int64_t queries = 0;
    for (const int32_t owner : segment.sequences) queries += problem_.sequences[owner].queryLength;
    piece.rows = queries * problem_.groupSize();
    const int64_t splits = segment.plan.splits, kvRows = problem_.kvHeads * piece.rows;
    takeResults(piece, splits);
    int32_t firstRow = 0;
    for (const int32_t owner : segment.sequences) {
      runs_[size_t(owner)].push_back(
          {begin, {piece.results, piece.statistics, piece.rows, kvRows, int32_t(splits), firstRow}});
      firstRow += int32_t(problem_.sequences[owner].queryLength * problem_.groupSize());
    }
    for (int64_t split = 0; split < splits; split++) {
      const int64_t from = begin + split * segment.plan.keySplit;
      piece.sequence = cutSequence(problem_, first, from, std::min(from + segment.plan.keySplit, end));
      piece.sequence.queryLength = piece.sequence.queryRows = queries;
      pieces_.shared.push_back(piece);
      pieces_.owners += queries;
      piece.results += kvRows * roundUp(problem_.valueDim, 4) * int64_t(sizeof(float));
      piece.statistics += kvRows * int64_t(2 * sizeof(float));
    }
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

int64_t segmentSplit(const Problem& problem, int64_t keys, bool few) {
  if (!few) return keys;
  constexpr int64_t most = 64, shortest = 256, unit = 64;
  const int64_t count = clampTo(keys / shortest, 1, most);
  const int64_t whole = problem.pageSize > 0 ? roundUp(unit, problem.pageSize) : unit;  // pages are not cut
  return roundUp(ceilDivide(keys, count), whole);
}

Pieces piecesOf(const Problem& problem, const Plan& plan) { return Collector(problem, plan).collect(); }

int64_t decodeTableBytes(const Pieces& pieces) { return tableBytes(pieces.decode.size(), decodeEntryBytes); }
int64_t sharedTableBytes(const Pieces& pieces) { return tableBytes(pieces.shared.size(), tiledEntryBytes); }
int64_t ownerTableBytes(const Pieces& pieces) { return tableBytes(size_t(pieces.owners), ownerEntryBytes); }
int64_t mergeTableBytes(const Pieces& pieces) { return tableBytes(pieces.merged.size(), mergeEntryBytes); }
int64_t runTableBytes(const Pieces& pieces) { return tableBytes(pieces.runs.size(), runEntryBytes); }

int64_t piecesBytes(const Pieces& pieces) {
  return decodeTableBytes(pieces) + sharedTableBytes(pieces) + ownerTableBytes(pieces) + mergeTableBytes(pieces) +
         runTableBytes(pieces) + pieces.resultBytes;
}

}  // namespace fovea::cuda
