#include "gpus.h"

#include <future>
#include <string>

#include "errors.h"

namespace fovea::addon {
namespace {

constexpr napi_type_tag deviceMemoryTag{0x9d0f6a3c5b8e4f21, 0xb2c47e915d3a6f08};

/// Null if `value` is no handle.
DeviceMemory* find(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  bool tagged = false;
  void* memory = nullptr;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_external ||
      napi_check_object_type_tag(env, value, &deviceMemoryTag, &tagged) != napi_ok || !tagged ||
      napi_get_value_external(env, value, &memory) != napi_ok) {
    return nullptr;
  }
  return static_cast<DeviceMemory*>(memory);
}

}  // namespace

uint64_t DeviceMemory::address() const {
  if (!buffer) throw BoundsError("memory: was released");
  return cuda::address(*buffer);
}

// Registered before the calls' hook, so run after it: no call is left, and what is still enqueued is waited for.
Gpus::Gpus(Napi::Env env) {
  env.AddCleanupHook([](Gpus* gpus) { gpus->streams_.clear(); }, this);
}

cuda::Stream& Gpus::stream(int device) {
  if (const auto known = streams_.find(device); known != streams_.end()) return *known->second;
  return *streams_.emplace(device, cuda::open(device)).first->second;
}

int Gpus::busyAfter(std::chrono::steady_clock::time_point deadline) {
  for (const auto& [device, stream] : streams_) {
    const auto done = std::make_shared<std::promise<void>>();  // the wait may end before
    cuda::synchronize(*stream, [done](const cuda::Result&) { done->set_value(); });
    if (done->get_future().wait_until(deadline) != std::future_status::ready) return device;
  }
  return -1;
}

Napi::Value newDeviceMemory(Napi::Env env, DeviceMemory memory) {
  auto owned = std::make_unique<DeviceMemory>(std::move(memory));
  const auto handle = Napi::External<DeviceMemory>::New(env, owned.get(), [](Napi::Env env, DeviceMemory* memory) {
    release(env, *memory);
    delete memory;
  });
  const DeviceMemory* kept = owned.release();
  napi_type_tag_object(env, handle, &deviceMemoryTag);
  Napi::MemoryManagement::AdjustExternalMemory(env, kept->weight);
  return handle;
}

DeviceMemory& deviceMemoryOf(Napi::Env env, napi_value value, const char* name) {
  if (DeviceMemory* memory = find(env, value)) return *memory;
  throw BoundsError(std::string(name) + ": expected device memory");
}

std::optional<Memory> deviceBytesOf(Napi::Env env, napi_value value) {
  const DeviceMemory* memory = find(env, value);
  if (!memory) return std::nullopt;
  auto* first = reinterpret_cast<std::byte*>(static_cast<uintptr_t>(memory->address()));
  return Memory{{first, static_cast<size_t>(memory->bytes)}, memory->device};
}

void release(Napi::Env env, DeviceMemory& memory) {
  if (!memory.buffer) return;
  memory.buffer.reset();
  Napi::MemoryManagement::AdjustExternalMemory(env, -memory.weight);
}

}  // namespace fovea::addon
