// Decode: few rows against many keys, split; and merging what mergeAttention is given.
#include <cmath>
#include <cstring>

#include "../../../native/attention/merge.h"
#include "../../../native/attention/plan_cuda.h"
#include "device_case.h"

namespace fovea::test {
namespace {

using cuda::decodeSplits;

/// Whether sequences of a dtype are split: where all of them have kernels that store no scores.
bool isSplit(DType dtype) {
  Case about;
  about.dtype = dtype;
  about.queryLengths = {1}, about.keyLengths = {600};
  const Tensors tensors(about);
  return cuda::plan(testDevice(), tensors.problem()).algorithm == Algorithm::tiled;
}

void runCase(const Case& about, Kernel kernel, int device, cuda::Stream& stream) {
  Tensors tensors(about);
  const Plan plan = cuda::plan(device, tensors.problem());
  check(plan.sequences[0].kernel == kernel, "its first sequence is for another kernel");
  check(plan.sequences[0].splits > 1 && plan.workspaceBytes > 0, "its plan has no splits");
  const cuda::Result result = cuda::run(stream, tensors.problem(), plan, cuda::allOnHost);
  check(result.outcome == cuda::Outcome::done, "not done: " + result.message);
  const std::string wrong = compare(tensors.problem());
  check(wrong.empty(), wrong);
}

/// A Hopper GPU, which has a kernel of its own for 17 to 64 rows; or -1.
int hopperDevice() {
  const auto devices = cuda::info().devices;
  for (size_t i = 0; i < devices.size(); i++)
    if (devices[i].computeMajor == 9) return int(i);
  return -1;
}

cuda::Stream& hopperStream() {
  static auto& opened = *new std::shared_ptr<cuda::Stream>(cuda::open(hopperDevice()));
  return *opened;
}

/// Splits of 256 keys at least, of 576 where 16 rows of 128 dims would make many results; slices of 16 keys, 4 at a
/// time.
std::vector<Case> casesOf(DType dtype) {
  std::vector<Case> cases;
  const auto add = [&](const std::string& name, int queries, std::vector<int> keys,
                       const std::function<void(Case&)>& change) {
    Case about;
    about.dtype = about.biasDtype = dtype;
    about.algorithm = Algorithm::tiled;
    about.name = std::string(nameOf(dtype)) + " " + name;
    about.seed = std::hash<std::string>{}(about.name);
    about.queryLengths.assign(keys.size(), queries);
    about.keyLengths = std::move(keys);
    change(about);
    cases.push_back(about);
  };
  for (const int keys : {512, 513, 639, 641, 703, 768, 769})
    add(std::to_string(keys) + " keys", 1, {keys}, [&](Case& c) { c.causal = keys % 2 == 1; });
  for (const int group : {1, 2, 3, 4, 5, 7, 8, 15, 16})
    add("a group of " + std::to_string(group), 1, {1170, 1200},
        [&](Case& c) { c.heads = group, c.causal = true, c.padding = 2; });
  add("several queries, causal", 5, {1170}, [&](Case& c) { c.heads = 6, c.kvHeads = 2, c.causal = true; });
  add("no query sees the last keys", 3, {700}, [&](Case& c) { c.causal = true, c.queryOffset = 520; });
  add("mask and sinks", 4, {700}, [&](Case& c) { c.heads = 4, c.kvHeads = 2, c.mask = c.sinks = true; });
  add("window", 2, {1500}, [&](Case& c) { c.windowLeft = 700, c.windowRight = 3, c.queryOffset = 1111; });
  for (const int pageSize : {1, 3, 16, 100})
    add("pages of " + std::to_string(pageSize), 1, {617, 530},
        [&](Case& c) { c.heads = 4, c.kvHeads = 2, c.pageSize = pageSize; });
  for (const auto& [headDim, valueDim] :
       {std::pair{1, 1}, {8, 40}, {72, 48}, {128, 128}, {80, 130}, {256, 256}, {200, 72}})
    add("dims " + std::to_string(headDim) + ", " + std::to_string(valueDim), 1, {2310},
        [&](Case& c) { c.heads = 3, c.kvHeads = 1, c.headDim = headDim, c.valueDim = valueDim; });
  add("rows that are not aligned", 1, {650},
      [&](Case& c) { c.shift = 1, c.headDim = 60, c.valueDim = 35, c.heads = 2; });
  add("rows before heads, garbage past the lengths", 2, {650, 20, 0, 700},
      [&](Case& c) { c.heads = 4, c.kvHeads = 2, c.rowsFirst = true, c.padding = 9, c.causal = true; });
  add("beside long prompts", 1, {900, 150}, [&](Case& c) { c.queryLengths = {1, 150}, c.causal = true, c.heads = 2; });
  add("large scores", 1, {600}, [&](Case& c) { c.magnitude = 60; });
  add("outliers", 1, {700}, [&](Case& c) { c.headDim = c.valueDim = 128, c.outliers = 0.01; });
  add("everything", 2, {620, 515}, [&](Case& c) {
    c.heads = 4, c.kvHeads = 2, c.causal = true, c.windowLeft = 580, c.mask = true, c.bias = Case::Bias::full;
    c.alibi = true, c.softcap = 20, c.sinks = true, c.padding = 2, c.headDim = 40, c.valueDim = 24;
  });
  add("a negative scale", 1, {600}, [&](Case& c) { c.scale = -0.1; });
  add("a NaN value of no weight", 2, {600}, [&](Case& c) { c.bias = Case::Bias::perKey, c.faintValue = true; });
  return cases;
}

/// Of 17 to 64 rows, for Hopper: splits of 576 to 2112 keys, the more rows the longer, tiles of 64.
std::vector<Case> warpgroupCases(DType dtype) {
  std::vector<Case> cases;
  const auto add = [&](const std::string& name, int queries, int group, std::vector<int> keys,
                       const std::function<void(Case&)>& change) {
    Case about;
    about.dtype = about.biasDtype = dtype;
    about.algorithm = Algorithm::tiled;
    about.name = std::string(nameOf(dtype)) + " " + name;
    about.seed = std::hash<std::string>{}(about.name);
    about.queryLengths.assign(keys.size(), queries);
    about.keyLengths = std::move(keys);
    about.kvHeads = 2, about.heads = 2 * group;
    change(about);
    cases.push_back(about);
  };
  add("17 rows", 1, 17, {1170, 1200}, [](Case& c) { c.causal = true, c.padding = 2; });
  add("20 rows, a group of 5", 4, 5, {1410}, [](Case& c) { c.causal = true; });
  if (dtype == DType::bfloat16) return cases;
  add("64 rows", 4, 16, {4225}, [](Case& c) { c.causal = true, c.kvHeads = 1, c.heads = 16; });
  add("dims 128, 128", 1, 17, {1160}, [](Case& c) { c.headDim = c.valueDim = 128, c.kvHeads = 1, c.heads = 17; });
  add("no query sees the last keys", 9, 2, {1600}, [](Case& c) { c.causal = true, c.queryOffset = 1300; });
  add("mask and sinks", 5, 4, {1410}, [](Case& c) { c.mask = c.sinks = true; });
  add("window", 9, 2, {2000}, [](Case& c) { c.windowLeft = 1310, c.windowRight = 3, c.queryOffset = 1911; });
  for (const int pageSize : {16, 48, 64, 256})
    add("pages of " + std::to_string(pageSize), 1, 17, {1217, 1330}, [&](Case& c) { c.pageSize = pageSize; });
  for (const auto& [headDim, valueDim] : {std::pair{72, 48}, {200, 72}, {256, 256}})
    add("dims " + std::to_string(headDim) + ", " + std::to_string(valueDim), 3, 6, {1480},
        [&](Case& c) { c.headDim = headDim, c.valueDim = valueDim, c.kvHeads = 1, c.heads = 6; });
  add("rows before heads, garbage past the lengths", 6, 3, {1290, 20, 0, 1400},
      [](Case& c) { c.rowsFirst = true, c.padding = 9, c.causal = true; });
  add("beside long prompts", 1, 18, {1300, 70}, [](Case& c) { c.queryLengths = {1, 70}, c.causal = true; });
  add("large scores", 1, 20, {1500}, [](Case& c) { c.magnitude = 60; });
  add("everything", 3, 6, {1550, 515}, [](Case& c) {
    c.causal = true, c.windowLeft = 1280, c.mask = true, c.bias = Case::Bias::full, c.alibi = true, c.softcap = 20;
    c.sinks = true, c.padding = 2, c.headDim = 40, c.valueDim = 24;
  });
  add("a negative scale", 1, 17, {1300}, [](Case& c) { c.scale = -0.1; });
  add("a NaN value of no weight", 1, 17, {1300}, [](Case& c) { c.bias = Case::Bias::perKey, c.faintValue = true; });
  return cases;
}

/// A sequence has the same bits alone and in any batch.
void invariance(DType dtype, bool onHopper) {
  Case about;
  about.dtype = dtype, about.algorithm = Algorithm::tiled;
  about.heads = 6, about.kvHeads = 2, about.causal = true;
  about.queryLengths = {1, 130, 1, 2}, about.keyLengths = {1300, 150, 577, 1290};
  if (onHopper) about.queryLengths = {6, 130, 1, 7}, about.keyLengths = {1300, 150, 577, 1490};
  const int device = onHopper ? hopperDevice() : testDevice();
  cuda::Stream& stream = onHopper ? hopperStream() : testStream();
  Tensors tensors(about);
  const Problem& all = tensors.problem();
  const auto bits = [&](const Problem& problem) {
    std::vector<std::string> result;
    for (int64_t i = 0; i < problem.sequenceCount; i++) {
      const Sequence& sequence = problem.sequences[i];
      result.emplace_back(static_cast<const char*>(sequence.output.data),
                          size_t(problem.heads * sequence.queryRows * problem.valueDim * byteSize(problem.dtype)));
    }
    return result;
  };
  const auto run = [&](const Problem& problem) {
    const cuda::Result result = cuda::run(stream, problem, cuda::plan(device, problem), cuda::allOnHost);
    check(result.outcome == cuda::Outcome::done, "not done: " + result.message);
    return bits(problem);
  };
  const auto together = run(all);
  for (int64_t i = 0; i < all.sequenceCount; i++) {
    Problem alone = all;
    alone.sequences = all.sequences + i, alone.sequenceCount = 1;
    check(run(alone)[0] == together[size_t(i)], "sequence " + std::to_string(i) + " has other bits alone");
  }
}

/// What splits depend on, and what they are bounded by.
void splits() {
  Problem problem;
  problem.dtype = DType::float16, problem.heads = 8, problem.kvHeads = 8, problem.headDim = problem.valueDim = 128;
  Sequence sequence;
  sequence.queryLength = sequence.queryRows = 1;
  problem.sequences = &sequence, problem.sequenceCount = 1;
  for (int64_t keys = 1; keys < 3'000'000; keys += keys / 3 + 1) {
    sequence.keyLength = sequence.keyColumns = keys, sequence.queryOffset = keys - 1;
    const auto [each, first, count] = decodeSplits(problem, sequence);
    check(first == 0 && each % 64 == 0 && each * count >= keys && each * (count - 1) < keys,
          "splits do not cover the keys");
    check(count <= 64 && (count == 1 || each >= 256), "too many splits");
    if (keys > 64 * 256) check(count > 48, "too few splits");
    const cuda::DecodeWork work = cuda::decodeWork(problem, sequence);
    check(work.tasks * work.rows <= 64 * 8, "results that grow with the keys");
  }
  problem.heads = 128, sequence.keyLength = sequence.keyColumns = 1100, sequence.queryOffset = 1099;
  check(decodeSplits(problem, sequence).count == 1, "results of 16 rows that are no small part of what is read");
}

/// Attention of parts, on the device, beside the formula in float64. Row 7 has no key in any part; two parts of row 8
/// have infinite scores, which leave the others nothing; a part of row 9 is NaN, with a weight below all float32.
void merging(DType dtype, bool aligned) {
  const int64_t batch = 2, heads = 3, rows = 5, parts = 40, dims = aligned ? 136 : 133, all = batch * heads * rows;
  Random random(dims + int(dtype));
  const int64_t element = byteSize(dtype);
  const auto buffer = cuda::allocate(testStream(), (parts + 1) * all * (dims * element + 4));
  std::vector<std::byte> host(size_t((parts + 1) * all * (dims * element + 4)));
  const uint64_t base = cuda::address(*buffer);
  const auto outputAt = [&](int64_t part) { return part * all * dims * element; };
  const auto lseAt = [&](int64_t part) { return (parts + 1) * all * dims * element + part * all * 4; };
  std::vector<MergePart> list;
  std::vector<std::vector<float>> lses(static_cast<size_t>(parts));
  for (int64_t part = 0; part < parts; part++) {
    for (int64_t row = 0; row < all; row++) {
      const bool infinite = row == 8 && (part == 3 || part == 35);
      const bool faint = row == 9 && part == 20;
      const bool none = (row == 7 || random.uniform() < 0.2) && !infinite && !faint;
      lses[size_t(part)].push_back(infinite ? INFINITY : none ? -INFINITY : faint ? -200 : float(4 * random.normal()));
      std::memcpy(host.data() + lseAt(part) + row * 4, &lses[size_t(part)].back(), 4);
      for (int64_t d = 0; d < dims; d++)
        store(dtype, host.data() + outputAt(part), row * dims + d, none || faint ? NAN : random.normal());
    }
    list.push_back(
        {{reinterpret_cast<const void*>(base + uint64_t(outputAt(part))), heads * rows * dims, rows * dims, dims, 1},
         {reinterpret_cast<const float*>(base + uint64_t(lseAt(part))), heads * rows, rows, 1, 0}});
  }
  Merge merge{dtype, batch, heads, rows, dims, {}, {}, list.data(), parts};
  merge.output = {reinterpret_cast<void*>(base + uint64_t(outputAt(parts))), heads * rows * dims, rows * dims, dims, 1};
  merge.lse = {reinterpret_cast<float*>(base + uint64_t(lseAt(parts))), heads * rows, rows, 1, 0};
  finish([&](cuda::Settled settled) {
    return cuda::write(testStream(), base, host.data(), int64_t(host.size()), std::move(settled));
  });
  finish([&](cuda::Settled settled) { return cuda::start(testStream(), merge, std::move(settled)); });
  const std::vector<std::byte> before = host;
  finish([&](cuda::Settled settled) {
    return cuda::read(testStream(), base, host.data(), int64_t(host.size()), std::move(settled));
  });
  for (int64_t row = 0; row < all; row++) {
    double total = 0;
    for (const auto& lse : lses) total += std::exp(double(lse[size_t(row)]));
    float lse = 0;
    std::memcpy(&lse, host.data() + lseAt(parts) + row * 4, 4);
    const bool infinite = std::isinf(total);
    check(total == 0 ? lse == -INFINITY
          : infinite ? lse == INFINITY
                     : std::abs(lse - std::log(total)) < 1e-5,
          "lse of row " + std::to_string(row));
    for (int64_t d = 0; d < dims; d++) {
      double sum = 0;
      for (int64_t part = 0; part < parts; part++) {
        const float lseOfPart = lses[size_t(part)][size_t(row)];
        const double weight =
            infinite ? double(std::isinf(lseOfPart) && lseOfPart > 0) / 2 : std::exp(double(lseOfPart)) / total;
        if (weight > 0) sum += weight * load(dtype, before.data() + outputAt(part), row * dims + d);
      }
      const double got = load(dtype, host.data() + outputAt(parts), row * dims + d);
      const double bound = dtype == DType::float32 ? 2e-6 : dtype == DType::float16 ? 6e-4 : 5e-3;
      check(std::isnan(sum) ? std::isnan(got) : std::abs(got - sum) <= bound * std::max(1.0, std::abs(sum)),
            "row " + std::to_string(row) + ", " + std::to_string(d) + ": " + std::to_string(got) + " instead of " +
                std::to_string(sum));
    }
  }
}

}  // namespace

void addDecodeTests(std::vector<Test>& tests) {
  for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16}) {
    const std::string name = nameOf(dtype);
    if (isSplit(dtype)) {
      for (const Case& about : casesOf(dtype))
        tests.push_back(
            {"decode: " + about.name, [about] { runCase(about, Kernel::cudaDecode, testDevice(), testStream()); }});
      tests.push_back({"decode: the same bits in a batch, " + name, [dtype] { invariance(dtype, false); }});
    }
    if (dtype != DType::float32 && hopperDevice() >= 0) {
      for (const Case& about : warpgroupCases(dtype))
        tests.push_back({"decode_sm90: " + about.name,
                         [about] { runCase(about, Kernel::cudaDecodeSm90, hopperDevice(), hopperStream()); }});
      tests.push_back({"decode_sm90: the same bits in a batch, " + name, [dtype] { invariance(dtype, true); }});
    }
    for (const bool aligned : {true, false})
      tests.push_back(
          {"merge: " + name + (aligned ? "" : ", rows that are not aligned"), [=] { merging(dtype, aligned); }});
  }
  tests.push_back({"decode: splits", splits});
}

}  // namespace fovea::test
