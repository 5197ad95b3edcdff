// Tiled attention for Hopper (sm_90a): the algorithm of tiled_sm80.cu, by warpgroups that never wait for what another
// can do meanwhile.
//
// One warpgroup loads: a single thread of it has the copy engine fill two rings in shared memory, of key and of value
// tiles. Two or three warpgroups multiply, each with 64 rows of its own. In a warpgroup
//
//   S = Q K_jᵀ  and  O += P_{j-1} V_{j-1}   are begun one after the other; as soon as S is there,
//   P_j = 2^(rules(S) - m)                  is made while the tensor cores work at O.
//
// Between warpgroups turns are taken in beginning products (pipeline_sm90.cuh): while one makes probabilities, the
// products of another keep the tensor cores busy. A block stays and takes tile after tile (scheduler_sm90.cuh): the
// next tile's keys are loaded while this one's output is written.
//
// Rows are (query, packed head) pairs as packedProblem() has them; a warpgroup visits only the key tiles that its own
// rows see, and passes over the others.
//
// Time of one SM per tile of rows x keys, in cycles (H100: wgmma does 2,048 multiply-adds a cycle, exp2 16, shared
// memory feeds 128 bytes, an SM's share of 3.35 TB/s is 14 bytes):
//
//   dims       tile       wgmma   exp2   shared memory: K and V by each warpgroup, Q   HBM, if K and V are not in L2
//   64         192 x 128  1,536   1,536    3 x 32 KiB + 24 KiB: 960                     32 KiB: 2,340
//   96         192 x 112  2,016   1,344    3 x 42 KiB + 36 KiB: 1,296                   42 KiB: 3,070
//   128        128 x 128  2,048   1,024    2 x 64 KiB + 32 KiB: 1,280                   64 KiB: 4,680
//   192, 128   128 x 128  2,560   1,024    2 x 80 KiB + 48 KiB: 1,664                   80 KiB: 5,850
//   192        128 x 112  2,688     896    2 x 84 KiB + 48 KiB: 1,728                   84 KiB: 6,140
//   256        128 x 80   2,560     640    2 x 80 KiB + 64 KiB: 1,792                   80 KiB: 5,850
//
// In the best case exponentials (and maxima, sums and rounding, about as much again) hide behind wgmma; at 64 dims they
// cannot quite. Blocks that work at once share a head's keys, which therefore come from L2, at some three times the
// rate.
#include "scheduler_sm90.cuh"
#include "softmax.cuh"

