// Device memory, pools, pinned host memory, copies, sets, pointer attributes.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "driver/api.h"

namespace fovea::simulator {
namespace {

// ---------------------------------------------------------------------------------------------- pinned host memory

struct Pinned {
  size_t bytes = 0;
  bool isOwned = false;  // by cuMemAllocHost
};
std::mutex pinnedMutex;
std::map<uintptr_t, Pinned>& pinned() {
  static auto* all = new std::map<uintptr_t, Pinned>;
  return *all;
}

CUresult allocatePinned(void** host, size_t bytes) {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  if (!host || !bytes) return CUDA_ERROR_INVALID_VALUE;
  FOVEA_CUDA_TRY(forbidDuringCapture());
  void* memory = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  if (!memory) return CUDA_ERROR_OUT_OF_MEMORY;
  std::lock_guard lock(pinnedMutex);
  pinned()[reinterpret_cast<uintptr_t>(memory)] = {bytes, true};
  *host = memory;
  return CUDA_SUCCESS;
}

void synchronizeAll() {
  for (const auto& device : devices()) device->synchronize();
}

// ---------------------------------------------------------------------------------------------- device ranges

// Whether a call may name the range: it lies in memory that exists or will, in stream order.
// Reserved memory becomes an allocation at any moment, so what is reserved is asked for first.
bool isKnown(Device& device, CUdeviceptr address, size_t bytes) {
  if (device.memory.isReserved(address)) return true;
  const auto allocation = device.memory.find(address);
  return allocation && allocation->contains(address, bytes);
}

Device* ownerOf(CUdeviceptr address) {
  for (const auto& device : devices())
    if (device->memory.isReserved(address) || device->memory.find(address)) return device.get();
  return nullptr;
}

// The range when an operation gets to it; complains when it is gone or not there yet.
std::shared_ptr<Allocation> rangeAt(CUdeviceptr address, size_t bytes, const char* what) {
  Device* owner = ownerOf(address);
  std::shared_ptr<Allocation> allocation = owner ? owner->memory.find(address) : nullptr;
  if (allocation && allocation->contains(address, bytes)) return allocation;
  std::string where = "far from every allocation";
  for (const auto& device : devices()) {
    const std::string text = device->memory.describe(address);
    if (text.find("far") == std::string::npos && text.find("no device memory") == std::string::npos) where = text;
  }
  complain(std::string(what) + " of " + std::to_string(bytes) + " bytes at " + hexadecimal(address) + ", " + where);
  return nullptr;
}

// A two-dimensional copy between any two of host and device. Pitches are 0 for one row.
struct Place {
  CUdeviceptr device = 0;
  void* host = nullptr;
  size_t pitch = 0;
  bool isDevice() const { return host == nullptr; }
};

CUresult copyNow(const Place& to, const Place& from, size_t width, size_t height) {
  for (size_t row = 0; row < height; row++) {
    std::shared_ptr<Allocation> target, source;
    const CUdeviceptr toAddress = to.device + row * to.pitch, fromAddress = from.device + row * from.pitch;
    if (to.isDevice() && !(target = rangeAt(toAddress, width, "copy to"))) return CUDA_ERROR_ILLEGAL_ADDRESS;
    if (from.isDevice() && !(source = rangeAt(fromAddress, width, "copy from"))) return CUDA_ERROR_ILLEGAL_ADDRESS;
    void* into = target ? target->data(toAddress) : static_cast<uint8_t*>(to.host) + row * to.pitch;
    const void* out = source ? source->data(fromAddress) : static_cast<uint8_t*>(from.host) + row * from.pitch;
    std::memmove(into, out, width);
    if (!target) continue;
    target->forgetWriters(toAddress, width);
    if (!source) {
      target->setDefined(toAddress, width, true);
    } else {
      for (size_t i = 0; i < width; i++) target->setDefined(toAddress + i, 1, source->isDefined(fromAddress + i, 1));
    }
  }
  return CUDA_SUCCESS;
}

// Pageable host memory is read during the call, and written before the call returns, as the real driver does.
CUresult copy(CUstream handle, Place to, Place from, size_t width, size_t height, bool blocks) {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  Stream* stream = nullptr;
  FOVEA_CUDA_TRY(streamOf(handle, &stream));
  if (blocks) FOVEA_CUDA_TRY(forbidDuringCapture());
  if (!width || !height) return CUDA_SUCCESS;
  const auto lastRow = [&](const Place& place) { return (height - 1) * place.pitch; };
  for (const Place* place : {&to, &from}) {
    if (!place->isDevice()) continue;
    Device* owner = ownerOf(place->device);
    if (!owner || !isKnown(*owner, place->device, lastRow(*place) + width)) return CUDA_ERROR_INVALID_VALUE;
  }
  const bool captures = stream->capture != nullptr;
  std::shared_ptr<std::vector<uint8_t>> staged;
  if (!from.isDevice() && !captures && !isPinned(from.host, lastRow(from) + width)) {
    staged = std::make_shared<std::vector<uint8_t>>(width * height);
    for (size_t row = 0; row < height; row++)
      std::memcpy(staged->data() + row * width, static_cast<uint8_t*>(from.host) + row * from.pitch, width);
    from.host = staged->data();
    from.pitch = width;
  }
  const bool mustWait = blocks || (!to.isDevice() && !captures && !isPinned(to.host, lastRow(to) + width));
  FOVEA_CUDA_TRY(submit(*stream, [=, keep = staged](Device& owner) {
    owner.addSeconds(1e-6 + static_cast<double>(width * height) * 1e-11);
    return copyNow(to, from, width, height);
  }));
  return mustWait ? device->synchronize(*stream) : CUDA_SUCCESS;
}

Place onDevice(CUdeviceptr address) { return {address, nullptr, 0}; }
Place onHost(const void* host) { return {0, const_cast<void*>(host), 0}; }

CUresult set(CUstream handle, CUdeviceptr address, uint32_t value, size_t width, size_t count, bool blocks) {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  Stream* stream = nullptr;
  FOVEA_CUDA_TRY(streamOf(handle, &stream));
  if (blocks) FOVEA_CUDA_TRY(forbidDuringCapture());
  if (!count) return CUDA_SUCCESS;
  if (address % width || !isKnown(*device, address, width * count)) return CUDA_ERROR_INVALID_VALUE;
  FOVEA_CUDA_TRY(submit(*stream, [=](Device&) {
    const auto memory = rangeAt(address, width * count, "memset");
    if (!memory) return CUDA_ERROR_ILLEGAL_ADDRESS;
    if (width == 1) std::memset(memory->data(address), static_cast<int>(value), count);  // large ones are of bytes
    for (size_t i = 0; width > 1 && i < count; i++) std::memcpy(memory->data(address + i * width), &value, width);
    memory->setDefined(address, width * count, true);
    memory->forgetWriters(address, width * count);
    return CUDA_SUCCESS;
  }));
  return blocks ? device->synchronize(*stream) : CUDA_SUCCESS;
}

// The default pool of each device; the handle is the device.
struct PoolState {
  uint64_t releaseThreshold = 0;
  uint64_t highWater = 0;
};
std::map<Device*, PoolState>& pools() {
  static auto* all = new std::map<Device*, PoolState>;
  return *all;
}

}  // namespace

bool isPinned(const void* host, size_t bytes) {
  std::lock_guard lock(pinnedMutex);
  const auto at = reinterpret_cast<uintptr_t>(host);
  auto found = pinned().upper_bound(at);
  if (found == pinned().begin()) return false;
  --found;
  return at + bytes <= found->first + found->second.bytes;
}

}  // namespace fovea::simulator

