// The kernels against the reference, over options, dtypes and shapes.
#include "../../../native/attention/tiles_cuda.h"
#include "device_case.h"

namespace fovea::test {
namespace {

constexpr uint64_t randomCases = 60;  // of each dtype and algorithm

bool canBeTiled(const Case& about) {
  return about.scoreStage == ScoreStage::none && about.headDim <= cuda::maxTiledDim &&
         about.valueDim <= cuda::maxTiledDim;
}

void runCase(const Case& about) {
  Tensors tensors(about);
  const Plan plan = cuda::plan(testDevice(), tensors.problem());
  const cuda::Result result = cuda::run(testStream(), tensors.problem(), plan, cuda::allOnHost);
  check(result.outcome == cuda::Outcome::done, "not done: " + result.message);
  const std::string wrong = compare(tensors.problem());
  check(wrong.empty(), wrong);
}

/// The cases of one dtype. Sizes stay small: the standard kernel's tiles are 128 x 128, blocks 64 keys, warps 32
/// queries; the tiled one's 128 or 64 rows by 64 or 32 keys, warps 32 or 16 rows.
std::vector<Case> casesOf(DType dtype) {
  std::vector<Case> cases;
  const auto add = [&](const std::string& name, const std::function<void(Case&)>& change) {
    Case about;
    about.dtype = about.biasDtype = dtype;
    about.name = std::string(nameOf(dtype)) + " " + name;
    about.seed = std::hash<std::string>{}(about.name);
    change(about);
    cases.push_back(about);
  };
  const auto lengths = [](Case& about, int queries, int keys) {
    about.queryLengths = {queries};
    about.keyLengths = {keys};
  };

  add("one query, one key", [&](Case& c) { lengths(c, 1, 1); });
  for (const auto& [queries, keys] :
       {std::pair{1, 300}, {127, 129}, {128, 128}, {129, 127}, {33, 65}, {200, 64}, {63, 33}, {65, 31}})
    for (const bool causal : {false, true})
      add("lengths " + std::to_string(queries) + " x " + std::to_string(keys) + (causal ? " causal" : ""),
          [&](Case& c) {
            lengths(c, queries, keys);
            c.causal = causal;
          });
  for (const auto& [headDim, valueDim] : {std::pair{1, 1},
                                          {8, 40},
                                          {16, 16},
                                          {48, 72},
                                          {72, 48},
                                          {100, 64},
                                          {128, 128},
                                          {192, 128},
                                          {80, 130},
                                          {256, 256},
                                          {200, 72},
                                          {320, 512}})
    add("dims " + std::to_string(headDim) + ", " + std::to_string(valueDim), [&](Case& c) {
      lengths(c, 40, 70);
      c.headDim = headDim;
      c.valueDim = valueDim;
    });
  if (dtype == DType::float16)
    for (const auto& [headDim, valueDim] : {std::pair{64, 64}, {96, 96}, {128, 128}, {192, 128}, {256, 256}})
      add("several tiles of " + std::to_string(headDim) + ", " + std::to_string(valueDim), [&](Case& c) {
        c.headDim = headDim, c.valueDim = valueDim,
        c.heads = headDim == 64    ? 7
                  : headDim == 192 ? 13
                                   : 5,
        c.causal = true;
        lengths(c, headDim <= 96 ? 200 : 70, 300);
      });
  add("grouped heads", [&](Case& c) {
    c.heads = 6, c.kvHeads = 2;
    lengths(c, 40, 90);
    c.causal = true;
  });
  for (const int group : {1, 2, 3, 4, 5, 7, 8, 16})
    add("a group of " + std::to_string(group), [&](Case& c) {
      c.heads = group, c.causal = true, c.windowLeft = 50, c.padding = 2;
      c.queryLengths = {128 / group + 1, 64 / group}, c.keyLengths = {97, 63};
    });
  add("causal from the top left", [&](Case& c) {
    lengths(c, 140, 200);
    c.causal = true, c.queryOffset = 0;
  });
  add("negative offset: empty rows", [&](Case& c) {
    lengths(c, 150, 140);
    c.causal = true, c.queryOffset = -135;
  });
  add("window", [&](Case& c) {
    lengths(c, 280, 300);
    c.windowLeft = 20, c.windowRight = 3;
  });
  add("causal window", [&](Case& c) {
    lengths(c, 150, 300);
    c.causal = true, c.windowLeft = 70;
  });
  add("window to the left", [&](Case& c) {
    lengths(c, 150, 300);
    c.windowLeft = 70;
  });
  add("window past the keys", [&](Case& c) {
    lengths(c, 60, 50);
    c.windowLeft = 5, c.windowRight = 5, c.queryOffset = 30;
  });
  using Hides = Case::Hides;
  for (const auto& [name, hides] : {std::pair{"texts", Hides::texts},
                                    {"each head's texts", Hides::headTexts},
                                    {"the future", Hides::future},
                                    {"padding", Hides::padding}}) {
    add(std::string("a mask of ") + name, [&](Case& c) {
      lengths(c, 300, 700);
      c.heads = 4, c.kvHeads = 2, c.hides = hides, c.mask = true;
    });
    add(std::string("tiles hidden by ") + name + ", and more", [&](Case& c) {
      c.queryLengths = {150, 290, 1}, c.keyLengths = {150, 701, 600};
      c.heads = 2, c.hides = hides, c.mask = hides != Hides::future, c.padding = 3, c.sinks = true;
      c.bias = hides == Hides::texts || hides == Hides::future ? Case::Bias::full : Case::Bias::none;
      c.causal = hides == Hides::padding;
      c.windowLeft = hides == Hides::headTexts ? 230 : -1;  // warpgroups of one block begin at different tiles
      c.softcap = hides == Hides::headTexts ? 20 : 0, c.weights = hides == Hides::padding;
    });
  }
  add("a mask of single keys", [&](Case& c) {
    lengths(c, 130, 600);
    c.mask = true, c.hides = Hides::single;
  });
  add("a mask of all but the last key", [&](Case& c) {
    lengths(c, 40, 513);
    c.mask = true, c.hides = Hides::allButLast, c.padding = 3;
  });
  add("a mask of texts on a prefix that is not shared", [&](Case& c) {
    c.queryLengths = {40, 30}, c.keyLengths = {900, 800};
    c.pageSize = 16, c.sharedKeys = 640, c.heads = 2, c.mask = true, c.hides = Hides::texts;
  });
  add("sequences of one length under masks of texts", [&](Case& c) {
    c.queryLengths = {70, 70, 70}, c.keyLengths = {600, 600, 600};
    c.mask = true, c.hides = Hides::headTexts, c.heads = 2;
  });
  add("pages and a mask of texts", [&](Case& c) {
    lengths(c, 200, 600);
    c.pageSize = 16, c.heads = 2, c.mask = true, c.hides = Hides::texts, c.causal = true;
  });
  add("mask", [&](Case& c) {
    c.heads = 2, c.mask = true;
    lengths(c, 50, 140);
  });
  for (const auto& [name, bias] : {std::pair{"full", Case::Bias::full},
                                   {"per head", Case::Bias::perHead},
                                   {"per key", Case::Bias::perKey},
                                   {"per row", Case::Bias::perRow}})
    for (const DType biasDtype : {DType::float32, DType::float16, DType::bfloat16})
      add(std::string("bias ") + name + " " + nameOf(biasDtype), [&](Case& c) {
        c.heads = 2, c.bias = bias, c.biasDtype = biasDtype;
        lengths(c, 20, 80);
      });
  for (const int shift : {0, 1})
    add(std::string("bias and mask at ") + (shift == 0 ? "even" : "odd") + " places", [&](Case& c) {
      c.heads = 2, c.bias = Case::Bias::full, c.mask = true, c.shift = shift;
      lengths(c, 70, 202);
    });
  add("alibi", [&](Case& c) {
    c.heads = 2, c.alibi = true, c.causal = true;
    lengths(c, 60, 150);
  });
  add("alibi on both sides of the query", [&](Case& c) {
    c.heads = 2, c.alibi = true, c.queryOffset = 30;
    lengths(c, 60, 100);
  });
  add("softcap", [&](Case& c) {
    c.softcap = 5, c.magnitude = 4;
    lengths(c, 40, 100);
  });
  add("sinks", [&](Case& c) {
    c.heads = 2, c.sinks = true, c.causal = true, c.queryOffset = -3;
    lengths(c, 20, 50);
  });
  add("weights in a window", [&](Case& c) {
    c.weights = true, c.causal = true, c.windowLeft = 40;
    lengths(c, 150, 400);
  });
  add("weights", [&](Case& c) {
    c.heads = 2, c.weights = true, c.causal = true, c.padding = 3;
    lengths(c, 150, 140);
  });
  for (const auto& [name, stage] :
       {std::pair{"scaled", ScoreStage::scaled}, {"capped", ScoreStage::capped}, {"biased", ScoreStage::biased}})
    add(std::string("scores ") + name, [&](Case& c) {
      c.scoreStage = stage, c.softcap = 3, c.causal = true, c.mask = true, c.weights = true, c.padding = 5;
      lengths(c, 60, 150);
    });
  add("garbage past the lengths", [&](Case& c) {
    c.padding = 9, c.causal = true;
    c.queryLengths = {10, 0, 130}, c.keyLengths = {20, 7, 133};
  });
  add("no keys", [&](Case& c) { c.queryLengths = {5, 5}, c.keyLengths = {0, 9}, c.padding = 1; });
  add("ragged, rows before heads", [&](Case& c) {
    c.heads = 4, c.kvHeads = 2, c.rowsFirst = true, c.causal = true;
    c.queryLengths = {1, 40, 130}, c.keyLengths = {90, 40, 150};
  });
  for (const int pageSize : {1, 16, 100})
    add("pages of " + std::to_string(pageSize), [&](Case& c) {
      c.heads = 4, c.kvHeads = 2, c.pageSize = pageSize, c.causal = true;
      c.queryLengths = {1, 30}, c.keyLengths = {140, 33};
    });
  add("rows that are not aligned", [&](Case& c) {
    c.shift = 1, c.headDim = 60, c.valueDim = 36, c.causal = true;
    lengths(c, 50, 140);
  });
  add("a NaN key that is masked", [&](Case& c) {
    lengths(c, 40, 41);
    c.causal = true, c.queryOffset = 0, c.poisonMasked = true;
  });
  add("a mask of nothing, NaN values", [&](Case& c) {
    lengths(c, 40, 41);
    c.mask = c.maskAll = true;
  });
  add("a key with a score of -inf", [&](Case& c) {
    lengths(c, 40, 41);
    c.infiniteKey = true;
  });
  add("an infinite value", [&](Case& c) {
    lengths(c, 3, 1);
    c.infiniteValue = true;
  });
  add("a NaN value of no weight", [&](Case& c) {
    lengths(c, 40, 90);
    c.bias = Case::Bias::perKey, c.faintValue = true;
  });
  add("weights of 180 dims", [&](Case& c) {
    lengths(c, 40, 140);
    c.headDim = 180, c.weights = true;
  });
  add("large scores", [&](Case& c) {
    lengths(c, 40, 150);
    c.magnitude = 60;
  });
  if (dtype != DType::float16)
    add("scores beyond 1e10", [&](Case& c) {
      lengths(c, 40, 150);
      c.magnitude = 1e10;
    });
  add("outliers", [&](Case& c) {
    lengths(c, 64, 200);
    c.headDim = c.valueDim = 128, c.outliers = 0.001;
  });
  add("everything", [&](Case& c) {
    c.heads = 4, c.kvHeads = 2, c.causal = true, c.windowLeft = 60, c.mask = true, c.bias = Case::Bias::full,
    c.alibi = true;
    c.softcap = 20, c.sinks = true, c.weights = true, c.padding = 2, c.rowsFirst = true, c.headDim = 40,
    c.valueDim = 24;
    c.queryLengths = {30, 70}, c.keyLengths = {90, 70};
  });
  return cases;
}

}  // namespace

void addParityTests(std::vector<Test>& tests) {
  for (const Algorithm algorithm : {Algorithm::standard, Algorithm::tiled}) {
    const auto add = [&](Case about) {
      about.algorithm = algorithm;
      if (algorithm == Algorithm::tiled && !canBeTiled(about)) return;
      tests.push_back({std::string("parity: ") + nameOf(algorithm) + " " + about.name, [about] { runCase(about); }});
    };
    for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16}) {
      for (const Case& about : casesOf(dtype)) add(about);
      for (uint64_t seed = 1; seed <= randomCases; seed++) add(randomCase(dtype, seed));
    }
  }
}

}  // namespace fovea::test
