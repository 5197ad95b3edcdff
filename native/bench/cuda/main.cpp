// fovea_cuda_bench [--rules] [--tokens n] [--samples n] [--quick] [--from n] [--turns]: kernel times on the GPU, one
// JSON object a line, without Node. fovea_cuda_bench --name: the GPU's name.
//
// prefill: the protocol of the FlashAttention papers: batch x length = tokens (16384), heads x headDim = 2048, lengths
// from 512 to tokens, as many keys as queries; 4 L² D FLOPs per head, half of that when causal.
// decode: one query per sequence, 32 heads on 8 heads of keys, headDim 128.
// chunk: 8, 128 or 512 queries per sequence against many keys, heads likewise: what is split, and what only just is
// not.
//
// --rules: another set, with one rule each, beside the same shapes without: prefill at a quarter of the tokens, decode
// and chunks of 8 queries at half of them, by the tiled kernels alone.
//
// Times are the GPU's own, between events around the launches: the median of 15 (--samples) after 3 and 30 ms to
// warm up, each after the L2 cache was overwritten. The shapes that say most come first; --quick measures them alone.
// copyGigabytesPerSecond is what copying device memory reads and writes, measured likewise before the first shape.
//
// Before a measurement it is printed with "begin" in place of figures. What fails is a result with an "error"; after a
// fault the device is lost to the process, which ends with code 3: the next goes on --from there. With --turns the
// program waits for a line on its input after each measurement, so that another one can measure the same shape at the
// same time of day.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../cuda/backend.h"
#include "../../cuda/launch.h"
#include "../../cuda/stream.h"
#include "tensors.h"

using namespace fovea;
using namespace fovea::bench;

namespace {

constexpr int maxWarmUps = 3;
constexpr std::chrono::milliseconds warmUpTime{30};  // clocks of an idle GPU are low
constexpr int64_t copiedBytes = 512 << 20;

/// "[7,5]": of each sequence, where they differ.
std::string keyLengths(const Shape& shape) {
  std::string list = "[";
  for (int64_t i = 0; shape.ragged() && i < shape.batch; i++) {
    if (i > 0) list += ',';
    list += std::to_string(shape.keysOf(i));
  }
  return list + "]";
}

class Bench {
 public:
  explicit Bench(int samples)
      : samples_(samples), stream_(cuda::open(0)), device_(stream_->device()), current_(device_) {
    elapsed_ = reinterpret_cast<PFN_cuEventElapsedTime_v2000>(cuda::driver().find("cuEventElapsedTime", 2000));
    if (!elapsed_) throw std::runtime_error("the driver has no cuEventElapsedTime");
    for (CUevent& event : events_) device_.check(cuda::driver().cuEventCreate(&event, 0), "making an event");
    flush_ = cuda::allocate(*stream_, std::max(4 * device_.info().l2Bytes, 1 << 20));
    copyRate_ = copyRate();
  }
  ~Bench() {
    for (CUevent event : events_) cuda::driver().cuEventDestroy(event);
  }

  /// Measures one shape and prints it; nothing when no CUDA kernel of the algorithm computes it. Throws cuda::Error
  /// when the device is lost.
  bool measure(const Shape& shape, Algorithm algorithm, int number) {
    const Tensors sizes(shape, algorithm, 0);
    Plan plan;
    try {
      plan = cuda::plan(device_.info().index, sizes.problem());
    } catch (const std::invalid_argument&) {
      return false;
    }
    begin(shape, plan, number);
    std::printf("\"begin\":true}\n");
    std::fflush(stdout);
    std::vector<float> times;
    std::string error;
    try {
      times = timesOf(shape, algorithm, sizes.bytes(), plan);
    } catch (const cuda::Error& thrown) {
      error = thrown.kind == cuda::ErrorKind::outOfMemory ? "out of memory" : thrown.what();
      if (thrown.kind == cuda::ErrorKind::lost) {
        print(shape, plan, number, {}, error);
        throw;
      }
    }
    giveBack();
    print(shape, plan, number, std::move(times), error);
    return true;
  }