using namespace fovea::simulator;

// ---------------------------------------------------------------------------------------------- allocation

FOVEA_CUDA_API CUresult cuMemGetInfo(size_t* free, size_t* total) {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  *total = settings().memoryBytes;
  *free = *total - device->usedBytes();
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuMemAlloc(CUdeviceptr* address, size_t bytes) {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  if (!address || !bytes) return CUDA_ERROR_INVALID_VALUE;
  FOVEA_CUDA_TRY(forbidDuringCapture());
  FOVEA_CUDA_TRY(device->reserve(bytes, address));
  device->memory.activate(*address);
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuMemFree(CUdeviceptr address) {
  if (!currentOrNull()) return CUDA_ERROR_INVALID_CONTEXT;
  if (!address) return CUDA_SUCCESS;
  FOVEA_CUDA_TRY(forbidDuringCapture());
  Device* owner = ownerOf(address);
  if (!owner) return CUDA_ERROR_INVALID_VALUE;
  const CUresult state = owner->synchronize();
  const CUresult result = owner->release(address);
  return state != CUDA_SUCCESS ? state : result;
}

// What was freed earlier on the same stream is there again. What another stream frees "can count as outstanding" until
// the host has seen it done (cuMemPoolTrimTo).
FOVEA_CUDA_API CUresult cuMemAllocAsync(CUdeviceptr* address, size_t bytes, CUstream handle) {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  Stream* stream = nullptr;
  FOVEA_CUDA_TRY(streamOf(handle, &stream));
  if (!address || !bytes) return CUDA_ERROR_INVALID_VALUE;
  if (stream->capture) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  FOVEA_CUDA_TRY(device->reserve(bytes, address, stream));
  const CUdeviceptr place = *address;
  return submit(*stream, [place](Device& owner) {
    owner.memory.activate(place);
    PoolState& pool = pools()[&owner];
    pool.highWater = std::max(pool.highWater, owner.usedBytes());
    return CUDA_SUCCESS;
  });
}

FOVEA_CUDA_API CUresult cuMemFreeAsync(CUdeviceptr address, CUstream handle) {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  Stream* stream = nullptr;
  FOVEA_CUDA_TRY(streamOf(handle, &stream));
  if (!isKnown(*device, address, 1)) return CUDA_ERROR_INVALID_VALUE;
  if (stream->capture) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  return submit(*stream, [address](Device& owner) { return owner.release(address); });
}

FOVEA_CUDA_API CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice device) {
  if (device < 0 || static_cast<size_t>(device) >= devices().size()) return CUDA_ERROR_INVALID_DEVICE;
  *pool = reinterpret_cast<CUmemoryPool>(devices()[static_cast<size_t>(device)].get());
  return CUDA_SUCCESS;
}
FOVEA_CUDA_API CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice device) {
  return cuDeviceGetDefaultMemPool(pool, device);
}
FOVEA_CUDA_API CUresult cuMemAllocFromPoolAsync(CUdeviceptr* address, size_t bytes, CUmemoryPool pool,
                                                CUstream stream) {
  return reinterpret_cast<Device*>(pool) == currentOrNull() ? cuMemAllocAsync(address, bytes, stream)
                                                            : CUDA_ERROR_INVALID_VALUE;
}
FOVEA_CUDA_API CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t) {
  return pool ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
FOVEA_CUDA_API CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void* value) {
  if (!pool || !value) return CUDA_ERROR_INVALID_VALUE;
  if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
    pools()[reinterpret_cast<Device*>(pool)].releaseThreshold = *static_cast<cuuint64_t*>(value);
  return CUDA_SUCCESS;
}
FOVEA_CUDA_API CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void* value) {
  if (!pool || !value) return CUDA_ERROR_INVALID_VALUE;
  auto* device = reinterpret_cast<Device*>(pool);
  auto* result = static_cast<cuuint64_t*>(value);
  switch (attribute) {
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
      *result = pools()[device].releaseThreshold;
      break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
      *result = device->usedBytes();
      break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
      *result = pools()[device].highWater;
      break;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

// ---------------------------------------------------------------------------------------------- host memory

FOVEA_CUDA_API CUresult cuMemAllocHost(void** host, size_t bytes) { return allocatePinned(host, bytes); }
FOVEA_CUDA_API CUresult cuMemHostAlloc(void** host, size_t bytes, unsigned) { return allocatePinned(host, bytes); }

FOVEA_CUDA_API CUresult cuMemFreeHost(void* host) {
  synchronizeAll();  // as the driver does: copies may still use it
  std::lock_guard lock(pinnedMutex);
  const auto found = pinned().find(reinterpret_cast<uintptr_t>(host));
  if (found == pinned().end() || !found->second.isOwned) return CUDA_ERROR_INVALID_VALUE;
  pinned().erase(found);
  std::free(host);
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuMemHostRegister(void* host, size_t bytes, unsigned) {
  Device* device = nullptr;
  FOVEA_CUDA_TRY(current(&device));
  if (!host || !bytes) return CUDA_ERROR_INVALID_VALUE;
  if (isPinned(host, 1)) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  std::lock_guard lock(pinnedMutex);
  pinned()[reinterpret_cast<uintptr_t>(host)] = {bytes, false};
  return CUDA_SUCCESS;
}

FOVEA_CUDA_API CUresult cuMemHostUnregister(void* host) {
  synchronizeAll();
  std::lock_guard lock(pinnedMutex);
  const auto found = pinned().find(reinterpret_cast<uintptr_t>(host));
  if (found == pinned().end() || found->second.isOwned) return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
  pinned().erase(found);
  return CUDA_SUCCESS;
}

// ---------------------------------------------------------------------------------------------- copies and sets

FOVEA_CUDA_API CUresult cuMemcpyHtoD(CUdeviceptr to, const void* from, size_t bytes) {
  return copy(nullptr, onDevice(to), onHost(from), bytes, 1, true);
}
FOVEA_CUDA_API CUresult cuMemcpyDtoH(void* to, CUdeviceptr from, size_t bytes) {
  return copy(nullptr, onHost(to), onDevice(from), bytes, 1, true);
}
FOVEA_CUDA_API CUresult cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return copy(nullptr, onDevice(to), onDevice(from), bytes, 1, true);
}
FOVEA_CUDA_API CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
  return copy(stream, onDevice(to), onHost(from), bytes, 1, false);
}
FOVEA_CUDA_API CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return copy(stream, onHost(to), onDevice(from), bytes, 1, false);
}
FOVEA_CUDA_API CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return copy(stream, onDevice(to), onDevice(from), bytes, 1, false);
}
FOVEA_CUDA_API CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  const auto place = [](CUdeviceptr address) {
    return ownerOf(address) ? onDevice(address) : onHost(reinterpret_cast<const void*>(address));
  };
  return copy(stream, place(to), place(from), bytes, 1, false);
}

