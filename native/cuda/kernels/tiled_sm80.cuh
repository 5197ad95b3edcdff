// Tiled attention for sm_80 and newer: a tile of rows against all its keys, key tile by key tile, with an online
// softmax. Scores never leave registers, so extra memory does not depend on the sequence length.
//
//   for each key tile j:   S = Q K_jᵀ;  P = 2^(rules(S) - m);  l += row sums of P;  O += P V_j
//   O / l, lse = m + log l                          (m moves rarely: softmax.cuh)
//
// Rows are (query, head of the group) pairs, so that a group of heads shares its keys: 128 of them, or 64 for the
// widest heads, in 4 warps with 32 or 16 rows each. Every warp multiplies with all keys of the tile, so no warp waits
// for another's maxima and P passes from one product to the next in registers. Tiles of keys and values take turns in a
// ring of 2 to 6 places in shared memory; while one is multiplied, the next ones are being copied there by cp.async.
//
// Tiles (rows x keys, places in the ring), 16-bit: 128 x 64, 4 up to 64 dims (48 KiB); 128 x 32, 6 up to 128 (80 KiB):
// 64 keys would leave no registers for the rules beside 128 columns of output; 64 x 32, 3 up to 256 (80 KiB). float32:
// 128 x 32, 4 (64 KiB); 64 x 32, 3 (80 KiB); 64 x 16, 2 (96 KiB: one thread block per SM of an A100). Where an SM has
// 100 KiB, the ring of 6 places, and that of 4 in float32, has 2 (tiledStages()).
//
// Few row tiles against long keys are split over the keys (splits_cuda.h): a thread block has a run of the tiles of its
// rows, and leaves O, m and l in float32, which merge.cu merges.
//
// Floor on one A100 SM (16-bit, 128 dims, per tile of 128 x 32): 2.1 MFLOP, 1,024 cycles of mma.sync; 4,096
// exponentials, 256 cycles; 96 KiB out of and 16 KiB into shared memory, 896 cycles; 16 KiB of keys and values, 1,600
// cycles of the SM's share of 1.55 TB/s, so they must come from L2, as tiles of one head at work together make them. At
// 64 dims, 128 x 64: 1,024 cycles of mma.sync, 512 of exponentials, 768 of shared memory. At 256 dims, 64 x 32: 1,024
// cycles of mma.sync beside 1,536 of shared memory, which is the limit there.
//
// float32 goes through the tensor cores as three products of tf32 (split.cuh): 156 / 3 = 52 TFLOP/s on an A100, 2.7
// times its 19.5 of fused multiply-adds; on an H100 some 100 (mma.sync reaches about 60 % of 495 / 3) beside 67. Per
// tile, on an A100 SM, of any of the three: 3,072 cycles of mma.sync (8,192 would be of fused multiply-adds); 256 or
// fewer of exponentials; 896, 1,536, 1,792 of shared memory; and, at 128 dims, some 2,400 instructions of each
// scheduler, half of them for splitting, so the tensor cores are the limit.
//
// Pages of int8 arrive in the ring as bytes; a tile is converted by all warps, into the place that products read, when
// its turn comes: 8 KiB more through shared memory per tile of 32 keys x 128 dims, and some 150 instructions of each
// warp.
#pragma once
#include "softmax.cuh"
#include "split.cuh"
#include "tiled_rules.cuh"

