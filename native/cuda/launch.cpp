#include "launch.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/standard.h"
#include "launch_parts.h"

namespace fovea::cuda {
namespace {

KernelImage tableKernel(bool large) {
  return {images::table, large ? "fovea_write_table_large" : "fovea_write_table_small", 0};
}

template <int bytes>
void writePiece(Device& device, CUstream stream, CUdeviceptr to, const char* from, size_t size) {
  TablePiece<bytes> piece;
  piece.destination = devicePointer<uint4>(to);
  piece.granules = int32_t(size / sizeof(uint4));
  piece.unused = 0;
  std::memcpy(piece.content, from, size);
  std::memset(reinterpret_cast<char*>(piece.content) + size, 0, bytes - size);
  launchKernel(device, stream, tableKernel(bytes == largeTablePiece), 1, standardThreads, &piece);
}

}  // namespace

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

void writeTable(Device& device, CUstream stream, const void* table, size_t bytes, CUdeviceptr to) {
  for (const char* from = static_cast<const char*>(table); bytes > 0;) {
    const bool large = bytes > smallTablePiece;
    const size_t size = std::min(bytes, size_t(large ? largeTablePiece : smallTablePiece));
    if (large)
      writePiece<largeTablePiece>(device, stream, to, from, size);
    else
      writePiece<smallTablePiece>(device, stream, to, from, size);
    from += size;
    to += size;
    bytes -= size;
  }
}

namespace {

/// The sequences of a call that the decode kernel has, or those that it has not.
struct Part {
  Part(const Problem& whole, const Plan& all, bool decode) : problem(whole) {
    plan.algorithm = all.algorithm;
    for (int64_t i = 0; i < whole.sequenceCount; i++) {
      if ((all.sequences[size_t(i)].kernel == Kernel::cudaDecode) != decode) continue;
      sequences.push_back(whole.sequences[i]);
      plan.sequences.push_back(all.sequences[size_t(i)]);
    }
    problem.sequences = sequences.data();
    problem.sequenceCount = int64_t(sequences.size());
  }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;

  std::vector<Sequence> sequences;
  Problem problem;
  Plan plan;
};

}  // namespace

void loadKernels(Device& device, const Problem& problem, const Plan& plan) {
  device.function(tableKernel(false));
  device.function(tableKernel(true));
  if (plan.algorithm == Algorithm::standard) return loadStandard(device, problem);
  const Part decode(problem, plan, true), tiled(problem, plan, false);
  if (!decode.sequences.empty()) loadDecode(device, problem);
  if (!tiled.sequences.empty()) loadTiled(device, tiled.problem, tiled.plan);
}

void launch(Device& device, CUstream stream, const Problem& problem, const Plan& plan, CUdeviceptr workspace) {
  if (plan.algorithm == Algorithm::standard) return launchStandard(device, stream, problem, workspace);
  const Part decode(problem, plan, true), tiled(problem, plan, false);
  launchDecode(device, stream, decode.problem, workspace);
  workspace += CUdeviceptr(decodeWorkspaceBytes(problem, plan));
  launchTiled(device, stream, tiled.problem, tiled.plan, workspace);
}

}  // namespace fovea::cuda