FOVEA_CUDA_API CUresult cuMemcpy2DAsync(const CUDA_MEMCPY2D* c, CUstream stream) {
  if (!c) return CUDA_ERROR_INVALID_VALUE;
  Place to, from;
  if (c->dstMemoryType == CU_MEMORYTYPE_DEVICE) {
    to = onDevice(c->dstDevice + c->dstY * c->dstPitch + c->dstXInBytes);
  } else if (c->dstMemoryType == CU_MEMORYTYPE_HOST) {
    to = onHost(static_cast<uint8_t*>(c->dstHost) + c->dstY * c->dstPitch + c->dstXInBytes);
  } else {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (c->srcMemoryType == CU_MEMORYTYPE_DEVICE) {
    from = onDevice(c->srcDevice + c->srcY * c->srcPitch + c->srcXInBytes);
  } else if (c->srcMemoryType == CU_MEMORYTYPE_HOST) {
    from = onHost(static_cast<const uint8_t*>(c->srcHost) + c->srcY * c->srcPitch + c->srcXInBytes);
  } else {
    return CUDA_ERROR_INVALID_VALUE;
  }
  to.pitch = c->dstPitch ? c->dstPitch : c->WidthInBytes;
  from.pitch = c->srcPitch ? c->srcPitch : c->WidthInBytes;
  if (to.pitch < c->WidthInBytes || from.pitch < c->WidthInBytes) return CUDA_ERROR_INVALID_VALUE;
  return copy(stream, to, from, c->WidthInBytes, c->Height, false);
}

FOVEA_CUDA_API CUresult cuMemsetD8(CUdeviceptr to, unsigned char value, size_t count) {
  return set(nullptr, to, value, 1, count, true);
}
FOVEA_CUDA_API CUresult cuMemsetD16(CUdeviceptr to, unsigned short value, size_t count) {
  return set(nullptr, to, value, 2, count, true);
}
FOVEA_CUDA_API CUresult cuMemsetD32(CUdeviceptr to, unsigned value, size_t count) {
  return set(nullptr, to, value, 4, count, true);
}
FOVEA_CUDA_API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream) {
  return set(stream, to, value, 1, count, false);
}
FOVEA_CUDA_API CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, CUstream stream) {
  return set(stream, to, value, 2, count, false);
}
FOVEA_CUDA_API CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream) {
  return set(stream, to, value, 4, count, false);
}

