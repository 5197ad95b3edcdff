#include "tables.h"

#include <algorithm>
#include <cstring>

#include "kernels/standard.h"
#include "launch_parts.h"

namespace fovea::cuda {
namespace {

KernelImage tableKernel(bool large) {
  return {images::table, large ? "fovea_write_table_large" : "fovea_write_table_small", 0};
}

/// An index of a run's words fits 32 bits.
constexpr int64_t mostRunWords = int64_t{1} << 30;

class Entries {
 public:
  Entries(const char* data, int words) : data_(data), words_(words) {}
  uint32_t word(int64_t entry, int word) const {
    uint32_t value;
    std::memcpy(&value, data_ + (entry * words_ + word) * int64_t(sizeof value), sizeof value);
    return value;
  }

 private:
  const char* data_;
  int words_;
};

/// Whether each entry's word must be told.
bool isListed(const TableColumn& column) { return column.values >= 0; }

/// The columns of a table, without places of values.
std::vector<TableColumn> columnsOf(const Entries& entries, int words, int64_t count) {
  std::vector<TableColumn> columns;
  if (count < 2) return columns;
  std::vector<uint32_t> steps(static_cast<size_t>(words)), others(static_cast<size_t>(words));
  for (int word = 0; word < words; word++) steps[size_t(word)] = entries.word(1, word) - entries.word(0, word);
  for (int64_t entry = 2; entry < count; entry++)
    for (int word = 0; word < words; word++)
      others[size_t(word)] |= (entries.word(entry, word) - entries.word(entry - 1, word)) ^ steps[size_t(word)];
  for (int word = 0; word < words; word++) {
    const uint32_t step = steps[size_t(word)];
    if (others[size_t(word)] != 0)
      columns.push_back({word, 0, 0});
    else if (step != 0)
      columns.push_back({word, step, -1});
  }
  return columns;
}

template <int words>
void launchPiece(Device& device, CUstream stream, const std::vector<TableRun>& runs,
                 const std::vector<uint32_t>& content, int64_t written) {
  TablePiece<words> piece{};
  piece.runCount = int64_t(runs.size());
  std::copy(runs.begin(), runs.end(), piece.runs);
  std::copy(content.begin(), content.end(), piece.content);
  launchKernel(device, stream, tableKernel(words == largeTableWords), ceilDivide(written, standardThreads),
               standardThreads, &piece);
}

}  // namespace

void loadTables(Device& device) {
  for (const bool large : {false, true}) device.function(tableKernel(large));
}

void Tables::add(const char* data, int words, int64_t count, CUdeviceptr to) {
  const Entries entries(data, words);
  const std::vector<TableColumn> columns = columnsOf(entries, words, count);
  const auto perEntry = std::count_if(columns.begin(), columns.end(), isListed);
  const int64_t perRun = words + columnWords * int64_t(columns.size());
  for (int64_t begin = 0; begin < count;) {
    if (pieces_.empty()) pieces_.emplace_back();
    Piece& piece = pieces_.back();
    const int64_t room = largeTableWords - int64_t(piece.content.size()) - perRun;
    int64_t number = std::min(count - begin, mostRunWords / words);
    if (perEntry > 0) number = std::min(number, room / perEntry);
    if (room < 0 || number < 1 || piece.runs.size() == mostTableRuns) {
      pieces_.emplace_back();
      continue;
    }
    auto& content = piece.content;
    TableRun run{devicePointer<uint32_t>(to) + begin * words,
                 int32_t(number),
                 words,
                 int32_t(content.size()),
                 0,
                 int32_t(columns.size())};
    for (int word = 0; word < words; word++) content.push_back(entries.word(begin, word));
    run.columns = int32_t(content.size());
    int32_t values = run.columns + columnWords * run.columnCount;
    for (const TableColumn& column : columns) {
      for (const uint32_t word : {uint32_t(column.word), column.step, uint32_t(isListed(column) ? values : -1)})
        content.push_back(word);
      if (isListed(column)) values += int32_t(number);
    }
    for (const TableColumn& column : columns)
      for (int64_t entry = 0; isListed(column) && entry < number; entry++)
        content.push_back(entries.word(begin + entry, column.word));
    piece.runs.push_back(run);
    piece.words += number * words;
    begin += number;
  }
}

void Tables::write(Device& device, CUstream stream) const {
  for (const Piece& piece : pieces_)
    if (piece.content.size() <= smallTableWords)
      launchPiece<smallTableWords>(device, stream, piece.runs, piece.content, piece.words);
    else
      launchPiece<largeTableWords>(device, stream, piece.runs, piece.content, piece.words);
}

}  // namespace fovea::cuda