namespace fovea::cuda {

/// A warpgroup's queries, and its output: beside them or in their place.
template <Sm90Shape shape, bool ownOutput = shape.ownOutput>
struct RowTiles {
  SwizzledTile<warpgroupRows, shape.dims> query;
  SwizzledTile<warpgroupRows, shape.valueDims> output;
};
template <Sm90Shape shape>
struct RowTiles<shape, false> {
  union {
    SwizzledTile<warpgroupRows, shape.dims> query;
    SwizzledTile<warpgroupRows, shape.valueDims> output;
  };
};

/// With rules: which tile of keys is in a place, as the loading thread tells the others. Without, they count.
struct LoadedTile {
  int bits;
  FOVEA_DEVICE LoadedTile(int tile, bool masked) : bits(tile * 2 + masked) {}
  FOVEA_DEVICE int tile() const { return bits / 2; }
  FOVEA_DEVICE bool isMasked() const { return (bits & 1) != 0; }
};

template <Sm90Shape shape>
struct Sm90Shared {
  RowTiles<shape> rows[shape.consumers];
  SwizzledTile<shape.keys, shape.dims> key[shape.stages];
  SwizzledTile<shape.keys, shape.valueDims> value[shape.stages];
  Work work[2];
  // What the threads of a warp, or of a warpgroup, know lies here, not in registers, which are the accumulators'.
  int2 rowKeys[shape.rows()];           // that each row sees
  int2 plainKeys[4 * shape.consumers];  // where only the scale is left to do: a tile begins in between
  int outputMap[shape.consumers];       // entry whose map was acquired last
  LoadedTile loaded[shape.stages];
  Ring<2> works;
  Ring<1> queries;
  Ring<shape.stages> keys, values;
};

/// How often a consumer warpgroup releases the queries: by each warp when the last scores are there, or once, when the
/// output that took their place is written.
template <Sm90Shape shape>
constexpr int queryReleases = shape.ownOutput ? 4 : 1;

/// The loading thread.
template <Sm90Shape shape, bool ruled>
FOVEA_DEVICE void produce(const TiledSm90Arguments& arguments, Sm90Shared<shape>& shared) {
  const Problem& problem = arguments.tiled.problem;
  const int queries = warpgroupQueries(problem);
  RingPlace<shape.stages> place{0};  // of keys; values follow one behind
  int acquired = -1;
  int task = int(blockIdx.x);
  for (uint32_t count = 0;; count++) {
    const RingPlace<2> workPlace{count};
    const RingPlace<1> queryPlace{count};
    const Work work = workOf<shape, ruled>(arguments, task);
    workPlace.waitEmptied(shared.works);
    if (ruled)
      shared.work[workPlace.stage()] = work;
    else
      static_cast<WorkTiles&>(shared.work[workPlace.stage()]) = work;
    ptx::arrive(workPlace.filled(shared.works));
    if (work.entry < 0) return;

    const TensorMaps& maps = arguments.maps[work.entry];
    if (work.entry != acquired) {
      ptx::acquireMap(&maps.query);
      ptx::acquireMap(&maps.key);
      ptx::acquireMap(&maps.value);
      acquired = work.entry;
    }
    const auto loadQueries = [&] {
      queryPlace.waitEmptied(shared.queries);
      const uint32_t barrier = queryPlace.filled(shared.queries);
      if (work.tiles == 0) return ptx::arrive(barrier);
      ptx::arriveExpecting(barrier, shape.consumers * queries * problem.groupSize() * shape.dims * 2);
#pragma unroll
      for (int consumer = 0; consumer < shape.consumers; consumer++) {
        auto& to = shared.rows[consumer].query;
#pragma unroll
        for (int panel = 0; panel < to.panels; panel++)
          ptx::loadBox(to.panel[panel].address(0, 0), &maps.query, barrier, panel * to.panelColumns, 0,
                       work.firstQuery + consumer * queries, work.group);
      }
    };
    const int kvHead = work.group / arguments.groupsPerKvHead;
    const auto load = [&](auto& ring, auto& to, const TensorMap& map, RingPlace<shape.stages> at, int tile) {
      ptx::arriveExpecting(at.filled(ring), to->bytes);
#pragma unroll
      for (int panel = 0; panel < to->panels; panel++)
        ptx::loadBox(to[at.stage()].panel[panel].address(0, 0), &map, at.filled(ring), panel * to->panelColumns,
                     tile * shape.keys, kvHead);
    };
    // In the order in which places become free: of keys with their scores, of queries with the last scores, of values
    // a tile later. None waits behind one that is filled later than need be.
    int tile = work.firstTile, before = -1;
#pragma unroll 1
    for (int i = 0; i <= work.tiles; i++) {
      const RingPlace<shape.stages> valuePlace{place.count - 1};
      if (i < work.tiles) {
        if (ruled) tile = work.left.from(tile, 1 << 30);  // one is left
        const LoadedTile loaded{tile, ruled && work.left.isMasked(tile)};
        place.waitEmptied(shared.keys);
        if (ruled) shared.loaded[place.stage()] = loaded;
        load(shared.keys, shared.key, maps.key, place, tile);
        place.count++;
      }
      if (i == 0) loadQueries();
      if (i == work.tiles) task = nextTask(arguments, task);  // while there is no place for the last values
      if (i > 0) {
        valuePlace.waitEmptied(shared.values);
        load(shared.values, shared.value, maps.value, valuePlace, before);
      }
      before = tile++;
    }
  }
}

/// Where a warp's 16 rows are.
struct WarpRows {
  int first;  // of the packed problem's rows: query * groupSize + head
  int used;   // how many of the 16 are this warpgroup's; the others are empty
};
FOVEA_DEVICE WarpRows rowsOfWarp(const Problem& problem, int firstQuery) {
  const int warp = ptx::anew(warpIndex() % 4 * 16);
  return {firstQuery * problem.groupSize() + warp, warpgroupQueries(problem) * problem.groupSize() - warp};
}

/// What the warp's rows come to after the last key.
template <class Scores>
FOVEA_DEVICE void finishRows(const TiledSm90Arguments& arguments, const Sequence& sequence, int group,
                             const WarpRows& rows, const RowStates<2>& states, RowResult (&results)[2]) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const PackedRow packed = packedRow(arguments.tiled, group, rows.first + Scores::row(i));
    const bool exists = Scores::row(i) < rows.used && packed.query < sequence.queryLength;
    const float total = rowTotal<Scores::lanesPerRow>(states.sum[i]);
    const float sink = exists && sequence.sinks ? sequence.sinks[packed.head] : negativeInfinity();
    results[i] = exists ? finishRow(states.reference[i], total, sink) : RowResult{0.f, negativeInfinity()};
  }
}

