// Split decode for Hopper (sm_90a), for 17 to 64 rows of a kv head: a few queries of a large group. The algorithm of
// decode.cuh, by one warpgroup whose products take all rows at once, and a warp that has the copy engine fill rings of
// key and value tiles. A thread block has one split of one kv head's keys; merge.cu merges the splits.
//
//   for each tile of keys j:   S = Q K_jᵀ;  P = 2^(rules(S) - m);  l += row sums of P;  O += P V_j
//   results: O, m and l of every row, in float32
//
// Floor: keys * (headDim + valueDim) * 2 bytes / bandwidth of device memory. A multiprocessor's share of an H100's 3.35
// TB/s is 14 bytes a cycle, and what is asked for comes after some 1.6 microseconds under load: 40 KB must be on their
// way at any time. In cycles of a multiprocessor, for a tile of 64 keys:
//
//   dims   HBM               wgmma   exp2   thread blocks   on their way while others are used
//   64     16 KiB: 1,170     256     256    2               2 x 48 KiB
//   128    32 KiB: 2,340     512     256    2               2 x 32 KiB
//   256    64 KiB: 4,680     1,024   256    1               64 KiB
//
// So one warpgroup, which does one after the other what tiled_sm90.cu overlaps, waits for memory half of its time.
// Up to 16 rows stay with decode.cuh: there the products of mma.sync and cp.async's instructions hide behind memory
// too, and four of five rows of a warpgroup would be empty.
//
// Pages of a multiple of 16 keys are fetched box by box, whose places the lanes of the loading warp look up one each.
// Keys past a sequence's end are not fetched, but zeros; what its last page holds beyond, and may be NaN, is cleared
// where the values lie, as 0 times it must stay 0.
#include "decode.cuh"
#include "decode_sm90.h"
#include "pipeline_sm90.cuh"

