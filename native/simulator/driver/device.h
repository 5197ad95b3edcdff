// A simulated device: its memory, its primary context's state, its streams, and the thread that runs their work.
//
// Streams are queues of operations. One engine thread per device takes the next operation from one of the streams whose
// first operation may run, so operations of a stream keep their order, and those of different streams run in an order
// that the seed and the completion mode choose:
//   early   every operation runs at once, before the call that enqueued it returns;
//   late    nothing runs until somebody waits for it, and then only what that wait needs (after a moment of idleness
//   the
//           rest runs too, or host callbacks that nobody waits for would never come);
//   random  operations run as soon as they may, in random order.
#pragma once

#include <cuda.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "check/global_memory.h"
#include "driver/settings.h"
#include "exec/launch.h"

namespace fovea::simulator {

class Device;

// Something that happens when the engine gets there.
struct Milestone {
  bool reached = false;
  double seconds = 0;  // simulated device time
};
using MilestonePointer = std::shared_ptr<Milestone>;

// Work on a device; graphs keep and repeat it.
using Work = std::function<CUresult(Device&)>;

struct Operation {
  Work work;  // may be empty: only a milestone
  std::vector<MilestonePointer> waitsFor;
  MilestonePointer milestone;
  bool ignoresErrors = false;  // event records and host functions happen on a failed context too
};

struct Graph {
  std::vector<Work> nodes;  // in an order that respects their dependencies
};

struct Capture {
  std::shared_ptr<Graph> graph = std::make_shared<Graph>();
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  std::thread::id thread;
  struct Stream* origin = nullptr;
  bool invalid = false;
};

struct Stream {
  Device* device = nullptr;
  bool isDefault = false;
  bool blocksDefault = false;  // synchronises with the default stream, and it with this
  int priority = 0;
  std::deque<Operation> queue;
  MilestonePointer last;  // of the newest operation
  std::shared_ptr<Capture> capture;
};

struct Event {
  Device* device = nullptr;
  bool timed = true;
  MilestonePointer recorded;
  std::shared_ptr<Capture> capturedIn;
};

class Device {
 public:
  explicit Device(int ordinal);

  const int ordinal;
  GlobalMemory memory;
  int computeCapability() const;  // 80 for 8.0

  // Streams ------------------------------------------------------------------------------------------------
  Stream* defaultStream() { return default_.get(); }
  Stream* createStream(unsigned flags, int priority);
  bool ownsStream(const Stream* stream);
  void destroyStream(Stream* stream);
  void leaveCapture(const std::shared_ptr<Capture>& capture);

  // Adds the operation and returns its milestone; runs it before returning in the early mode.
  MilestonePointer enqueue(Stream& stream, Operation operation);
  // Waits, and gives the context's state.
  CUresult wait(const MilestonePointer& milestone);
  CUresult synchronize();
  CUresult synchronize(Stream& stream);
  // Looks without waiting, but lets one operation run, so that polling ends.
  CUresult query(const MilestonePointer& milestone);
  CUresult query(Stream& stream);

  // State --------------------------------------------------------------------------------------------------
  CUresult status();
  void fail(CUresult result);  // sticky
  void reset();                // cuDevicePrimaryCtxReset
  int references = 0;          // of the primary context

  // Memory -------------------------------------------------------------------------------------------------
  // The address of a new allocation; the memory exists at once or when activated. Where there is no room it waits for
  // frees that are queued: on `order`, or on all streams.
  CUresult reserve(uint64_t bytes, CUdeviceptr* address, Stream* order = nullptr);
  CUresult release(CUdeviceptr address);
  uint64_t usedBytes();

  // Runs a launch on the engine thread and keeps its counters and reports.
  CUresult launch(Launch& launch);
  void addSeconds(double seconds) { seconds_ += seconds; }

 private:
  void run();
  void wait(const MilestonePointer& milestone, std::unique_lock<std::mutex>& lock);
  Stream* choose(std::unique_lock<std::mutex>& lock);
  Stream* neededFor(const MilestonePointer& milestone, int depth = 0);
  bool mayRun(const Stream& stream) const;
  void execute(Stream& stream, std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;
  std::condition_variable wake_;  // the engine
  std::condition_variable done_;  // whoever waits
  std::unique_ptr<Stream> default_;
  std::vector<std::unique_ptr<Stream>> streams_;
  std::vector<MilestonePointer> wanted_;
  CUresult status_ = CUDA_SUCCESS;
  CUresult lost_ = CUDA_SUCCESS;  // an error that a reset does not help
  uint64_t used_ = 0;
  uint64_t random_ = 1;
  uint32_t launches_ = 0;
  double seconds_ = 0;
  bool poked_ = false;  // by a query
  std::thread engine_;
  std::thread::id engineId_;
};

// All devices of the machine, made at cuInit.
std::vector<std::unique_ptr<Device>>& devices();

// What happened, for tests: see driver/inspection.cpp.
struct LaunchRecord {
  std::string kernel;
  Dim3 grid, block;
  uint32_t sharedBytes = 0;
  Counters counters;
  std::vector<Report> reports;
};
void recordLaunch(const LaunchRecord& record);
// The first report of the last launch that had one since the last reset; empty when there is none.
std::string lastReport();
void forgetLastReport();

}  // namespace fovea::simulator
