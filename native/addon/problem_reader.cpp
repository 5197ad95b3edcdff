#include "problem_reader.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>

#include "errors.h"
#include "fields.h"
#include "numbers.h"

namespace fovea::addon {
namespace {

constexpr int64_t maxHeadDim = 512;
constexpr int64_t maxInt32 = std::numeric_limits<int32_t>::max();

struct Places {
  Place tensors, alibiSlopes, sinks;
};

/// How many elements a view spans, along each of its dimensions.
struct Extent {
  int64_t heads, rows, columns;
  int64_t pages = 1;
};

/// None when the problem is read for planning only.
using Storages = std::optional<std::span<const Memory>>;

class SequenceReader {
 public:
  SequenceReader(const Problem& problem, const double* fields, const Storages& storages, Places& places)
      : problem_(problem), fields_(fields), storages_(storages), places_(places) {}

  void readSizes(Sequence& sequence) const {
    using namespace sequence_field;
    sequence.queryLength = integer(queryLength, 0, maxLength);
    sequence.queryRows = integer(queryRows, sequence.queryLength, maxLength);
    sequence.keyLength = integer(keyLength, 0, maxLength);
    sequence.keyColumns = integer(keyColumns, sequence.keyLength, maxLength);
    sequence.queryOffset = integer(queryOffset, -anyInteger, anyInteger);
    sequence.keyPageStride = integer(keyPageStride, -anyInteger, anyInteger);
    sequence.valuePageStride = integer(valuePageStride, -anyInteger, anyInteger);
  }

  /// Page table entries that keyLength needs.
  int64_t pageCount(const Sequence& sequence) const {
    return problem_.pageSize == 0 ? 0 : (sequence.keyLength + problem_.pageSize - 1) / problem_.pageSize;
  }

  /// Rows of all pages and kv heads.
  double pageRows() const {
    return static_cast<double>(integer(sequence_field::pages, 0, maxInt32)) * problem_.kvHeads * problem_.pageSize;
  }

  void readViews(Sequence& sequence) const {
    using namespace sequence_field;
    const int64_t heads = problem_.heads, queries = sequence.queryLength, outputRows = sequence.queryRows;
    const int64_t element = byteSize(problem_.dtype);
    Extent keys{problem_.kvHeads, sequence.keyLength, problem_.headDim};
    Extent values{problem_.kvHeads, sequence.keyLength, problem_.valueDim};
    if (problem_.pageSize > 0) {
      keys.pages = values.pages = integer(pages, 0, maxInt32);
      keys.rows = values.rows = problem_.pageSize;
    }
    require(query, readView(query, element, {heads, queries, problem_.headDim}, 0, sequence.query));
    const int64_t stored = byteSize(problem_.kvDtype());
    require(key, readView(key, stored, keys, sequence.keyPageStride, sequence.key));
    require(value, readView(value, stored, values, sequence.valuePageStride, sequence.value));
    require(output, readView(output, element, {heads, outputRows, problem_.valueDim}, 0, sequence.output));
    readView(mask, 1, {heads, queries, sequence.keyLength}, 0, sequence.mask);
    readView(bias, byteSize(problem_.biasDtype), {heads, queries, sequence.keyLength}, 0, sequence.bias);
    readView(lse, sizeof(float), {heads, outputRows, 1}, 0, sequence.lse);
    readView(weights, sizeof(float), {heads, outputRows, sequence.keyColumns}, 0, sequence.weights);
    readView(scores, sizeof(float), {heads, outputRows, sequence.keyColumns}, 0, sequence.scores);
    sequence.alibiSlopes =
        readArray<const float>(alibiSlopesStorage, alibiSlopesOffset, "alibiSlopes", heads, places_.alibiSlopes);
    sequence.sinks = readArray<const float>(sinksStorage, sinksOffset, "sinks", heads, places_.sinks);
  }

  /// Appends the entries that keyLength needs, each a page that exists.
  void readPageTable(const Sequence& sequence, std::vector<int32_t>& entries) const {
    using namespace sequence_field;
    if (!storages_ || problem_.pageSize == 0) return;
    const int64_t needed = pageCount(sequence);
    int device = host;
    Place place(device);
    const auto* table = readArray<const int32_t>(pageTableStorage, pageTableOffset, "pageTable", needed, place);
    if (device != host) throw BoundsError("pageTable: not in the host's memory, where its entries are checked");
    if (!table) throw BoundsError("pageTable: absent, but pageSize is " + std::to_string(problem_.pageSize));
    const size_t first = entries.size();
    entries.insert(entries.end(), table, table + needed);
    const int64_t limit = integer(pages, 0, maxInt32);
    for (size_t i = first; i < entries.size(); ++i) {
      if (entries[i] < 0 || entries[i] >= limit) {
        throw BoundsError("pageTable: entry " + std::to_string(i - first) + " is " + std::to_string(entries[i]) +
                          ", but there are " + std::to_string(limit) + " pages");
      }
    }
  }

