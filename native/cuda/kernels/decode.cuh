// Split decode: few rows against many keys. A thread block takes all rows of one kv head, (query, head of the group)
// pairs, and one split of its keys, so every key and value is read once for the whole group. merge.cu merges the
// splits.
//
//   for each slice of keys j:   S = Q K_jᵀ;  P = 2^(rules(S) - m);  l += row sums of P;  O += P V_j
//   results: O, m and l of every row, in float32
//
// Each of 4 warps goes through every fourth slice of 16 keys by itself, with a ring of its own in shared memory that it
// fills by cp.async: no warp waits for another until all slices are done. Then what the warps have is added, in their
// order. 16-bit types multiply on tensor cores, whose tiles have 16 rows: all that there are. Float32 takes fused
// multiply-adds, for 4 or 16 rows.
//
// Floor: keys * (headDim + valueDim) * element size / bandwidth of device memory. For a slice of 16 keys at 128 dims in
// 16 bits that is 8 KiB, 803 cycles of an A100 SM's share of 1.55 TB/s, beside 64 cycles of mma.sync, 64 of reading
// shared memory and 16 of exponentials: all of it is for keeping bytes in flight, 48 KiB of them per thread block. In
// float32 16 KiB, 1,606 cycles, beside 1,024 of multiply-adds for 16 rows.
//
// Stored in int8, a slice arrives as bytes and is converted, by each warp for itself, into the place that products
// read: half the bytes of memory, for 64 cycles more of reading and writing shared memory and some 550 instructions of
// a warp.
#pragma once
#include "decode.h"
#include "left_keys.cuh"
#include "softmax.cuh"
#include "tiled_rules.cuh"

namespace fovea::cuda {

template <class Element, class Stored, DecodeShape shape>
struct DecodeShared {
  using Ring = TileRing<Element, Stored, shape.keys, shape.dims, shape.stages>;
  Panel<decodeRows> query[Ring::panels];  // at the end, and over the rings: each warp's sums, [row][dims]
  Ring ring[decodeWarps];
  // What all threads know.
  typename Ring::Source sources[2];  // keys, values
  KeySpan left;
  float references[decodeWarps][decodeRows], totals[decodeWarps][decodeRows];
};

/// A warp's 16 rows on tensor cores.
template <class Element, DecodeShape shape, int rows>
struct DecodeProducts {
  using Scores = MatrixTile<1, shape.keys>;
  using Output = MatrixTile<1, shape.dims>;
  static_assert(rows == decodeRows);

  template <int panels>
  FOVEA_DEVICE static void score(Scores& scores, const Panel<decodeRows> (&query)[panels],
                                 const Panel<shape.keys> (&keys)[panels], int headDim) {
#pragma unroll
    for (int panel = 0; panel < panels; panel++) {
      if (panel > 0 && panel * panelColumns<Element> >= headDim) break;
      multiplyPanels<Element>(scores, query[panel], 0, keys[panel], 0, panelColumns<Element>);
    }
  }

  template <int panels>
  FOVEA_DEVICE static void add(Output& output, const Scores& probabilities, const Panel<shape.keys> (&values)[panels],
                               int valueDim) {
    Probabilities<Element, 1, shape.keys> rounded;
    round(rounded, probabilities);
    multiplyProbabilities(output, rounded, values, valueDim);
  }
};

/// The same by fused multiply-adds: eight lanes share a row, and have every eighth key of it, or four neighbouring
/// columns of every 32.
template <DecodeShape shape, int rows>
struct DecodeProducts<float, shape, rows> {
  template <int columns, int run>
  struct Tile {
    static constexpr int rowsPerThread = rows / 4, columnsPerThread = columns / 8, lanesPerRow = 8;
    float values[rowsPerThread][columnsPerThread];

    FOVEA_DEVICE float& at(int i, int j) { return values[i][j]; }
    FOVEA_DEVICE static int row(int i) { return i * 4 + laneIndex() / 8; }
    FOVEA_DEVICE static int column(int j) { return j / run * (8 * run) + laneIndex() % 8 * run + j % run; }
  };
  using Scores = Tile<shape.keys, 1>;
  using Output = Tile<shape.dims, 4>;

