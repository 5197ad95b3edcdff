// What the tiled kernel for Hopper is given, beside what tiled.h describes.
#pragma once
#include "../../attention/tiles_sm90.h"
#include "tiled.h"

namespace fovea::cuda {

/// A CUtensorMap, aligned as cuda.h has it since CUDA 13.
struct alignas(128) TensorMap {
  uint64_t words[16];
};

/// The copy engine's view of one sequence. Boxes are 64 columns wide; their rows are those of a warpgroup's 64 rows
/// that are used (query, output: [packed heads, queries]), and a tile's keys (key, value). What lies outside of a
/// sequence's lengths loads as 0.
struct TensorMaps {
  TensorMap query, output;  // [columns, heads of a packed group, queries, packed groups]
  TensorMap key, value;     // [columns, keys, kvHeads]
};
static_assert(sizeof(TensorMaps) == sm90MapBytes);

/// In device memory: written by every launch, so that a graph of them may be replayed.
struct alignas(64) TaskCounter {
  int32_t next;  // of the tasks that no block has taken yet, counted from gridDim.x
  int32_t unused[15];
};
static_assert(sizeof(TaskCounter) == sm90CounterBytes);

struct TiledSm90Arguments {
  TiledArguments tiled;    // the problem is the packed one (packedProblem()), the table that of this kernel's sequences
  const TensorMaps* maps;  // one for each entry of the table
  TaskCounter* counter;    // null: block b takes tasks b, b + gridDim.x, ...
  int32_t tasks;
  int32_t groupsPerKvHead;  // packed groups that share their keys
};

}  // namespace fovea::cuda
