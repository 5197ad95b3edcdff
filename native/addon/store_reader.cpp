#include "store_reader.h"

#include <limits>
#include <string>

#include "errors.h"
#include "fields.h"
#include "numbers.h"

namespace fovea::addon {
namespace {

constexpr int64_t maxInt32 = std::numeric_limits<int32_t>::max();

[[noreturn]] void fail(const std::string& message) { throw BoundsError(message); }

class StoreReader {
 public:
  StoreReader(const double* fields, std::span<const Memory> storages, OwnedStores& owned)
      : fields_(fields), storages_(storages), owned_(owned) {}

  void read(bool first) {
    using namespace store_field;
    RowStore store;
    store.tokens = integer(tokens, 0, maxInt32);
    store.heads = static_cast<int32_t>(integer(heads, 1, maxHeads));
    store.dims = static_cast<int32_t>(integer(dims, 1, 512));
    store.pageSize = static_cast<int32_t>(integer(pageSize, 1, maxInt32));
    store.fromDtype = static_cast<DType>(integer(fromDtype, 0, 2));
    store.toDtype = static_cast<DType>(integer(toDtype, 0, 3));
    const int64_t rows = integer(pages, 0, maxInt32) * store.pageSize;  // of one head

    const Memory& target = memory(toStorage);
    if (first) owned_.device = target.device;
    store.to = array(toStorage, static_cast<double>(rows) * store.heads * store.dims, byteSize(store.toDtype));
    if (store.toDtype == DType::int8)
      store.scales = reinterpret_cast<float*>(array(scalesStorage, static_cast<double>(rows) * store.heads, 4));
    readSource(store);

    store.slots = integers(slotsStorage, store.tokens);
    for (int64_t token = 0; token < store.tokens; ++token) {
      if (store.slots[token] < 0 || store.slots[token] >= rows)
        fail("slots: entry " + std::to_string(token) + " is " + std::to_string(store.slots[token]) +
             ", but there are " + std::to_string(rows));
    }
    readRotation(store);
    owned_.stores.push_back(store);
  }

 private:
  int64_t integer(store_field::Field field, int64_t low, int64_t high) const {
    return toInteger(storeFieldNames[field], fields_[field], low, high);
  }

  const Memory& memory(store_field::Field field) const {
    const int64_t index = integer(field, 0, anyInteger);
    if (static_cast<size_t>(index) >= storages_.size())
      fail(std::string(storeFieldNames[field]) + ": storage " + std::to_string(index) + " of " +
           std::to_string(storages_.size()));
    return storages_[index];
  }

  std::byte* array(store_field::Field field, double count, int64_t elementBytes) const {
    return array(field, count, elementBytes, owned_.device);
  }

  /// The start of a storage with at least `count` elements, on a device.
  std::byte* array(store_field::Field field, double count, int64_t elementBytes, int device) const {
    const Memory& found = memory(field);
    const char* name = storeFieldNames[field];
    if (found.device != device) fail(std::string(name) + ": on another device than what came before");
    if (count * static_cast<double>(elementBytes) > static_cast<double>(found.bytes.size()))
      fail(std::string(name) + ": needs " + std::to_string(count) + " elements of " + std::to_string(elementBytes) +
           " bytes, has " + std::to_string(found.bytes.size()) + " bytes");
    if (reinterpret_cast<uintptr_t>(found.bytes.data()) % elementBytes != 0)
      fail(std::string(name) + ": its memory is not aligned to " + std::to_string(elementBytes) + " bytes");
    return found.bytes.data();
  }

  void readSource(RowStore& store) const {
    using namespace store_field;
    const int64_t offset = integer(fromOffset, 0, anyInteger), size = byteSize(store.fromDtype);
    store.from.headStride = integer(fromHeadStride, -anyInteger, anyInteger);
    store.from.rowStride = integer(fromRowStride, -anyInteger, anyInteger);
    store.from.columnStride = integer(fromColumnStride, -anyInteger, anyInteger);
    if (store.tokens == 0) return;
    Reach reach;
    reach.add(store.heads, store.from.headStride);
    reach.add(store.tokens, store.from.rowStride);
    reach.add(store.dims, store.from.columnStride);
    const Memory& found = memory(fromStorage);
    if (found.device != owned_.device) fail("fromStorage: on another device than what came before");
    store.from.data = elementAddress("from", found.bytes, offset, size, reach);
  }

  const int32_t* integers(store_field::Field field, int64_t count) {
    const auto* first = reinterpret_cast<const int32_t*>(array(field, static_cast<double>(count), 4, host));
    owned_.integers.emplace_back(first, first + count);
    return owned_.integers.back().data();
  }

  void readRotation(RowStore& store) {
    using namespace store_field;
    Rotation& rotation = store.rotation;
    rotation.dim = static_cast<int32_t>(integer(rotaryDim, 0, store.dims));
    if (rotation.dim == 0) return;
    if (rotation.dim % 2 != 0) fail("rotaryDim: expected an even number");
    rotation.interleaved = integer(interleaved, 0, 1) != 0;
    const int64_t pairs = rotation.dim / 2;
    const auto* first = reinterpret_cast<const double*>(array(frequenciesStorage, static_cast<double>(pairs), 8, host));
    owned_.frequencies.emplace_back(first, first + pairs);
    rotation.frequencies = owned_.frequencies.back().data();
    rotation.positions = integers(positionsStorage, store.tokens);
  }

  const double* fields_;
  std::span<const Memory> storages_;
  OwnedStores& owned_;
};

}  // namespace

OwnedStores readStores(std::span<const double> fields, std::span<const Memory> storages) {
  if (fields.size() % store_field::count != 0) throw BoundsError("stores: of a wrong length");
  OwnedStores owned;
  for (size_t at = 0; at < fields.size(); at += store_field::count)
    StoreReader(fields.data() + at, storages, owned).read(at == 0);
  return owned;
}

}  // namespace fovea::addon
