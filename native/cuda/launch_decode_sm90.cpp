#include <algorithm>

#include "kernels/decode_sm90.h"
#include "launch_decode.h"
#include "launch_parts.h"
#include "tensor_maps.h"

namespace fovea::cuda {
namespace {

KernelImage kernelOf(const Problem& problem) {
  const DecodeShape shape = sm90DecodeShape(problem);
  return {images::decodeSm90,
          std::string("fovea_decode_sm90_") + suffix(problem.dtype) + "_" + std::to_string(shape.dims),
          sm90DecodeSharedBytes(shape)};
}

void describe(const MapEncoder& encoder, const Problem& problem, const Sequence& sequence, DecodeSm90Sequence& entry) {
  const int dims = sm90DecodeShape(problem).dims;
  const int64_t group = problem.groupSize(), length = sequence.queryLength, boxKeys = sm90BoxKeys(problem.pageSize);
  const View<const void>& query = sequence.query;
  entry.query = encoder.encode(query.data, problem.headDim, dims,
                               {{group, group, query.headStride},
                                {length, length, query.rowStride},
                                {problem.kvHeads, 1, group * query.headStride}});
  const auto keys = [&](const View<const void>& view, int64_t columns, int64_t pageStride) {
    const bool paged = problem.pageSize > 0;
    // The table says which there are: as many as any GPU's memory has room for.
    const int64_t pageBytes = std::max<int64_t>(pageStride * byteSize(problem.dtype), 1);
    const int64_t manyPages = std::clamp<int64_t>((int64_t{1} << 42) / pageBytes, 1, int64_t{1} << 31);
    return encoder.encode(view.data, columns, dims,
                          {{paged ? problem.pageSize : sequence.keyLength, boxKeys, view.rowStride},
                           {problem.kvHeads, 1, view.headStride},
                           {paged ? manyPages : 1, 1, pageStride}});
  };
  entry.key = keys(sequence.key, problem.headDim, sequence.keyPageStride);
  entry.value = keys(sequence.value, problem.valueDim, sequence.valuePageStride);
}

}  // namespace

void loadDecodeSm90(Device& device, const Problem& problem, const Pieces& pieces) {
  if (!pieces.decodeSm90.empty()) device.function(kernelOf(problem));
}

void addDecodeSm90(Launches& launches, const Problem& problem, const Pieces& pieces, const PieceMemory& memory) {
  if (pieces.decodeSm90.empty()) return;
  const MapEncoder encoder(launches.device, problem.dtype);
  std::vector<DecodeSm90Sequence> table;
  int64_t tasks = 0;
  for (const Piece& piece : pieces.decodeSm90) {
    DecodeSm90Sequence& entry = table.emplace_back(decodeEntry(problem, piece, memory, tasks));
    describe(encoder, problem, piece.sequence, entry);
    tasks += piece.splits.count * problem.kvHeads;
  }
  launches.tables.add(table, memory.decodeSm90);
  DecodeSm90Arguments arguments{ruleArguments(problem), devicePointer<const DecodeSm90Sequence>(memory.decodeSm90)};
  arguments.problem.sequences = nullptr;
  arguments.problem.sequenceCount = int64_t(table.size());
  launches.add(kernelOf(problem), tasks, sm90DecodeThreads, arguments);
}

}  // namespace fovea::cuda
