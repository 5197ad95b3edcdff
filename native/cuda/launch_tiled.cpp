#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/tiled.h"
#include "launch_tiled_sm90.h"

namespace fovea::cuda {
namespace {

KernelImage tiledKernel(const Problem& problem, const Device& device) {
  TiledShape shape = tiledShape(problem);
  shape.stages = tiledStages(problem, device.info().sharedPerMultiprocessor);
  const Image& image = problem.kvDtype() == DType::int8  ? images::tiledInt8
                       : problem.dtype == DType::float32 ? images::tiledFloat32
                                                         : images::tiled;
  return {image, "fovea_tiled_" + suffixOf(problem) + "_" + std::to_string(shape.dims),
          tiledSharedBytes(problem.dtype, problem.kvDtype(), shape)};
}

KernelImage weightsKernel(const Problem& problem) {
  return {images::tiledWeights, std::string("fovea_tiled_weights_") + suffix(problem.dtype), weightSharedBytes};
}

KernelImage mapKernel() { return {images::tileMap, "fovea_tile_map"}; }

/// The table of sequences, Hopper's kernel's first, and how many tasks each kernel has.
struct TiledTable {
  std::vector<TiledSequence> entries;
  int64_t sm90Entries = 0;
  int64_t tasks = 0, sm90Tasks = 0, weightTasks = 0, mapTasks = 0, sm90MapTasks = 0;
};

/// Key tiles of the longest task, the last row tile's under a causal mask: what sequences are ordered by.
int64_t longestTask(const Problem& problem, const TiledSequence& entry) {
  const TiledShape shape = tiledShape(problem);
  const int64_t last = ceilDivide(entry.sequence.queryLength * problem.groupSize(), shape.rows()) - 1;
  if (last < 0) return 0;
  const TileRange keys = tiledKeyTiles(problem, entry.sequence, shape, last);
  return std::min<int64_t>(keys.end - keys.begin, entry.splitTiles);
}

TiledTable makeTable(const Problem& problem, const Plan& plan, const std::vector<TiledTarget>& targets,
                     CUdeviceptr tileMaps, CUdeviceptr weightRows, int64_t l2Bytes) {
  TiledTable table;
  table.entries.reserve(size_t(problem.sequenceCount));
  std::vector<TiledSequence> others;
  TileMapPlaces places;
  const Sm90Shape sm90 = sm90Shape(problem, hasRules(problem));
  const int groups = packedProblem(problem).kvHeads / problem.kvHeads;
  for (int64_t i = 0; i < problem.sequenceCount; i++) {
    const Sequence& sequence = problem.sequences[i];
    const TiledWork work = tiledWork(problem, sequence);
    TiledSequence entry{};
    entry.sequence = sequence;
    const bool onSm90 = plan.sequences[size_t(i)].kernel == Kernel::cudaTiledSm90;
    entry.rowTiles = int32_t(onSm90 ? sm90Work(problem, sequence, sm90).rowTiles : work.rowTiles);
    const TiledTarget& target = targets[size_t(i)];
    const int64_t splitKeys = target.splits > 1 ? target.splitKeys : sequence.keyLength;
    entry.sectionHeads = int32_t(headsInL2(problem, splitKeys, l2Bytes) * (onSm90 ? groups : 1));
    entry.weightRowTiles = int32_t(work.weightRowTiles);
    entry.weightKeyTiles = int32_t(work.weightKeyTiles);
    entry.queryAligned = target.queryAligned && rowsAligned(sequence.query, 0, problem.dtype);
    entry.keyAligned = rowsAligned(sequence.key, sequence.keyPageStride, problem.kvDtype());
    entry.valueAligned = rowsAligned(sequence.value, sequence.valuePageStride, problem.kvDtype());
    const View<void>& output = sequence.output;
    entry.outputAligned =
        rowsAligned({output.data, output.headStride, output.rowStride, output.columnStride}, 0, problem.dtype);
    entry.results = devicePointer<float>(target.results);
    entry.statistics = devicePointer<float2>(target.statistics);
    entry.splits = int32_t(target.splits);
    entry.splitTiles = int32_t(ceilDivide(splitKeys, tiledShape(problem).keys));
    entry.owners = devicePointer<const QueryOwner>(target.owners);
    if (sequence.weights) entry.rows = devicePointer<float2>(weightRows);
    weightRows += CUdeviceptr(work.rowBytes);
    if (tileMaps != 0) {
      const auto [map, offset, tasks] = places.add(problem, sequence, plan.sequences[size_t(i)].kernel);
      if (map.words > 0) entry.tileMap = devicePointer<uint32_t>(tileMaps + CUdeviceptr(offset));
      entry.mapHeads = int32_t(map.heads), entry.mapRowTiles = int32_t(map.rowTiles);
      entry.mapWords = int32_t(map.words);
      entry.firstMapTask = int32_t(tasks);  // how many, until all are in order
    }
    (onSm90 ? table.entries : others).push_back(entry);
  }
  // The longest tasks first, so that none of them begins when all others are done. Nothing else depends on the order.
  for (auto* entries : {&table.entries, &others})
    std::stable_sort(entries->begin(), entries->end(), [&](const TiledSequence& a, const TiledSequence& b) {
      return longestTask(problem, a) > longestTask(problem, b);
    });
  table.sm90Entries = int64_t(table.entries.size());
  table.entries.insert(table.entries.end(), others.begin(), others.end());
  for (TiledSequence& entry : table.entries) {
    const bool onSm90 = &entry - table.entries.data() < table.sm90Entries;
    int64_t& tasks = onSm90 ? table.sm90Tasks : table.tasks;
    int64_t& mapTasks = onSm90 ? table.sm90MapTasks : table.mapTasks;
    entry.firstTask = tasks;
    entry.firstWeightTask = table.weightTasks;
    mapTasks += std::exchange(entry.firstMapTask, int32_t(mapTasks));
    tasks += int64_t{entry.rowTiles} * problem.kvHeads * (onSm90 ? groups : entry.splits);
    table.weightTasks += int64_t{entry.weightRowTiles} * entry.weightKeyTiles * problem.kvHeads;
  }
  return table;
}

}  // namespace

void loadTiled(Device& device, const Problem& problem, const Plan& plan) {
  const int64_t sm90 = sm90Sequences(plan);
  if (sm90 > 0) loadTiledSm90(device, problem);
  if (sm90 < problem.sequenceCount) device.function(tiledKernel(problem, device));
  device.function(weightsKernel(problem));
  device.function(mapKernel());
}

void addTiled(Launches& launches, const Problem& problem, const Plan& plan, const std::vector<TiledTarget>& targets,
              CUdeviceptr tables, CUdeviceptr tileMaps, CUdeviceptr weightRows) {
  const TiledTable table = makeTable(problem, plan, targets, tileMaps, weightRows, launches.device.info().l2Bytes);
  if (table.tasks + table.sm90Tasks == 0) return;  // no query row anywhere
  launches.tables.add(table.entries, tables);
  TiledArguments arguments{ruleArguments(problem), devicePointer<const TiledSequence>(tables),
                           tiledStages(problem, launches.device.info().sharedPerMultiprocessor)};
  arguments.problem.sequences = nullptr;
  const auto addMaps = [&](const Problem& cut, const TileGrid& grid, int64_t first, int64_t count, int64_t tasks) {
    TileMapArguments maps{cut, arguments.table + first, grid};
    maps.problem.sequences = nullptr, maps.problem.sequenceCount = count;
    launches.add(mapKernel(), tasks, tileMapThreads, maps);
  };
  const Problem packed = packedProblem(problem);
  addMaps(packed, sm90TileGrid(packed, sm90Shape(problem, true)), 0, table.sm90Entries, table.sm90MapTasks);
  addMaps(problem, tileGrid(problem), table.sm90Entries, problem.sequenceCount - table.sm90Entries, table.mapTasks);
  if (table.sm90Tasks > 0)  // after the table: what describes its sequences to the copy engine
    addTiledSm90(launches, problem, arguments.table, std::span(table.entries).first(size_t(table.sm90Entries)),
                 table.sm90Tasks, sm90TasksDiffer(problem, plan),
                 tables + CUdeviceptr(tiledTableBytes(problem.sequenceCount)));
  arguments.table += table.sm90Entries;
  arguments.problem.sequenceCount = problem.sequenceCount - table.sm90Entries;
  launches.add(tiledKernel(problem, launches.device), table.tasks, tiledThreads, arguments);
  arguments.table -= table.sm90Entries;
  arguments.problem.sequenceCount = problem.sequenceCount;
  launches.add(weightsKernel(problem), table.weightTasks, standardThreads, arguments);
}

}  // namespace fovea::cuda
