// How to compute it. A Plan is plain data, shown by explain() and obeyed by the backend. What decides a sequence's bits
// is made from that sequence alone; on the CPU threads and the rest of the batch decide only how many rows and heads
// make a task.
#pragma once
#include <cstdint>
#include <vector>

#include "problem.h"

namespace fovea {

/// Kernels by the index that plans use; the names are in kernelName().
enum class Kernel : uint8_t {
  cpuStandard,
  cpuTiled,
  cpuDecode,
  cudaStandard,
  cudaTiled,
  cudaTiledSm90,
  cudaDecode,
  cudaDecodeSm90
};
constexpr int kernelCount = 8;
/// Whether it leaves results of splits, which are merged.
constexpr bool isCudaDecode(Kernel kernel) { return kernel == Kernel::cudaDecode || kernel == Kernel::cudaDecodeSm90; }
const char* kernelName(Kernel kernel);

/// Why a sequence on a Hopper GPU is not cuda.tiled_sm90's (or, of up to 64 rows, cuda.decode_sm90's): what is not
/// float16 or bfloat16, keys and values in pages, matrices that the copy engine cannot describe, few rows against keys
/// that are worth splitting, keys in pages of other sizes than multiples of 16.
enum class Sm90Refusal : uint8_t { none, dtype, pages, strides, splits, pageSize };

/// More splits than this bring no further thread to work, but their results take memory: longer keys make longer
/// splits.
constexpr int64_t maxSplits = 32;
/// kv heads of one task of decode, at most.
constexpr int64_t maxHeadBlock = 16;
/// Rows of one task of decode, at most: those of sequences that share its keys. Each row's bits are as if it were
/// alone.
constexpr int64_t maxDecodeBlock = 64;

/// Whether cpu.tiled may multiply pairs of bfloat16. Their products are summed before they are scaled, so scales that
/// would make up for very large or small ones are float32's.
constexpr bool takesPairs(const Problem& problem) {
  const double scale = problem.scale < 0 ? -problem.scale : problem.scale;
  return problem.dtype == DType::bfloat16 && problem.kvDtype() == DType::bfloat16 && scale >= 1e-3 && scale <= 1e3;
}

/// Rows of cpu.tiled's next panel, of `left`: three vectors; but rather two and two than three and one, which has too
/// few sums to keep the multiply-adds busy. No row's bits hang on its panel.
constexpr int64_t rowsOfPanel(int64_t left, int64_t lanes) {
  if (left <= 3 * lanes) return left;
  return left <= 4 * lanes ? 2 * lanes : 3 * lanes;
}

/// One sequence's share. "Rows" are (query, head of the group) pairs of one kv head: row = query * groupSize + head.
struct SequencePlan {
  Kernel kernel = Kernel::cpuTiled;
  int64_t rows = 0;           // queryLength * groupSize
  int64_t queryBlock = 0;     // rows per task
  int64_t keyBlock = 0;       // keys packed (or scored) at a time
  int64_t stages = 0;         // CUDA: tiles of keys or values in a ring of shared memory, copied while others are used
  int64_t headBlock = 1;      // kv heads per task
  int64_t keySplit = 0;       // keys per split; splits start at its multiples (cuda.tiled's: splits_cuda.h)
  int64_t firstSplit = 0;     // number of the first split that some row sees
  int64_t splits = 1;         // splits from there on, merged in order
  int64_t partialFloats = 0;  // workspace of one split of one kv head
  int64_t sectionHeads = 0;   // CUDA, tiled: kv heads whose tasks are neighbours, as L2 holds their keys and values
  int64_t keyBegin = 0;       // first key it is about: those before are segments'
  bool packValues = false;    // tiled: never read values where they lie
  bool plainLoads = false;    // CUDA: some rows of query, key or value do not start at multiples of 16 bytes
  Sm90Refusal refusal = Sm90Refusal::none;
  double flops = 0;  // executed by the matrix products, whole tiles
};

/// A segment (see Problem::segments), computed once for all sequences that share it.
struct SegmentPlan {
  SequencePlan plan;  // its rows are those of the sequences, one after the other
  int64_t keyEnd = 0;
  bool shareable = true;  // whether every row sees all its keys, so that rows are as good as another sequence's
  std::vector<int32_t> sequences;
};

struct Plan {
  Algorithm algorithm = Algorithm::tiled;  // never automatic
  std::vector<SequencePlan> sequences;
  std::vector<SegmentPlan> segments;
  bool tasksDiffer = false;  // cuda.tiled_sm90: some tasks take longer, so they are taken in turn, the longest first
  int64_t tasks = 0;         // independent pieces of work
  int64_t workspaceBytes =
      0;                   // memory beside inputs and outputs that the whole call shares (scratch per thread excluded)
  double flops = 0;        // executed by the matrix products, whole tiles; those that masks or biases hide included
  double usefulFlops = 0;  // 2 (headDim + valueDim) per allowed (query, key) pair, bias and mask unknown
  double bytes = 0;        // every visited input element read once, every output element written once
};

}  // namespace fovea