  int64_t segmentCount() const { return integer(sequence_field::segments, 0, maxInt32); }

 private:
  int64_t integer(sequence_field::Field field, int64_t low, int64_t high) const {
    return toInteger(sequenceScalarNames[field], fields_[field], low, high);
  }

  /// A group of view fields: what it names, and where in its storage.
  struct Placement {
    const char* name;
    int64_t storage, offset;
    int64_t elementBytes;
    Place& place;
  };

  /// The address of element 0, after checking that what `reach` tells relative to it lies inside the storage.
  std::byte* address(const Placement& at, const Reach& reach, bool empty) const {
    // Plans look at the alignment, and at whether sequences have the same slopes.
    if (!storages_)
      return reinterpret_cast<std::byte*>(reinterpret_cast<uintptr_t>(nowhere()) + at.offset * at.elementBytes);
    if (static_cast<size_t>(at.storage) >= storages_->size()) {
      throw BoundsError(std::string(at.name) + ": storage " + std::to_string(at.storage) + " of " +
                        std::to_string(storages_->size()));
    }
    const auto& [storage, device] = (*storages_)[at.storage];
    at.place.require(at.name, device);
    return empty ? nowhere() : elementAddress(at.name, storage, at.offset, at.elementBytes, reach);
  }

  template <class Element>
  bool readView(sequence_field::View view, int64_t elementBytes, const Extent& extent, int64_t pageStride,
                View<Element>& result) const {
    using namespace sequence_field;
    const double* group = fields_ + views + size_t{view} * viewFields;
    const char* name = sequenceViewNames[view];
    const int64_t storage = toInteger(name, group[Storage], -1, anyInteger);
    if (storage < 0) return false;
    result.headStride = toInteger(name, group[HeadStride], -anyInteger, anyInteger);
    result.rowStride = toInteger(name, group[RowStride], -anyInteger, anyInteger);
    result.columnStride = toInteger(name, group[ColumnStride], -anyInteger, anyInteger);

    const bool empty = extent.heads == 0 || extent.rows == 0 || extent.columns == 0 || extent.pages == 0;
    Reach reach;
    reach.add(extent.heads, result.headStride);
    reach.add(extent.rows, result.rowStride);
    reach.add(extent.columns, result.columnStride);
    reach.add(extent.pages, pageStride);
    const int64_t offset = toInteger(name, group[Offset], 0, anyInteger);
    result.data =
        reinterpret_cast<Element*>(address({name, storage, offset, elementBytes, places_.tensors}, reach, empty));
    return true;
  }

  template <class Element>
  Element* readArray(sequence_field::Field storageField, sequence_field::Field offsetField, const char* name,
                     int64_t count, Place& place) const {
    const int64_t storage = integer(storageField, -1, anyInteger);
    if (storage < 0) return nullptr;
    const int64_t offset = integer(offsetField, 0, anyInteger);
    Reach reach;
    reach.add(count, 1);
    return reinterpret_cast<Element*>(address({name, storage, offset, sizeof(Element), place}, reach, count == 0));
  }

  void require(sequence_field::View view, bool present) const {
    if (!present && storages_) throw BoundsError(std::string(sequenceViewNames[view]) + ": absent");
  }