// ---------------------------------------------------------------------------------------------- pointers

FOVEA_CUDA_API CUresult cuPointerGetAttribute(void* data, CUpointer_attribute attribute, CUdeviceptr pointer) {
  if (!data) return CUDA_ERROR_INVALID_VALUE;
  Device* owner = ownerOf(pointer);
  const auto allocation = owner ? owner->memory.find(pointer) : nullptr;
  const bool host = isPinned(reinterpret_cast<const void*>(pointer), 1);
  if (!owner && !host) return CUDA_ERROR_INVALID_VALUE;
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
      *static_cast<void**>(data) = owner;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      *static_cast<unsigned*>(data) = host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      *static_cast<int*>(data) = owner ? owner->ordinal : 0;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
      *static_cast<CUdeviceptr*>(data) = pointer;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      if (!host) return CUDA_ERROR_INVALID_VALUE;
      *static_cast<CUdeviceptr*>(data) = pointer;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
      *static_cast<unsigned*>(data) = 0;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
      *static_cast<CUdeviceptr*>(data) = allocation ? allocation->address : pointer;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
      *static_cast<size_t*>(data) = allocation ? allocation->size : 0;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_NOT_SUPPORTED;
  }
}

FOVEA_CUDA_API CUresult cuMemGetAddressRange(CUdeviceptr* base, size_t* bytes, CUdeviceptr pointer) {
  Device* owner = ownerOf(pointer);
  const auto allocation = owner ? owner->memory.find(pointer) : nullptr;
  if (!allocation) return CUDA_ERROR_NOT_FOUND;
  if (base) *base = allocation->address;
  if (bytes) *bytes = allocation->size;
  return CUDA_SUCCESS;
}
