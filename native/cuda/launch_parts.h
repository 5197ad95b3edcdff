// What the launches of all algorithms share.
#pragma once
#include <string>
#include <vector>

#include "../attention/merge.h"
#include "../attention/pieces_cuda.h"
#include "devices.h"

namespace fovea::cuda {

/// The launches of one algorithm's plans, as in launch.h.
void loadStandard(Device& device, const Problem& problem);
void launchStandard(Device& device, CUstream stream, const Problem& problem, CUdeviceptr workspace);

/// Where the tables and results of pieces are in the workspace (pieces_cuda.h).
struct PieceMemory {
  PieceMemory(const Pieces& pieces, CUdeviceptr workspace);
  CUdeviceptr decode, decodeSm90, shared, owners, merge, runs, results;
};

/// Where a tiled sequence's results go instead of its output, unnormalised, and by which splits of its keys; and whose
/// its rows are, if several sequences' (tiled.h).
struct TiledTarget {
  CUdeviceptr results = 0, statistics = 0, owners = 0;
  int64_t splits = 1, splitKeys = 0;
  bool queryAligned = true;
};

/// `targets`: of each sequence.
void loadTiled(Device& device, const Problem& problem, const Plan& plan);
void launchTiled(Device& device, CUstream stream, const Problem& problem, const Plan& plan,
                 const std::vector<TiledTarget>& targets, CUdeviceptr workspace);
void loadDecode(Device& device, const Problem& problem, const Pieces& pieces);
void launchDecode(Device& device, CUstream stream, const Problem& problem, const Pieces& pieces,
                  const PieceMemory& memory);
void loadMerge(Device& device, const Merge& merge);
void loadDecodeSm90(Device& device, const Problem& problem, const Pieces& pieces);
void launchDecodeSm90(Device& device, CUstream stream, const Problem& problem, const Pieces& pieces,
                      const PieceMemory& memory);
/// Once all pieces are enqueued.
void launchMergeSplits(Device& device, CUstream stream, const Problem& problem, const Pieces& pieces,
                       const PieceMemory& memory);

/// As kernels' names have it.
const char* suffix(DType type);
/// The same of the kernels that read keys and values as they are stored.
std::string suffixOf(const Problem& problem);

template <class Pointer>
Pointer* devicePointer(CUdeviceptr pointer) {
  return reinterpret_cast<Pointer*>(static_cast<uintptr_t>(pointer));
}

/// `arguments` is the kernel's one parameter. No blocks: nothing.
void launchKernel(Device& device, CUstream stream, const KernelImage& kernel, int64_t blocks, int threads,
                  void* arguments);

/// Enqueues writing `bytes` (a multiple of 16) of a table to the workspace; nothing is kept of `from`.
void writeTable(Device& device, CUstream stream, const void* from, size_t bytes, CUdeviceptr to);

}  // namespace fovea::cuda
