// fovea-native-bench: the CPU kernels against what the machine can do at most, without Node.
//
//   fovea-native-bench probe                          FMA peak and read bandwidth, one thread and all
//   fovea-native-bench prefill [threads] [seconds] [name]    share of FMA peak, full and causal, also in bfloat16
//   fovea-native-bench rules [threads] [seconds] [name]      times of masks, biases and others, beside that of none
//   fovea-native-bench decode [threads] [seconds] [name]     share of read bandwidth (paged: 16 keys a page)
//
// `name`: only the shapes whose names contain it.
//
// One JSON object a line. Each sample stands between two probes of the peak, whose mean its share is of, and is left
// out when they differ by more than 4 %, or one is below 85 % of the best seen: then somebody else had the machine (its
// clock alone differs by less). `share` is the median over the kept samples, `p90` a quiet stretch.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cpu/backend.h"
#include "probe.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

using namespace fovea;
using namespace fovea::bench;

namespace {

double quantile(std::vector<double> values, double at) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[size_t(at * double(values.size() - 1))];
}

/// The sum over `threads` threads of what `probe` measures.
double onThreads(int threads, const std::function<double(int)>& probe) {
  std::vector<double> rates(size_t(threads), 0.0);
  std::vector<std::thread> others;
  for (int i = 1; i < threads; i++) others.emplace_back([&, i] { rates[size_t(i)] = probe(i); });
  rates[0] = probe(0);
  for (std::thread& other : others) other.join();
  double sum = 0;
  for (const double rate : rates) sum += rate;
  return sum;
}

struct Buffer {
  float* data;
  size_t floats;
};

Buffer randomBuffer(size_t floats) {
  const size_t huge = size_t(2) << 20, bytes = (floats * 4 + huge - 1) / huge * huge;
  float* data = static_cast<float*>(std::aligned_alloc(huge, bytes));
#if defined(__linux__)
  madvise(data, bytes, MADV_HUGEPAGE);
#endif
  static uint64_t state = 88172645463325252ull;  // goes on: were keys the queries, each would attend to itself alone
  for (size_t i = 0; i < floats; i++) {          // sum of four uniform numbers: near enough to normal
    float sum = 0;
    for (int k = 0; k < 4; k++) {
      state ^= state << 13, state ^= state >> 7, state ^= state << 17;
      sum += float(state >> 40) / 16777216.f - 0.5f;
    }
    data[i] = sum * 1.73f;
  }
  return {data, floats};
}

/// The same numbers as float16, toward zero, in the first half of the memory. Their float32 bits, read as float16,
/// would be infinities among others, which the kernels do not meet in earnest.
void toFloat16(const Buffer& buffer) {
  for (size_t i = 0; i < buffer.floats; i++) {
    uint32_t bits;
    std::memcpy(&bits, buffer.data + i, sizeof bits);
    const uint32_t size = bits & 0x7fffffff, smallest = 0x38800000;  // 2^-14: smaller ones become 0
    const uint16_t half = uint16_t((bits >> 16 & 0x8000) | (size < smallest ? 0 : (size - 0x38000000) >> 13));
    std::memcpy(reinterpret_cast<char*>(buffer.data) + 2 * i, &half, sizeof half);
  }
}

/// The same numbers as bfloat16, toward zero, twice: sequences lie as far apart as those of float32.
void toBfloat16(const Buffer& buffer) {
  auto* to = reinterpret_cast<uint16_t*>(buffer.data);
  for (size_t i = 0; i < buffer.floats; i++) {
    uint32_t bits;
    std::memcpy(&bits, buffer.data + i, sizeof bits);
    to[i] = uint16_t(bits >> 16);
  }
  std::memcpy(to + buffer.floats, to, 2 * buffer.floats);
}

struct Shape {
  int64_t batch, heads, queryLength, keyLength, dim;
  bool causal;
  int64_t group = 1;  // query heads of each of the `heads` of keys
};

struct Example {
  Problem problem;
  std::vector<Sequence> sequences;
};

