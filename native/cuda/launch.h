// Launches of kernels: what a plan says, on a stream.
#pragma once
#include "../attention/merge.h"
#include "devices.h"

namespace fovea::cuda {

/// Loads the kernels that the plan, or a merge, needs. launch() does so too, but not while its stream is being
/// captured.
void loadKernels(Device& device, const Problem& problem, const Plan& plan);
void loadKernels(Device& device, const Merge& merge);

/// Enqueues the whole computation. All pointers of the problem are the device's; `workspace` holds plan.workspaceBytes,
/// aligned to 256 bytes, and is written first by what is enqueued here. Neither allocates nor waits, and keeps nothing
/// of `problem`, so a CUDA graph captured from it can be replayed as long as the device memory lives. The context is
/// current.
void launch(Device& device, CUstream stream, const Problem& problem, const Plan& plan, CUdeviceptr workspace);

/// The same of a merge, whose views are the device's but for the list of its parts. The workspace has the size of that
/// list.
void launchMerge(Device& device, CUstream stream, const Merge& merge, CUdeviceptr workspace);

}  // namespace fovea::cuda
