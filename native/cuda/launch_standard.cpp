#include <vector>

#include "kernels/standard.h"
#include "launch_parts.h"

namespace fovea::cuda {
namespace {

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
/// The table of sequences, and how many tasks each kernel has.
struct StandardTable {
  std::vector<StandardSequence> entries;
  int64_t scoreTasks = 0, outputTasks = 0, weightTasks = 0;
};

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

}  // namespace

void loadStandard(Device& device, const Problem& problem) {
  for (const KernelImage& kernel : {scoresKernel(problem), outputKernel(problem), weightsKernel()})
    device.function(kernel);
}

void launchStandard(Device& device, CUstream stream, const Problem& problem, CUdeviceptr workspace) {
  const StandardTable table = makeTable(problem, workspace);
  if (table.outputTasks == 0) return;  // no query row anywhere
  Tables tables;
  tables.add(table.entries, workspace);
  tables.write(device, stream);
  StandardArguments arguments{problem, float(problem.scale), float(problem.softcap),
                              devicePointer<const StandardSequence>(workspace)};
  arguments.problem.sequences = nullptr;
  launchKernel(device, stream, scoresKernel(problem), table.scoreTasks, standardThreads, &arguments);
  launchKernel(device, stream, outputKernel(problem), table.outputTasks, standardThreads, &arguments);
  launchKernel(device, stream, weightsKernel(), table.weightTasks, standardThreads, &arguments);
}

}  // namespace fovea::cuda
