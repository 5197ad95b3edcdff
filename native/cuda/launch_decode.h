// What the launches of decode kernels share.
#pragma once
#include "kernels/decode.h"
#include "launch_parts.h"

namespace fovea::cuda {

/// The entry of a table that describes a piece.
DecodeSequence decodeEntry(const Problem& problem, const Piece& piece, const PieceMemory& memory, int64_t firstTask);

}  // namespace fovea::cuda