  template <int panels>
  FOVEA_DEVICE static void score(Scores& scores, const Panel<decodeRows> (&query)[panels],
                                 const Panel<shape.keys> (&keys)[panels], int headDim) {
#pragma unroll 1
    for (int panel = 0; panel < panels && panel * panelColumns<float> < headDim; panel++) {
      const int granules = min(8, (headDim - panel * panelColumns<float> + 3) / 4);
#pragma unroll 2
      for (int granule = 0; granule < granules; granule++) {
        float4 key[Scores::columnsPerThread];
#pragma unroll
        for (int j = 0; j < Scores::columnsPerThread; j++) key[j] = keys[panel].four(Scores::column(j), granule);
#pragma unroll
        for (int i = 0; i < Scores::rowsPerThread; i++) {
          const float4 row = query[panel].four(Scores::row(i), granule);
#pragma unroll
          for (int j = 0; j < Scores::columnsPerThread; j++) {
            float& sum = scores.at(i, j);
            sum = fmaf(row.x, key[j].x, sum);
            sum = fmaf(row.y, key[j].y, sum);
            sum = fmaf(row.z, key[j].z, sum);
            sum = fmaf(row.w, key[j].w, sum);
          }
        }
      }
    }
  }

  template <int panels>
  FOVEA_DEVICE static void add(Output& output, Scores& probabilities, const Panel<shape.keys> (&values)[panels],
                               int valueDim) {
#pragma unroll
    for (int key = 0; key < shape.keys; key++) {
      float p[Output::rowsPerThread];
#pragma unroll
      for (int i = 0; i < Output::rowsPerThread; i++)
        p[i] = __shfl_sync(0xffffffff, probabilities.at(i, key / 8), laneIndex() / 8 * 8 + key % 8);
#pragma unroll
      for (int panel = 0; panel < panels; panel++) {
        if (panel > 0 && panel * panelColumns<float> >= valueDim) break;
        const float4 value = values[panel].four(key, laneIndex() % 8);
#pragma unroll
        for (int i = 0; i < Output::rowsPerThread; i++) {
          float* sum = &output.at(i, panel * 4);
          sum[0] = fmaf(p[i], value.x, sum[0]);
          sum[1] = fmaf(p[i], value.y, sum[1]);
          sum[2] = fmaf(p[i], value.z, sum[2]);
          sum[3] = fmaf(p[i], value.w, sum[3]);
        }
      }
    }
  }
};

/// A thread block's place, and the keys of its split that some row sees.
struct DecodePlace {
  int kvHead, split;
  KeySpan keys;
};

/// Heads first, then splits: heads of neighbouring thread blocks often share pages.
FOVEA_DEVICE DecodePlace placeOf(const Problem& problem, const DecodeSequence& entry) {
  const int task = static_cast<int>(blockIdx.x - entry.firstTask), split = task / problem.kvHeads;
  const KeyRange seen = visibleKeysOfRows(problem, entry.sequence, 0, entry.sequence.queryLength - 1);
  const int begin = (entry.firstSplit + split) * entry.splitKeys;
  return {task - split * problem.kvHeads,
          split,
          {max(begin, int(seen.begin)), int(min(int64_t{begin} + entry.splitKeys, seen.end))}};
}

/// Adds what the warps have, relative to the highest of their references, and writes it as results of the split.
template <class Products, class Shared, DecodeShape shape>
FOVEA_DEVICE void writeResults(const Problem& problem, const DecodeSequence& entry, const DecodePlace& place,
                               Shared& shared, typename Products::Output& output,
                               const RowStates<Products::Scores::rowsPerThread>& states) {
  using Output = typename Products::Output;
  const int rowCount = int(entry.sequence.queryLength) * problem.groupSize();
#pragma unroll
  for (int i = 0; i < Output::rowsPerThread; i++) {
    const float total = rowTotal<Output::lanesPerRow>(states.sum[i]);
    if (laneIndex() % Output::lanesPerRow == 0) {
      shared.references[warpIndex()][output.row(i)] = states.reference[i];
      shared.totals[warpIndex()][output.row(i)] = total;
    }
  }
  ptx::waitCopies<0>();
  __syncthreads();  // and nobody reads the query or a ring any more
  const auto topOf = [&](int row) {
    float top = negativeInfinity();
#pragma unroll
    for (int warp = 0; warp < decodeWarps; warp++) top = fmaxf(top, shared.references[warp][row]);
    return top;
  };
  const auto factorOf = [&](int warp, int row, float top) {  // 0 where the warp saw no key, even of NaN values
    return shared.totals[warp][row] == 0 ? 0.f : ptx::exp2(shared.references[warp][row] - top);
  };
  float* sums = reinterpret_cast<float*>(&shared);  // where the query and the rings were
  // Of tensor cores half a warp writes eight columns of each of four rows, which are kept apart.
  const auto columnAt = [](int row, int column) { return Output::lanesPerRow == 4 ? column ^ row % 4 * 8 : column; };
#pragma unroll
  for (int i = 0; i < Output::rowsPerThread; i++) {
    const int row = output.row(i);
    const float factor = factorOf(warpIndex(), row, topOf(row));
    const bool sawKeys = shared.totals[warpIndex()][row] != 0;  // a NaN of those counts even where the factor is 0
    float* to = sums + (warpIndex() * decodeRows + row) * shape.dims;
    const auto value = [&](int j) { return sawKeys ? output.at(i, j) * factor : 0.f; };
    if constexpr (Output::lanesPerRow == 4) {
#pragma unroll
      for (int j = 0; j < Output::columnsPerThread; j += 2)  // 8 bytes, which the compiler would take apart as a float2
        *reinterpret_cast<uint64_t*>(to + columnAt(row, output.column(j))) =
            uint64_t{__float_as_uint(value(j + 1))} << 32 | __float_as_uint(value(j));
    } else {
#pragma unroll
      for (int j = 0; j < Output::columnsPerThread; j++) to[output.column(j)] = value(j);
    }
  }
  __syncthreads();
  const int64_t first = (int64_t(place.kvHead) * entry.splits + place.split) * rowCount;
  const int granules = entry.resultFloats / 4;
#pragma unroll 1
  for (int i = threadIdx.x; i < rowCount * granules; i += decodeThreads) {
    const int row = i / granules, granule = i - row * granules;
    float4 total{0, 0, 0, 0};
#pragma unroll
    for (int warp = 0; warp < decodeWarps; warp++) {
      const float4 part =
          *reinterpret_cast<const float4*>(sums + (warp * decodeRows + row) * shape.dims + columnAt(row, granule * 4));
      total = {total.x + part.x, total.y + part.y, total.z + part.z, total.w + part.w};
    }
    reinterpret_cast<float4*>(entry.results + (first + row) * entry.resultFloats)[granule] = total;
  }
  if (const int row = threadIdx.x; row < rowCount) {
    const float top = topOf(row);
    float total = 0;
#pragma unroll
    for (int warp = 0; warp < decodeWarps; warp++) total += factorOf(warp, row, top) * shared.totals[warp][row];
    entry.statistics[first + row] = {top, total};
  }
}

template <class Element, class Stored, DecodeShape shape, int rows>
FOVEA_DEVICE void decode(const DecodeArguments& arguments, const DecodeSequence& entry,
                         DecodeShared<Element, Stored, shape>& shared) {
  using Products = DecodeProducts<Element, shape, rows>;
  using Scores = typename Products::Scores;
  constexpr int keys = shape.keys, stages = shape.stages;
  const Problem& problem = arguments.problem;
  const Sequence& sequence = entry.sequence;
  const int rowCount = int(sequence.queryLength) * problem.groupSize(), warp = warpIndex();
  const int keyLength = int(sequence.keyLength);
  DecodePlace place = placeOf(problem, entry);
  if (threadIdx.x == 0) {
    shared.sources[0] = storedKeys<Stored>(problem, entry, place.kvHead);
    shared.sources[1] = storedValues<Stored>(problem, entry, place.kvHead);
  }
  const bool hides = sequence.mask || sequence.bias;
  if (hides && warp == 0) shared.left = leftKeys(problem, sequence, place.kvHead, place.keys);
  __syncthreads();
  if (hides) place.keys = shared.left;

  const auto query = queryRows<Element>(entry, 0);
  const int64_t headStride = sequence.query.headStride;
  loadRows<decodeThreads>(shared.query, query, rowCount, problem.headDim, [&](const Element*(&from)[1], int row) {
    const PackedRow packed = packedRow(arguments, place.kvHead, row);
    from[0] = query.base + packed.head * headStride + packed.query * query.rowStride;
  });
  ptx::commitCopies();

  // A slice is the same warp's, whatever lies before it: what mask and bias hide from all rows changes no bit.
  static_assert((decodeWarps & (decodeWarps - 1)) == 0);
  const int begin = place.keys.begin / keys, firstSlice = begin + ((warp - begin) & (decodeWarps - 1));
  const int slices = ((place.keys.end + keys - 1) / keys - firstSlice + decodeWarps - 1) / decodeWarps;
  auto& ring = shared.ring[warp];
  const auto load = [&](int tile, int to) {  // even: keys, odd: values; past the last: nothing, but a group to count
    if (tile < 2 * slices)
      ring.template load<32>(to, shared.sources[tile % 2], (firstSlice + tile / 2 * decodeWarps) * keys, keyLength,
                             tile % 2 == 0 ? problem.headDim : problem.valueDim);
    ptx::commitCopies();
  };
#pragma unroll 1
  for (int tile = 0; tile < stages - 1; tile++) load(tile, tile);
  ptx::waitCopies<stages - 1>();
  __syncthreads();  // the query is there

  const KeyRange seen = keysOfEveryRow(arguments, sequence, 0, rowCount);
  const bool isPlain = !isModified(arguments, sequence) && !sequence.mask;
  const int plainBegin = int(seen.begin), plainEnd = isPlain ? int(seen.end) - keys : -1;
  typename Products::Output output;
  RowStates<Scores::rowsPerThread> states;
  clear(output);
  clear(states);

  int at = 0;
  const auto nextTile = [&](int tile) {  // waits for `tile`, which the warp may read then, and begins a later one
    ptx::waitCopies<stages - 2>();
    __syncwarp();  // and no lane reads the tile before it any more
    load(tile + stages - 1, at == 0 ? stages - 1 : at - 1);
  };
#pragma unroll 1
  for (int slice = 0; slice < slices; slice++) {
    Scores scores;
    clear(scores);
    nextTile(2 * slice);
    Products::score(scores, shared.query, ring.template keysAt<32>(at, problem.headDim), problem.headDim);
    ring.scale(scores, at);
    at = at == stages - 1 ? 0 : at + 1;
    const int key = (firstSlice + slice * decodeWarps) * keys;
    float unit = arguments.scale * log2e;
    if (key < plainBegin || key > plainEnd)
      unit = applyRules(arguments, sequence, {place.kvHead, 0, key}, scores, [&] { return bool(sequence.mask); });
    softmaxStep(scores, states, output, unit);
    nextTile(2 * slice + 1);
    Products::add(output, scores, ring.template valuesAt<32>(at, problem.valueDim), problem.valueDim);
    at = at == stages - 1 ? 0 : at + 1;
  }
  writeResults<Products, DecodeShared<Element, Stored, shape>, shape>(problem, entry, place, shared, output, states);
}

template <class Element, class Stored, DecodeShape shape>
FOVEA_DEVICE void decodeBlock(const DecodeArguments& arguments) {
  extern __shared__ __align__(1024) unsigned char sharedMemory[];
  auto& shared = *reinterpret_cast<DecodeShared<Element, Stored, shape>*>(sharedMemory);
  static_assert(sizeof(shared.query) + sizeof(shared.ring) >= decodeWarps * decodeRows * shape.dims * sizeof(float));
  const DecodeSequence& entry =
      findSequence(arguments.table, arguments.problem.sequenceCount, &DecodeSequence::firstTask, blockIdx.x);
  if constexpr (sizeof(Element) == 4) {
    if (entry.sequence.queryLength * arguments.problem.groupSize() <= decodeRows / 4)
      return decode<Element, Stored, shape, decodeRows / 4>(arguments, entry, shared);
  }
  decode<Element, Stored, shape, decodeRows>(arguments, entry, shared);
}

#define FOVEA_DECODE(name, Stored, stored, Element, type, dims)                                                  \
  extern "C" __global__ void __launch_bounds__(decodeThreads, 2)                                                 \
      fovea_decode_##name##_##dims(const __grid_constant__ DecodeArguments arguments) {                          \
    static_assert(sizeof(DecodeShared<Element, Stored, decodeShape(DType::type, DType::stored, dims)>) ==        \
                  decodeSharedBytes(DType::type, DType::stored, decodeShape(DType::type, DType::stored, dims))); \
    decodeBlock<Element, Stored, decodeShape(DType::type, DType::stored, dims)>(arguments);                      \
  }

}  // namespace fovea::cuda