namespace fovea::cuda {

template <DecodeShape shape>
struct DecodeSm90Shared {
  SwizzledTile<warpgroupRows, shape.dims> query;
  SwizzledTile<shape.keys, shape.dims> key[shape.stages], value[shape.stages];
  int2 rowKeys[warpgroupRows];  // that each row sees
  KeySpan left;                 // where there is a mask or bias
  Ring<1> queries;
  Ring<shape.stages> keys, values;
};

/// The tiles of a thread block's keys.
struct TileSpan {
  int first, count;
};

/// The loading warp: each lane has boxes of its own.
template <DecodeShape shape>
FOVEA_DEVICE void produce(const Problem& problem, const DecodeSm90Sequence& entry, int kvHead, TileSpan tiles,
                          DecodeSm90Shared<shape>& shared) {
  const Sequence& sequence = entry.sequence;
  const int lane = laneIndex(), keyLength = int(sequence.keyLength);
  const int boxKeys = sm90BoxKeys(problem.pageSize), firstRow = lane * boxKeys;
  const bool loads = firstRow < shape.keys;
  const auto load = [&](auto& to, int row, const TensorMap& map, uint32_t barrier, int y, int z, int w) {
#pragma unroll
    for (int panel = 0; panel < to.panels; panel++)
      ptx::loadBox(to.panel[panel].address(row, 0), &map, barrier, panel * to.panelColumns, y, z, w);
  };
  struct Box {
    int page, key;  // and the first key in it
  };
  const auto boxOf = [&](int tile) -> Box {
    const int key = (tiles.first + tile) * shape.keys + firstRow;
    if (problem.pageSize == 0) return {0, key};
    if (!loads || tile >= tiles.count || key >= keyLength) return {0, problem.pageSize};  // beside the tensor: zeros
    const int index = key / problem.pageSize;
    return {sequence.pageTable[index], key - index * problem.pageSize};
  };
  Box next = boxOf(0);  // looked up while the maps are fetched
  if (tiles.count <= 0) return;
  ptx::acquireMap(&entry.query);
  ptx::acquireMap(&entry.key);
  ptx::acquireMap(&entry.value);
  if (lane == 0) {
    const uint32_t barrier = RingPlace<1>{0}.filled(shared.queries);
    ptx::arriveExpecting(barrier, int(sequence.queryLength) * problem.groupSize() * shape.dims * 2);
    load(shared.query, 0, entry.query, barrier, 0, 0, kvHead);
  }
#pragma unroll 1
  for (RingPlace<shape.stages> place{0}; int(place.count) < tiles.count; place.count++) {
    const Box box = next;
    next = boxOf(int(place.count) + 1);  // looked up while the ring is full
    const auto fill = [&](const auto& ring, auto& to, const TensorMap& map) {
      place.waitEmptied(ring);
      if (lane == 0) ptx::arriveExpecting(place.filled(ring), to.bytes);
      __syncwarp();
      if (loads) load(to, firstRow, map, place.filled(ring), box.key, kvHead, box.page);
    };
    fill(shared.keys, shared.key[place.stage()], entry.key);
    fill(shared.values, shared.value[place.stage()], entry.value);
  }
}

/// Clears the rows of a tile from `row` on, for products. By the multiplying warpgroup.
template <int rows, int columns>
FOVEA_DEVICE void clearRows(SwizzledTile<rows, columns>& tile, int row) {
  constexpr int granules = tile.rowBytes / 16;
  for (int slot = row * granules + int(threadIdx.x); slot < rows * granules; slot += warpgroupThreads)
#pragma unroll
    for (int panel = 0; panel < tile.panels; panel++) tile.panel[panel].granules[slot] = {0, 0, 0, 0};
  ptx::fenceAsyncProxy();
  ptx::syncNamed(1, warpgroupThreads);
}

/// The multiplying warpgroup.
template <class Element, DecodeShape shape>
FOVEA_DEVICE void consume(const DecodeSm90Arguments& arguments, const DecodeSm90Sequence& entry,
                          const DecodePlace& block, TileSpan tiles, DecodeSm90Shared<shape>& shared) {
  using Scores = MatrixTile<1, shape.keys>;
  const Problem& problem = arguments.problem;
  const Sequence& sequence = entry.sequence;
  const int rowCount = int(sequence.queryLength) * problem.groupSize(), firstRow = warpIndex() * 16;
  const bool firstLane = laneIndex() == 0;
  const KeyRange seen = keysOfEveryRow(arguments, sequence, firstRow, 16);
  const int plainBegin = int(seen.begin);
  const int plainEnd = isModified(arguments, sequence) || sequence.mask ? -1 : int(seen.end) - shape.keys;
  int2* rowKeys = &shared.rowKeys[firstRow];
  if (laneIndex() < 16) rowKeys[laneIndex()] = keysOfRow(arguments, sequence, firstRow + laneIndex());
  __syncwarp();

  MatrixTile<1, shape.dims> output;
  Scores scores;
  Probabilities<Element, 1, shape.keys> probabilities;
  RowStates<2> states;
  clear(output);
  clear(states);
  const auto productsReady = [&] {
    ptx::waitProducts<0>();
    ptx::holdAccumulators(scores.fragments[0]);
    ptx::holdAccumulators(output.fragments[0]);
    ptx::holdOperands(probabilities.fragments[0]);
  };
  if (tiles.count > 0) {
    RingPlace<1>{0}.waitFilled(shared.queries);
#pragma unroll 1
    for (RingPlace<shape.stages> place{0}; int(place.count) < tiles.count; place.count++) {
      const int key = (tiles.first + int(place.count)) * shape.keys;
      place.waitFilled(shared.keys);
      ptx::fenceProducts();
      multiplyKeys<Element>(scores, shared.query, shared.key[place.stage()]);
      ptx::commitProducts();
      productsReady();  // and those of the tile before with its values
      if (firstLane) {
        place.release(shared.keys);
        if (place.count > 0) RingPlace<shape.stages>{place.count - 1}.release(shared.values);
      }
      float unit = arguments.scale * log2e;
      if (key < plainBegin || key > plainEnd)
        unit = applyRules(
            arguments, sequence, {block.kvHead, firstRow, key}, scores, [&] { return bool(sequence.mask); },
            [&](int row) { return rowKeys[row]; });
      softmaxStep(scores, states, output, unit);
      round(probabilities, scores);
      place.waitFilled(shared.values);
      auto& value = shared.value[place.stage()];
      if (problem.pageSize > 0 && key + shape.keys > int(sequence.keyLength))
        clearRows(value, int(sequence.keyLength) - key);
      ptx::holdOperands(probabilities.fragments[0]);
      ptx::holdAccumulators(output.fragments[0]);
      ptx::fenceProducts();
      multiplyValues(output, probabilities, value);
      ptx::commitProducts();
    }
    productsReady();
  }

  const int64_t first = (int64_t(block.kvHead) * entry.splits + block.split) * rowCount;
  const int resultFloats = entry.resultFloats;  // read once: the compiler cannot know that stores leave it alone
  float* results = entry.results;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const float total = rowTotal<Scores::lanesPerRow>(states.sum[i]);
    const int row = firstRow + Scores::row(i);
    if (row >= rowCount) continue;
    if (laneIndex() % Scores::lanesPerRow == 0) entry.statistics[first + row] = {states.reference[i], total};
    float* to = results + (first + row) * resultFloats;
#pragma unroll
    for (int j = 0; j < output.columnsPerThread; j += 2) {  // 0 where nothing is seen, even of NaN values
      const int column = output.column(j);
      if (column < resultFloats)
        *reinterpret_cast<float2*>(to + column) =
            total == 0 ? float2{0, 0} : float2{output.at(i, j), output.at(i, j + 1)};
    }
  }
}

