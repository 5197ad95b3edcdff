#include <algorithm>
#include <stdexcept>
#include <vector>

#include "kernels/decode.h"
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

/// The table of sequences, and how many tasks each kernel has.
struct DecodeTable {
  std::vector<DecodeSequence> entries;
  int64_t tasks = 0, mergeTasks = 0;
};

DecodeTable makeTable(const Problem& problem, CUdeviceptr workspace) {
  DecodeTable table;
  for (int64_t i = 0; i < problem.sequenceCount; i++) table.entries.emplace_back().sequence = problem.sequences[i];
  CUdeviceptr next = workspace + CUdeviceptr(decodeTableBytes(int64_t(table.entries.size())));
  const auto take = [&](int64_t bytes) {
    const CUdeviceptr at = next;
    next += CUdeviceptr(bytes);
    return at;
  };
  // The longest splits first, so that none of them begins when all others are done. Nothing else depends on the order.
  std::stable_sort(table.entries.begin(), table.entries.end(), [&](const DecodeSequence& a, const DecodeSequence& b) {
    return decodeSplits(problem, a.sequence).keys > decodeSplits(problem, b.sequence).keys;
  });
  for (DecodeSequence& entry : table.entries) {
    const Sequence& sequence = entry.sequence;
    const DecodeWork work = decodeWork(problem, sequence);
    entry.firstTask = table.tasks;
    entry.firstMergeTask = table.mergeTasks;
    entry.splitKeys = int32_t(work.splits.keys);
    entry.firstSplit = int32_t(work.splits.first);
    entry.splits = int32_t(work.splits.count);
    entry.queryAligned = rowsAligned(sequence.query, 0, problem.dtype);
    entry.keyAligned = rowsAligned(sequence.key, sequence.keyPageStride, problem.kvDtype());
    entry.valueAligned = rowsAligned(sequence.value, sequence.valuePageStride, problem.kvDtype());
    const View<void>& output = sequence.output;
    entry.outputAligned =
        rowsAligned({output.data, output.headStride, output.rowStride, output.columnStride}, 0, problem.dtype);
    entry.resultFloats = int32_t(work.resultFloats);
    entry.results = devicePointer<float>(take(work.resultBytes));
    entry.statistics = devicePointer<float2>(take(work.statisticsBytes));
    table.tasks += work.tasks;
    table.mergeTasks += work.mergeTasks;
  }
  return table;
}

bool isAligned(const BatchView<const void>& view, DType type) {
  const auto fits = [](int64_t stride) { return stride % 4 == 0; };
  return reinterpret_cast<uintptr_t>(view.data) % size_t(4 * byteSize(type)) == 0 && view.columnStride == 1 &&
         fits(view.batchStride) && fits(view.headStride) && fits(view.rowStride);
}

}  // namespace

void loadDecode(Device& device, const Problem& problem) {
  for (const KernelImage& kernel : {decodeKernel(problem), splitsKernel(problem.dtype)}) device.function(kernel);
}

void launchDecode(Device& device, CUstream stream, const Problem& problem, CUdeviceptr workspace) {
  const DecodeTable table = makeTable(problem, workspace);
  if (table.entries.empty()) return;
  writeTable(device, stream, table.entries.data(), table.entries.size() * sizeof(DecodeSequence), workspace);
  DecodeArguments arguments{problem, float(problem.scale), float(problem.softcap),
                            devicePointer<const DecodeSequence>(workspace)};
  arguments.problem.sequences = nullptr;
  launchKernel(device, stream, decodeKernel(problem), table.tasks, decodeThreads, &arguments);
  launchKernel(device, stream, splitsKernel(problem.dtype), table.mergeTasks, decodeThreads, &arguments);
}

void launchMerge(Device& device, CUstream stream, const Merge& merge, CUdeviceptr workspace) {
  writeTable(device, stream, merge.parts, size_t(merge.partCount) * sizeof(MergePart), workspace);
  if (merge.rowCount() / decodeWarps >= (int64_t{1} << 31))
    throw std::invalid_argument("parts: " + std::to_string(merge.rowCount()) + " rows, more than a launch can hold");
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
