// What kernels execute and move: the numbers that plans show. Pure functions.
#pragma once
#include "plan_cuda.h"

namespace fovea::cuda {

/// What the warps of the standard scores and product kernels multiply for one head: 2 operations per element of their
/// tiles.
double executedFlops(const Problem& problem, const Sequence& sequence, const StandardWork& work);

/// The same of the tiled kernel for one kv head, with weightFlops().
double executedFlops(const Problem& problem, const Sequence& sequence, const TiledShape& shape, const TiledWork& work);

/// Of one kv head, by the kernel that recomputes weights.
double weightFlops(const Problem& problem, const Sequence& sequence, const TiledWork& work);

/// Every visited input element once and every output element once.
double bytesTouched(const Problem& problem, const Sequence& sequence);

/// What the standard kernels write and read again, and the matrices that are wanted.
double matrixBytes(const Problem& problem, const Sequence& sequence, const StandardWork& work);

/// Results of rows in the workspace, written and read again.
double resultBytes(const Problem& problem, int64_t rows);

/// Those of all splits that the tiled kernel makes of a sequence.
double splitResultBytes(const Problem& problem, const Sequence& sequence, const KeySplits& splits);

}  // namespace fovea::cuda