/// Writes that, but for the output.
template <class Scores>
FOVEA_DEVICE void storeRows(const TiledSm90Arguments& arguments, const TiledSequence& entry, int group,
                            const WarpRows& rows, const RowStates<2>& states, const RowResult (&results)[2]) {
  const Problem& problem = arguments.tiled.problem;
  const Sequence& sequence = entry.sequence;
  if (laneIndex() % Scores::lanesPerRow != 0) return;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const PackedRow packed = packedRow(arguments.tiled, group, rows.first + Scores::row(i));
    if (Scores::row(i) >= rows.used || packed.query >= sequence.queryRows) continue;
    if (sequence.lse)
      sequence.lse.data[packed.head * sequence.lse.headStride + packed.query * sequence.lse.rowStride] = results[i].lse;
    if (entry.rows) {  // of the problem as its caller has it
      const int groupSize = problem.groupSize() * arguments.groupsPerKvHead, kvHead = packed.head / groupSize;
      const int64_t row = int64_t(packed.query) * groupSize + packed.head - kvHead * groupSize;
      entry.rows[kvHead * sequence.queryRows * groupSize + row] = {finiteReference(states.reference[i]),
                                                                   results[i].factor};
    }
  }
}

/// A warpgroup's tile of queries after its last keys: the output to where the copy engine takes it, then the rest.
template <class Element, Sm90Shape shape>
FOVEA_DEVICE void storeTile(const TiledSm90Arguments& arguments, Sm90Shared<shape>& shared, int consumer,
                            uint32_t count, MatrixTile<1, shape.valueDims>& output, const RowStates<2>& states) {
  using Scores = MatrixTile<1, shape.keys>;
  const Problem& problem = arguments.tiled.problem;
  const Work& work = shared.work[RingPlace<2>{count}.stage()];
  const bool firstThread = threadIdx.x % warpgroupThreads == 0;
  const auto entry = [&]() -> const TiledSequence& { return arguments.tiled.table[work.entry]; };
  const auto firstQuery = [&] { return work.firstQuery + consumer * warpgroupQueries(problem); };
  auto& to = shared.rows[consumer].output;

  RowResult results[2];
  finishRows<Scores>(arguments, entry().sequence, work.group, rowsOfWarp(problem, firstQuery()), states, results);
  const float factors[2] = {results[0].factor, results[1].factor};
  if (firstThread) ptx::waitStoresRead();  // of the tile before
  syncWarpgroup<shape.consumers>(consumer);
  storeOutput<Element>(to, output, factors);
  ptx::fenceAsyncProxy();
  syncWarpgroup<shape.consumers>(consumer);
  if (firstThread) {
    const TensorMap& map = arguments.maps[work.entry].output;
    if (count == 0 || shared.outputMap[consumer] != work.entry) ptx::acquireMap(&map);
    shared.outputMap[consumer] = work.entry;
#pragma unroll
    for (int panel = 0; panel < to.panels; panel++)
      ptx::storeBox(&map, to.panel[panel].address(0, 0), panel * to.panelColumns, 0, firstQuery(), work.group);
    ptx::commitStores();
    if constexpr (!shape.ownOutput) {
      ptx::waitStoresRead();
      RingPlace<1>{count}.release(shared.queries);
    }
  }
  // Last, as the output is what others wait for.
  storeRows<Scores>(arguments, entry(), work.group, rowsOfWarp(problem, firstQuery()), states, results);
}

