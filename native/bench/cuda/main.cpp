// fovea_cuda_bench [--tokens n] [--samples n] [--quick] [--from n] [--turns]: kernel times on the GPU, one JSON object
// a line, without Node. fovea_cuda_bench --name: the GPU's name.
//
// prefill: the protocol of the FlashAttention papers: batch x length = tokens (16384), heads x headDim = 2048, lengths
// from 512 to tokens, as many keys as queries; 4 L² D FLOPs per head, half of that when causal.
// decode: one query per sequence, 32 heads on 8 heads of keys, headDim 128.
// chunk: 8, 128 or 512 queries per sequence against many keys, heads likewise: what is split, and what only just is
// not.
// rules: prefill at a quarter of the tokens, with one rule each: a bias or mask of [heads, length, length] for the
// whole batch, softcap, ALiBi; a causal window of an eighth of the length.
//
// Times are the GPU's own, between events around the launches: the median of 15 (--samples) after 3 to warm up, each
// after the L2 cache was overwritten. The shapes that say most come first; --quick measures them alone.
//
// Before a measurement it is printed with "begin" in place of figures. What fails is a result with an "error"; after a
// fault the device is lost to the process, which ends with code 3: the next goes on --from there. With --turns the
// program waits for a line on its input after each measurement, so that another one can measure the same shape at the
// same time of day.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../cuda/backend.h"
#include "../../cuda/launch.h"
#include "../../cuda/stream.h"

using namespace fovea;

namespace {

constexpr int maxWarmUps = 3;

enum class Rule { none, bias, mask, window, softcap, alibi };
constexpr const char* ruleNames[] = {"", "bias", "mask", "window", "softcap", "alibi"};

struct Shape {
  const char* kind;
  DType dtype;
  int64_t batch, heads, kvHeads, queryLength, keyLength, dim;
  bool causal;
  bool key;  // among those that say most
  Rule rule = Rule::none;