/// `inner`: rows of all heads side by side, [batch, length, heads, dim]; otherwise [batch, heads, length, dim].
Example makeExample(const Shape& shape, const Buffer& query, const Buffer& key, const Buffer& value,
                    const Buffer& output, bool inner = false) {
  Example example;
  Problem& problem = example.problem;
  problem.heads = int32_t(shape.heads * shape.group), problem.kvHeads = int32_t(shape.heads);
  problem.headDim = problem.valueDim = int32_t(shape.dim);
  problem.scale = 1 / std::sqrt(double(shape.dim));
  problem.causal = shape.causal;
  for (int64_t b = 0; b < shape.batch; b++) {
    Sequence sequence;
    sequence.queryLength = sequence.queryRows = shape.queryLength;
    sequence.keyLength = sequence.keyColumns = shape.keyLength;
    sequence.queryOffset = shape.keyLength - shape.queryLength;
    const int64_t q = shape.queryLength * shape.dim, k = shape.keyLength * shape.dim;
    const int64_t queryHead = inner ? shape.dim : q, keyHead = inner ? shape.dim : k;
    const int64_t row = inner ? shape.heads * shape.dim : shape.dim, queryRow = inner ? shape.group * row : row;
    sequence.query = {query.data + b * shape.heads * shape.group * q, queryHead, queryRow, 1};
    sequence.key = {key.data + b * shape.heads * k, keyHead, row, 1};
    sequence.value = {value.data + b * shape.heads * k, keyHead, row, 1};
    sequence.output = {output.data + b * shape.heads * shape.group * q, queryHead, queryRow, 1};
    example.sequences.push_back(sequence);
  }
  problem.sequences = example.sequences.data();
  problem.sequenceCount = shape.batch;
  return example;
}

/// "H8 D64 L1024 full", "B32 H12 D64 L128 full"
std::string nameOf(const Shape& shape) {
  return (shape.batch > 1 ? "B" + std::to_string(shape.batch) + " " : "") + "H" + std::to_string(shape.heads) + " D" +
         std::to_string(shape.dim) + " L" + std::to_string(shape.queryLength) + (shape.causal ? " causal" : " full");
}

void prefill(int threads, double seconds, const std::string& wanted) {
  cpu::setThreads(threads);
  const size_t most = size_t(16) * 2048 * 128;
  const Buffer query = randomBuffer(most), key = randomBuffer(most), value = randomBuffer(most),
               output = randomBuffer(most);
  double best = 0;
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    if (dtype == DType::bfloat16) toBfloat16(query), toBfloat16(key), toBfloat16(value);
    for (const Shape& base :
         {Shape{1, 8, 512, 512, 64, false}, Shape{1, 8, 1024, 1024, 64, false}, Shape{1, 8, 2048, 2048, 64, false},
          Shape{1, 8, 4096, 4096, 64, false}, Shape{1, 16, 2048, 2048, 128, false}, Shape{32, 12, 32, 32, 64, false},
          Shape{32, 12, 64, 64, 64, false}, Shape{32, 12, 77, 77, 64, false}, Shape{32, 12, 128, 128, 64, false},
          Shape{16, 12, 256, 256, 64, false}})
      for (const int kind : {0, 1, 2, 3}) {
        const bool inner = kind / 2 != 0;
        Shape shape = base;
        shape.causal = kind % 2 != 0;
        const std::string name =
            nameOf(shape) + (inner ? " bshd" : " bhsd") + (dtype == DType::bfloat16 ? " bfloat16" : "");
        if (name.find(wanted) == std::string::npos) continue;
        Example example = makeExample(shape, query, key, value, output, inner);
        example.problem.dtype = dtype;
        const Plan plan = cpu::plan(example.problem);
        const auto compute = [&] { cpu::run(example.problem, plan); };
        compute();
        double time = now();
        compute();
        const int repeats = std::max(1, int(2.5e-3 / (now() - time)));
        std::vector<double> shares, rates;
        const double deadline = now() + seconds;
        for (int i = 0; i < 15 || now() < deadline; i++) {
          const auto peak = [&] { return onThreads(threads, [](int) { return fmaPeak(2e-4); }); };
          const double before = peak();
          time = now();
          for (int repeat = 0; repeat < repeats; repeat++) compute();
          time = (now() - time) / repeats;
          const double after = peak();
          best = std::max({best, before, after});
          if (std::min(before, after) < std::max(0.96 * std::max(before, after), 0.85 * best)) continue;
          rates.push_back(plan.usefulFlops / time),
              shares.push_back(plan.usefulFlops / time / (0.5 * (before + after)));
        }
        std::printf(
            "{\"shape\": \"%s\", \"threads\": %d, \"gflops\": %.1f, \"share\": %.3f, \"p90\": %.3f, "
            "\"samples\": %zu, \"peak\": %.1f}\n",
            name.c_str(), threads, quantile(rates, 0.5) / 1e9, quantile(shares, 0.5), quantile(shares, 0.9),
            shares.size(), best / 1e9);
        std::fflush(stdout);
      }
  }
}