 private:
  /// Milliseconds of each sample. Makes the plan that of the tensors in memory.
  std::vector<float> timesOf(const Shape& shape, Algorithm algorithm, int64_t bytes, Plan& plan) {
    const auto memory = cuda::allocate(*stream_, bytes);
    const Tensors tensors(shape, algorithm, memory->pointer());
    const Problem& problem = tensors.problem();
    fill(memory->pointer(), tensors);
    plan = cuda::plan(device_.info().index, problem);
    const auto workspace = cuda::allocate(*stream_, std::max<int64_t>(plan.workspaceBytes, 256));
    cuda::loadKernels(device_, problem, plan);
    return samplesOf([&] { cuda::launch(device_, stream_->compute()->get(), problem, plan, workspace->pointer()); });
  }

  /// Sorted milliseconds of what `enqueue` enqueues.
  template <class Enqueue>
  std::vector<float> samplesOf(const Enqueue& enqueue) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < std::min(maxWarmUps, samples_) || std::chrono::steady_clock::now() - start < warmUpTime; i++)
      time(enqueue);
    std::vector<float> times;
    for (int i = 0; i < samples_; i++) times.push_back(time(enqueue));
    std::sort(times.begin(), times.end());
    return times;
  }

  /// GB/s, read and written; 0 where there is no memory for it.
  double copyRate() try {
    const auto memory = cuda::allocate(*stream_, 2 * copiedBytes);
    const std::vector<float> times = samplesOf([&] {
      device_.check(cuda::driver().cuMemcpyDtoDAsync(memory->pointer() + copiedBytes, memory->pointer(), copiedBytes,
                                                     stream_->compute()->get()),
                    "copying");
    });
    return 2e-6 * double(copiedBytes) / std::max(times[times.size() / 2], 1e-6f);
  } catch (const cuda::Error& error) {
    if (error.kind != cuda::ErrorKind::outOfMemory) throw;
    return 0;
  }

  /// What the pool keeps would be missing to whoever has the next turn.
  void giveBack() {
    stream_->drain();
    if (device_.pool()) cuda::driver().cuMemPoolTrimTo(device_.pool(), 0);
  }

  void fill(CUdeviceptr memory, const Tensors& tensors) {
    for (const Tensors::Input& input : tensors.inputs()) {
      const std::vector<uint8_t> content = tensors.content(input);
      const int64_t piece = int64_t(content.size());
      for (int64_t offset = 0; offset < input.bytes; offset += piece)
        cuda::write(*stream_, memory + CUdeviceptr(input.offset + offset), content.data(),
                    std::min(piece, input.bytes - offset), [](const cuda::Result&) {});
      stream_->drain();
    }
  }

  template <class Enqueue>
  float time(const Enqueue& enqueue) {
    const CUstream stream = stream_->compute()->get();
    // Many times, about half a millisecond, as for PyTorch: the GPU must not have done before everything is enqueued,
    // or the time would be the host's.
    for (int i = 0; i < 8; i++) cuda::clear(*stream_, flush_->pointer(), flush_->bytes());
    device_.check(cuda::driver().cuEventRecord(events_[0], stream), "recording an event");
    enqueue();
    device_.check(cuda::driver().cuEventRecord(events_[1], stream), "recording an event");
    device_.check(cuda::driver().cuEventSynchronize(events_[1]), "running kernels");
    float milliseconds = 0;
    device_.check(elapsed_(&milliseconds, events_[0], events_[1]), "reading a time");
    return milliseconds;
  }

  void begin(const Shape& shape, const Plan& plan, int number) const {
    const char* const dtypes[] = {"float32", "float16", "bfloat16"};
    std::printf(
        "{\"number\":%d,\"gpu\":\"%s\",\"kind\":\"%s\",\"algorithm\":\"%s\",\"kernel\":\"%s\",\"dtype\":\"%s\","
        "\"batch\":%lld,\"heads\":%lld,\"kvHeads\":%lld,\"queryLength\":%lld,\"keyLength\":%lld,\"headDim\":%lld,"
        "\"causal\":%s,\"rules\":\"%s\",\"window\":%lld,\"keyLengths\":%s,\"workspaceBytes\":%lld,\"flops\":%.0f,"
        "\"bytes\":%.0f,",
        number, device_.info().name.c_str(), shape.kind, plan.algorithm == Algorithm::standard ? "standard" : "tiled",
        kernelName(plan.sequences.at(0).kernel), dtypes[int(shape.dtype)], (long long)shape.batch,
        (long long)shape.heads, (long long)shape.kvHeads, (long long)shape.queryLength, (long long)shape.keyLength,
        (long long)shape.dim, shape.causal ? "true" : "false", nameOf(shape.rule), (long long)shape.window(),
        keyLengths(shape).c_str(), (long long)plan.workspaceBytes, shape.flops(), plan.bytes);
  }

  void print(const Shape& shape, const Plan& plan, int number, std::vector<float> times, std::string error) const {
    begin(shape, plan, number);
    if (times.empty()) {
      for (char& letter : error)
        if (letter == '"' || letter == '\\' || letter < ' ') letter = '\'';
      std::printf("\"error\":\"%s\"}\n", error.c_str());
    } else {
      const float median = times[times.size() / 2];
      const double seconds = std::max(median, 1e-6f) * 1e-3;
      std::printf(
          "\"milliseconds\":%.4f,\"p10\":%.4f,\"p90\":%.4f,\"teraflops\":%.2f,\"gigabytesPerSecond\":%.0f,"
          "\"copyGigabytesPerSecond\":%.0f}\n",
          median, times[times.size() / 10], times[times.size() * 9 / 10], shape.flops() / seconds * 1e-12,
          plan.bytes / seconds * 1e-9, copyRate_);
    }
    std::fflush(stdout);
  }

  const int samples_;
  std::shared_ptr<cuda::Stream> stream_;
  cuda::Device& device_;
  cuda::CurrentContext current_;
  PFN_cuEventElapsedTime_v2000 elapsed_;
  CUevent events_[2] = {};
  std::shared_ptr<cuda::DeviceBuffer> flush_;
  double copyRate_;
};

}  // namespace

