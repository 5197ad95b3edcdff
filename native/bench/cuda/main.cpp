// fovea_cuda_bench [tokens]: kernel times on the GPU, one JSON object per line.
//
// The protocol of the FlashAttention papers: batch x length = tokens (16384), heads x headDim = 2048, lengths 512 to
// tokens, forward FLOPs 4 L² D per head, half of that when causal. Times are the GPU's own, between events around the
// launches: the median of 15 after 3 to warm up, each after the L2 cache was overwritten.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../../../native/cuda/backend.h"
#include "../../../native/cuda/launch.h"
#include "../../../native/cuda/stream.h"

using namespace fovea;

namespace {

constexpr int warmUps = 3, samples = 15;
constexpr int64_t flushBytes = int64_t{256} << 20;

struct Shape {
  DType dtype;
  int64_t batch, heads, length, dim;
  bool causal;
};

/// Sequences of a dense [batch, heads, length, dim] problem in one device buffer that holds query, key, value and
/// output.
std::vector<Sequence> makeSequences(const Shape& shape, CUdeviceptr memory) {
  std::vector<Sequence> sequences;
  const int64_t perSequence = shape.heads * shape.length * shape.dim * byteSize(shape.dtype);
  for (int64_t i = 0; i < shape.batch; i++) {
    const auto at = [&](int64_t tensor) {
      return reinterpret_cast<void*>(memory + CUdeviceptr((tensor * shape.batch + i) * perSequence));
    };
    const int64_t headStride = shape.length * shape.dim;
    Sequence sequence;
    sequence.queryLength = sequence.queryRows = sequence.keyLength = sequence.keyColumns = shape.length;
    sequence.query = {at(0), headStride, shape.dim, 1};
    sequence.key = {at(1), headStride, shape.dim, 1};
    sequence.value = {at(2), headStride, shape.dim, 1};
    sequence.output = {at(3), headStride, shape.dim, 1};
    sequences.push_back(sequence);
  }
  return sequences;
}

class Bench {
 public:
  Bench() : stream_(cuda::open(0)), device_(stream_->device()), current_(device_) {
    elapsed_ = reinterpret_cast<PFN_cuEventElapsedTime_v2000>(cuda::driver().find("cuEventElapsedTime", 2000));
    for (CUevent& event : events_) device_.check(cuda::driver().cuEventCreate(&event, 0), "making an event");
    flush_ = cuda::allocate(*stream_, flushBytes);
  }

  void measure(const Shape& shape) {
    const int64_t elements = shape.batch * shape.heads * shape.length * shape.dim;
    const auto tensors = cuda::allocate(*stream_, 4 * elements * byteSize(shape.dtype));
    fill(*tensors);
    const auto sequences = makeSequences(shape, tensors->pointer());
    Problem problem;
    problem.dtype = shape.dtype;
    problem.heads = problem.kvHeads = int32_t(shape.heads);
    problem.headDim = problem.valueDim = int32_t(shape.dim);
    problem.scale = 0.1;
    problem.causal = shape.causal;
    problem.sequences = sequences.data();
    problem.sequenceCount = shape.batch;
    const Plan plan = cuda::plan(0, problem);
    const auto workspace = cuda::allocate(*stream_, plan.workspaceBytes);
    cuda::loadKernels(device_, problem, plan);

    std::vector<float> times;
    for (int i = -warmUps; i < samples; i++) {
      const float milliseconds = time(problem, plan, workspace->pointer());
      if (i >= 0) times.push_back(milliseconds);
    }
    std::sort(times.begin(), times.end());
    print(shape, plan, times[times.size() / 2]);
  }

 private:
  /// Numbers in a small range, whatever the dtype: the same byte everywhere would be kind to the power supply.
  void fill(const cuda::DeviceBuffer& buffer) {
    std::vector<uint16_t> pattern(1 << 20);
    uint32_t state = 1;
    for (uint16_t& bits : pattern) bits = uint16_t(0x3400 | ((state = state * 1664525 + 1013904223) >> 16 & 0x83ff));
    const int64_t piece = int64_t(pattern.size() * sizeof(uint16_t));
    for (int64_t offset = 0; offset < buffer.bytes(); offset += piece)
      cuda::write(*stream_, buffer.pointer() + CUdeviceptr(offset), pattern.data(),
                  std::min(piece, buffer.bytes() - offset), [](const cuda::Result&) {});
    stream_->drain();
  }

  float time(const Problem& problem, const Plan& plan, CUdeviceptr workspace) {
    const CUstream stream = stream_->compute()->get();
    cuda::clear(*stream_, flush_->pointer(), flushBytes);
    device_.check(cuda::driver().cuEventRecord(events_[0], stream), "recording an event");
    cuda::launch(device_, stream, problem, plan, workspace);
    device_.check(cuda::driver().cuEventRecord(events_[1], stream), "recording an event");
    device_.check(cuda::driver().cuEventSynchronize(events_[1]), "running kernels");
    float milliseconds = 0;
    device_.check(elapsed_(&milliseconds, events_[0], events_[1]), "reading a time");
    return milliseconds;
  }

  void print(const Shape& shape, const Plan& plan, float milliseconds) {
    const char* const dtypes[] = {"float32", "float16", "bfloat16"};
    const double seconds = std::max(milliseconds, 1e-6f) * 1e-3;
    const double flops =
        4.0 * double(shape.batch * shape.heads * shape.length * shape.length * shape.dim) / (shape.causal ? 2 : 1);
    std::printf(
        "{\"gpu\":\"%s\",\"algorithm\":\"standard\",\"dtype\":\"%s\",\"batch\":%lld,\"heads\":%lld,\"length\":%lld,"
        "\"headDim\":%lld,\"causal\":%s,\"milliseconds\":%.4f,\"teraflops\":%.2f,\"gigabytesPerSecond\":%.0f}\n",
        device_.info().name.c_str(), dtypes[int(shape.dtype)], (long long)shape.batch, (long long)shape.heads,
        (long long)shape.length, (long long)shape.dim, shape.causal ? "true" : "false", milliseconds,
        flops / seconds * 1e-12, plan.bytes / seconds * 1e-9);
    std::fflush(stdout);
  }

  std::shared_ptr<cuda::Stream> stream_;
  cuda::Device& device_;
  cuda::CurrentContext current_;
  PFN_cuEventElapsedTime_v2000 elapsed_;
  CUevent events_[2];
  std::shared_ptr<cuda::DeviceBuffer> flush_;
};

}  // namespace

int main(int count, char** arguments) {
  if (const std::string reason = cuda::info().unavailable; !reason.empty()) {
    std::printf("no CUDA here: %s\n", reason.c_str());
    return 0;
  }
  const int64_t tokens = count > 1 ? std::atoll(arguments[1]) : 16384, width = 2048;
  try {
    Bench bench;
    for (const DType dtype : {DType::float16, DType::bfloat16, DType::float32})
      for (const int64_t dim : {64, 128, 256})
        for (const bool causal : {false, true})
          for (int64_t length = std::min<int64_t>(512, tokens); length <= tokens; length *= 2) {
            const Shape shape{dtype, tokens / length, width / dim, length, dim, causal};
            try {
              bench.measure(shape);
            } catch (const cuda::Error& error) {
              if (error.kind != cuda::ErrorKind::outOfMemory) throw;
              std::printf("{\"length\":%lld,\"outOfMemory\":true}\n", (long long)length);
            }
          }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
