// Output: 128 queries of one head by up to 64 or 128 output columns per thread block.
//
//   m = max over blocks of m_b (and the sink);  f_b = exp(m_b - m);  l = Σ f_b l_b (+ exp(sink - m))
//   O = Σ diag(f_b) P_b V_b / l;  lse = m + ln l
//
// The row maxima of all blocks are known before the first product, so nothing is ever rescaled. A panel of P and the
// rows of V that belong to it are in flight while the panel before is multiplied; P arrives as the tensor cores want it
// and is scaled by f_b in registers, so each probability is read once per 128 output columns.
//
// Floor on one H100 SM (valueDim 128, per block of 64 keys): 2.1 MFLOP, about 800 cycles of mma.sync; 16 KiB of P,
// about 1,150 cycles of the SM's share of 3.35 TB/s; V comes from L2.
#include "standard_common.cuh"

namespace fovea::cuda {

template <class Element, int columns>
struct OutputShared {
  struct Stage {
    ProbabilityPanel probabilities;
    Panel<panelColumns<Element>> values[columns / panelColumns<Element>];
    float2 blockRows[standardQueryTile];
  } stages[2];
  float2 halves[2][standardQueryTile];
  float maximum[standardQueryTile], inverse[standardQueryTile];
};

static_assert(sizeof(OutputShared<float, 64>) == outputSharedBytes(64));
static_assert(sizeof(OutputShared<Half, 128>) == outputSharedBytes(128));

/// A row's maximum and sum of exponentials, from two parts of it.
FOVEA_DEVICE float2 mergeRows(float2 a, float2 b) {
  const float maximum = fmaxf(a.x, b.x), reference = maximum == negativeInfinity() ? 0.f : maximum;
  return {maximum, a.y * ptx::exp2((a.x - reference) * log2e) + b.y * ptx::exp2((b.x - reference) * log2e)};
}

/// The row's statistics over all its blocks: each row by two threads, one taking the even blocks, one the odd ones.
template <class Shared>
FOVEA_DEVICE float2 mergeBlocks(Shared& shared, const float2* blockRows, int tileRows, int blocks) {
  const int row = threadIdx.x % standardQueryTile, half = threadIdx.x / standardQueryTile;
  float2 part{negativeInfinity(), 0.f};
#pragma unroll 4
  for (int block = row < tileRows ? half : blocks; block < blocks; block += 2)
    part = mergeRows(part, blockRows[block * tileRows + row]);
  shared.halves[half][row] = part;
  __syncthreads();
  return mergeRows(shared.halves[0][row], shared.halves[1][row]);
}

/// Writes the warp's rows of the normalised output; rows past queryLength are 0 because their sums are.
template <class Element, class Tile>
FOVEA_DEVICE void writeOutput(const View<void>& output, int head, int row, int rowEnd, int column, int columnEnd,
                              Tile& tile, const float* inverse) {
  auto* base = static_cast<Element*>(output.data) + head * output.headStride;
  forEach(tile, [&](float value, int i, int j) {
    const int r = row + tile.row(i), c = column + tile.column(j);
    if (r >= rowEnd || c >= columnEnd) return;
    const float factor = inverse[tile.row(i)], result = factor == 0 ? 0.f : value * factor;
    Element* to = base + r * output.rowStride + c * output.columnStride;
    if constexpr (sizeof(Element) == 4)
      *to = result;
    else
      to->bits = static_cast<uint16_t>(ptx::pack<Element>(result, 0.f));
  });
}

template <class Element, int columns>
FOVEA_DEVICE void standardOutput(const StandardArguments& arguments) {
  using Shared = OutputShared<Element, columns>;
  extern __shared__ __align__(1024) unsigned char sharedMemory[];
  auto& shared = *reinterpret_cast<Shared*>(sharedMemory);
  constexpr int panelKeys = panelColumns<Element>, panelsPerBlock = standardKeyBlock / panelKeys;
  constexpr int valuePanels = columns / panelColumns<Element>, warpColumns = columns / 2;

  const Problem& problem = arguments.problem;
  const StandardSequence& entry = findSequence(arguments, &StandardSequence::firstOutputTask);
  const Sequence& sequence = entry.sequence;
  const int task = static_cast<int>(blockIdx.x) - static_cast<int>(entry.firstOutputTask);
  const int valueTiles = (problem.valueDim + columns - 1) / columns, tilesPerHead = entry.queryTiles * valueTiles;
  const int head = task / tilesPerHead, tile = task % tilesPerHead;
  // The last query tiles first: under a causal mask they take the longest.
  const int queryTile = entry.queryTiles - 1 - tile / valueTiles, firstColumn = tile % valueTiles * columns;

  const TileRange keyTiles = visibleKeyTiles(problem, sequence, queryTile);
  const TileRange scored = scoredKeyTiles(problem, sequence, queryTile);
  const int64_t block0 = firstBlock(entry, head, queryTile, keyTiles.begin - scored.begin);
  const int blocks = int(keyTiles.end - keyTiles.begin) * (standardKeyTile / standardKeyBlock);
  const int firstKey = int(keyTiles.begin) * standardKeyTile;
  const float2* blockRows = blockRowStatistics(entry, block0);
  const char* probabilities = blockProbabilities<Element>(entry, block0);
  const auto load = [&](int stage, int panel) {
    auto& to = shared.stages[stage];
    const int panelImage = entry.tileRows * panelBytes, rowsImage = entry.tileRows * int(sizeof(float2));
    loadImage(&to.probabilities, probabilities + int64_t(panel) * panelImage, panelImage);
    loadImage(to.blockRows, blockRows + int64_t(panel / panelsPerBlock) * entry.tileRows, rowsImage);
    const auto value = valueRows<Element>(problem, entry, head / problem.groupSize());  // not kept in registers
#pragma unroll
    for (int i = 0; i < valuePanels; i++)
      loadPanel(to.values[i], value, firstKey + panel * panelKeys, int(sequence.keyLength),
                firstColumn + i * panelColumns<Element>, problem.valueDim);
    ptx::commitCopies();
  };
  const int panels = blocks * panelsPerBlock;
  if (panels > 0) load(0, 0);

  const float sink = sequence.sinks ? sequence.sinks[head] : negativeInfinity();
  const float2 keys = mergeBlocks(shared, blockRows, entry.tileRows, blocks);
  const float2 row = sink == negativeInfinity() ? keys : mergeRows(keys, {sink, 1.f});
  const float reference = row.x == negativeInfinity() ? 0.f : row.x;
  const bool sinkTakesAll = sink == -negativeInfinity();
  // A row without keys is 0, whatever the values and the sink.
  const float inverse = keys.y == 0 || sinkTakesAll ? 0.f : 1 / row.y;
  const int rowInTile = threadIdx.x % standardQueryTile, queryRow = queryTile * standardQueryTile + rowInTile;
  if (threadIdx.x < standardQueryTile) {
    shared.maximum[rowInTile] = reference;
    shared.inverse[rowInTile] = inverse;
    if (firstColumn == 0) {
      entry.rows[int64_t(head) * entry.queryTiles * standardQueryTile + queryRow] = {reference, inverse};
      if (sequence.lse && queryRow < sequence.queryRows)
        sequence.lse.data[head * sequence.lse.headStride + queryRow * sequence.lse.rowStride] =
            row.y == 0 || queryRow >= sequence.queryLength ? negativeInfinity()
            : sinkTakesAll                                 ? sink
                                                           : reference + ptx::log2(row.y) * ln2;
    }
  }

  using Tile = WarpTile<Element, warpColumns>;
  const int warpRow = warpIndex() / 2 * warpRows, warpColumn = warpIndex() % 2 * warpColumns;
  const bool hasWork =
      queryTile * standardQueryTile + warpRow < sequence.queryLength && firstColumn + warpColumn < problem.valueDim;
  Tile output;
  clear(output);
  for (int panel = 0; panel < panels; panel++) {
    const int stage = panel % 2;
    ptx::waitCopies<0>();
    __syncthreads();  // this panel is there, and nobody reads the other one any more
    if (panel + 1 < panels) load(stage ^ 1, panel + 1);
    if (!hasWork) continue;
    const auto& at = shared.stages[stage];
    float factors[Tile::rowsPerThread];
#pragma unroll
    for (int i = 0; i < Tile::rowsPerThread; i++) {
      const int r = warpRow + output.row(i);
      factors[i] = ptx::exp2((at.blockRows[r].x - shared.maximum[r]) * log2e);
    }
    multiplyScaled(output, at.probabilities, warpRow, factors, at.values, warpColumn);
  }
  __syncthreads();  // for shared.inverse, when there was no panel
  writeOutput<Element>(sequence.output, head, queryTile * standardQueryTile + warpRow, int(sequence.queryRows),
                       firstColumn + warpColumn, problem.valueDim, output, shared.inverse + warpRow);
}

// Two thread blocks share a multiprocessor where 128 registers per thread suffice.
#define FOVEA_STANDARD_OUTPUT(suffix, Element, columns, blocks)                                         \
  extern "C" __global__ void __launch_bounds__(standardThreads, blocks)                                 \
      fovea_standard_output_##suffix##_##columns(const __grid_constant__ StandardArguments arguments) { \
    standardOutput<Element, columns>(arguments);                                                        \
  }
FOVEA_STANDARD_OUTPUT(float32, float, 64, 2)
FOVEA_STANDARD_OUTPUT(float32, float, 128, 1)
FOVEA_STANDARD_OUTPUT(float16, Half, 64, 2)
FOVEA_STANDARD_OUTPUT(float16, Half, 128, 2)
FOVEA_STANDARD_OUTPUT(bfloat16, BFloat, 64, 2)
FOVEA_STANDARD_OUTPUT(bfloat16, BFloat, 128, 2)

}  // namespace fovea::cuda
