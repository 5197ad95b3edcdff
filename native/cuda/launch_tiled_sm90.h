// The launch of the tiled kernel for Hopper, one of launch_tiled.cpp's.
#pragma once
#include <span>

#include "../attention/tiles_sm90.h"
#include "kernels/tiled.h"
#include "launch_parts.h"

namespace fovea::cuda {

void loadTiledSm90(Device& device, const Problem& problem);

/// Adds the kernel for `entries`, which are the first of `table` (in device memory). `maps` has
/// sm90WorkspaceBytes(entries.size()) bytes in the workspace.
void addTiledSm90(Launches& launches, const Problem& problem, const TiledSequence* table,
                  std::span<const TiledSequence> entries, int64_t tasks, bool tasksDiffer, CUdeviceptr maps);

}  // namespace fovea::cuda
