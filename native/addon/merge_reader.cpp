#include "merge_reader.h"

#include <string>

#include "errors.h"
#include "fields.h"
#include "numbers.h"

namespace fovea::addon {
namespace {

class MergeReader {
 public:
  MergeReader(const Merge& merge, std::span<const double> fields, std::span<const Memory> storages, int& device)
      : merge_(merge), fields_(fields), storages_(storages), place_(device) {}

  /// The next view. `columns`: 1 for lse.
  template <class Element>
  BatchView<Element> read(const std::string& name, int64_t columns, int64_t elementBytes) {
    using namespace merge_field;
    const double* group = fields_.data() + next_;
    next_ += viewFields;
    const auto integer = [&](ViewField field, int64_t low) {
      return toInteger((name + mergeViewFieldNames[field]).c_str(), group[field], low, anyInteger);
    };
    BatchView<Element> view;
    view.batchStride = integer(BatchStride, -anyInteger);
    view.headStride = integer(HeadStride, -anyInteger);
    view.rowStride = integer(RowStride, -anyInteger);
    view.columnStride = integer(ColumnStride, -anyInteger);
    const int64_t storage = integer(Storage, 0), offset = integer(Offset, 0);
    if (static_cast<size_t>(storage) >= storages_.size()) {
      throw BoundsError(name + ": storage " + std::to_string(storage) + " of " + std::to_string(storages_.size()));
    }
    place_.require(name.c_str(), storages_[storage].device);
    Reach reach;
    reach.add(merge_.batch, view.batchStride);
    reach.add(merge_.heads, view.headStride);
    reach.add(merge_.rows, view.rowStride);
    reach.add(columns, view.columnStride);
    const bool empty = merge_.rowCount() == 0 || columns == 0;
    view.data = reinterpret_cast<Element*>(
        empty ? nowhere() : elementAddress(name.c_str(), storages_[storage].bytes, offset, elementBytes, reach));
    return view;
  }

 private:
  const Merge& merge_;
  std::span<const double> fields_;
  std::span<const Memory> storages_;
  Place place_;
  size_t next_ = merge_field::count;
};

}  // namespace

OwnedMerge readMerge(std::span<const double> fields, std::span<const Memory> storages) {
  using namespace merge_field;
  if (fields.size() < count) throw BoundsError("merge: too short");
  const auto integer = [&](Field field, int64_t low, int64_t high) {
    return toInteger(mergeFieldNames[field], fields[field], low, high);
  };
  OwnedMerge owned;
  Merge& merge = owned.merge;
  merge.dtype = static_cast<DType>(integer(dtype, 0, 2));
  merge.batch = integer(batch, 0, maxLength);
  merge.heads = integer(heads, 0, maxHeads);
  merge.rows = integer(rows, 0, maxLength);
  merge.dims = integer(dims, 0, 1 << 30);
  merge.partCount = integer(parts, 1, maxHeads);
  const double rowCount = double(merge.batch) * double(merge.heads) * double(merge.rows);
  if (rowCount * double(merge.dims + 1) > double(anyInteger)) throw BoundsError("merge: too large");
  const size_t views = 2 + 2 * static_cast<size_t>(merge.partCount);
  if (fields.size() < count + views * viewFields) throw BoundsError("merge: too short for its parts");

  const int64_t element = byteSize(merge.dtype);
  MergeReader reader(merge, fields, storages, owned.device);
  merge.output = reader.read<void>("output", merge.dims, element);
  merge.lse = reader.read<float>("lse", 1, sizeof(float));
  for (int64_t i = 0; i < merge.partCount; ++i) {
    const std::string name = "part" + std::to_string(i);
    MergePart& part = owned.parts.emplace_back();
    part.output = reader.read<const void>(name + "Output", merge.dims, element);
    part.lse = reader.read<const float>(name + "Lse", 1, sizeof(float));
  }
  merge.parts = owned.parts.data();
  return owned;
}

}  // namespace fovea::addon
