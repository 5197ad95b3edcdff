// The device of a test, and a case whose tensors live there.
#pragma once
#include <future>
#include <memory>

#include "../../../native/cuda/backend.h"
#include "../../../native/cuda/host_tensors.h"
#include "cases.h"
#include "check.h"

namespace fovea::test {

/// The device that the running test draws from its name. Simulated ones have a compute capability each.
int testDevice();
/// A stream there, for all tests that need none of their own.
cuda::Stream& testStream();

/// Waits for something that calls `settled`, and for its success.
inline void finish(const std::function<void(cuda::Settled)>& begin) {
  const auto promise = std::make_shared<std::promise<cuda::Result>>();
  begin([promise](const cuda::Result& result) { promise->set_value(result); });
  const cuda::Result result = promise->get_future().get();
  check(result.outcome == cuda::Outcome::done, "not done: " + result.message);
}

/// Enqueued work that is not this project's: a copy on the device, behind all earlier calls.
inline void copyOnDevice(cuda::Stream& stream, const cuda::DeviceBuffer& from, const cuda::DeviceBuffer& to,
                         int64_t bytes) {
  stream.submitNow([&] {
    stream.device().check(cuda::driver().cuMemcpyDtoDAsync(cuda::address(to), cuda::address(from), size_t(bytes),
                                                           stream.compute()->get()),
                          "copying on the device");
  });
}

/// The host's tensors, their copies on the device, and the problem with device pointers.
class DeviceCase {
 public:
  DeviceCase(cuda::Stream& stream, const Case& about)
      : stream_(stream), host_(about), device_(host_.problem(), cuda::allOnHost) {
    finish([&](cuda::Settled settled) {
      return stream_.post({[this] { device_.upload(stream_); }, nullptr, std::move(settled)});
    });
    plan_ = cuda::plan(stream_.device().info().index, problem());
  }
  const Problem& problem() const { return device_.get(); }
  const Problem& host() const { return host_.problem(); }
  const Plan& plan() const { return plan_; }

  /// Brings the outputs back and compares them.
  void compare() {
    host_.clearOutputs();
    finish([&](cuda::Settled settled) {
      return stream_.post({[] {}, [this] { device_.download(stream_); }, std::move(settled)});
    });
    const std::string wrong = test::compare(host_.problem());
    check(wrong.empty(), wrong);
  }

 private:
  cuda::Stream& stream_;
  Tensors host_;
  cuda::DeviceProblem device_;
  Plan plan_;
};

/// The bits of each sequence's output and lse.
inline std::vector<std::string> bitsOf(const Problem& problem) {
  std::vector<std::string> bits;
  for (int64_t i = 0; i < problem.sequenceCount; i++) {
    const Sequence& sequence = problem.sequences[i];
    const int64_t rows = problem.heads * sequence.queryRows;
    bits.emplace_back(static_cast<const char*>(sequence.output.data),
                      size_t(rows * problem.valueDim * byteSize(problem.dtype)));
    bits.back().append(reinterpret_cast<const char*>(sequence.lse.data), size_t(rows) * sizeof(float));
  }
  return bits;
}

}  // namespace fovea::test
