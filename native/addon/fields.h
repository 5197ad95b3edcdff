// The order in which a Problem and a Plan cross the border as numbers. Each list is written once, here; addon.cpp
// tells JavaScript the names, problem_reader.cpp and plan_writer.cpp go by the indices.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#define FOVEA_PROBLEM_FIELDS(field)                                                                                   \
  field(dtype) field(storedDtype) field(biasDtype) field(heads) field(kvHeads) field(headDim) field(valueDim)         \
      field(scale) field(softcap) field(causal) field(windowLeft) field(windowRight) field(pageSize) field(algorithm) \
          field(scoreStage) field(keyScalesStorage) field(valueScalesStorage) field(sequences)

#define FOVEA_SEQUENCE_FIELDS(field)                                                                             \
  field(queryLength) field(queryRows) field(keyLength) field(keyColumns) field(queryOffset) field(pages)         \
      field(segments) field(pageTableStorage) field(pageTableOffset) field(keyPageStride) field(valuePageStride) \
          field(alibiSlopesStorage) field(alibiSlopesOffset) field(sinksStorage) field(sinksOffset)

#define FOVEA_SEQUENCE_VIEWS(view) \
  view(query) view(key) view(value) view(output) view(mask) view(bias) view(lse) view(weights) view(scores)

#define FOVEA_VIEW_FIELDS(field) field(Storage) field(Offset) field(HeadStride) field(RowStride) field(ColumnStride)

#define FOVEA_STORE_FIELDS(field)                                                                             \
  field(tokens) field(heads) field(dims) field(pages) field(pageSize) field(fromDtype) field(toDtype)         \
      field(fromStorage) field(fromOffset) field(fromHeadStride) field(fromRowStride) field(fromColumnStride) \
          field(toStorage) field(scalesStorage) field(slotsStorage) field(rotaryDim) field(interleaved)       \
              field(frequenciesStorage) field(positionsStorage)

#define FOVEA_PLAN_FIELDS(field)                                                                   \
  field(algorithm) field(tasks) field(workspaceBytes) field(flops) field(usefulFlops) field(bytes) \
      field(sharedSegments) field(sharedKeys) field(parts)

#define FOVEA_PLAN_PART_FIELDS(field)                                                                            \
  field(kernel) field(sequences) field(queryBlock) field(keyBlock) field(stages) field(splits) field(plainLoads) \
      field(refusal) field(flops) field(order) field(sectionHeads)

#define FOVEA_MERGE_FIELDS(field) field(dtype) field(batch) field(heads) field(rows) field(dims) field(parts)

#define FOVEA_MERGE_VIEW_FIELDS(field) \
  field(Storage) field(Offset) field(BatchStride) field(HeadStride) field(RowStride) field(ColumnStride)

namespace fovea::addon {

#define FOVEA_ENUMERATOR(name) name,
namespace problem_field {
enum Field : size_t { FOVEA_PROBLEM_FIELDS(FOVEA_ENUMERATOR) count };
}
namespace sequence_field {
enum Field : size_t { FOVEA_SEQUENCE_FIELDS(FOVEA_ENUMERATOR) views };
enum View : size_t { FOVEA_SEQUENCE_VIEWS(FOVEA_ENUMERATOR) viewCount };
enum ViewField : size_t { FOVEA_VIEW_FIELDS(FOVEA_ENUMERATOR) viewFields };
constexpr size_t count = size_t{views} + size_t{viewCount} * size_t{viewFields};
}  // namespace sequence_field
namespace store_field {
enum Field : size_t { FOVEA_STORE_FIELDS(FOVEA_ENUMERATOR) count };
}
namespace plan_field {
enum Field : size_t { FOVEA_PLAN_FIELDS(FOVEA_ENUMERATOR) count };
}
namespace plan_part_field {
enum Field : size_t { FOVEA_PLAN_PART_FIELDS(FOVEA_ENUMERATOR) count };
}
namespace merge_field {
enum Field : size_t { FOVEA_MERGE_FIELDS(FOVEA_ENUMERATOR) count };
enum ViewField : size_t { FOVEA_MERGE_VIEW_FIELDS(FOVEA_ENUMERATOR) viewFields };
}  // namespace merge_field
#undef FOVEA_ENUMERATOR

#define FOVEA_NAME(name) #name,
constexpr const char* problemFieldNames[] = {FOVEA_PROBLEM_FIELDS(FOVEA_NAME)};
constexpr const char* sequenceScalarNames[] = {FOVEA_SEQUENCE_FIELDS(FOVEA_NAME)};
constexpr const char* sequenceViewNames[] = {FOVEA_SEQUENCE_VIEWS(FOVEA_NAME)};
constexpr const char* viewFieldNames[] = {FOVEA_VIEW_FIELDS(FOVEA_NAME)};
constexpr const char* storeFieldNames[] = {FOVEA_STORE_FIELDS(FOVEA_NAME)};
constexpr const char* planFieldNames[] = {FOVEA_PLAN_FIELDS(FOVEA_NAME)};
constexpr const char* planPartFieldNames[] = {FOVEA_PLAN_PART_FIELDS(FOVEA_NAME)};
constexpr const char* mergeFieldNames[] = {FOVEA_MERGE_FIELDS(FOVEA_NAME)};
constexpr const char* mergeViewFieldNames[] = {FOVEA_MERGE_VIEW_FIELDS(FOVEA_NAME)};
#undef FOVEA_NAME

/// The scalar fields, then five for each view: queryStorage, queryOffset, queryHeadStride, ...
inline std::vector<std::string> sequenceFieldNames() {
  std::vector<std::string> names(std::begin(sequenceScalarNames), std::end(sequenceScalarNames));
  for (const char* view : sequenceViewNames)
    for (const char* field : viewFieldNames) names.push_back(std::string(view) + field);
  return names;
}

}  // namespace fovea::addon