/// A multiplying warpgroup.
template <class Element, Sm90Shape shape, bool ruled>
FOVEA_DEVICE void consume(const TiledSm90Arguments& arguments, Sm90Shared<shape>& shared, int consumer) {
  using Turn = Turns<shape.consumers>;
  using Scores = MatrixTile<1, shape.keys>;
  const Problem& problem = arguments.tiled.problem;
  const bool firstLane = laneIndex() == 0, firstThread = threadIdx.x % warpgroupThreads == 0;
  auto& rowTiles = shared.rows[consumer];
  int2& plainKeys = shared.plainKeys[warpIndex() - 4];
  int2* rowKeys = &shared.rowKeys[16 * (warpIndex() - 4)];
  RingPlace<shape.stages> place{0};  // of keys; values follow one behind in the main loop

  Turn::begin(consumer);
  for (uint32_t count = 0;; count++) {
    const RingPlace<2> workPlace{count};
    const RingPlace<1> queryPlace{count};
    workPlace.waitFilled(shared.works);
    const Work& work = shared.work[workPlace.stage()];
    if (work.entry < 0) break;
    const auto entry = [&]() -> const TiledSequence& { return arguments.tiled.table[work.entry]; };
    const auto firstQuery = [&] { return work.firstQuery + consumer * warpgroupQueries(problem); };

    {  // while the first boxes are on their way
      const Sequence& sequence = entry().sequence;
      const int row = rowsOfWarp(problem, firstQuery()).first;
      const KeyRange plain = keysOfEveryRow(arguments.tiled, sequence, row, 16);
      const bool modified = ruled && isModified(arguments.tiled, sequence);
      if (laneIndex() < 16) rowKeys[laneIndex()] = keysOfRow(arguments.tiled, sequence, row + laneIndex());
      if (firstLane) plainKeys = {int(plain.begin), modified ? -1 : int(plain.end) - shape.keys};
      __syncwarp();
    }

    MatrixTile<1, shape.valueDims> output;
    Scores scores;
    Probabilities<Element, 1, shape.keys> probabilities;
    RowStates<2> states;
    float factors[2];
    clear(output);
    clear(states);

    const auto beginScores = [&] {
      ptx::fenceProducts();
      multiplyKeys<Element>(scores, rowTiles.query, shared.key[place.stage()]);
      ptx::commitProducts();
    };
    const auto scoresReady = [&] {
      ptx::holdAccumulators(scores.fragments[0]);
      if (firstLane) place.release(shared.keys);
      place.count++;
    };
    const auto valuePlace = [&] { return RingPlace<shape.stages>{place.count - 1}; };
    const auto beginOutput = [&] {
      multiplyValues(output, probabilities, shared.value[valuePlace().stage()]);
      ptx::commitProducts();
    };
    const auto outputReady = [&] {  // and all before it
      ptx::waitProducts<0>();
      ptx::holdAccumulators(output.fragments[0]);
      ptx::holdOperands(probabilities.fragments[0]);
    };
    const auto releaseQueries = [&] {  // once the last scores are there
      if (shape.ownOutput && firstLane) queryPlace.release(shared.queries);
    };
    // Scores to probabilities in float32. Whether the rows' output must be multiplied with factors.
    const auto makeProbabilities = [&](const LoadedTile& loaded) {
      const int key = loaded.tile() * shape.keys;
      float unit = arguments.tiled.scale * log2e;
      const auto isMasked = [&] { return loaded.isMasked(); };
      if (const int2 plain = plainKeys; key < plain.x || key > plain.y || isMasked()) {
        const auto keysAt = [&](int row) { return rowKeys[row]; };
        if constexpr (ruled) {
          const ScorePlace at{work.group, rowsOfWarp(problem, firstQuery()).first, key};
          unit = applyRules(arguments.tiled, entry().sequence, at, scores, isMasked, keysAt);
        } else {
          hideRanges(scores, [&](int row) { return SeenColumns(keysAt(row), key + Scores::column(0)); });
        }
      }
      const bool moved = moveReferences(scores, states, factors, unit);
      exponentiate(scores, states, unit);
      return moved;
    };
    const auto passOver = [&] {
      Turn::take(consumer);
      Turn::pass(consumer);
      place.waitFilled(shared.keys);
      if (firstLane) place.release(shared.keys);
      place.waitFilled(shared.values);
      if (firstLane) place.release(shared.values);
      place.count++;
    };

    const int2 own = ruled ? work.own[consumer] : ownTiles(problem, entry().sequence, shape, firstQuery());
    const int ownEnd = own.y;
    int tile = work.firstTile;
#pragma unroll 1
    for (; tile < own.x; tile++) passOver();
    queryPlace.waitFilled(shared.queries);
    if (ruled && tile < ownEnd) {  // rules take the registers that probabilities in flight would
      bool begun = false;          // a product that adds to the output
#pragma unroll 1
      for (; tile < ownEnd; tile++, begun = true) {
        place.waitFilled(shared.keys);
        const LoadedTile loaded = shared.loaded[place.stage()];
        Turn::take(consumer);
        beginScores();
        Turn::pass(consumer);
        outputReady();
        if (firstLane && begun) valuePlace().release(shared.values);
        scoresReady();
        if (makeProbabilities(loaded)) rescale(output, factors);
        round(probabilities, scores);
        valuePlace().waitFilled(shared.values);
        ptx::holdOperands(probabilities.fragments[0]);
        ptx::holdAccumulators(output.fragments[0]);
        ptx::fenceProducts();
        beginOutput();
      }
      releaseQueries();
      outputReady();
      if (firstLane) valuePlace().release(shared.values);
    } else if (tile < ownEnd) {
      place.waitFilled(shared.keys);
      Turn::take(consumer);
      beginScores();
      Turn::pass(consumer);
      ptx::waitProducts<0>();
      scoresReady();
      makeProbabilities({tile, false});
      round(probabilities, scores);
#pragma unroll 1
      for (tile++; tile < ownEnd; tile++) {
        valuePlace().waitFilled(shared.values);
        place.waitFilled(shared.keys);
        Turn::take(consumer);
        ptx::holdOperands(probabilities.fragments[0]);
        ptx::holdAccumulators(output.fragments[0]);
        beginScores();
        beginOutput();
        Turn::pass(consumer);
        ptx::waitProducts<1>();
        scoresReady();
        const bool moved = makeProbabilities({tile, false});
        ptx::finishFirst(states.sum[0] + states.sum[1]);  // exponentials while the output's product runs
        outputReady();
        if (firstLane) RingPlace<shape.stages>{place.count - 2}.release(shared.values);
        if (moved) rescale(output, factors);
        round(probabilities, scores);
      }
      releaseQueries();
      valuePlace().waitFilled(shared.values);
      ptx::holdOperands(probabilities.fragments[0]);
      ptx::holdAccumulators(output.fragments[0]);
      ptx::fenceProducts();
      beginOutput();
      outputReady();
      if (firstLane) valuePlace().release(shared.values);
    } else {
      releaseQueries();
    }
#pragma unroll 1
    for (; tile < work.firstTile + work.tiles; tile++) passOver();

    storeTile<Element>(arguments, shared, consumer, count, output, states);
    __syncwarp();
    if (firstLane) workPlace.release(shared.works);
  }
  Turn::end(consumer);
  if (firstThread) ptx::waitStoresRead();
}