  int64_t queryElements() const { return heads * queryLength * dim; }  // of one sequence
  int64_t keyElements() const { return kvHeads * keyLength * dim; }
  int64_t tensorBytes() const { return 2 * batch * (queryElements() + keyElements()) * byteSize(dtype); }
  /// Of what a rule reads, which lies after the tensors.
  int64_t ruleBytes() const {
    const int64_t pairs = heads * queryLength * keyLength;
    if (rule == Rule::alibi) return heads * int64_t(sizeof(float));
    return rule == Rule::bias ? pairs * byteSize(dtype) : rule == Rule::mask ? pairs : 0;
  }
  int64_t bytes() const { return tensorBytes() + ruleBytes(); }
  int64_t window() const { return keyLength / 8; }  // keys before a query's own
  double flops() const {
    double pairs = double(queryLength * keyLength) / (causal ? 2 : 1);
    if (rule == Rule::window)  // the first rows see fewer
      pairs = double(queryLength * (window() + 1)) - double(window() * (window() + 1)) / 2;
    return 4.0 * double(batch * heads) * pairs * double(dim);
  }
};

/// The key ones first.
std::vector<Shape> allShapes(int64_t tokens) {
  std::vector<Shape> shapes;
  constexpr int64_t width = 2048;
  for (const DType dtype : {DType::float16, DType::bfloat16, DType::float32}) {
    const bool half = dtype == DType::float16;
    for (const int64_t dim : {128, 64, 256})
      for (const bool causal : {false, true})
        for (int64_t length = std::min<int64_t>(512, tokens); length <= tokens; length *= 2) {
          const bool key =
              half ? length == 512 || length == tokens / 4 || length == tokens : dim == 128 && length == tokens / 4;
          shapes.push_back(
              {"prefill", dtype, tokens / length, width / dim, width / dim, length, length, dim, causal, key});
        }
    for (const int64_t batch : {1, 16, 64})
      for (const int64_t length : {tokens / 16, tokens / 2, 4 * tokens})
        if (batch * length <= 64 * tokens)
          shapes.push_back({"decode", dtype, batch, 32, 8, 1, length, 128, false, half && batch < 64});
    for (const int64_t batch : {1, 16})
      for (const int64_t queries : {8, 128, 512})
        for (const int64_t length : {tokens / 2, 2 * tokens})
          shapes.push_back({"chunk", dtype, batch, 32, 8, queries, length, 128, false, half && batch == 1});
  }
  for (const DType dtype : {DType::float16, DType::bfloat16, DType::float32})
    for (const Rule rule : {Rule::bias, Rule::mask, Rule::window, Rule::softcap, Rule::alibi}) {
      const int64_t length = tokens / 4, heads = width / 128;
      shapes.push_back({"prefill", dtype, tokens / length, heads, heads, length, length, 128, rule == Rule::window,
                        dtype == DType::float16, rule});
    }
  std::stable_partition(shapes.begin(), shapes.end(), [](const Shape& shape) { return shape.key; });
  return shapes;
}

/// Sequences of dense [batch, heads, length, dim] tensors: query, output, key and value, one after the other in
/// `memory`, then what a rule reads.
std::vector<Sequence> makeSequences(const Shape& shape, CUdeviceptr memory) {
  std::vector<Sequence> sequences;
  const int64_t element = byteSize(shape.dtype), queryBytes = shape.queryElements() * element,
                keyBytes = shape.keyElements() * element;
  const CUdeviceptr keys = memory + CUdeviceptr(2 * shape.batch * queryBytes);
  for (int64_t i = 0; i < shape.batch; i++) {
    const auto at = [](CUdeviceptr base, int64_t offset) {
      return reinterpret_cast<void*>(base + CUdeviceptr(offset));
    };
    const int64_t queryHead = shape.queryLength * shape.dim, keyHead = shape.keyLength * shape.dim;
    Sequence sequence;
    sequence.queryLength = sequence.queryRows = shape.queryLength;
    sequence.keyLength = sequence.keyColumns = shape.keyLength;
    sequence.queryOffset = shape.keyLength - shape.queryLength;
    sequence.query = {at(memory, i * queryBytes), queryHead, shape.dim, 1};
    sequence.output = {at(memory, (shape.batch + i) * queryBytes), queryHead, shape.dim, 1};
    sequence.key = {at(keys, i * keyBytes), keyHead, shape.dim, 1};
    sequence.value = {at(keys, (shape.batch + i) * keyBytes), keyHead, shape.dim, 1};
    const int64_t pairs = shape.queryLength * shape.keyLength;
    void* read = at(memory, shape.tensorBytes());
    if (shape.rule == Rule::bias) sequence.bias = {read, pairs, shape.keyLength, 1};
    if (shape.rule == Rule::mask) sequence.mask = {static_cast<const uint8_t*>(read), pairs, shape.keyLength, 1};
    if (shape.rule == Rule::alibi) sequence.alibiSlopes = static_cast<const float*>(read);
    sequences.push_back(sequence);
  }
  return sequences;
}

class Bench {
 public:
  explicit Bench(int samples)
      : samples_(samples), stream_(cuda::open(0)), device_(stream_->device()), current_(device_) {
    elapsed_ = reinterpret_cast<PFN_cuEventElapsedTime_v2000>(cuda::driver().find("cuEventElapsedTime", 2000));
    if (!elapsed_) throw std::runtime_error("the driver has no cuEventElapsedTime");
    for (CUevent& event : events_) device_.check(cuda::driver().cuEventCreate(&event, 0), "making an event");
    flush_ = cuda::allocate(*stream_, std::max(4 * device_.info().l2Bytes, 1 << 20));
  }
  ~Bench() {
    for (CUevent event : events_) cuda::driver().cuEventDestroy(event);
  }

  /// Measures one shape and prints it; nothing when no CUDA kernel of the algorithm computes it. Throws cuda::Error
  /// when the device is lost.
  bool measure(const Shape& shape, Algorithm algorithm, int number) {
    Problem problem;
    problem.dtype = shape.dtype;
    problem.algorithm = algorithm;
    problem.heads = int32_t(shape.heads);
    problem.kvHeads = int32_t(shape.kvHeads);
    problem.headDim = problem.valueDim = int32_t(shape.dim);
    problem.scale = 1 / std::sqrt(double(shape.dim));
    problem.causal = shape.causal;
    problem.biasDtype = shape.dtype;
    if (shape.rule == Rule::window) problem.windowLeft = shape.window();
    if (shape.rule == Rule::softcap) problem.softcap = 30;
    std::vector<Sequence> sequences = makeSequences(shape, 0);
    problem.sequences = sequences.data();
    problem.sequenceCount = shape.batch;
    Plan plan;
    try {
      plan = cuda::plan(device_.info().index, problem);
    } catch (const std::invalid_argument&) {
      return false;
    }
    begin(shape, plan, number);
    std::printf("\"begin\":true}\n");
    std::fflush(stdout);
    std::vector<float> times;
    try {
      const auto tensors = cuda::allocate(*stream_, shape.bytes());
      fill(*tensors, shape.dtype);
      sequences = makeSequences(shape, tensors->pointer());
      problem.sequences = sequences.data();
      plan = cuda::plan(device_.info().index, problem);
      const auto workspace = cuda::allocate(*stream_, std::max<int64_t>(plan.workspaceBytes, 256));
      cuda::loadKernels(device_, problem, plan);
      for (int i = -std::min(maxWarmUps, samples_); i < samples_; i++) {
        const float milliseconds = time(problem, plan, workspace->pointer());
        if (i >= 0) times.push_back(milliseconds);
      }
    } catch (const cuda::Error& error) {
      print(shape, plan, number, {}, error.kind == cuda::ErrorKind::outOfMemory ? "out of memory" : error.what());
      if (error.kind == cuda::ErrorKind::lost) throw;
      return true;
    }
    print(shape, plan, number, std::move(times), "");
    return true;
  }

