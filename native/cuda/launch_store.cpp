#include "launch_store.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/store.h"

namespace fovea::cuda {
namespace {

constexpr int blocksPerMultiprocessor = 32;  // four times what is resident: enough to even out the last of them

/// cos and sin of each token's angles, in double until they are rounded.
void writeTurns(const RowStore& store, float2* turns) {
  const Rotation& rotation = store.rotation;
  if (rotation.dim == 0) return;  // and no positions
  for (int64_t token = 0; token < store.tokens; token++) {
    const double position = rotation.positions[token];
    for (int64_t i = 0; i < rotation.dim / 2; i++) {
      const double angle = position * rotation.frequencies[i];
      *turns++ = {float(std::cos(angle)), float(std::sin(angle))};
    }
  }
}

}  // namespace

void launchStores(Stream& stream, const std::vector<RowStore>& stores) {
  Device& device = stream.device();
  for (const RowStore& store : stores) {
    if (store.tokens == 0) continue;
    // One buffer: the turns, then the slots.
    const size_t turnBytes = size_t(store.tokens) * size_t(store.rotation.dim / 2) * sizeof(float2);
    const size_t slotBytes = size_t(store.tokens) * sizeof(int32_t);
    std::vector<std::byte> content(turnBytes + slotBytes);
    writeTurns(store, reinterpret_cast<float2*>(content.data()));
    std::memcpy(content.data() + turnBytes, store.slots, slotBytes);
    const auto buffer = DeviceBuffer::allocate(stream.compute(), int64_t(content.size()));
    stream.toDevice().toDevice(buffer->pointer(), content.size(), [&](std::byte* chunk, size_t offset, size_t part) {
      std::memcpy(chunk, content.data() + offset, part);
    });

    StoreArguments arguments{store, reinterpret_cast<const float2*>(buffer->pointer())};
    arguments.store.slots = reinterpret_cast<const int32_t*>(buffer->pointer() + turnBytes);
    const bool quantised = store.toDtype == DType::int8;  // a warp per row, else a thread per element
    const int64_t threads = store.tokens * store.heads * (quantised ? 32 : store.dims);
    const int64_t needed = (threads + storeThreads - 1) / storeThreads;
    const auto blocks = unsigned(std::min<int64_t>(needed, blocksPerMultiprocessor * device.info().multiprocessors));
    const KernelImage kernel{images::store, quantised ? "fovea_store_int8" : "fovea_store_rows"};
    void* parameters[] = {&arguments};
    device.check(driver().cuLaunchKernel(device.function(kernel), blocks, 1, 1, storeThreads, 1, 1, 0,
                                         stream.compute()->get(), parameters, nullptr),
                 ("launching " + kernel.function).c_str());
    // Freed here in the stream's order.
  }
}

}  // namespace fovea::cuda