template <class Element, Sm90Shape shape, bool ruled>
FOVEA_DEVICE void tiledSm90(const TiledSm90Arguments& arguments) {
  static_assert(sizeof(Sm90Shared<shape>) <= sm90SharedBytes(shape));
  extern __shared__ __align__(1024) unsigned char sharedMemory[];
  auto& shared = *reinterpret_cast<Sm90Shared<shape>*>(sharedMemory);
  const int warpgroup = __shfl_sync(0xffffffff, threadIdx.x / warpgroupThreads, 0);  // which the compiler sees is one

  if (threadIdx.x == 0) {
    shared.works.init(4 * shape.consumers);
    shared.queries.init(queryReleases<shape> * shape.consumers);
    shared.keys.init(4 * shape.consumers);
    shared.values.init(4 * shape.consumers);
    ptx::publishBarriers();
  }
  const int used = warpgroupQueries(arguments.tiled.problem) * arguments.tiled.problem.groupSize();
  if (warpgroup > 0 && used < warpgroupRows) {  // no box brings the last rows
    auto& query = shared.rows[warpgroup - 1].query;
    constexpr int granules = query.rowBytes / 16;
    for (int slot = threadIdx.x % warpgroupThreads; slot < (warpgroupRows - used) * granules; slot += warpgroupThreads)
      for (int panel = 0; panel < query.panels; panel++)
        query.panel[panel].granules[used * granules + slot] = {0, 0, 0, 0};
    ptx::fenceAsyncProxy();
  }
  __syncthreads();

  if (warpgroup == 0) {
    ptx::releaseRegisters<shape.producerRegisters()>();
    if (warpIndex() == 0 && ptx::electOne()) produce<shape, ruled>(arguments, shared);
  } else {
    ptx::acquireRegisters<shape.consumerRegisters()>();
    consume<Element, shape, ruled>(arguments, shared, warpgroup - 1);
  }
}

