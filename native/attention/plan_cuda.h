// Plans for CUDA devices, and the sizes of the standard kernel's work that its launch shares with them. Pure functions.
#pragma once
#include "pieces_cuda.h"
#include "plan.h"

namespace fovea::cuda {

/// What a plan may depend on of a device. As it stands, an A100 with 40 GB.
struct DeviceLimits {
  int computeMajor = 8, computeMinor = 0;
  int sharedPerMultiprocessor = 164 << 10;  // bytes
  int64_t l2Bytes = int64_t{40} << 20;
};

/// Throws std::invalid_argument for what no kernel here computes, naming the option.
Plan planCuda(const Problem& problem, const DeviceLimits& limits);

/// The standard kernels' work on one sequence. A task is a thread block.
struct StandardWork {
  int64_t queryTiles = 0;
  int64_t keyTiles = 0;     // stored per query tile: the most that any query tile visits
  int64_t tileRows = 0;     // stored of a query tile: whole warps, fewer than 128 for short sequences
  int64_t weightTiles = 0;  // of weightRows rows
  int64_t scoreTasks = 0, outputTasks = 0, weightTasks = 0;
  int64_t probabilityBytes = 0, blockRowBytes = 0, rowBytes = 0;  // workspace, multiples of 256
};

StandardWork standardWork(const Problem& problem, const Sequence& sequence);

/// Workspace bytes of the table of sequences, which comes first.
int64_t standardTableBytes(int64_t sequenceCount);

/// The tiled kernels' work on one sequence. A task is a thread block.
struct TiledWork {
  int64_t rowTiles = 0;
  int64_t tasks = 0;
  int64_t weightRowTiles = 0, weightKeyTiles = 0, weightTasks = 0;  // none when no weights are wanted
  int64_t rowBytes = 0;                                             // workspace, a multiple of 256
};

TiledWork tiledWork(const Problem& problem, const Sequence& sequence);

/// The problem of shared segments, whose keys all rows see: without causality and window.
Problem openProblem(const Problem& problem);

/// How many kv heads' keys and values, `keys` of each, half of the L2 cache holds: the other half is for queries,
/// outputs and chance.
int64_t headsInL2(const Problem& problem, int64_t keys, int64_t l2Bytes);

/// How many sequences are cuda.tiled_sm90's.
int64_t sm90Sequences(const Plan& plan);
/// Whether some of its tasks take longer than others.
bool sm90TasksDiffer(const Problem& problem, const Plan& plan);

int64_t tiledTableBytes(int64_t sequenceCount);
/// The tiled kernels' maps of masks and biases: their thread blocks and workspace bytes.
struct TileMapWork {
  int64_t tasks, bytes;
};
TileMapWork tileMapWork(const Problem& problem, const Plan& plan, const Pieces& pieces);

/// The decode kernels' work on one sequence. A task is a thread block.
struct DecodeWork {
  KeySplits splits{0, 0, 0};
  int64_t rows = 0;   // of each kv head, that attend
  int64_t tasks = 0;  // kv heads x splits
};

DecodeWork decodeWork(const Problem& problem, const Sequence& sequence);

}  // namespace fovea::cuda
