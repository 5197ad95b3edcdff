#include "launch_tiled_sm90.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "kernels/tiled_sm90.h"
#include "tensor_maps.h"

namespace fovea::cuda {
namespace {

KernelImage kernelOf(const Problem& problem, const Sm90Shape& shape, bool ruled) {
  return {images::tiledSm90,
          std::string("fovea_tiled_sm90_") + suffix(problem.dtype) + "_" + std::to_string(shape.dims) + "_" +
              std::to_string(shape.valueDims) + (ruled ? "_ruled" : ""),
          sm90SharedBytes(shape)};
}

TensorMaps mapsOf(const MapEncoder& encoder, const Problem& problem, const Problem& packed, const Sm90Shape& shape,
                  const Sequence& sequence) {
  const int64_t group = packed.groupSize(), queries = warpgroupQueries(packed);
  const auto rows = [&](const void* data, int64_t columns, int padded, int64_t count, int64_t headStride,
                        int64_t rowStride) {
    return encoder.encode(
        data, columns, padded,
        {{group, group, headStride}, {count, queries, rowStride}, {packed.kvHeads, 1, group * headStride}});
  };
  const auto keys = [&](const View<const void>& view, int64_t columns, int padded) {
    return encoder.encode(view.data, columns, padded,
                          {{sequence.keyLength, shape.keys, view.rowStride}, {problem.kvHeads, 1, view.headStride}});
  };
  const auto& [query, output] = std::tie(sequence.query, sequence.output);
  return {rows(query.data, problem.headDim, shape.dims, sequence.queryLength, query.headStride, query.rowStride),
          rows(output.data, problem.valueDim, shape.valueDims, sequence.queryRows, output.headStride, output.rowStride),
          keys(sequence.key, problem.headDim, shape.dims), keys(sequence.value, problem.valueDim, shape.valueDims)};
}

}  // namespace

void loadTiledSm90(Device& device, const Problem& problem) {
  const bool ruled = hasRules(problem);
  device.function(kernelOf(problem, sm90Shape(problem, ruled), ruled));
}

void addTiledSm90(Launches& launches, const Problem& problem, const TiledSequence* table,
                  std::span<const TiledSequence> entries, int64_t tasks, bool tasksDiffer, CUdeviceptr maps) {
  const bool ruled = hasRules(problem);
  const Sm90Shape shape = sm90Shape(problem, ruled);
  const Problem packed = packedProblem(problem);
  const MapEncoder encoder(launches.device, problem.dtype);
  std::vector<TensorMaps> described;
  described.reserve(entries.size());
  for (const TiledSequence& entry : entries)
    described.push_back(mapsOf(encoder, problem, packed, shape, entry.sequence));
  launches.tables.add(described, maps);

  TiledSm90Arguments arguments{{ruleArguments(packed), table},
                               devicePointer<const TensorMaps>(maps),
                               nullptr,
                               int32_t(tasks),
                               packed.kvHeads / problem.kvHeads};
  if (tasksDiffer) {
    const CUdeviceptr counter = maps + CUdeviceptr(entries.size() * sizeof(TensorMaps));
    const TaskCounter none{};
    launches.tables.add(&none, 1, counter);
    arguments.counter = devicePointer<TaskCounter>(counter);
  }
  arguments.tiled.problem.sequenceCount = int64_t(entries.size());
  const int64_t blocks = std::min<int64_t>(tasks, launches.device.info().multiprocessors);
  launches.add(kernelOf(problem, shape, ruled), blocks, shape.threads(), arguments);
}

}  // namespace fovea::cuda