  const Problem& problem_;
  const double* fields_;
  const Storages& storages_;
  Places& places_;
};

/// The scales of int8 pages, one for each row of them.
const float* readScales(const char* name, int64_t index, double rows, const Storages& storages, int device) {
  if (!storages) return reinterpret_cast<const float*>(nowhere());
  if (index < 0 || static_cast<size_t>(index) >= storages->size()) throw BoundsError(std::string(name) + ": absent");
  const Memory& memory = (*storages)[index];
  if (memory.device != device) throw BoundsError(std::string(name) + ": on another device than the pages");
  return reinterpret_cast<const float*>(elementAddress(name, memory.bytes, 0, sizeof(float), {0, rows - 1}));
}

/// Pairs of end and id, which follow the sequences. `countOf`: how many a sequence has.
template <class CountOf>
void readSegments(std::span<const double> fields, OwnedProblem& owned, CountOf countOf) {
  size_t total = 0;
  for (size_t i = 0; i < owned.sequences.size(); ++i) total += countOf(i);
  if (total == 0) return;
  if (2 * total > fields.size()) throw BoundsError("problem: too short for its segments");
  owned.segmentLists.reserve(total);
  for (size_t i = 0; i < owned.sequences.size(); ++i) {
    const int64_t count = countOf(i), limit = std::min(owned.sequences[i].keyLength, maxInt32);
    owned.segments.push_back({owned.segmentLists.data() + owned.segmentLists.size(), count});
    int64_t end = 0;
    for (int64_t j = 0; j < count; ++j) {
      const double* pair = fields.data() + 2 * owned.segmentLists.size();
      end = toInteger("segments", pair[0], end + 1, limit);
      const int64_t id = toInteger("segments", pair[1], 0, maxInt32);
      owned.segmentLists.push_back({static_cast<int32_t>(end), static_cast<int32_t>(id)});
    }
  }
  owned.problem.segments = owned.segments.data();
}

OwnedProblem read(std::span<const double> fields, const Storages& storages) {
  using namespace problem_field;
  const auto integer = [&](Field field, int64_t low, int64_t high) {
    return toInteger(problemFieldNames[field], fields[field], low, high);
  };
  if (fields.size() < count) throw BoundsError("problem: too short");

  OwnedProblem owned;
  Problem& problem = owned.problem;
  problem.dtype = static_cast<DType>(integer(dtype, 0, 2));
  problem.storedDtype = static_cast<DType>(integer(storedDtype, 0, 3));
  problem.biasDtype = static_cast<DType>(integer(biasDtype, 0, 2));
  problem.heads = static_cast<int32_t>(integer(heads, 1, maxHeads));
  problem.kvHeads = static_cast<int32_t>(integer(kvHeads, 1, problem.heads));
  if (problem.heads % problem.kvHeads != 0) throw BoundsError("kvHeads: does not divide heads");
  problem.headDim = static_cast<int32_t>(integer(headDim, 1, maxHeadDim));
  problem.valueDim = static_cast<int32_t>(integer(valueDim, 1, maxHeadDim));
  problem.scale = fields[scale];
  problem.softcap = fields[softcap];
  problem.causal = integer(causal, 0, 1) != 0;
  problem.windowLeft = integer(windowLeft, -1, anyInteger);
  problem.windowRight = integer(windowRight, -1, anyInteger);
  problem.pageSize = static_cast<int32_t>(integer(pageSize, 0, maxInt32));
  problem.algorithm = static_cast<Algorithm>(integer(algorithm, 0, 2));
  problem.scoreStage = static_cast<ScoreStage>(integer(scoreStage, 0, 3));
  problem.sequenceCount = integer(sequences, 0, maxLength);
  if (static_cast<size_t>(problem.sequenceCount) > (fields.size() - count) / sequence_field::count) {
    throw BoundsError("problem: too short for " + std::to_string(problem.sequenceCount) + " sequences");
  }

  owned.sequences.resize(problem.sequenceCount);
  problem.sequences = owned.sequences.data();
  Places places{Place(owned.tensors), Place(owned.alibiSlopes), Place(owned.sinks)};
  const auto readerOf = [&](int64_t i) {
    return SequenceReader(problem, fields.data() + count + i * sequence_field::count, storages, places);
  };
  for (int64_t i = 0; i < problem.sequenceCount; ++i) {
    const SequenceReader reader = readerOf(i);
    reader.readSizes(owned.sequences[i]);
    reader.readViews(owned.sequences[i]);
    reader.readPageTable(owned.sequences[i], owned.pageTables);
  }
  if (problem.kvDtype() == DType::int8) {
    if (problem.pageSize == 0) throw BoundsError("storedDtype: int8 is for pages");
    double rows = 0;
    for (int64_t i = 0; i < problem.sequenceCount; ++i) rows = std::max(rows, readerOf(i).pageRows());
    const int64_t keys = integer(keyScalesStorage, -1, anyInteger),
                  values = integer(valueScalesStorage, -1, anyInteger);
    problem.keyScales = readScales("keyScales", keys, rows, storages, owned.tensors);
    problem.valueScales = readScales("valueScales", values, rows, storages, owned.tensors);
  }
  readSegments(fields.subspan(count + problem.sequenceCount * sequence_field::count), owned,
               [&](int64_t i) { return readerOf(i).segmentCount(); });
  const int32_t* pageTable = owned.pageTables.data();
  for (int64_t i = 0; i < problem.sequenceCount && !owned.pageTables.empty(); ++i) {
    owned.sequences[i].pageTable = pageTable;
    pageTable += readerOf(i).pageCount(owned.sequences[i]);
  }
  return owned;
}

}  // namespace

OwnedProblem readProblem(std::span<const double> fields, std::span<const Memory> storages) {
  return read(fields, storages);
}

OwnedProblem readProblemWithoutStorages(std::span<const double> fields) { return read(fields, std::nullopt); }

}  // namespace fovea::addon
