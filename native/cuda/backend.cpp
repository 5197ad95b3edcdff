#include "backend.h"

#include <cstring>
#include <future>

#include "devices.h"
#include "host_tensors.h"
#include "launch.h"
#include "launch_copy.h"
#include "launch_store.h"
#include "stream.h"

namespace fovea::cuda {
namespace {

/// A call's state between its two steps.
struct Call {
  Call(const Problem& problem, const Plan& plan, Residence residence) : problem(problem, residence), plan(plan) {}
  DeviceProblem problem;
  Plan plan;
};

void launchWithWorkspace(Stream& stream, const Problem& problem, const Plan& plan) {
  loadKernels(stream.device(), problem, plan);
  const auto workspace = DeviceBuffer::allocate(stream.compute(), plan.workspaceBytes);
  launch(stream.device(), stream.compute()->get(), problem, plan, workspace->pointer());
  // Freed here in the stream's order: the next call may use the same memory.
}

void launchWithWorkspace(Stream& stream, const Merge& merge) {
  loadKernels(stream.device(), merge);
  const auto workspace = DeviceBuffer::allocate(stream.compute(), merge.partCount * int64_t(sizeof(MergePart)));
  launchMerge(stream.device(), stream.compute()->get(), merge, workspace->pointer());
}

std::shared_ptr<Execution> post(Stream& stream, std::function<void()> submit, std::function<void()> finish,
                                Settled settled) {
  return stream.post({std::move(submit), std::move(finish), std::move(settled)});
}

void stage(Stream& stream, uint64_t to, const void* from, int64_t bytes) {
  stream.toDevice().toDevice(to, size_t(bytes), [from](std::byte* chunk, size_t offset, size_t part) {
    std::memcpy(chunk, static_cast<const std::byte*>(from) + offset, part);
  });
}

/// Begins a stream's work and waits for its result.
Result await(const std::function<std::shared_ptr<Execution>(Settled)>& begin) {
  const auto promise = std::make_shared<std::promise<Result>>();  // set_value may outlast the wait
  begin([promise](const Result& result) { promise->set_value(result); });
  return promise->get_future().get();
}

}  // namespace

Info info() { return {driver().unavailable, driver().path, driver().version, deviceInfos()}; }

std::optional<MemoryInfo> memory(int index) {
  if (!Device::inUse(index)) return std::nullopt;
  Device& device = Device::get(index);
  const CurrentContext current(device);
  size_t free = 0, total = 0;
  device.check(driver().cuMemGetInfo(&free, &total), "reading the memory's size");
  return MemoryInfo{device.memoryUse().device, device.memoryUse().pinned, int64_t(free)};
}

std::shared_ptr<Stream> open(int device) { return std::make_shared<Stream>(Device::get(device)); }

uint64_t handle(Stream& stream) {
  stream.submitNow([] {});
  return reinterpret_cast<uintptr_t>(stream.compute()->get());
}

Plan plan(int device, const Problem& problem) { return planCuda(problem, Device::get(device).limits()); }

std::shared_ptr<Execution> start(Stream& stream, const Problem& problem, const Plan& plan, Residence residence,
                                 Settled settled) {
  auto call = std::make_shared<Call>(problem, plan, residence);
  const auto submit = [call, &stream] {
    call->problem.upload(stream);
    launchWithWorkspace(stream, call->problem.get(), call->plan);
  };
  const auto finish = [call, &stream] { call->problem.download(stream); };
  return post(stream, submit, finish, std::move(settled));
}

Result run(Stream& stream, const Problem& problem, const Plan& plan, Residence residence) {
  return await([&](Settled settled) { return start(stream, problem, plan, residence, std::move(settled)); });
}

void enqueue(Stream& stream, const Problem& problem, const Plan& plan, Residence residence) {
  if (residence.tensors) throw std::invalid_argument("enqueue: expected tensors on the device, got the host's");
  DeviceProblem onDevice(problem, residence);
  stream.submitNow([&] {
    onDevice.upload(stream);
    launchWithWorkspace(stream, onDevice.get(), plan);
  });
}

std::shared_ptr<Execution> start(Stream& stream, const Merge& merge, Settled settled) {
  const auto submit = [&stream, merge] { launchWithWorkspace(stream, merge); };
  return post(stream, submit, nullptr, std::move(settled));
}

void enqueue(Stream& stream, const Merge& merge) {
  stream.submitNow([&] { launchWithWorkspace(stream, merge); });
}

void cancel(Execution& execution) { execution.cancel(); }

std::shared_ptr<Execution> synchronize(Stream& stream, Settled settled) {
  return post(
      stream, [] {}, nullptr, std::move(settled));
}

std::shared_ptr<DeviceBuffer> allocate(Stream& stream, int64_t bytes) {
  return DeviceBuffer::allocate(stream.compute(), bytes);
}

std::shared_ptr<DeviceBuffer> adopt(Stream& stream, uint64_t pointer, int64_t bytes) {
  return DeviceBuffer::adopt(stream.compute(), pointer, bytes);
}

uint64_t address(const DeviceBuffer& buffer) { return buffer.pointer(); }

std::shared_ptr<Execution> write(Stream& stream, uint64_t to, const void* from, int64_t bytes, Settled settled) {
  const auto submit = [&stream, to, from, bytes] { stage(stream, to, from, bytes); };
  return post(stream, submit, nullptr, std::move(settled));
}

void writeNow(Stream& stream, uint64_t to, const void* from, int64_t bytes) {
  stream.submitNow([&] { stage(stream, to, from, bytes); });
}

/// The host empties its staging memory long after later work was submitted, which may write to the same place: the
/// bytes are first put aside on the device, in order. A device without room for them lets later work wait for the host
/// instead.
std::shared_ptr<Execution> read(Stream& stream, uint64_t from, void* to, int64_t bytes, Settled settled) {
  const auto empty = [to](std::byte* chunk, size_t offset, size_t part) {
    std::memcpy(static_cast<std::byte*>(to) + offset, chunk, part);
  };
  const auto aside = std::make_shared<std::shared_ptr<DeviceBuffer>>();
  const auto submit = [&stream, from, bytes, empty, aside] {
    if (bytes == 0) return;
    try {
      *aside = DeviceBuffer::allocate(stream.compute(), bytes);
    } catch (const Error& error) {
      if (error.kind != ErrorKind::outOfMemory) throw;
      return stream.toDevice().toHost(from, size_t(bytes), empty);
    }
    stream.device().check(driver().cuMemcpyDtoDAsync((*aside)->pointer(), from, size_t(bytes), stream.compute()->get()),
                          "copying on the device");
  };
  const auto finish = [&stream, bytes, empty, aside] {
    if (*aside) stream.toHost().toHost((*aside)->pointer(), size_t(bytes), empty);
  };
  return post(stream, submit, finish, std::move(settled));
}

void clear(Stream& stream, uint64_t to, int64_t bytes) {
  if (bytes == 0) return;
  stream.submitNow([&] {
    stream.device().check(driver().cuMemsetD8Async(to, 0, size_t(bytes), stream.compute()->get()),
                          "filling with zeros");
  });
}

void copyElements(Stream& stream, const ElementCopy& copy) {
  const std::vector<CopyPiece> pieces = planElementCopy(copy);
  stream.submitNow([&] { launchElementCopy(stream.device(), stream.compute()->get(), pieces); });
}

void enqueue(Stream& stream, const std::vector<RowStore>& stores) {
  stream.submitNow([&] { launchStores(stream, stores); });
}

std::shared_ptr<Execution> start(Stream& stream, std::vector<RowStore> stores, Settled settled) {
  return post(
      stream, [&stream, stores = std::move(stores)] { launchStores(stream, stores); }, nullptr, std::move(settled));
}

}  // namespace fovea::cuda
