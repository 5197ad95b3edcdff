// Tables of a call (its sequences, and what describes them) on their way to device memory, as kernel parameters: they
// are copied when the launch is recorded, so a launch, and a CUDA graph made of it, depends on no host memory,
// allocates nothing and waits for nothing, for one sequence as for thousands.
//
// Entries of a table are alike: of the 108 words of a sequence that is decoded some ten differ from the last one's,
// half of them by always the same. So of a run of entries a piece holds the first, and what differs.
#pragma once
#include <cstdint>

namespace fovea::cuda {

/// Words of 32 bits, one entry after the other. `first` and `columns` are places in the piece's content.
struct TableRun {
  uint32_t* destination;
  int32_t entries, words;        // how many, and how many words each has
  int32_t first;                 // the first entry
  int32_t columns, columnCount;  // TableColumns
};

/// A word that is not the same in all entries: from one to the next it grows by `step`, or `values` is the place of
/// each entry's.
struct TableColumn {
  int32_t word;
  uint32_t step;
  int32_t values;  // -1: none
};
constexpr int columnWords = sizeof(TableColumn) / sizeof(uint32_t);

constexpr int mostTableRuns = 12;

template <int words>
struct TablePiece {
  int64_t runCount;
  TableRun runs[mostTableRuns];
  uint32_t content[words];
};

/// Kernel parameters may hold 4 KiB everywhere and 32,764 bytes since CUDA 12.1.
constexpr int smallTableWords = 924, largeTableWords = 8090;
static_assert(sizeof(TablePiece<smallTableWords>) <= 4096 && sizeof(TablePiece<largeTableWords>) <= 32764);

}  // namespace fovea::cuda
