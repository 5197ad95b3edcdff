// What surrounds the kernels: device memory, order, cancelling, accounting.
#include <atomic>
#include <numeric>

#include "device_case.h"

namespace fovea::test {
namespace {

Case smallCase(DType dtype = DType::float16) {
  Case about;
  about.dtype = dtype;
  about.heads = 2;
  about.headDim = about.valueDim = 32;
  about.queryLengths = {40};
  about.keyLengths = {70};
  about.causal = true;
  return about;
}

void deviceTensors() {
  const auto stream = cuda::open(testDevice());
  DeviceCase tensors(*stream, smallCase());
  finish(
      [&](cuda::Settled settled) { cuda::start(*stream, tensors.problem(), tensors.plan(), {}, std::move(settled)); });
  tensors.compare();
}

void enqueued() {
  const auto stream = cuda::open(testDevice());
  DeviceCase tensors(*stream, smallCase(DType::bfloat16));
  cuda::enqueue(*stream, tensors.problem(), tensors.plan(), {});
  tensors.compare();
}

/// Writes, copies and reads follow each other without waiting; sizes span several staging chunks.
void copiesInOrder() {
  const auto stream = cuda::open(0);
  constexpr int64_t bytes = (int64_t{9} << 20) + 12;
  std::vector<uint8_t> first(bytes), second(bytes, 7), result(bytes), zeros(1000, 1);
  for (size_t i = 0; i < first.size(); i++) first[i] = uint8_t(i * 31 >> 3);
  const auto a = cuda::allocate(*stream, bytes), b = cuda::allocate(*stream, bytes);
  const auto ignore = [](const cuda::Result&) {};
  cuda::write(*stream, cuda::address(*a), second.data(), bytes, ignore);
  cuda::write(*stream, cuda::address(*a), first.data(), bytes, ignore);
  copyOnDevice(*stream, *a, *b, bytes);
  finish(
      [&](cuda::Settled settled) { cuda::read(*stream, cuda::address(*b), result.data(), bytes, std::move(settled)); });
  check(result == first, "what came back is not what was written last");
  cuda::clear(*stream, cuda::address(*b), bytes);
  finish([&](cuda::Settled settled) {
    cuda::read(*stream, cuda::address(*b) + 500, zeros.data(), 1000, std::move(settled));
  });
  check(std::accumulate(zeros.begin(), zeros.end(), 0) == 0, "not cleared");
}

/// Who asks for the CUDA stream and enqueues there comes after everything that was started, sent or not.
void handleFollows() {
  const auto stream = cuda::open(testDevice());
  constexpr int64_t bytes = int64_t{16} << 20;  // many chunks of staging memory
  const std::vector<uint8_t> source(bytes, 7);
  const auto sent = cuda::allocate(*stream, bytes), copied = cuda::allocate(*stream, 1);
  cuda::clear(*stream, cuda::address(*sent), bytes);
  cuda::write(*stream, cuda::address(*sent), source.data(), bytes, [](const cuda::Result&) {});
  const auto order = reinterpret_cast<CUstream>(uintptr_t(cuda::handle(*stream)));
  {
    const cuda::CurrentContext current(stream->device());
    const CUresult result = cuda::driver().cuMemcpyDtoDAsync(cuda::address(*copied),
                                                             cuda::address(*sent) + CUdeviceptr(bytes) - 1, 1, order);
    check(result == CUDA_SUCCESS, cuda::driver().describe(result));
  }
  uint8_t last = 0;
  finish([&](cuda::Settled settled) { cuda::read(*stream, cuda::address(*copied), &last, 1, std::move(settled)); });
  check(last == 7, "what was enqueued next overtook a write");
}

/// Rows of three tokens go to their slots in pages of two, and nothing else is touched.
void storedRows() {
  const auto stream = cuda::open(testDevice());
  const std::vector<float> rows{1, 2, 3, 4, 5, 6};
  const std::vector<int32_t> slots{3, 0, 5};
  std::vector<float> pages(12);
  const auto from = cuda::allocate(*stream, int64_t(rows.size() * sizeof(float))),
             to = cuda::allocate(*stream, int64_t(pages.size() * sizeof(float)));
  cuda::writeNow(*stream, cuda::address(*from), rows.data(), int64_t(rows.size() * sizeof(float)));
  cuda::clear(*stream, cuda::address(*to), int64_t(pages.size() * sizeof(float)));
  RowStore store;
  store.tokens = 3, store.heads = 1, store.dims = 2, store.pageSize = 2;
  store.from = {reinterpret_cast<const void*>(cuda::address(*from)), 0, 2, 1};
  store.to = reinterpret_cast<void*>(cuda::address(*to));
  store.slots = slots.data();
  cuda::enqueue(*stream, {store});
  finish([&](cuda::Settled settled) {
    cuda::read(*stream, cuda::address(*to), pages.data(), int64_t(pages.size() * sizeof(float)), std::move(settled));
  });
  check(pages == std::vector<float>{3, 4, 0, 0, 0, 0, 1, 2, 0, 0, 5, 6}, "rows are not where they belong");
}

/// A sequence has the same bits alone and among others.
void batchInvariance(DType dtype, Algorithm algorithm) {
  const auto stream = cuda::open(testDevice());
  Case batch = smallCase(dtype);
  batch.algorithm = algorithm;
  batch.weights = true;
  batch.queryLengths = {3, 150, 40}, batch.keyLengths = {90, 200, 70};
  Tensors together(batch);
  const auto run = [&](const Problem& problem) {
    const cuda::Result result = cuda::run(*stream, problem, cuda::plan(testDevice(), problem), cuda::allOnHost);
    check(result.outcome == cuda::Outcome::done, result.message);
  };
  const auto bytesOf = [&](const Sequence& sequence) {
    std::vector<uint8_t> bytes;
    const auto append = [&](const auto& view, int64_t elementBytes) {
      const auto* begin = reinterpret_cast<const uint8_t*>(view.data);
      bytes.insert(bytes.end(), begin, begin + batch.heads * view.headStride * elementBytes);
    };
    append(sequence.output, byteSize(dtype));
    append(sequence.lse, sizeof(float));
    append(sequence.weights, sizeof(float));
    return bytes;
  };
  run(together.problem());
  for (int64_t i = 0; i < together.problem().sequenceCount; i++) {
    const Sequence& sequence = together.problem().sequences[i];
    const auto expected = bytesOf(sequence);
    Problem alone = together.problem();
    alone.sequences = &sequence;
    alone.sequenceCount = 1;
    run(alone);
    check(bytesOf(sequence) == expected, "sequence " + std::to_string(i) + " differs when it is alone");
  }
}

/// More than fit into the parameters of one launch.
void manySequences() {
  const auto stream = cuda::open(testDevice());
  Case about = smallCase();
  about.heads = 1;
  about.queryLengths.assign(150, 1);
  about.keyLengths.assign(150, 0);
  for (size_t i = 0; i < about.keyLengths.size(); i++) about.keyLengths[i] = 1 + int(i % 40);
  Tensors tensors(about);
  const cuda::Result result =
      cuda::run(*stream, tensors.problem(), cuda::plan(testDevice(), tensors.problem()), cuda::allOnHost);
  check(result.outcome == cuda::Outcome::done, result.message);
  const std::string wrong = compare(tensors.problem());
  check(wrong.empty(), wrong);
}

/// Every call settles once; what was cancelled before it reached the GPU is aborted.
void cancelling() {
  const auto stream = cuda::open(testDevice());
  std::vector<std::unique_ptr<Tensors>> tensors;
  std::vector<std::shared_ptr<cuda::Execution>> executions;
  std::atomic<int> done{0}, aborted{0}, other{0};
  constexpr int calls = 6;
  // More than the staging memory holds, so the submitting thread is busy while the calls are cancelled.
  const std::vector<std::byte> large(size_t{64} << 20);
  const auto buffer = cuda::allocate(*stream, int64_t(large.size()));
  cuda::write(*stream, cuda::address(*buffer), large.data(), int64_t(large.size()), [](const cuda::Result&) {});
  for (int i = 0; i < calls; i++) {
    tensors.push_back(std::make_unique<Tensors>(smallCase()));
    const Problem& problem = tensors.back()->problem();
    executions.push_back(cuda::start(
        *stream, problem, cuda::plan(testDevice(), problem), cuda::allOnHost, [&](const cuda::Result& result) {
          (result.outcome == cuda::Outcome::done ? done : result.outcome == cuda::Outcome::aborted ? aborted : other)++;
        }));
  }
  for (int i = 1; i < calls; i++) cuda::cancel(*executions[size_t(i)]);
  stream->drain();
  check(done + aborted == calls && other == 0 && aborted >= 1,
        std::to_string(done) + " done, " + std::to_string(aborted) + " aborted, " + std::to_string(other) + " other");
}

void accounting() {
  cuda::open(0);  // until then the process has no memory there to count
  const auto before = cuda::memory(0)->tensors;
  {
    const auto stream = cuda::open(0);
    const auto buffer = cuda::allocate(*stream, 1 << 20);
    check(cuda::memory(0)->tensors == before + (1 << 20), "an allocation is not counted");
    Tensors tensors(smallCase());
    cuda::run(*stream, tensors.problem(), cuda::plan(0, tensors.problem()), cuda::allOnHost);
    check(cuda::memory(0)->tensors == before + (1 << 20), "a call leaves memory behind");
  }
  check(cuda::memory(0)->tensors == before, "memory is not given back");
}

/// As tiled, with a message that has `part`.
void expectRefused(int device, Problem problem, const std::string& part) {
  problem.algorithm = Algorithm::tiled;
  try {
    cuda::plan(device, problem);
  } catch (const std::invalid_argument& error) {
    check(std::string(error.what()).find("algorithm") == 0 && std::string(error.what()).find(part) != std::string::npos,
          error.what());
    return;
  }
  throw Failure("tiled is not refused");
}

void plans(int device) {
  Tensors tensors(smallCase());
  Problem problem = tensors.problem();
  const Plan plan = cuda::plan(device, problem);
  const bool hopper = cuda::info().devices.at(size_t(device)).computeMajor == 9;
  const Kernel expected = hopper ? Kernel::cudaTiledSm90 : Kernel::cudaTiled;
  check(plan.algorithm == Algorithm::tiled && plan.sequences.at(0).kernel == expected, "not the tiled kernel");
  check(!plan.sequences[0].plainLoads && plan.workspaceBytes > 0 && plan.flops >= plan.usefulFlops,
        "not a sensible plan");
  Case shifted = smallCase();
  shifted.shift = 1;
  const SequencePlan odd = cuda::plan(device, Tensors(shifted).problem()).sequences[0];
  check(odd.plainLoads && odd.kernel == Kernel::cudaTiled, "plain loads do not show");
  check(odd.refusal == (hopper ? Sm90Refusal::strides : Sm90Refusal::none), "no reason is given");

  problem.scoreStage = ScoreStage::scaled;
  check(cuda::plan(device, problem).algorithm == Algorithm::standard, "scores are wanted: not the standard kernel");
  expectRefused(device, problem, "returnScores");
  problem = tensors.problem();
  problem.valueDim = 257;
  check(cuda::plan(device, problem).algorithm == Algorithm::standard, "wide heads: not the standard kernel");
  expectRefused(device, problem, "256");
}

/// Once on every device.
std::function<void()> everywhere(void (*test)(int device)) {
  return [test] {
    for (size_t device = 0; device < cuda::info().devices.size(); device++) test(int(device));
  };
}

}  // namespace

void addBackendTests(std::vector<Test>& tests) {
  tests.push_back({"backend: tensors on the device", deviceTensors});
  tests.push_back({"backend: enqueued", enqueued});
  tests.push_back({"backend: copies in order", copiesInOrder});
  tests.push_back({"backend: the stream's handle", handleFollows});
  tests.push_back({"backend: rows stored in pages", storedRows});
  for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16})
    for (const Algorithm algorithm : {Algorithm::standard, Algorithm::automatic})
      tests.push_back({std::string("backend: batch invariance ") + nameOf(dtype) + " " + nameOf(algorithm),
                       [=] { batchInvariance(dtype, algorithm); }});
  tests.push_back({"backend: many sequences", manySequences});
  tests.push_back({"backend: cancelling", cancelling});
  tests.push_back({"backend: accounting", accounting});
  tests.push_back({"backend: plans", everywhere(plans)});
}

}  // namespace fovea::test
