#include "launch_store.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/store.h"
#include "launch_parts.h"

namespace fovea::cuda {
namespace {

constexpr int blocksPerMultiprocessor = 32;  // four times what is resident: enough to even out the last of them

bool isQuantised(const RowStore& store) { return store.toDtype == DType::int8; }

/// What the kernels read beside tensors, of all stores: turns (cos and sin of each token's angles, in double until they
/// are rounded) and slots.
class StoreContent {
 public:
  struct Place {
    size_t turns, slots;  // words
  };

  explicit StoreContent(const std::vector<RowStore>& stores) {
    for (const RowStore& store : stores) {
      if (words_.size() % 2 != 0) words_.push_back(0);  // a turn is two
      Place place{words_.size(), 0};
      addTurns(store);
      const RowStore* before = places_.empty() ? nullptr : &stores[places_.size() - 1];
      if (before && before->slots == store.slots && before->tokens == store.tokens) {
        place.slots = places_.back().slots;
      } else {
        place.slots = words_.size();
        words_.insert(words_.end(), store.slots, store.slots + store.tokens);
      }
      places_.push_back(place);
    }
  }

  size_t bytes() const { return words_.size() * sizeof(uint32_t); }
  const Place& place(size_t store) const { return places_[store]; }

  void write(Stream& stream, CUdeviceptr to) const {
    if (words_.size() <= mostWrittenWords) {
      Tables tables;
      tables.add(words_, to);
      tables.write(stream.device(), stream.compute()->get());
      return;
    }
    stream.toDevice().toDevice(to, bytes(), [&](std::byte* chunk, size_t offset, size_t part) {
      std::memcpy(chunk, reinterpret_cast<const std::byte*>(words_.data()) + offset, part);
    });
  }

 private:
  void addTurns(const RowStore& store) {
    const Rotation& rotation = store.rotation;
    if (rotation.dim == 0) return;  // and no positions
    for (int64_t token = 0; token < store.tokens; token++) {
      const double position = rotation.positions[token];
      for (int64_t i = 0; i < rotation.dim / 2; i++) {
        const double angle = position * rotation.frequencies[i];
        for (const double turn : {std::cos(angle), std::sin(angle)})
          words_.push_back(std::bit_cast<uint32_t>(float(turn)));
      }
    }
  }

  std::vector<uint32_t> words_;
  std::vector<Place> places_;
};

}  // namespace

void launchStores(Stream& stream, const std::vector<RowStore>& given) {
  Device& device = stream.device();
  std::vector<RowStore> stores;
  for (const RowStore& store : given)
    if (store.tokens > 0) stores.push_back(store);
  if (stores.empty()) return;
  const StoreContent content(stores);
  const auto buffer = DeviceBuffer::allocate(stream.compute(), int64_t(content.bytes()));
  content.write(stream, buffer->pointer());

  for (size_t first = 0, count; first < stores.size(); first += count) {
    const bool quantised = isQuantised(stores[first]);  // a warp per row, else a thread per element
    StoreLaunch launch{};
    int64_t threads = 0;
    for (count = 0; count < mostStores && first + count < stores.size(); count++) {
      const RowStore& store = stores[first + count];
      if (isQuantised(store) != quantised) break;
      const StoreContent::Place& place = content.place(first + count);
      StoreArguments& arguments = launch.stores[count];
      arguments = {store, devicePointer<const float2>(buffer->pointer() + place.turns * sizeof(uint32_t))};
      arguments.store.slots = devicePointer<const int32_t>(buffer->pointer() + place.slots * sizeof(uint32_t));
      threads = std::max(threads, store.tokens * store.heads * (quantised ? 32 : store.dims));
    }
    const int64_t needed = (threads + storeThreads - 1) / storeThreads;
    const auto blocks = unsigned(std::min<int64_t>(needed, blocksPerMultiprocessor * device.info().multiprocessors));
    const KernelImage kernel{images::store, quantised ? "fovea_store_int8" : "fovea_store_rows"};
    void* parameters[] = {&launch};
    device.check(driver().cuLaunchKernel(device.function(kernel), blocks, unsigned(count), 1, storeThreads, 1, 1, 0,
                                         stream.compute()->get(), parameters, nullptr),
                 ("launching " + kernel.function).c_str());
  }
  // The buffer is freed here, in the stream's order.
}

}  // namespace fovea::cuda
