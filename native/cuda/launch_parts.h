// What the launches of all algorithms share.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "../attention/merge.h"
#include "../attention/pieces_cuda.h"
#include "devices.h"
#include "tables.h"

namespace fovea::cuda {

/// The launches of one algorithm's plans, as in launch.h.
void loadStandard(Device& device, const Problem& problem);
void launchStandard(Device& device, CUstream stream, const Problem& problem, CUdeviceptr workspace);

/// What the workspace of tiled kernels and decode has, in this order: tables, those of pieces (pieces_cuda.h) and then
/// the tiled kernels'; the pieces' results; the maps of masks and biases (tile_map.cu); rows of weights.
struct PieceMemory {
  PieceMemory(const Pieces& pieces, int64_t tiledBytes, int64_t mapBytes, CUdeviceptr workspace);
  CUdeviceptr decode, decodeSm90, shared, owners, merge, runs, tiled, results, tileMaps, weightRows;
};

/// `arguments` is the kernel's one parameter. No blocks: nothing.
void launchKernel(Device& device, CUstream stream, const KernelImage& kernel, int64_t blocks, int threads,
                  void* arguments);

/// The launches of a call, and the tables that they read.
class Launches {
 public:
  Launches(Device& on, CUstream stream) : device(on), stream_(stream) {}
  Launches(const Launches&) = delete;
  Launches& operator=(const Launches&) = delete;

  template <class Arguments>
  void add(const KernelImage& kernel, int64_t blocks, int threads, Arguments arguments) {
    if (blocks == 0) return;
    kernels_.push_back([this, kernel, blocks, threads, arguments]() mutable {
      launchKernel(device, stream_, kernel, blocks, threads, &arguments);
    });
  }
  /// Enqueues the writing of the tables and, in their order, the kernels.
  void enqueue();

  Device& device;
  Tables tables;

 private:
  const CUstream stream_;
  std::vector<std::function<void()>> kernels_;
};

/// Where a tiled sequence's results go instead of its output, unnormalised, and by which splits of its keys; and whose
/// its rows are, if several sequences' (tiled.h).
struct TiledTarget {
  CUdeviceptr results = 0, statistics = 0, owners = 0;
  int64_t splits = 1, splitKeys = 0;
  bool queryAligned = true;
};

/// `targets`: of each sequence. `tileMaps`: 0 where masks and biases are looked at without maps, as in segments, whose
/// rows may be several sequences'.
void loadTiled(Device& device, const Problem& problem, const Plan& plan);
void addTiled(Launches& launches, const Problem& problem, const Plan& plan, const std::vector<TiledTarget>& targets,
              CUdeviceptr tables, CUdeviceptr tileMaps, CUdeviceptr weightRows);
void loadDecode(Device& device, const Problem& problem, const Pieces& pieces);
void addDecode(Launches& launches, const Problem& problem, const Pieces& pieces, const PieceMemory& memory);
void loadMerge(Device& device, const Merge& merge);
void loadDecodeSm90(Device& device, const Problem& problem, const Pieces& pieces);
void addDecodeSm90(Launches& launches, const Problem& problem, const Pieces& pieces, const PieceMemory& memory);
/// After all pieces.
void addMergeSplits(Launches& launches, const Problem& problem, const Pieces& pieces, const PieceMemory& memory);

/// As kernels' names have it.
const char* suffix(DType type);
/// The same of the kernels that read keys and values as they are stored.
std::string suffixOf(const Problem& problem);

template <class Pointer>
Pointer* devicePointer(CUdeviceptr pointer) {
  return reinterpret_cast<Pointer*>(static_cast<uintptr_t>(pointer));
}

}  // namespace fovea::cuda
