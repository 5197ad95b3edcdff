#include "launch.h"

#include <vector>

#include "../attention/plan_cuda.h"
#include "../attention/tiles_sm90.h"
#include "kernels/standard.h"
#include "kernels/tiled.h"
#include "launch_parts.h"

namespace fovea::cuda {
const char* suffix(DType type) {
  switch (type) {
    case DType::float32:
      return "float32";
    case DType::float16:
      return "float16";
    case DType::bfloat16:
      return "bfloat16";
    case DType::int8:
    case DType::unset:
      break;
  }
  return "";
}

std::string suffixOf(const Problem& problem) {
  return std::string(suffix(problem.dtype)) + (problem.kvDtype() == DType::int8 ? "_int8" : "");
}

void launchKernel(Device& device, CUstream stream, const KernelImage& kernel, int64_t blocks, int threads,
                  void* arguments) {
  if (blocks == 0) return;
  void* parameters[] = {arguments};
  device.check(driver().cuLaunchKernel(device.function(kernel), unsigned(blocks), 1, 1, unsigned(threads), 1, 1,
                                       unsigned(kernel.sharedBytes), stream, parameters, nullptr),
               ("launching " + kernel.function).c_str());
}

namespace {

/// A call of the tiled kernels: sequences that write their output, or pieces.
struct TiledCall {
  explicit TiledCall(const Problem& whole) : problem(whole) {
    problem.sequences = nullptr;
    problem.sequenceCount = 0;
    plan.algorithm = Algorithm::tiled;
  }
  TiledCall(const TiledCall&) = delete;
  TiledCall& operator=(const TiledCall&) = delete;

  void add(const Sequence& sequence, const SequencePlan& part, const TiledTarget& target) {
    sequences.push_back(sequence);
    plan.sequences.push_back(part);
    targets.push_back(target);
    problem.sequences = sequences.data();
    problem.sequenceCount = int64_t(sequences.size());
  }

  std::vector<Sequence> sequences;
  std::vector<TiledTarget> targets;
  Problem problem;
  Plan plan;
};

TiledTarget targetOf(const Piece& piece, const PieceMemory& memory) {
  return {memory.results + CUdeviceptr(piece.results), memory.results + CUdeviceptr(piece.statistics), 0,
          piece.splits.count, piece.splits.keys};
}

/// What decode and shared segments leave. Nothing of `memory` is looked at to load kernels.
void addRest(TiledCall& call, const Problem& problem, const Plan& plan, const Pieces& pieces,
             const PieceMemory& memory) {
  for (size_t i = 0; i < plan.sequences.size(); i++) {
    const SequencePlan& part = plan.sequences[i];
    if (!isMerged(part)) call.add(problem.sequences[i], part, {});
  }
  for (const Piece& piece : pieces.tiled) call.add(piece.sequence, {Kernel::cudaTiled}, targetOf(piece, memory));
}

void addShared(Launches& launches, const Problem& problem, const Pieces& pieces, const PieceMemory& memory) {
  if (pieces.shared.empty()) return;
  TiledCall call(openProblem(problem));
  std::vector<QueryOwner> owners;
  const int64_t size = byteSize(problem.dtype);
  for (const Piece& piece : pieces.shared) {
    TiledTarget target = targetOf(piece, memory);
    target.owners = memory.owners + CUdeviceptr(owners.size() * sizeof(QueryOwner));
    const Sequence& first = problem.sequences[piece.owners[0]];
    const int64_t begin = first.queryOffset - piece.sequence.queryOffset;  // of its keys
    for (const int32_t index : piece.owners) {
      const Sequence& owner = problem.sequences[index];
      const auto bytes = static_cast<const char*>(owner.query.data) - static_cast<const char*>(first.query.data);
      target.queryAligned &= rowsAligned(owner.query, 0, problem.dtype);
      for (int64_t query = 0; query < owner.queryLength; query++)
        owners.push_back({bytes / size + query * owner.query.rowStride, owner.queryOffset + query - begin});
    }
    call.add(piece.sequence, {Kernel::cudaTiled}, target);
  }
  launches.tables.add(owners, memory.owners);
  // Without maps, and nobody wants weights of segments.
  addTiled(launches, call.problem, call.plan, call.targets, memory.shared, 0, 0);
}

}  // namespace

PieceMemory::PieceMemory(const Pieces& pieces, int64_t tiledBytes, int64_t mapBytes, CUdeviceptr workspace) {
  const auto take = [&](int64_t bytes) {
    const CUdeviceptr at = workspace;
    workspace += CUdeviceptr(bytes);
    return at;
  };
  decode = take(decodeTableBytes(pieces));
  decodeSm90 = take(decodeSm90TableBytes(pieces));
  shared = take(sharedTableBytes(pieces));
  owners = take(ownerTableBytes(pieces));
  merge = take(mergeTableBytes(pieces));
  runs = take(runTableBytes(pieces));
  tiled = take(tiledBytes);
  results = take(pieces.resultBytes);
  tileMaps = take(mapBytes);
  weightRows = workspace;
}

void Launches::enqueue() {
  if (kernels_.empty()) return;
  tables.write(device, stream_);
  for (const auto& kernel : kernels_) kernel();
}

void loadKernels(Device& device, const Problem& problem, const Plan& plan) {
  loadTables(device);
  if (plan.algorithm == Algorithm::standard) return loadStandard(device, problem);
  const Pieces pieces = piecesOf(problem, plan);
  loadDecode(device, problem, pieces);
  loadDecodeSm90(device, problem, pieces);
  TiledCall tiled(problem);
  addRest(tiled, problem, plan, pieces, PieceMemory(pieces, 0, 0, 0));
  for (const Piece& piece : pieces.shared) tiled.add(piece.sequence, {Kernel::cudaTiled}, {});
  if (!tiled.sequences.empty()) loadTiled(device, tiled.problem, tiled.plan);
}

void loadKernels(Device& device, const Merge& merge) {
  loadTables(device);
  loadMerge(device, merge);
}

void launch(Device& device, CUstream stream, const Problem& problem, const Plan& plan, CUdeviceptr workspace) {
  if (plan.algorithm == Algorithm::standard) return launchStandard(device, stream, problem, workspace);
  const Pieces pieces = piecesOf(problem, plan);
  const int64_t whole = problem.sequenceCount - int64_t(pieces.merged.size());  // that write their outputs themselves
  const int64_t tiledBytes =
      tiledTableBytes(whole + int64_t(pieces.tiled.size())) + sm90WorkspaceBytes(sm90Sequences(plan));
  const PieceMemory memory(pieces, tiledBytes, tileMapWork(problem, plan, pieces).bytes, workspace);
  Launches launches(device, stream);
  addDecode(launches, problem, pieces, memory);
  addDecodeSm90(launches, problem, pieces, memory);
  addShared(launches, problem, pieces, memory);
  TiledCall tiled(problem);
  addRest(tiled, problem, plan, pieces, memory);
  addTiled(launches, tiled.problem, tiled.plan, tiled.targets, memory.tiled, memory.tileMaps, memory.weightRows);
  addMergeSplits(launches, problem, pieces, memory);
  launches.enqueue();
}

}  // namespace fovea::cuda
