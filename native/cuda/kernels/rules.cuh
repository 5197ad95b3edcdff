// From products to scores: scale, softcap, bias, ALiBi and the masks, on the tile that a warp holds in registers.
//
// Most tiles of most calls are plain: every row sees every key and only the scale is left to do. All others pass
// through shared memory once, row by row, so that bias and mask are read, and scores written, as neighbouring
// addresses, and the rules stand here as one short loop.
#pragma once
#include "standard_common.cuh"

namespace fovea::cuda {

/// Where a warp's tile lies in its sequence.
struct TilePlace {
  int head, row, column;
};

template <class Element>
FOVEA_DEVICE Element& elementAt(const View<Element>& view, const TilePlace& place) {
  return view.data[place.head * view.headStride + place.row * view.rowStride + place.column * view.columnStride];
}

/// Whether the scale is all there is: nothing is added or wanted, and every row of the tile sees every column.
template <int rows, int columns>
FOVEA_DEVICE bool isPlain(const StandardArguments& arguments, const Sequence& sequence, const TilePlace& place) {
  const Problem& problem = arguments.problem;
  if (arguments.softcap > 0 || problem.scoreStage != ScoreStage::none || sequence.weights) return false;
  if (sequence.bias || sequence.mask || sequence.alibiSlopes || place.row + rows > sequence.queryLength) return false;
  const KeyRange first = visibleKeys(problem, sequence, place.row);
  const KeyRange last = visibleKeys(problem, sequence, place.row + rows - 1);
  return last.begin <= place.column && place.column + columns <= first.end;
}

/// The score of one pair from the product of its query and key, -inf where it is masked. `keys` is what the row may
/// see. Writes the wanted stage on the way; a weight's place receives the score (standard_weights.cu goes on from
/// there).
FOVEA_DEVICE float applyRules(const StandardArguments& arguments, const Sequence& sequence, const TilePlace& place,
                              KeyRange keys, float product) {
  const Problem& problem = arguments.problem;
  const bool inside = place.row < sequence.queryLength && place.column < sequence.keyLength;
  const bool written = place.row < sequence.queryRows && place.column < sequence.keyColumns;
  float score = product * arguments.scale;
  if (problem.scoreStage == ScoreStage::scaled && written) elementAt(sequence.scores, place) = inside ? score : 0.f;
  if (arguments.softcap > 0) score = arguments.softcap * tanhOf(score / arguments.softcap);
  if (problem.scoreStage == ScoreStage::capped && written) elementAt(sequence.scores, place) = inside ? score : 0.f;

  bool allowed = place.column >= keys.begin && place.column < keys.end;
  if (allowed && sequence.bias) {
    const View<const void>& view = sequence.bias;
    const float bias =
        loadBias(view.data, problem.biasDtype,
                 place.head * view.headStride + place.row * view.rowStride + place.column * view.columnStride);
    score += bias;
    allowed = bias != negativeInfinity();
  }
  if (allowed && sequence.alibiSlopes) {
    const int64_t distance = place.row + sequence.queryOffset - place.column;
    score -= sequence.alibiSlopes[place.head] * static_cast<float>(distance < 0 ? -distance : distance);
  }
  if (allowed && sequence.mask) allowed = elementAt(sequence.mask, place) != 0;
  if (!allowed) score = negativeInfinity();
  if (problem.scoreStage == ScoreStage::biased && written) elementAt(sequence.scores, place) = score;
  if (sequence.weights && written) elementAt(sequence.weights, place) = score;
  return score;
}

/// A warp's tile in shared memory, [32 x 64], swizzled: rows read by all lanes, and fragments, both meet every bank. Of
/// tensor cores' fragments eight rows have every second column of eight, so that rows four apart share the eight.
struct WarpBuffer {
  float elements[warpRows * standardKeyBlock];

  FOVEA_DEVICE float& at(int row, int column) {
    return elements[row * standardKeyBlock + (column ^ (row % 4 * 8 + row / 4 % 2))];
  }
};

/// Products to scores in natural units.
template <class Tile>
FOVEA_DEVICE void applyRules(const StandardArguments& arguments, const Sequence& sequence, const TilePlace& place,
                             Tile& tile, WarpBuffer& buffer) {
  if (isPlain<warpRows, standardKeyBlock>(arguments, sequence, place)) {
    forEach(tile, [&](float& value, int, int) { value *= arguments.scale; });
    return;
  }
  forEach(tile, [&](float value, int i, int j) { buffer.at(tile.row(i), tile.column(j)) = value; });
  __syncwarp();
#pragma unroll 1
  for (int i = 0; i < warpRows; i++) {
    TilePlace at{place.head, place.row + i, 0};
    const KeyRange keys =
        at.row < sequence.queryLength ? visibleKeys(arguments.problem, sequence, at.row) : KeyRange{0, 0};
#pragma unroll 1
    for (int column = laneIndex(); column < standardKeyBlock; column += 32) {
      at.column = place.column + column;
      float& element = buffer.at(i, column);
      element = applyRules(arguments, sequence, at, keys, element);
    }
  }
  __syncwarp();
  forEach(tile, [&](float& value, int i, int j) { value = buffer.at(tile.row(i), tile.column(j)); });
}

}  // namespace fovea::cuda