void rules(int threads, double seconds, const std::string& wanted) {
  cpu::setThreads(threads);
  const Shape shape{1, 8, 1024, 1024, 64, false};
  const int64_t length = shape.keyLength, heads = shape.heads;
  const size_t floats = size_t(heads * length * shape.dim);
  const Buffer query = randomBuffer(floats), key = randomBuffer(floats), value = randomBuffer(floats),
               output = randomBuffer(floats), bias = randomBuffer(size_t(heads * length * length));
  std::vector<uint8_t> mask(size_t(length * length)), texts(mask.size()), padding(size_t(length), 1);
  for (size_t i = 0; i < mask.size(); i++) mask[i] = bias.data[i] < 1;  // about a sixth is hidden
  // Four texts, each of which sees its own keys.
  for (int64_t i = 0; i < length * length; i++) texts[size_t(i)] = i / length * 4 / length == i % length * 4 / length;
  std::fill(padding.end() - 100, padding.end(), uint8_t{0});
  const std::vector<float> slopes(size_t(heads), 0.1f);

  struct Rule {
    std::string name;
    std::function<void(Problem&, Sequence&)> apply;
    std::vector<double> ratios, times;
  };
  std::vector<Rule> all = {
      {"none", [](Problem&, Sequence&) {}, {}, {}},
      {"causal", [](Problem& problem, Sequence&) { problem.causal = true; }, {}, {}},
      {"softcap", [](Problem& problem, Sequence&) { problem.softcap = 30; }, {}, {}},
      {"alibi", [&](Problem&, Sequence& sequence) { sequence.alibiSlopes = slopes.data(); }, {}, {}},
      {"bias",
       [&](Problem&, Sequence& sequence) {
         sequence.bias = {bias.data, length * length, length, 1};
       },
       {},
       {}},
      {"mask",
       [&](Problem&, Sequence& sequence) {
         sequence.mask = {mask.data(), 0, length, 1};
       },
       {},
       {}},
      {"mask of texts",
       [&](Problem&, Sequence& sequence) {
         sequence.mask = {texts.data(), 0, length, 1};
       },
       {},
       {}},
      {"mask of keys",
       [&](Problem&, Sequence& sequence) {
         sequence.mask = {padding.data(), 0, 0, 1};
       },
       {},
       {}},
  };
  const double deadline = now() + seconds * double(all.size());
  for (int turn = 0; turn < 5 || now() < deadline; turn++) {
    double none = 0;
    for (Rule& rule : all) {
      Example example = makeExample(shape, query, key, value, output);
      rule.apply(example.problem, example.sequences[0]);
      const Plan plan = cpu::plan(example.problem);
      const double begin = now();
      cpu::run(example.problem, plan);
      const double time = now() - begin;
      if (rule.name == "none") none = time;
      if (turn == 0) continue;  // new memory
      rule.ratios.push_back(time / none), rule.times.push_back(time);
    }
  }
  for (const Rule& rule : all)
    if (rule.name.find(wanted) != std::string::npos)
      std::printf("{\"rule\": \"%s\", \"threads\": %d, \"time\": %.3f, \"best\": %.3f, \"turns\": %zu}\n",
                  rule.name.c_str(), threads, quantile(rule.ratios, 0.5),
                  quantile(rule.times, 0) / quantile(all[0].times, 0), rule.times.size());
}

