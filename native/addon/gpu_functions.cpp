// What the module offers about GPUs beside attention: what there are, memory, copies.
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "addon.h"
#include "arguments.h"

namespace fovea::addon {
namespace {

int gpuOf(Napi::Env env, napi_value value) { return static_cast<int>(integerOf(env, value, "device", 0)); }

/// Bytes [begin, begin + size) of device memory, by address.
uint64_t addressWithin(const DeviceMemory& memory, int64_t begin, int64_t size, const char* name) {
  if (begin < 0 || size > memory.bytes - begin) {
    throw BoundsError(std::string(name) + ": " + std::to_string(size) + " bytes from " + std::to_string(begin) +
                      " on are not within " + std::to_string(memory.bytes));
  }
  return memory.address() + static_cast<uint64_t>(begin);
}

/// Begins a copy that reports like a call. `copy` gets what is to be told when it has settled.
template <class Copy>
Calls::Begin beginning(Copy copy) {
  return [copy](Calls::Report report) -> std::function<void()> {
    auto execution = copy(
        [report = std::move(report)](const cuda::Result& result) { report(howOf(result.outcome), result.message); });
    return [execution = std::move(execution)] { cuda::cancel(*execution); };
  };
}

/// `numbers` are fromType, toType, the source's offset in elements, its shape, its strides in elements.
cuda::ElementCopy elementCopyOf(const DeviceMemory& from, const DeviceMemory& to, std::span<const double> numbers) {
  constexpr size_t fixed = 3;
  if (numbers.size() < fixed || (numbers.size() - fixed) % 2 != 0) throw BoundsError("numbers: of a wrong length");
  const size_t rank = (numbers.size() - fixed) / 2;
  const auto typeOf = [](double code) {
    if (!(code >= 0 && code <= 4)) throw BoundsError("numbers: no such type");
    return static_cast<cuda::ElementType>(code);
  };
  cuda::ElementCopy copy;
  copy.fromType = typeOf(numbers[0]);
  copy.toType = typeOf(numbers[1]);
  const double offset = numbers[2];
  double low = offset, high = offset, size = 1;
  for (size_t i = 0; i < rank; ++i) {
    const double length = numbers[fixed + i], stride = numbers[fixed + rank + i];
    copy.shape.push_back(static_cast<int64_t>(length));
    copy.strides.push_back(static_cast<int64_t>(stride));
    if (!(length >= 0)) throw BoundsError("numbers: a negative size");
    (stride < 0 ? low : high) += (length - 1) * stride;
    size *= length;
  }
  const auto fromBytes = static_cast<double>(cuda::byteSize(copy.fromType));
  if (size > 0 && !(low >= 0 && (high + 1) * fromBytes <= static_cast<double>(from.bytes))) {
    throw BoundsError("from: the elements are not all within it");
  }
  if (!(size * static_cast<double>(cuda::byteSize(copy.toType)) <= static_cast<double>(to.bytes))) {
    throw BoundsError("to: too small");
  }
  copy.from = from.address() + static_cast<uint64_t>(size > 0 ? offset * fromBytes : 0);
  copy.to = to.address();
  return copy;
}

Napi::Function functionOf(const Napi::Value& value) {
  if (!value.IsFunction()) throw BoundsError("settled: expected a function");
  return value.As<Napi::Function>();
}

}  // namespace

Napi::Value Addon::cuda(const Arguments& call) {
  const Napi::Env env = call.Env();
  const cuda::Info info = withCodes(env, [] { return cuda::info(); });
  auto result = Napi::Object::New(env);
  result.Set("unavailable", info.unavailable);
  result.Set("driver", info.driver);
  result.Set("version", info.version);
  auto devices = Napi::Array::New(env);
  for (const cuda::DeviceInfo& device : info.devices) {
    auto entry = Napi::Object::New(env);
    entry.Set("name", device.name);
    entry.Set("computeMajor", device.computeMajor);
    entry.Set("computeMinor", device.computeMinor);
    entry.Set("memoryBytes", static_cast<double>(device.memoryBytes));
    entry.Set("multiprocessors", device.multiprocessors);
    entry.Set("unusable", device.unusable);
    devices.Set(devices.Length(), entry);
  }
  result.Set("devices", devices);
  return result;
}

Napi::Value Addon::cudaMemory(const Arguments& call) {
  const Napi::Env env = call.Env();
  return withCodes(env, [&]() -> Napi::Value {
    const auto memory = cuda::memory(gpuOf(env, call[0]));
    if (!memory) return env.Null();
    auto result = Napi::Object::New(env);
    result.Set("tensorBytes", static_cast<double>(memory->tensors));
    result.Set("pinnedBytes", static_cast<double>(memory->pinned));
    result.Set("freeBytes", static_cast<double>(memory->free));
    return result;
  });
}

Napi::Value Addon::streamHandle(const Arguments& call) {
  const Napi::Env env = call.Env();
  return withCodes(
      env, [&]() -> Napi::Value { return Napi::BigInt::New(env, cuda::handle(gpus_.stream(gpuOf(env, call[0])))); });
}

Napi::Value Addon::synchronize(const Arguments& call) {
  const Napi::Env env = call.Env();
  return withCodes(env, [&]() -> Napi::Value {
    cuda::Stream& stream = gpus_.stream(gpuOf(env, call[0]));
    const auto begin = beginning([&](cuda::Settled settled) { return cuda::synchronize(stream, std::move(settled)); });
    return Napi::Number::New(env, calls_.start(env, {}, functionOf(call[1]), begin));
  });
}

Napi::Value Addon::allocate(const Arguments& call) {
  const Napi::Env env = call.Env();
  return withCodes(env, [&] {
    const int device = gpuOf(env, call[0]);
    const int64_t bytes = integerOf(env, call[1], "bytes", 0);
    return newDeviceMemory(env, {cuda::allocate(gpus_.stream(device), bytes), device, bytes, bytes});
  });
}

Napi::Value Addon::adopt(const Arguments& call) {
  const Napi::Env env = call.Env();
  return withCodes(env, [&] {
    const int device = gpuOf(env, call[0]);
    if (!call[1].IsBigInt()) throw BoundsError("pointer: expected a BigInt");
    bool exact = false;
    const uint64_t pointer = call[1].As<Napi::BigInt>().Uint64Value(&exact);
    if (!exact) throw BoundsError("pointer: expected a BigInt of 64 bits");
    const int64_t bytes = integerOf(env, call[2], "bytes", 0);
    return newDeviceMemory(env, {cuda::adopt(gpus_.stream(device), pointer, bytes), device, bytes, 0});
  });
}

void Addon::release(const Arguments& call) {
  const Napi::Env env = call.Env();
  withCodes(env, [&] { addon::release(env, deviceMemoryOf(env, call[0], "memory")); });
}

Napi::Value Addon::pointer(const Arguments& call) {
  const Napi::Env env = call.Env();
  return withCodes(
      env, [&]() -> Napi::Value { return Napi::BigInt::New(env, deviceMemoryOf(env, call[0], "memory").address()); });
}

void Addon::clear(const Arguments& call) {
  const Napi::Env env = call.Env();
  withCodes(env, [&] {
    const DeviceMemory& memory = deviceMemoryOf(env, call[0], "memory");
    cuda::clear(gpus_.stream(memory.device), memory.address(), memory.bytes);
  });
}

void Addon::writeNow(const Arguments& call) {
  const Napi::Env env = call.Env();
  withCodes(env, [&] {
    const DeviceMemory& to = deviceMemoryOf(env, call[0], "to");
    const auto from = bytesOf(env, call[1], "from");
    const uint64_t address = addressWithin(to, 0, static_cast<int64_t>(from.size()), "from");
    cuda::writeNow(gpus_.stream(to.device), address, from.data(), static_cast<int64_t>(from.size()));
  });
}

Napi::Value Addon::write(const Arguments& call) {
  const Napi::Env env = call.Env();
  return withCodes(env, [&]() -> Napi::Value {
    const DeviceMemory& to = deviceMemoryOf(env, call[0], "to");
    const auto from = bytesOf(env, call[1], "from");
    const uint64_t address = addressWithin(to, 0, static_cast<int64_t>(from.size()), "from");
    cuda::Stream& stream = gpus_.stream(to.device);
    const auto begin = beginning([&](cuda::Settled settled) {
      return cuda::write(stream, address, from.data(), static_cast<int64_t>(from.size()), std::move(settled));
    });
    return Napi::Number::New(env, calls_.start(env, {call[0], call[1]}, functionOf(call[2]), begin));
  });
}

Napi::Value Addon::read(const Arguments& call) {
  const Napi::Env env = call.Env();
  return withCodes(env, [&]() -> Napi::Value {
    const DeviceMemory& from = deviceMemoryOf(env, call[0], "from");
    const auto to = bytesOf(env, call[2], "to");
    const uint64_t address =
        addressWithin(from, integerOf(env, call[1], "begin", 0), static_cast<int64_t>(to.size()), "to");
    cuda::Stream& stream = gpus_.stream(from.device);
    const auto begin = beginning([&](cuda::Settled settled) {
      return cuda::read(stream, address, to.data(), static_cast<int64_t>(to.size()), std::move(settled));
    });
    return Napi::Number::New(env, calls_.start(env, {call[0], call[2]}, functionOf(call[3]), begin));
  });
}

void Addon::copyElements(const Arguments& call) {
  const Napi::Env env = call.Env();
  withCodes(env, [&] {
    const DeviceMemory& from = deviceMemoryOf(env, call[0], "from");
    const DeviceMemory& to = deviceMemoryOf(env, call[1], "to");
    if (from.device != to.device) throw BoundsError("to: on another device than from");
    cuda::copyElements(gpus_.stream(to.device), elementCopyOf(from, to, numbersOf(env, call[2], "numbers")));
  });
}

void Addon::leave(const Arguments& call) {
  const auto code = static_cast<int>(call[0].ToNumber().Int32Value());
  const double seconds = call[1].ToNumber().DoubleValue();
  const auto deadline = std::chrono::steady_clock::now() +
                        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::duration<double>(seconds));
  calls_.cancelAll();
  const int busy = gpus_.busyAfter(deadline);
  if (busy < 0) return;  // calls on the CPU end, however long they take: the environment's end waits for them
  std::fprintf(stderr, "fovea: the process ends without waiting any longer for cuda:%d, whose work does not end\n",
               busy);
  std::_Exit(code);
}

}  // namespace fovea::addon