template <class Element, DecodeShape shape>
FOVEA_DEVICE void decodeSm90(const DecodeSm90Arguments& arguments) {
  static_assert(sizeof(DecodeSm90Shared<shape>) <= sm90DecodeSharedBytes(shape));
  extern __shared__ __align__(1024) unsigned char sharedMemory[];
  auto& shared = *reinterpret_cast<DecodeSm90Shared<shape>*>(sharedMemory);
  const int warp = __shfl_sync(0xffffffff, warpIndex(), 0);  // which the compiler sees is one
  const Problem& problem = arguments.problem;
  const auto& entry = findSequence<DecodeSm90Sequence>(arguments.table, problem.sequenceCount,
                                                       &DecodeSm90Sequence::firstTask, blockIdx.x);
  DecodePlace place = placeOf(problem, entry);
  const bool hides = entry.sequence.mask || entry.sequence.bias;
  if (hides && warp == 0) shared.left = leftKeys(problem, entry.sequence, place.kvHead, place.keys);
  if (threadIdx.x == 0) {
    shared.queries.init(1);
    shared.keys.init(warpgroupThreads / 32);
    shared.values.init(warpgroupThreads / 32);
    ptx::publishBarriers();
  }
  const int rowCount = int(entry.sequence.queryLength) * problem.groupSize();
  if (warp < warpgroupThreads / 32 && rowCount < warpgroupRows)
    clearRows(shared.query, rowCount);  // which no box brings
  __syncthreads();
  if (hides) place.keys = shared.left;
  const int firstTile = place.keys.begin / shape.keys;
  const TileSpan tiles{firstTile, (place.keys.end + shape.keys - 1) / shape.keys - firstTile};
  if (warp == warpgroupThreads / 32)
    produce(problem, entry, place.kvHead, tiles, shared);
  else
    consume<Element>(arguments, entry, place, tiles, shared);
}

#define FOVEA_DECODE_SM90(type, Element, dims)                                                   \
  extern "C" __global__ void __launch_bounds__(sm90DecodeThreads, dims <= 128 ? 2 : 1)           \
      fovea_decode_sm90_##type##_##dims(const __grid_constant__ DecodeSm90Arguments arguments) { \
    decodeSm90<Element, sm90DecodeShape(dims)>(arguments);                                       \
  }

FOVEA_DECODE_SM90(float16, Half, 64)
FOVEA_DECODE_SM90(float16, Half, 128)
FOVEA_DECODE_SM90(float16, Half, 256)
FOVEA_DECODE_SM90(bfloat16, BFloat, 64)
FOVEA_DECODE_SM90(bfloat16, BFloat, 128)
FOVEA_DECODE_SM90(bfloat16, BFloat, 256)

}  // namespace fovea::cuda