 private:
  /// Random numbers between 1/4 and 1/2, of both signs: the same byte everywhere would be kind to the power supply. As
  /// bytes of a mask nearly all of them are true, as slopes of float32 they are finite.
  void fill(const cuda::DeviceBuffer& buffer, DType dtype) {
    const uint32_t base = dtype == DType::float16 ? 0x3400 : 0x3e80, varied = dtype == DType::float16 ? 0x83ff : 0x807f;
    std::vector<uint16_t> pattern(1 << 20);
    uint32_t state = 1;
    for (size_t i = 0; i < pattern.size(); i++) {
      state = state * 1664525 + 1013904223;
      const bool lowHalf = dtype == DType::float32 && i % 2 == 0;
      pattern[i] = uint16_t(lowHalf ? state >> 16 : base | (state >> 16 & varied));
    }
    const int64_t piece = int64_t(pattern.size() * sizeof(uint16_t));
    for (int64_t offset = 0; offset < buffer.bytes(); offset += piece)
      cuda::write(*stream_, buffer.pointer() + CUdeviceptr(offset), pattern.data(),
                  std::min(piece, buffer.bytes() - offset), [](const cuda::Result&) {});
    stream_->drain();
  }

  float time(const Problem& problem, const Plan& plan, CUdeviceptr workspace) {
    const CUstream stream = stream_->compute()->get();
    cuda::clear(*stream_, flush_->pointer(), flush_->bytes());
    device_.check(cuda::driver().cuEventRecord(events_[0], stream), "recording an event");
    cuda::launch(device_, stream, problem, plan, workspace);
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
        "\"causal\":%s,\"rules\":\"%s\",\"workspaceBytes\":%lld,\"flops\":%.0f,\"bytes\":%.0f,",
        number, device_.info().name.c_str(), shape.kind, plan.algorithm == Algorithm::standard ? "standard" : "tiled",
        kernelName(plan.sequences.at(0).kernel), dtypes[int(shape.dtype)], (long long)shape.batch,
        (long long)shape.heads, (long long)shape.kvHeads, (long long)shape.queryLength, (long long)shape.keyLength,
        (long long)shape.dim, shape.causal ? "true" : "false", ruleNames[int(shape.rule)],
        (long long)plan.workspaceBytes, shape.flops(), plan.bytes);
  }

  void print(const Shape& shape, const Plan& plan, int number, std::vector<float> times, std::string error) const {
    begin(shape, plan, number);
    if (times.empty()) {
      for (char& letter : error)
        if (letter == '"' || letter == '\\' || letter < ' ') letter = '\'';
      std::printf("\"error\":\"%s\"}\n", error.c_str());
    } else {
      std::sort(times.begin(), times.end());
      const float median = times[times.size() / 2];
      const double seconds = std::max(median, 1e-6f) * 1e-3;
      std::printf("\"milliseconds\":%.4f,\"p10\":%.4f,\"p90\":%.4f,\"teraflops\":%.2f,\"gigabytesPerSecond\":%.0f}\n",
                  median, times[times.size() / 10], times[times.size() * 9 / 10], shape.flops() / seconds * 1e-12,
                  plan.bytes / seconds * 1e-9);
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
};

}  // namespace

int main(int count, char** arguments) {
  int64_t tokens = 16384, samples = 15, first = 0;
  bool turns = false, quick = false, name = false, understood = true;
  for (int i = 1; i < count; i++) {
    const std::string option = arguments[i];
    if (option == "--turns")
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
                 "fovea_cuda_bench [--tokens n] [--samples n] [--quick] [--from n] [--turns]: at least 16 tokens, 1 "
                 "sample\n");
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
    for (const Shape& shape : allShapes(tokens))
      for (const Algorithm algorithm : {Algorithm::tiled, Algorithm::standard})
        if (number++ >= first && (shape.key || !quick) && bench.measure(shape, algorithm, number - 1) && turns)
          for (int letter = 0; letter != '\n' && letter != EOF;) letter = std::getchar();
  } catch (const cuda::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.kind == cuda::ErrorKind::lost ? 3 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