#define FOVEA_TILED_SM90(type, Element, suffix, ruled, dims, valueDims)                                              \
  extern "C" __global__ void __launch_bounds__(sm90Shape(dims, valueDims, ruled).threads(), 1)                       \
      fovea_tiled_sm90_##type##_##dims##_##valueDims##suffix(const __grid_constant__ TiledSm90Arguments arguments) { \
    tiledSm90<Element, sm90Shape(dims, valueDims, ruled), ruled>(arguments);                                         \
  }
#define FOVEA_TILED_SM90_SHAPES(...)      \
  FOVEA_TILED_SM90(__VA_ARGS__, 64, 64)   \
  FOVEA_TILED_SM90(__VA_ARGS__, 96, 96)   \
  FOVEA_TILED_SM90(__VA_ARGS__, 128, 128) \
  FOVEA_TILED_SM90(__VA_ARGS__, 192, 128) \
  FOVEA_TILED_SM90(__VA_ARGS__, 192, 192) \
  FOVEA_TILED_SM90(__VA_ARGS__, 256, 256)
FOVEA_TILED_SM90_SHAPES(float16, Half, , false)
FOVEA_TILED_SM90_SHAPES(float16, Half, _ruled, true)
FOVEA_TILED_SM90_SHAPES(bfloat16, BFloat, , false)
FOVEA_TILED_SM90_SHAPES(bfloat16, BFloat, _ruled, true)

}  // namespace fovea::cuda
