#include <algorithm>
#include <stdexcept>
#include <vector>

#include "kernels/decode.h"
#include "launch_decode.h"
#include "launch_parts.h"

namespace fovea::cuda {
namespace {

KernelImage decodeKernel(const Problem& problem) {
  const DecodeShape shape = decodeShape(problem);
  return {problem.kvDtype() == DType::int8 ? images::decodeInt8 : images::decode,
          "fovea_decode_" + suffixOf(problem) + "_" + std::to_string(shape.dims),
          decodeSharedBytes(problem.dtype, problem.kvDtype(), shape)};
}

KernelImage splitsKernel(DType type) { return {images::merge, std::string("fovea_merge_splits_") + suffix(type)}; }
KernelImage mergeKernel(DType type) { return {images::merge, std::string("fovea_merge_attention_") + suffix(type)}; }

bool isAligned(const BatchView<const void>& view, DType type) {
  const auto fits = [](int64_t stride) { return stride % 4 == 0; };
  return reinterpret_cast<uintptr_t>(view.data) % size_t(4 * byteSize(type)) == 0 && view.columnStride == 1 &&
         fits(view.batchStride) && fits(view.headStride) && fits(view.rowStride);
}

}  // namespace

DecodeSequence decodeEntry(const Problem& problem, const Piece& piece, const PieceMemory& memory, int64_t firstTask) {
  const Sequence& sequence = piece.sequence;
  DecodeSequence entry{};
  entry.sequence = sequence;
  entry.firstTask = firstTask;
  entry.splitKeys = int32_t(piece.splits.keys);
  entry.firstSplit = int32_t(piece.splits.first);
  entry.splits = int32_t(piece.splits.count);
  entry.queryAligned = rowsAligned(sequence.query, 0, problem.dtype);
  entry.keyAligned = rowsAligned(sequence.key, sequence.keyPageStride, problem.kvDtype());
  entry.valueAligned = rowsAligned(sequence.value, sequence.valuePageStride, problem.kvDtype());
  entry.resultFloats = int32_t(roundUp(problem.valueDim, 4));
  entry.results = devicePointer<float>(memory.results + CUdeviceptr(piece.results));
  entry.statistics = devicePointer<float2>(memory.results + CUdeviceptr(piece.statistics));
  return entry;
}

void loadDecode(Device& device, const Problem& problem, const Pieces& pieces) {
  if (!pieces.decode.empty()) device.function(decodeKernel(problem));
  if (!pieces.merged.empty()) device.function(splitsKernel(problem.dtype));
}

void addDecode(Launches& launches, const Problem& problem, const Pieces& pieces, const PieceMemory& memory) {
  std::vector<DecodeSequence> table;
  int64_t tasks = 0;
  for (const Piece& piece : pieces.decode) {
    table.push_back(decodeEntry(problem, piece, memory, tasks));
    tasks += piece.splits.count * problem.kvHeads;
  }
  if (table.empty()) return;
  launches.tables.add(table, memory.decode);
  DecodeArguments arguments{ruleArguments(problem), devicePointer<const DecodeSequence>(memory.decode)};
  arguments.problem.sequences = nullptr;
  arguments.problem.sequenceCount = int64_t(table.size());
  launches.add(decodeKernel(problem), tasks, decodeThreads, arguments);
}

void addMergeSplits(Launches& launches, const Problem& problem, const Pieces& pieces, const PieceMemory& memory) {
  std::vector<MergeSequence> table;
  std::vector<MergeRun> runs;
  int64_t tasks = 0;
  for (const ResultRun& run : pieces.runs)
    runs.push_back({devicePointer<const float>(memory.results + CUdeviceptr(run.results)),
                    devicePointer<const float2>(memory.results + CUdeviceptr(run.statistics)),
                    run.headStep,
                    run.splitStep,
                    run.splits,
                    run.firstRow,
                    {}});
  for (const MergedSequence& merged : pieces.merged) {
    const Sequence& sequence = problem.sequences[merged.sequence];
    MergeSequence& entry = table.emplace_back();
    entry.sequence = sequence;
    entry.firstTask = tasks;
    entry.runs = devicePointer<const MergeRun>(memory.runs) + merged.firstRun;
    entry.splits = merged.splits;
    const View<void>& output = sequence.output;
    entry.outputAligned =
        rowsAligned({output.data, output.headStride, output.rowStride, output.columnStride}, 0, problem.dtype);
    entry.resultFloats = int32_t(roundUp(problem.valueDim, 4));
    tasks += ceilDivide(problem.heads * sequence.queryRows, decodeWarps);
  }
  if (table.empty()) return;
  launches.tables.add(table, memory.merge);
  launches.tables.add(runs, memory.runs);
  MergeSplitsArguments arguments{problem, devicePointer<const MergeSequence>(memory.merge)};
  arguments.problem.sequences = nullptr;
  arguments.problem.sequenceCount = int64_t(table.size());
  launches.add(splitsKernel(problem.dtype), tasks, decodeThreads, arguments);
}

void loadMerge(Device& device, const Merge& merge) { device.function(mergeKernel(merge.dtype)); }

void launchMerge(Device& device, CUstream stream, const Merge& merge, CUdeviceptr workspace) {
  if (merge.rowCount() / decodeWarps >= (int64_t{1} << 31))
    throw std::invalid_argument("parts: " + std::to_string(merge.rowCount()) + " rows, more than a launch can hold");
  Tables table;
  table.add(merge.parts, size_t(merge.partCount), workspace);
  table.write(device, stream);
  const BatchView<void>& output = merge.output;
  bool aligned = isAligned({output.data, output.batchStride, output.headStride, output.rowStride, output.columnStride},
                           merge.dtype);
  for (int64_t i = 0; i < merge.partCount; i++) aligned &= isAligned(merge.parts[i].output, merge.dtype);
  MergeArguments arguments{merge, aligned};
  arguments.merge.parts = devicePointer<const MergePart>(workspace);
  launchKernel(device, stream, mergeKernel(merge.dtype), ceilDivide(merge.rowCount(), decodeWarps), decodeThreads,
               &arguments);
}

}  // namespace fovea::cuda
