// Splits of keys over thread blocks: how many, and of what length. Functions of one sequence, never of the batch nor of
// the number of multiprocessors: a sequence has the same bits alone, in any batch and on any GPU of a kind.
#pragma once
#include "tiles_cuda.h"

namespace fovea::cuda {

/// Splits of a sequence's keys: [index * keys, (index + 1) * keys) for each index in [first, first + count).
struct KeySplits {
  int64_t keys, first, count;
};

/// As many splits as keep a GPU busy with one sequence, and no more: 64 of at least 256 keys, and of so many that the
/// results of a split, written and read again in float32, are at most a sixteenth of the keys and values that it reads.
///
/// They depend on the sequence alone, not on the batch nor on the number of multiprocessors. That costs up to a
/// sixteenth of the bandwidth where the batch would have kept the GPU busy without splits, and leaves multiprocessors
/// idle where one sequence of few kv heads has fewer splits than they are. What it is worth: a sequence has the same
/// bits alone, in any batch and on any GPU of a kind, so that serving may batch as it likes.
constexpr KeySplits decodeSplits(const Problem& problem, const Sequence& sequence) {
  constexpr int64_t most = 64, shortest = 256, unit = 64;
  const int64_t rows = sequence.queryLength * problem.groupSize();
  if (rows == 0) return {0, 0, 0};
  const KeyRange seen = visibleKeysOfRows(problem, sequence, 0, sequence.queryLength - 1);
  const int64_t resultBytes = 2 * rows * (problem.valueDim + 2) * int64_t(sizeof(float));
  const int64_t keyBytes = (problem.headDim + problem.valueDim) * byteSize(problem.kvDtype());
  const int64_t worth = roundUp(ceilDivide(16 * resultBytes, keyBytes), unit);
  const int64_t least = worth > shortest ? worth : shortest;
  const int64_t count = clampTo((seen.end - seen.begin) / least, 1, most);
  const int64_t keys = roundUp(ceilDivide(seen.end - seen.begin, count), unit);
  if (keys == 0) return {0, 0, 0};
  const int64_t first = seen.begin / keys;
  return {keys, first, ceilDivide(seen.end, keys) - first};
}

/// Whether a sequence is for the decode kernel: few rows against keys that are worth splitting. Weights take another
/// visit of the keys, which only the tiled kernels make.
constexpr bool isDecode(const Problem& problem, const Sequence& sequence) {
  return sequence.queryLength * problem.groupSize() <= decodeRows && !sequence.weights &&
         decodeSplits(problem, sequence).count > 1;
}

/// Splits of a segment that sequences share, by its length and the number of rows of one sequence, few or many, alone:
/// what is split, and where, must not depend on who shares it. Few rows: as decode has it, at least 256 keys. Many:
/// none, as their results are no small part of what is read.
constexpr KeySplits segmentSplits(int64_t keys, bool few) {
  constexpr int64_t most = 64, shortest = 256, unit = 64;
  const int64_t each = roundUp(few ? ceilDivide(keys, clampTo(keys / shortest, 1, most)) : keys, unit);
  return {each, 0, ceilDivide(keys, each)};
}

/// How many times as fast as cuda.tiled, on one multiprocessor, the kernel is that takes a sequence unsplit.
constexpr int64_t tiledSpeed = 1, sm90Speed = 2;

/// Splits of the keys of a sequence of more rows than decode takes, for the tiled kernel. Each row tile's visible keys
/// are cut, from its own first key tile on, into runs of one length, so that work is even whatever rows see.
///
/// The length: what makes `busy` tasks of all the work, two for each multiprocessor of a large GPU. But at least 512
/// keys, since a task begins with an empty ring, and so many that the results of a row tile in a split, written and
/// read again in float32, are at most an eighth of the keys and values that it reads. (A sixteenth in decode, which
/// waits for memory. Here products count: 128 rows of 128 dims in 16 bits make splits of 2,080 keys, 66,000 cycles of
/// mma.sync on an A100 SM. Its share of bandwidth writes their results in 6,500, beside those, and the merge reads them
/// in 6,500 more.)
///
/// Whether at all: where a sequence alone is to take at most half of the time, the kernel that takes it unsplit being
/// `speed` times as fast. What it is worth alone is up to `busy` / 2 times the speed; where the batch would have kept
/// the GPU busy without splits it costs a tenth of the time.
///
/// Results take at most 2 * `busy` row tiles of the workspace for a sequence, 34 MB, however long its keys are.
constexpr KeySplits tiledSplits(const Problem& problem, const Sequence& sequence, int64_t speed) {
  constexpr int64_t busy = 256, shortest = 512, unit = 64;
  const KeySplits none{roundUp(sequence.keyLength > 0 ? sequence.keyLength : 1, unit), 0, 1};
  const TiledShape shape = tiledShape(problem);
  const int64_t rows = sequence.queryLength * problem.groupSize(), rowTiles = ceilDivide(rows, shape.rows());
  const int64_t tasks = rowTiles * problem.kvHeads;
  if (rows <= decodeRows || tasks > busy || sequence.weights) return none;  // weights need each row's final sum
  int64_t longest = 0, all = 0;                                             // key tiles
  for (int64_t tile = 0; tile < rowTiles; tile++) {
    const TileRange keys = tiledKeyTiles(problem, sequence, shape, tile);
    longest = keys.end - keys.begin > longest ? keys.end - keys.begin : longest;
    all += (keys.end - keys.begin) * problem.kvHeads;
  }
  longest *= shape.keys, all *= shape.keys;
  const int64_t resultRows = rows < shape.rows() ? rows : shape.rows();
  const int64_t resultBytes = 2 * resultRows * (problem.valueDim + 2) * int64_t(sizeof(float));
  const int64_t keyBytes = (problem.headDim + problem.valueDim) * byteSize(problem.kvDtype());
  const int64_t worth = ceilDivide(8 * resultBytes, keyBytes), least = worth > shortest ? worth : shortest;
  const int64_t fastest = ceilDivide(2 * all, busy);  // keys of a multiprocessor when all are busy
  if (longest < 2 * speed * (least > fastest ? least : fastest)) return none;
  const int64_t share = ceilDivide(all, busy), length = least > share ? least : share;
  const int64_t count = clampTo(longest / length, 1, 2 * busy / tasks);
  const int64_t keys = roundUp(ceilDivide(longest, count), unit);
  return {keys, 0, ceilDivide(longest, keys)};
}

}  // namespace fovea::cuda
