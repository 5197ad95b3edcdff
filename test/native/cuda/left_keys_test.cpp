// Masks and biases that hide a split's first or last keys from all rows: decode does not read those, by the simulator's
// count.
#include "../../../native/attention/splits_cuda.h"
#include "../../../native/attention/tiles_sm90.h"
#include "counters.h"
#include "device_case.h"

namespace fovea::test {
namespace {

using Hides = Case::Hides;

Case caseOf(DType dtype, int queries, Hides hides) {
  Case about;
  about.dtype = about.biasDtype = dtype;
  about.algorithm = Algorithm::tiled;
  about.headDim = about.valueDim = 64;
  about.kvHeads = 2, about.heads = 8;
  about.queryLengths = {queries}, about.keyLengths = {2875};
  about.hides = hides;
  about.mask = true;
  return about;
}

/// A GPU with the kernel; or -1.
int deviceOf(Kernel kernel) {
  const auto devices = cuda::info().devices;
  for (size_t i = 0; i < devices.size(); i++)
    if (kernel == Kernel::cudaDecode || devices[i].computeMajor == 9) return int(i);
  return -1;
}

/// Runs it and returns what the kernel's launches add up to.
double count(const Tensors& tensors, Kernel kernel, const std::string& what) {
  const int device = deviceOf(kernel);
  const std::shared_ptr<cuda::Stream> stream = cuda::open(device);
  const Plan plan = cuda::plan(device, tensors.problem());
  check(plan.sequences[0].kernel == kernel && plan.sequences[0].splits > 2, "another kernel than this is about");
  const Counters counters;
  counters.clear();
  const cuda::Result result = cuda::run(*stream, tensors.problem(), plan, cuda::allOnHost);
  check(result.outcome == cuda::Outcome::done, "not done: " + result.message);
  const std::string wrong = compare(tensors.problem());
  check(wrong.empty(), wrong);
  return counters.sum(what, "fovea_decode");
}

/// Of all slices of keys, of all kv heads and splits, the share that decode reads. `looks`: whether it looks at all.
double shareLeft(const Problem& problem, Hides hides, int64_t slice, bool looks) {
  const Sequence& sequence = problem.sequences[0];
  const cuda::KeySplits splits = cuda::decodeSplits(problem, sequence);
  int64_t left = 0, all = 0;
  for (int kvHead = 0; kvHead < problem.kvHeads; kvHead++)
    for (int64_t split = splits.first; split < splits.first + splits.count; split++) {
      const int64_t begin = split * splits.keys, end = std::min(begin + splits.keys, sequence.keyLength);
      int64_t first = end, last = begin - 1;
      for (int64_t key = begin; key < end; key++)
        for (int64_t row = 0; row < sequence.queryLength * problem.groupSize(); row++) {
          const int64_t head = kvHead * problem.groupSize() + row % problem.groupSize();
          if (looks && !leaves(hides, sequence, head, row / problem.groupSize(), key)) continue;
          first = std::min(first, key), last = std::max(last, key);
        }
      const auto slices = [&](int64_t from, int64_t to) { return cuda::ceilDivide(to, slice) - from / slice; };
      all += slices(begin, end);
      left += first < last + 1 ? slices(first, last + 1) : 0;
    }
  return double(left) / double(all);
}

void checkReads(Kernel kernel, DType dtype, int queries, Hides hides, bool byBias, int pageSize) {
  Case about = caseOf(dtype, queries, hides), plain = about;
  about.pageSize = plain.pageSize = pageSize;
  plain.mask = false;
  if (byBias) about.mask = false, about.bias = Case::Bias::full;
  const Tensors tensors(about), unmasked(plain);
  const Problem& problem = tensors.problem();
  const int64_t slice =
      kernel == Kernel::cudaDecode ? cuda::decodeShape(problem).keys : cuda::sm90DecodeShape(problem).keys;
  const int64_t rows = byBias || hides == Hides::headTexts ? queries * 4 : hides == Hides::padding ? 1 : queries;
  const bool looks = rows <= 8;
  const double share = shareLeft(problem, hides, slice, looks);
  check((share < 0.9) == looks, "not what this is about");
  // Float32 has no tensor cores; its exponentials are those of scores, and a few more.
  const bool exact = dtype != DType::float32;
  const std::string what = exact ? "tensorFlops" : "exponentials";
  const double all = count(unmasked, kernel, what), some = count(tensors, kernel, what);
  // A bias also hides pairs by chance, and so, now and then, the first or last ones.
  const bool right =
      exact && !byBias ? some == share * all : some < (share + 0.15) * all && some > (share - 0.15) * all;
  check(right, "of " + std::to_string(all) + " " + what + " " + std::to_string(some) + ", expected a share of " +
                   std::to_string(share));
}

/// Where each head has a row of its own, though the same, there are too many to be looked at: all keys are read then.
void checkSpelledOut(DType dtype) {
  Case about = caseOf(dtype, 1, Hides::allButLast);
  about.kvHeads = 1, about.heads = 12, about.lse = true;
  const Tensors tensors(about);
  Problem problem = tensors.problem();
  Sequence sequence = problem.sequences[0];
  uint8_t* bytes = const_cast<uint8_t*>(sequence.mask.data);
  const int64_t columns = sequence.keyLength;
  const int64_t split = cuda::decodeSplits(problem, sequence).keys;
  // Leaves what lies in the middle of splits, and begins with another slice of them than a warp's first.
  for (int64_t key = 0; key < columns; key++) bytes[key] = key % split > 100 && key % split < split - 30;
  std::vector<uint8_t> spelled;
  for (int64_t head = 0; head < problem.heads; head++) spelled.insert(spelled.end(), bytes, bytes + columns);
  problem.sequences = &sequence;
  const auto bits = [&] {
    const Plan plan = cuda::plan(testDevice(), problem);
    check(plan.sequences[0].kernel == Kernel::cudaDecode, "another kernel than this is about");
    const cuda::Result result = cuda::run(testStream(), problem, plan, cuda::allOnHost);
    check(result.outcome == cuda::Outcome::done, "not done: " + result.message);
    return bitsOf(problem)[0];
  };
  const std::string once = bits();
  sequence.mask = {spelled.data(), columns, 0, 1};
  check(bits() == once, "other bits where each head has the same mask of its own");
}

}  // namespace

void addLeftKeysTests(std::vector<Test>& tests) {
  for (const DType dtype : {DType::float32, DType::float16})
    tests.push_back(
        {std::string("left keys: ") + nameOf(dtype) + " masks spelled out", [=] { checkSpelledOut(dtype); }});
  if (!isSimulator()) return;
  const auto add = [&](Kernel kernel, DType dtype, const std::string& name, int queries, Hides hides,
                       bool byBias = false, int pageSize = 0) {
    if (deviceOf(kernel) < 0) return;
    tests.push_back({"left keys: " + std::string(nameOf(dtype)) + " " + name,
                     [=] { checkReads(kernel, dtype, queries, hides, byBias, pageSize); }});
  };
  for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16}) {
    const auto decode = [&](auto... rest) { add(Kernel::cudaDecode, dtype, rest...); };
    decode("padding", 1, Hides::padding);
    decode("padding, several queries", 4, Hides::padding);
    decode("texts", 3, Hides::texts);
    decode("each head's texts", 1, Hides::headTexts);
    decode("all but the last key", 1, Hides::allButLast);
    decode("a bias of texts", 2, Hides::texts, true);
    decode("padding, in pages", 1, Hides::padding, false, 16);
    decode("more rows than are looked at", 4, Hides::headTexts);
  }
  const auto hopper = [&](auto... rest) { add(Kernel::cudaDecodeSm90, DType::float16, rest...); };
  hopper("padding, on Hopper", 5, Hides::padding);
  hopper("texts, on Hopper", 5, Hides::texts);
  hopper("all but the last key, on Hopper", 5, Hides::allButLast, false, 64);
  hopper("more rows than are looked at, on Hopper", 5, Hides::headTexts);
}

}  // namespace fovea::test