int main(int count, char** arguments) {
  int64_t tokens = 16384, samples = 15, first = 0;
  bool rules = false, turns = false, quick = false, name = false, understood = true;
  for (int i = 1; i < count; i++) {
    const std::string option = arguments[i];
    if (option == "--rules")
      rules = true;
    else if (option == "--turns")
      turns = true;
    else if (option == "--quick")
      quick = true;
    else if (option == "--name")
      name = true;
    else if (option == "--tokens" && i + 1 < count)
      tokens = std::atoll(arguments[++i]);
    else if (option == "--samples" && i + 1 < count)
      samples = std::atoll(arguments[++i]);
    else if (option == "--from" && i + 1 < count)
      first = std::atoll(arguments[++i]);
    else
      understood = false;
  }
  if (!understood || tokens < 16 || samples < 1) {
    std::fprintf(stderr,
                 "fovea_cuda_bench [--rules] [--tokens n] [--samples n] [--quick] [--from n] [--turns]: at least 16 "
                 "tokens, 1 sample\n");
    return 2;
  }
  if (const std::string reason = cuda::info().unavailable; !reason.empty()) {
    std::printf("no CUDA here: %s\n", reason.c_str());
    return 0;
  }
  if (name) return std::printf("%s\n", cuda::info().devices.at(0).name.c_str()) < 0;
  try {
    Bench bench(static_cast<int>(samples));
    int number = 0;
    const std::vector<Algorithm> algorithms =
        rules ? std::vector{Algorithm::tiled} : std::vector{Algorithm::tiled, Algorithm::standard};
    for (const Shape& shape : rules ? rulesShapes(tokens) : plainShapes(tokens))
      for (const Algorithm algorithm : algorithms)
        if (number++ >= first && (shape.key || !quick) && bench.measure(shape, algorithm, number - 1) && turns)
          for (int letter = 0; letter != '\n'; letter = std::getchar())
            if (letter == EOF) return 0;  // nobody asks any more
  } catch (const cuda::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.kind == cuda::ErrorKind::lost ? 3 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
