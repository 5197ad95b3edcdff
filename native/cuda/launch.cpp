#include "launch.h"

#include <cstring>
#include <vector>

#include "kernels/standard.h"

namespace fovea::cuda {
namespace {

const char* suffix(DType type) {
  switch (type) {
    case DType::float32:
      return "float32";
    case DType::float16:
      return "float16";
    case DType::bfloat16:
      return "bfloat16";
  }
  return "";
}

KernelImage scoresKernel(const Problem& problem) {
  return {images::standardScores, std::string("fovea_standard_scores_") + suffix(problem.dtype), scoresSharedBytes};
}

KernelImage outputKernel(const Problem& problem) {
  const int columns = valueTile(problem.valueDim);
  return {images::standardOutput,
          std::string("fovea_standard_output_") + suffix(problem.dtype) + "_" + std::to_string(columns),
          outputSharedBytes(columns)};
}

KernelImage weightsKernel() { return {images::standardWeights, "fovea_standard_weights", 0}; }
KernelImage tableKernel(bool large) {
  return {images::table, large ? "fovea_write_table_large" : "fovea_write_table_small", 0};
}

/// The table of sequences, and how many tasks each kernel has.
struct StandardTable {
  std::vector<StandardSequence> entries;
  int64_t scoreTasks = 0, outputTasks = 0, weightTasks = 0;
};

template <class Pointer>
Pointer* devicePointer(CUdeviceptr pointer) {
  return reinterpret_cast<Pointer*>(static_cast<uintptr_t>(pointer));
}

StandardTable makeTable(const Problem& problem, CUdeviceptr workspace) {
  StandardTable table;
  table.entries.reserve(size_t(problem.sequenceCount));
  CUdeviceptr next = workspace + CUdeviceptr(standardTableBytes(problem.sequenceCount));
  for (int64_t i = 0; i < problem.sequenceCount; i++) {
    const Sequence& sequence = problem.sequences[i];
    const StandardWork work = standardWork(problem, sequence);
    StandardSequence entry{};
    entry.sequence = sequence;
    entry.firstScoreTask = table.scoreTasks;
    entry.firstOutputTask = table.outputTasks;
    entry.firstWeightTask = table.weightTasks;
    entry.queryTiles = int32_t(work.queryTiles);
    entry.keyTiles = int32_t(work.keyTiles);
    entry.tileRows = int32_t(work.tileRows);
    entry.weightTiles = int32_t(work.weightTiles);
    entry.queryAligned = rowsAligned(sequence.query, 0, problem.dtype);
    entry.keyAligned = rowsAligned(sequence.key, sequence.keyPageStride, problem.dtype);
    entry.valueAligned = rowsAligned(sequence.value, sequence.valuePageStride, problem.dtype);
    entry.rows = devicePointer<float2>(next);
    next += CUdeviceptr(work.rowBytes);
    entry.blockRows = devicePointer<float2>(next);
    next += CUdeviceptr(work.blockRowBytes);
    entry.probabilities = devicePointer<char>(next);
    next += CUdeviceptr(work.probabilityBytes);
    table.scoreTasks += work.scoreTasks;
    table.outputTasks += work.outputTasks;
    table.weightTasks += work.weightTasks;
    table.entries.push_back(entry);
  }
  return table;
}

void launchKernel(Device& device, CUstream stream, const KernelImage& kernel, int64_t blocks, void* arguments) {
  if (blocks == 0) return;
  void* parameters[] = {arguments};
  device.check(driver().cuLaunchKernel(device.function(kernel), unsigned(blocks), 1, 1, standardThreads, 1, 1,
                                       unsigned(kernel.sharedBytes), stream, parameters, nullptr),
               ("launching " + kernel.function).c_str());
}

template <int bytes>
void writePiece(Device& device, CUstream stream, CUdeviceptr to, const char* from, size_t size) {
  TablePiece<bytes> piece;
  piece.destination = devicePointer<uint4>(to);
  piece.granules = int32_t(size / sizeof(uint4));
  piece.unused = 0;
  std::memcpy(piece.content, from, size);
  std::memset(reinterpret_cast<char*>(piece.content) + size, 0, bytes - size);
  launchKernel(device, stream, tableKernel(bytes == largeTablePiece), 1, &piece);
}

void writeTable(Device& device, CUstream stream, const StandardTable& table, CUdeviceptr to) {
  const char* from = reinterpret_cast<const char*>(table.entries.data());
  for (size_t left = table.entries.size() * sizeof(StandardSequence); left > 0;) {
    const bool large = left > smallTablePiece;
    const size_t size = std::min(left, size_t(large ? largeTablePiece : smallTablePiece));
    if (large)
      writePiece<largeTablePiece>(device, stream, to, from, size);
    else
      writePiece<smallTablePiece>(device, stream, to, from, size);
    from += size;
    to += size;
    left -= size;
  }
}

}  // namespace

void loadKernels(Device& device, const Problem& problem, const Plan& plan) {
  (void)plan;  // there is one algorithm
  for (const KernelImage& kernel :
       {tableKernel(false), tableKernel(true), scoresKernel(problem), outputKernel(problem), weightsKernel()})
    device.function(kernel);
}

void launch(Device& device, CUstream stream, const Problem& problem, const Plan& plan, CUdeviceptr workspace) {
  (void)plan;
  const StandardTable table = makeTable(problem, workspace);
  if (table.outputTasks == 0) return;  // no query row anywhere
  writeTable(device, stream, table, workspace);
  StandardArguments arguments{problem, float(problem.scale), float(problem.softcap),
                              devicePointer<const StandardSequence>(workspace)};
  arguments.problem.sequences = nullptr;
  launchKernel(device, stream, scoresKernel(problem), table.scoreTasks, &arguments);
  launchKernel(device, stream, outputKernel(problem), table.outputTasks, &arguments);
  launchKernel(device, stream, weightsKernel(), table.weightTasks, &arguments);
}

}  // namespace fovea::cuda