namespace fovea::cuda {

template <class Element, class Stored, TiledShape shape>
struct TiledShared {
  using Ring = TileRing<Element, Stored, shape.keys, shape.dims, shape.stages>;
  static constexpr int panels = Ring::panels;
  Panel<shape.rows()> query[panels];  // at the end: output
  // What all threads know lies here, not in registers, where it would push out accumulators.
  typename Ring::Source sources[2];  // keys, values
  int kvHead, firstRow, keyLength;
  int firstTile, endTile;  // of keys, that are visited, but for those that are not left
  LeftTiles left;
  int64_t firstResult;                // where others merge the results: of its first row among the sequence's
  int2 plainKeys[tiledThreads / 32];  // of each warp: where only the scale is left to do, a tile begins in between
  Ring ring;                          // the last: a launch may have room for two of its places alone
};

/// Two neighbouring columns of a row, rounded to the dtype, into panels.
template <class Element, int rows, int panels>
FOVEA_DEVICE void storePair(Panel<rows> (&to)[panels], int row, int column, float low, float high) {
  constexpr int perGranule = 16 / int(sizeof(Element));
  auto& panel = to[column / panelColumns<Element>];
  void* granule = &panel.granules[panel.place(row, column % panelColumns<Element> / perGranule)];
  if constexpr (sizeof(Element) == 4)
    static_cast<float2*>(granule)[column % perGranule / 2] = {low, high};
  else
    static_cast<uint32_t*>(granule)[column % perGranule / 2] = ptx::pack<Element>(low, high);
}

/// Writes the warp's rows [firstRow, firstRow + rows) from panels, where they begin at `staged`, to the output.
template <class Element, int rows, int panelRows, int panels>
FOVEA_DEVICE void writeRows(const RuleArguments& arguments, const TiledSequence& entry, int kvHead, int firstRow,
                            const Panel<panelRows> (&from)[panels], int staged) {
  constexpr int perGranule = 16 / int(sizeof(Element));
  const Problem& problem = arguments.problem;
  const View<void>& output = entry.sequence.output;
  const int rowEnd = int(entry.sequence.queryRows) * problem.groupSize(), granule = laneIndex() % 8;
#pragma unroll 1
  for (int i = laneIndex() / 8; i < rows && firstRow + i < rowEnd; i += 4) {
    const PackedRow row = packedRow(arguments, kvHead, firstRow + i);
    auto* to = static_cast<Element*>(output.data) + row.head * output.headStride + row.query * output.rowStride;
#pragma unroll 1
    for (int panel = 0; panel < panels; panel++) {
      const int column = panel * panelColumns<Element> + granule * perGranule;
      const uint4 values = from[panel].granules[Panel<panelRows>::place(staged + i, granule)];
      if (entry.outputAligned && column + perGranule <= problem.valueDim) {
        __stwb(reinterpret_cast<uint4*>(to + column), values);  // the compiler would take a plain one apart
        continue;
      }
      const auto* elements = reinterpret_cast<const Element*>(&values);
#pragma unroll
      for (int k = 0; k < perGranule; k++)
        if (column + k < problem.valueDim) to[(column + k) * output.columnStride] = elements[k];
    }
  }
}

template <class Element, class Shared>
FOVEA_DEVICE void loadQuery(const RuleArguments& arguments, const TiledSequence& entry, Shared& shared, int rowCount) {
  const auto query = queryRows<Element>(entry, 0);
  const int64_t headStride = entry.sequence.query.headStride;
  const int firstRow = shared.firstRow, kvHead = shared.kvHead;
  loadRows<tiledThreads>(shared.query, query, rowCount - firstRow, arguments.problem.headDim, [&](auto& from, int row) {
#pragma unroll
    for (auto& at : from) {
      const PackedRow packed = packedRow(arguments, kvHead, max(min(firstRow + row, rowCount - 1), 0));
      const int64_t place = entry.owners ? entry.owners[packed.query].query : packed.query * query.rowStride;
      at = query.base + packed.head * headStride + place;
      row += tiledThreads / 8;
    }
  });
}

/// Results that others merge: the warp's rows unnormalised, in float32. `first` is the place of its first row among the
/// sequence's results, `count` how many of its rows exist.
template <class Output, int rows>
FOVEA_DEVICE void writeResults(const Problem& problem, const TiledSequence& entry, int64_t first, int count,
                               Output& output, const RowStates<rows>& states) {
  const int floats = (problem.valueDim + 3) / 4 * 4;
#pragma unroll
  for (int i = 0; i < rows; i++) {
    const float total = rowTotal<Output::lanesPerRow>(states.sum[i]);
    if (Output::row(i) >= count) continue;
    const int64_t at = first + Output::row(i);
    if (laneIndex() % Output::lanesPerRow == 0) entry.statistics[at] = {states.reference[i], total};
    float* to = entry.results + at * floats;
#pragma unroll
    for (int j = 0; j < Output::columnsPerThread; j += 2)
      if (Output::column(j) < floats)
        *reinterpret_cast<float2*>(to + Output::column(j)) = {output.at(i, j), output.at(i, j + 1)};
  }
}

template <class Element, class Stored, TiledShape shape>
FOVEA_DEVICE void tiled(const TiledArguments& arguments) {
  using Shared = TiledShared<Element, Stored, shape>;
  constexpr int panels = Shared::panels, keys = shape.keys;
  extern __shared__ __align__(1024) unsigned char sharedMemory[];
  auto& shared = *reinterpret_cast<Shared*>(sharedMemory);

  const Problem& problem = arguments.problem;
  const int stages = arguments.stages;
  const TiledSequence& entry =
      findSequence(arguments.table, problem.sequenceCount, &TiledSequence::firstTask, blockIdx.x);
  const Sequence& sequence = entry.sequence;
  const int rowCount = int(sequence.queryLength) * problem.groupSize();
  if (threadIdx.x == 0) {
    const int perSplit = entry.rowTiles * problem.kvHeads, split = int(blockIdx.x - entry.firstTask) / perSplit;
    const auto [kvHead, rowTile] = placeOf(entry, problem.kvHeads, int64_t{blockIdx.x} - split * perSplit);
    const TileRange tiles = splitTiles(tiledKeyTiles(problem, sequence, shape, rowTile), entry.splitTiles, split);
    shared.sources[0] = storedKeys<Stored>(problem, entry, kvHead);
    shared.sources[1] = storedValues<Stored>(problem, entry, kvHead);
    shared.kvHead = kvHead;
    shared.keyLength = int(sequence.keyLength);
    shared.firstRow = rowTile * shape.rows();
    shared.left = leftTiles(entry, kvHead, rowTile);
    shared.firstTile = shared.left.from(int(tiles.begin), int(tiles.end));
    shared.endTile = int(tiles.end);
    shared.firstResult = (int64_t{kvHead} * entry.splits + split) * rowCount + shared.firstRow;
  }
  __syncthreads();
  if (entry.results && shared.firstTile >= shared.endTile) {  // a split that none of these rows sees
    if (threadIdx.x < shape.rows() && shared.firstRow + int(threadIdx.x) < rowCount)
      entry.statistics[shared.firstResult + threadIdx.x] = {negativeInfinity(), 0};
    return;
  }

  const auto tileFrom = [&](int tile) { return shared.left.from(tile, shared.endTile); };
  int next = shared.firstTile;                     // to be copied, keys before values
  const auto load = [&](bool values, int place) {  // past the last: nothing, but a group to count
    if (next < shared.endTile) {
      shared.ring.template load<tiledThreads>(place, shared.sources[values], next * keys, shared.keyLength,
                                              values ? problem.valueDim : problem.headDim);
      if (values) next = tileFrom(next + 1);
    }
    ptx::commitCopies();
  };
  loadQuery<Element>(arguments, entry, shared, rowCount);
#pragma unroll 1
  for (int i = 0; i < stages - 1; i++) load(i % 2 == 1, i);

  const int warpRow = warpIndex() * shape.warpRows();
  const bool hasRows = shared.firstRow + warpRow < rowCount;
  if (laneIndex() == 0) {
    const KeyRange seen = keysOfEveryRow(arguments, sequence, shared.firstRow + warpRow, shape.warpRows());
    const bool modified = isModified(arguments, sequence);
    shared.plainKeys[warpIndex()] = {int(seen.begin), modified ? -1 : int(seen.end) - keys};
  }
  __syncwarp();
  MatrixTile<shape.rowGroups, shape.dims> output;
  using Scores = MatrixTile<shape.rowGroups, keys>;
  Probabilities<Element, shape.rowGroups, keys> probabilities;
  RowStates<Scores::rowsPerThread> states;
  clear(output);
  clear(states);

  int place = 0;
  // Waits for the tile at `place`, which every warp may read then, and begins the one `stages - 1` later.
  const auto nextTile = [&](bool values) {
    if (stages == 2)
      ptx::waitCopies<0>();
    else
      ptx::waitCopies<shape.stages - 2>();
    __syncthreads();  // and nobody reads the tile before it any more
    load((values + shape.stages - 1) % 2 == 1, place == 0 ? stages - 1 : place - 1);
  };
#pragma unroll 1
  for (int tile = shared.firstTile; tile < shared.endTile; tile = tileFrom(tile + 1)) {
    nextTile(false);
    const auto& keyTile = shared.ring.template keysAt<tiledThreads>(place, problem.headDim);
    if (hasRows) {
      typename Products<Element, shape.rowGroups, keys>::Tile products;
      clear(products);
#pragma unroll
      for (int panel = 0; panel < panels; panel++) {
        if (panel > 0 && panel * panelColumns<Element> >= problem.headDim) break;
        multiplyPanels<Element>(products, shared.query[panel], warpRow, keyTile[panel], 0, panelColumns<Element>);
      }
      Scores& scores = total(products);
      shared.ring.scale(scores, place);
      const int key = tile * keys;
      float unit = arguments.scale * log2e;
      const auto isMasked = [&] { return shared.left.isMasked(ptx::anew(tile)); };  // looked up again, not kept
      if (const int2 plain = shared.plainKeys[warpIndex()]; key < plain.x || key > plain.y || isMasked())
        unit = applyRules(arguments, sequence, {shared.kvHead, shared.firstRow + warpRow, key, entry.owners}, scores,
                          isMasked);
      softmaxStep(scores, states, output, unit);
      round(probabilities, scores);
    }
    place = place == stages - 1 ? 0 : place + 1;
    nextTile(true);
    const auto& valueTile = shared.ring.template valuesAt<tiledThreads>(place, problem.valueDim);
    if (hasRows) multiplyProbabilities(output, probabilities, valueTile, problem.valueDim);
    place = place == stages - 1 ? 0 : place + 1;
  }

  ptx::waitCopies<0>();
  __syncthreads();  // the query's place becomes the output's
  const int kvHead = shared.kvHead, firstRow = shared.firstRow, queryRows = int(sequence.queryRows);
  if (entry.results)
    return writeResults(problem, entry, shared.firstResult + warpRow, rowCount - firstRow - warpRow, output, states);
#pragma unroll
  for (int i = 0; i < Scores::rowsPerThread; i++) {
    const int row = firstRow + warpRow + Scores::row(i);
    const PackedRow packed = packedRow(arguments, kvHead, row);
    const bool exists = packed.query < sequence.queryLength;
    const float total = rowTotal<Scores::lanesPerRow>(states.sum[i]);
    const float sink = exists && sequence.sinks ? sequence.sinks[packed.head] : negativeInfinity();
    const RowResult result = exists ? finishRow(states.reference[i], total, sink) : RowResult{0.f, negativeInfinity()};
    if (laneIndex() % Scores::lanesPerRow == 0 && packed.query < queryRows) {
      if (sequence.lse)
        sequence.lse.data[packed.head * sequence.lse.headStride + packed.query * sequence.lse.rowStride] = result.lse;
      if (entry.rows)
        entry.rows[int64_t(kvHead) * queryRows * problem.groupSize() + row] = {finiteReference(states.reference[i]),
                                                                               result.factor};
    }
#pragma unroll
    for (int j = 0; j < output.columnsPerThread; j += 2) {
      const bool empty = result.factor == 0;  // 0, even where masked values were NaN
      storePair<Element>(shared.query, warpRow + output.row(i), output.column(j),
                         empty ? 0.f : output.at(i, j) * result.factor,
                         empty ? 0.f : output.at(i, j + 1) * result.factor);
    }
  }
  __syncwarp();
  writeRows<Element, shape.warpRows()>(arguments, entry, kvHead, firstRow + warpRow, shared.query, warpRow);
}

// Registers for `blocks` thread blocks on a multiprocessor.
#define FOVEA_TILED(name, Stored, stored, Element, type, dims, blocks)                                         \
  extern "C" __global__ void __launch_bounds__(tiledThreads, blocks)                                           \
      fovea_tiled_##name##_##dims(const __grid_constant__ TiledArguments arguments) {                          \
    static_assert(sizeof(TiledShared<Element, Stored, tiledShape(DType::type, DType::stored, dims)>) ==        \
                  tiledSharedBytes(DType::type, DType::stored, tiledShape(DType::type, DType::stored, dims))); \
    tiled<Element, Stored, tiledShape(DType::type, DType::stored, dims)>(arguments);                           \
  }

}  // namespace fovea::cuda