void decode(int threads, double seconds, const std::string& wanted) {
  cpu::setThreads(threads);
  constexpr int64_t groups[] = {1, 2, 4, 8, 16, 24}, mostGroup = 24;
  Shape shape{8, 16, 1, 4096, 128, false};
  const size_t floats = size_t(shape.batch * shape.heads * shape.keyLength * shape.dim);
  const Buffer query = randomBuffer(size_t(shape.batch * shape.heads * mostGroup * shape.dim));
  const Buffer output = randomBuffer(query.floats);
  const Buffer key = randomBuffer(floats), value = randomBuffer(floats);
  // Pages in an order of which processors see nothing.
  constexpr int64_t pageSize = 16, pages = 4096 / pageSize;
  std::vector<std::vector<int32_t>> tables(size_t(shape.batch), std::vector<int32_t>(pages));
  for (size_t b = 0; b < tables.size(); b++)
    for (int64_t page = 0; page < pages; page++)
      tables[b][size_t(page)] = int32_t(int64_t(b) * pages + page * 101 % pages);
  const auto measure = [&](DType dtype, const std::string& layout) {
    std::string name = "decode B8 H";
    name += std::to_string(shape.heads * shape.group);
    name += "/16 D128 K4096 ";
    name += dtype == DType::float32 ? "float32 " : "float16 ";
    name += layout;
    if (name.find(wanted) == std::string::npos) return;
    Example example = makeExample(shape, query, key, value, output, layout == "bshd");
    example.problem.dtype = dtype;
    if (layout == "paged") {
      example.problem.pageSize = pageSize;
      for (size_t b = 0; b < tables.size(); b++) {
        Sequence& sequence = example.sequences[b];
        sequence.key = {key.data, pageSize * shape.dim, shape.dim, 1};
        sequence.value = {value.data, pageSize * shape.dim, shape.dim, 1};
        sequence.keyPageStride = sequence.valuePageStride = shape.heads * pageSize * shape.dim;
        sequence.pageTable = tables[b].data();
      }
    }
    const Plan plan = cpu::plan(example.problem);
    const double bytes = double(floats) * 2 * double(byteSize(dtype));
    std::vector<double> shares, rates, probes;
    const double deadline = now() + seconds;
    for (int i = 0; i < 5 || now() < deadline; i++) {
      const size_t part = floats / size_t(threads);
      const auto probe = [&] {
        return onThreads(threads, [&](int t) { return readBandwidth(key.data + size_t(t) * part, part * 4); });
      };
      const double before = probe();
      double time = now();
      cpu::run(example.problem, plan);
      time = now() - time;
      const double after = probe();
      rates.push_back(bytes / time), probes.push_back(0.5 * (before + after));
      shares.push_back(rates.back() / probes.back());
    }
    std::printf(
        "{\"shape\": \"%s\", \"threads\": %d, \"gbytes\": %.1f, \"share\": %.3f, \"p90\": %.3f, \"read\": %.1f}\n",
        name.c_str(), threads, quantile(rates, 0.5) / 1e9, quantile(shares, 0.5), quantile(shares, 0.9),
        quantile(probes, 0.5) / 1e9);
    std::fflush(stdout);
  };
  for (const DType dtype : {DType::float32, DType::float16}) {
    if (dtype == DType::float16) toFloat16(query), toFloat16(key), toFloat16(value);
    for (const int64_t group : groups)
      for (const char* layout : {"bhsd", "bshd", "paged"}) shape.group = group, measure(dtype, layout);
  }
}

void probe() {
  const Buffer memory = randomBuffer(size_t(64) << 20);
  for (const int threads : {1, cpu::info().cores}) {
    std::vector<double> peaks, reads;
    const size_t part = memory.floats / size_t(threads);
    for (int i = 0; i < 9; i++) {
      peaks.push_back(onThreads(threads, [](int) { return fmaPeak(5e-3); }));
      reads.push_back(
          onThreads(threads, [&](int t) { return readBandwidth(memory.data + size_t(t) * part, part * 4); }));
    }
    std::printf("{\"threads\": %d, \"fmaPeakGflops\": %.1f, \"readGbytes\": %.1f, \"bestReadGbytes\": %.1f}\n", threads,
                quantile(peaks, 1) / 1e9, quantile(reads, 0.5) / 1e9, quantile(reads, 1) / 1e9);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const int threads = argc > 2 ? std::atoi(argv[2]) : cpu::info().cores;
  const double seconds = argc > 3 ? std::atof(argv[3]) : 1.5;
  const std::string wanted = argc > 4 ? argv[4] : "";
  if (what == "probe") return probe(), 0;
  if (what == "prefill") return prefill(threads, seconds, wanted), 0;
  if (what == "rules") return rules(threads, seconds, wanted), 0;
  if (what == "decode") return decode(threads, seconds, wanted), 0;
  std::fprintf(stderr,
               "usage: fovea-native-bench probe | (prefill | rules | decode) [threads] [seconds] [part of a name]\n");
  return 2;
}
