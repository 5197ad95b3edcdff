#include "tiles_sm90.h"

namespace fovea::cuda {

Sm90Work sm90Work(const Problem& problem, const Sequence& sequence, const Sm90Shape& shape) {
  const Problem packed = packedProblem(problem);
  const int64_t queries = warpgroupQueries(packed);
  Sm90Work work;
  work.rowTiles = ceilDivide(sequence.queryRows, tileQueries(packed, shape));
  work.tasks = work.rowTiles * packed.kvHeads;
  double tiles = 0;
  for (int64_t first = 0; first < sequence.queryLength; first += queries) {
    const TileRange keys = sm90KeyTiles(packed, sequence, shape, first, queries);
    tiles += double(keys.end - keys.begin);
  }
  work.flops = 2 * tiles * packed.kvHeads * warpgroupRows * shape.keys * (shape.dims + shape.valueDims);
  return work;
}

}  // namespace fovea::cuda
