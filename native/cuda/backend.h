// The CUDA backend: runs a Problem by a Plan on a GPU. No Node and no CUDA headers here; the surface mirrors
// cpu/backend.h.
//
// An owner (a Node environment) opens one Stream per GPU and passes it to every call: its calls run in that order.
// Built without CUDA (absent.cpp), info() says so and every other function throws Error (unavailable).
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "../attention/merge.h"
#include "../attention/plan.h"
#include "../attention/row_store.h"
#include "element_copy.h"
#include "types.h"

namespace fovea::cuda {

class Stream;        // one owner's ordered work on one GPU; its release waits until everything is settled
class DeviceBuffer;  // device memory with counted lifetime; its release frees it in the stream's order
class Execution;     // a call in flight

struct Info {
  std::string unavailable;  // why no GPU can be used, and what to do about it; empty if the driver works
  std::string driver;       // the library that was loaded
  int version = 0;          // of CUDA, that the driver supports: 1000 * major + 10 * minor
  std::vector<DeviceInfo> devices;
};

Info info();

struct MemoryInfo {
  int64_t tensors = 0;  // device bytes that this process's tensors and calls hold
  int64_t pinned = 0;   // bytes of host memory for staging
  int64_t free = 0;     // of the whole device
};
/// None while this process has not used the device: asking would take its memory for a context. Throws Error once lost.
std::optional<MemoryInfo> memory(int device);

/// Throws Error when the device cannot be used.
std::shared_ptr<Stream> open(int device);
/// The CUstream on which the stream's kernels are ordered, for other native modules: once everything that was started
/// before is enqueued there, so that what they enqueue comes after it. Throws what prevents that.
uint64_t handle(Stream& stream);

/// The plan for a device. Throws std::invalid_argument for what no CUDA kernel computes, Error for an unusable device.
Plan plan(int device, const Problem& problem);

/// Computes before it returns; the result says what prevented it.
Result run(Stream& stream, const Problem& problem, const Plan& plan, Residence residence);

/// Enqueues. `settled` is called exactly once, on a thread of the stream, when nothing touches the problem's memory any
/// more. The sequences that `problem` points to, and all tensors, must live until then.
std::shared_ptr<Execution> start(Stream& stream, const Problem& problem, const Plan& plan, Residence residence,
                                 Settled settled);

/// Drops the call if it is not on the GPU yet; what is there finishes first. Returns at once; `settled` still comes.
void cancel(Execution& execution);

/// For tensors on the device (`residence.tensors` is false): enqueues behind all earlier calls and returns. Throws what
/// prevents that; a fault while it runs is the result of the next call that waits. The problem, parameters on the host
/// and buffers of the same stream may be released at once.
void enqueue(Stream& stream, const Problem& problem, const Plan& plan, Residence residence);

/// The same two of a merge whose tensors are all on the device; its parts must live until settled, or released.
std::shared_ptr<Execution> start(Stream& stream, const Merge& merge, Settled settled);
void enqueue(Stream& stream, const Merge& merge);

/// Settles once everything that was enqueued before is done, with the fault that any of it met.
std::shared_ptr<Execution> synchronize(Stream& stream, Settled settled);

/// Uninitialised device memory. Throws Error (outOfMemory).
std::shared_ptr<DeviceBuffer> allocate(Stream& stream, int64_t bytes);
/// Memory that others own: never freed here, not counted in MemoryInfo. They keep it until all work that uses it is
/// done. Throws Error if the driver does not know it as memory of the stream's device.
std::shared_ptr<DeviceBuffer> adopt(Stream& stream, uint64_t pointer, int64_t bytes);
/// A buffer's device pointer; that of allocated memory is a multiple of 256.
uint64_t address(const DeviceBuffer& buffer);

/// Copies in call order. Host and device memory must live until settled.
std::shared_ptr<Execution> write(Stream& stream, uint64_t to, const void* from, int64_t bytes, Settled settled);
std::shared_ptr<Execution> read(Stream& stream, uint64_t from, void* to, int64_t bytes, Settled settled);
/// Copies to the device in call order; returns once `from` has been read, so it may change at once. Throws what
/// prevents that.
void writeNow(Stream& stream, uint64_t to, const void* from, int64_t bytes);
/// Fills with zero bytes, in call order; returns once enqueued.
void clear(Stream& stream, uint64_t to, int64_t bytes);
/// Copies and converts on the device, in call order; returns once enqueued. Throws std::invalid_argument for types that
/// do not convert, strides or pointers that do not fit, and more than maxCopyRank dimensions that cannot be joined.
void copyElements(Stream& stream, const ElementCopy& copy);

/// Moves rows on the device, where tensors and pages are; slots, frequencies and positions are the host's. The first
/// returns once it is enqueued, the host's memory may change then; for the second all must live until it has settled.
void enqueue(Stream& stream, const std::vector<RowStore>& stores);
std::shared_ptr<Execution> start(Stream& stream, std::vector<RowStore> stores, Settled settled);

}  // namespace fovea::cuda
