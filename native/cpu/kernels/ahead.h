// Rows asked for ahead of their turn, a few between one piece of a product and the next: so memory is read while
// products are computed. Asked for all at once they gained little.
#pragma once
#include "rows.h"

namespace fovea::cpu::FOVEA_ISA {
namespace {  // its users: tiled.cpp, decode.cpp

/// Rows of one matrix: runs of rows `stride` bytes apart. Runs are `runStride` bytes apart, or those of a few heads
/// `headStride`, and then where `pages` says.
struct RowsAhead {
  const char* base;      // of pages
  const int32_t* pages;  // of the runs to come; absent: none
  const char *run, *row;
  int64_t stride, runStride, headStride;
  int64_t wholeRun, runRows;  // rows of a whole run, and of this one
  int64_t heads = 1, head;    // of a page, and this run's
  int64_t inRun, left;        // rows still to be asked for
  int64_t bytes;              // of a row
};

/// What is to be asked for, and how much of it at a time.
struct Ahead {
  RowsAhead parts[8];
  int count = 0, current = 0;
  int64_t rowsPerStep = 1;
};

constexpr int intoL1 = 3, intoL2 = 2;  // __builtin_prefetch's words for caches
/// Of a page, asked for before the others: processors then see the rest of it coming.
constexpr int64_t firstBytes = 4 * 64;

/// Keys or values [begin, end) of kv heads [kvHead, kvHead + heads): of several heads page by page, or key by key.
void addKeys(Ahead& ahead, const Task& task, const View<const void>& view, int64_t pageStride, int64_t dims,
             int64_t kvHead, int64_t heads, int64_t begin, int64_t end) {
  if (begin >= end || view.columnStride != 1) return;
  const Problem& problem = *task.problem;
  const int64_t size = byteSize(problem.kvDtype()), pageSize = problem.pageSize, first = kvHead * view.headStride;
  RowsAhead& part = ahead.parts[ahead.count++];
  part = {};
  part.run = part.row = (const char*)keyRow(problem, *task.sequence, view, pageStride, kvHead, begin);
  part.stride = size * view.rowStride, part.headStride = size * view.headStride;
  part.inRun = part.left = (end - begin) * heads, part.bytes = size * dims;
  if (pageSize > 0) {
    part.base = (const char*)view.data + size * first, part.pages = task.sequence->pageTable + begin / pageSize + 1;
    part.runStride = size * pageStride, part.wholeRun = pageSize, part.heads = heads;
    part.inRun = part.runRows = least(end - begin, pageSize - begin % pageSize);
  } else if (heads > 1) {
    part.stride = part.headStride, part.runStride = size * view.rowStride;
    part.inRun = part.runRows = part.wholeRun = heads;
  }
}

/// Rows [rowBegin, rowEnd) of queries or outputs of a kv head: query by query, head by head of the group.
template <class Element>
FOVEA_INLINE void addRows(Ahead& ahead, const Task& task, const View<Element>& view, int64_t dims, int64_t kvHead,
                          int64_t rowBegin, int64_t rowEnd) {
  if (rowBegin >= rowEnd || view.columnStride != 1 || task.owners) return;
  const Problem& problem = *task.problem;
  const int64_t size = byteSize(problem.dtype), group = problem.groupSize();
  const int64_t begin = rowBegin / group, rows = (rowEnd - 1) / group + 1 - begin;
  RowsAhead& part = ahead.parts[ahead.count++];
  part = {};
  part.run = part.row = (const char*)view.data + size * (kvHead * group * view.headStride + begin * view.rowStride);
  part.stride = size * view.headStride, part.runStride = size * view.rowStride, part.bytes = size * dims;
  part.inRun = part.runRows = group, part.left = rows * group;
  if (group == 1) part.stride = part.runStride, part.inRun = part.runRows = rows;
  part.wholeRun = part.runRows;
}

/// Columns [begin, end) of a bias or mask for the task's rows [rowBegin, rowEnd): query by query, head by head of the
/// group.
template <class Element>
FOVEA_INLINE void addModifiers(Ahead& ahead, const Task& task, const View<Element>& view, int64_t size,
                               int64_t rowBegin, int64_t rowEnd, int64_t begin, int64_t end) {
  if (!view || begin >= end || rowBegin >= rowEnd || view.columnStride != 1 || view.rowStride == 0 || task.owners)
    return;
  const int64_t group = task.problem->groupSize(), heads = view.headStride == 0 ? 1 : group;
  const int64_t first = rowBegin / group, queries = (rowEnd - 1) / group + 1 - first;
  RowsAhead& part = ahead.parts[ahead.count++];
  part = {};
  part.run = part.row =
      (const char*)view.data + size * (task.kvHead * group * view.headStride + first * view.rowStride + begin);
  part.stride = size * view.headStride, part.runStride = size * view.rowStride, part.bytes = size * (end - begin);
  part.inRun = part.runRows = heads, part.left = queries * heads;
  if (heads == 1) part.stride = part.runStride, part.inRun = part.runRows = queries;
  part.wholeRun = part.runRows;
}

/// Makes room for more behind what is still to be asked for.
FOVEA_INLINE void dropAsked(Ahead& ahead) {
  for (int i = ahead.current; i < ahead.count; i++) ahead.parts[i - ahead.current] = ahead.parts[i];
  ahead.count -= ahead.current, ahead.current = 0;
}

/// Spreads what was added over some `steps` calls of askAhead.
FOVEA_INLINE void spreadAhead(Ahead& ahead, int64_t steps) {
  int64_t rows = 0;
  for (int i = 0; i < ahead.count; i++) rows += ahead.parts[i].left;
  ahead.rowsPerStep = rows / most(steps, 1) + 1;
}

/// After the last row of a run.
FOVEA_NOINLINE void nextRun(Ahead& ahead) {
  RowsAhead& part = ahead.parts[ahead.current];
  if (part.left == 0) {
    ahead.current++;
    return;
  }
  if (++part.head < part.heads) {
    part.run += part.headStride;
  } else {
    part.head = 0;
    part.run = part.pages ? part.base + *part.pages++ * part.runStride : part.run + part.runStride;
    part.runRows = least(part.wholeRun, part.left / part.heads);
    if (part.pages && part.left > part.runRows * part.heads)
      for (int64_t at = 0; at < least(firstBytes, part.bytes * part.runRows); at += 64)
        __builtin_prefetch(part.base + *part.pages * part.runStride + at, 0, intoL2);
  }
  part.row = part.run, part.inRun = part.runRows;
}

template <int cache>
FOVEA_NOINLINE void askNext(Ahead& ahead, int64_t rows) {
  while (rows > 0 && ahead.current < ahead.count) {
    RowsAhead& part = ahead.parts[ahead.current];
    const int64_t number = least(rows, part.inRun);
    for (int64_t i = 0; i < number; i++, part.row += part.stride)
      for (int64_t at = 0; at < part.bytes; at += 64) __builtin_prefetch(part.row + at, 0, cache);
    rows -= number, part.inRun -= number, part.left -= number;
    if (part.inRun == 0) nextRun(ahead);
  }
}

/// Asks for the next rows, as far as there are any. Where there are none it costs a comparison.
template <int cache>
FOVEA_INLINE void askRows(Ahead& ahead, int64_t rows) {
  if (ahead.current < ahead.count) askNext<cache>(ahead, rows);
}

inline void askAhead(Ahead& ahead) { askRows<intoL2>(ahead, ahead.rowsPerStep); }

}  // namespace
}  // namespace fovea::cpu::FOVEA_ISA
