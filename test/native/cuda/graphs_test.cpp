// Launches can be captured, and their graphs replayed: each kernel's once its functions are loaded, which no capture
// allows.
#include <algorithm>
#include <functional>

#include "../../../native/attention/planner.h"
#include "../../../native/cuda/launch.h"
#include "device_case.h"

namespace fovea::test {
namespace {

template <class Function>
Function find(const char* name, int version) {
  const auto function = reinterpret_cast<Function>(cuda::driver().find(name, version));
  check(function != nullptr, std::string("the driver has no ") + name);
  return function;
}

/// What `launch` enqueues on a stream.
class CapturedGraph {
 public:
  CapturedGraph(cuda::Stream& stream, const std::function<void(CUstream)>& launch) : stream_(stream) {
    cuda::Device& device = stream.device();
    const CUstream cuStream = stream.compute()->get();
    const auto beginCapture = find<PFN_cuStreamBeginCapture_v10010>("cuStreamBeginCapture", 10010);
    const auto endCapture = find<PFN_cuStreamEndCapture_v10000>("cuStreamEndCapture", 10000);
    const auto instantiate = find<PFN_cuGraphInstantiateWithFlags_v11040>("cuGraphInstantiateWithFlags", 11040);
    const cuda::CurrentContext current(device);
    device.check(beginCapture(cuStream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "beginning a capture");
    launch(cuStream);
    device.check(endCapture(cuStream, &graph_), "ending a capture");
    device.check(instantiate(&executable_, graph_, 0), "instantiating a graph");
  }
  ~CapturedGraph() {
    find<PFN_cuGraphExecDestroy_v10000>("cuGraphExecDestroy", 10000)(executable_);
    find<PFN_cuGraphDestroy_v10000>("cuGraphDestroy", 10000)(graph_);
  }
  CapturedGraph(const CapturedGraph&) = delete;
  CapturedGraph& operator=(const CapturedGraph&) = delete;

  void replay() {
    const auto launchGraph = find<PFN_cuGraphLaunch_v10000>("cuGraphLaunch", 10000);
    stream_.submitNow(
        [&] { stream_.device().check(launchGraph(executable_, stream_.compute()->get()), "launching a graph"); });
  }

 private:
  cuda::Stream& stream_;
  CUgraph graph_ = nullptr;
  CUgraphExec executable_ = nullptr;
};

/// NaN in all outputs, so that what is not written again shows.
void spoilOutputs(cuda::Stream& stream, const Problem& problem) {
  const auto spoil = [&](const void* data, int64_t elements, int64_t size) {
    if (!data) return;
    stream.submitNow([&] {
      stream.device().check(cuda::driver().cuMemsetD8Async(reinterpret_cast<CUdeviceptr>(data), 0xff,
                                                           size_t(elements * size), stream.compute()->get()),
                            "spoiling an output");
    });
  };
  for (int64_t i = 0; i < problem.sequenceCount; i++) {
    const Sequence& sequence = problem.sequences[i];
    const int64_t rows = problem.heads * sequence.queryRows;
    spoil(sequence.output.data, rows * problem.valueDim, byteSize(problem.dtype));
    spoil(sequence.lse.data, rows, sizeof(float));
    spoil(sequence.weights.data, rows * sequence.keyColumns, sizeof(float));
  }
}

void attentionGraph(int index, const Case& about, Kernel kernel) {
  const auto stream = cuda::open(index);
  cuda::Device& device = stream->device();
  DeviceCase tensors(*stream, about);
  check(tensors.plan().sequences[0].kernel == kernel,
        std::string("another kernel than this is about: ") + kernelName(tensors.plan().sequences[0].kernel));
  const auto workspace = cuda::allocate(*stream, tensors.plan().workspaceBytes);
  {
    const cuda::CurrentContext current(device);
    cuda::loadKernels(device, tensors.problem(), tensors.plan());
  }
  CapturedGraph graph(*stream, [&](CUstream order) {
    cuda::launch(device, order, tensors.problem(), tensors.plan(), workspace->pointer());
  });
  for (int replay = 0; replay < 2; replay++) {
    spoilOutputs(*stream, tensors.problem());
    graph.replay();
    tensors.compare();
  }
}

/// Two parts of one element each: the first's lse is that of both.
void mergeGraph() {
  const auto stream = cuda::open(testDevice());
  cuda::Device& device = stream->device();
  const std::vector<float> values{2, 4, 0, 0};  // of both outputs, of both lse
  const auto inputs = cuda::allocate(*stream, 16), outputs = cuda::allocate(*stream, 8),
             workspace = cuda::allocate(*stream, 2 * int64_t(sizeof(MergePart)));
  cuda::writeNow(*stream, cuda::address(*inputs), values.data(), 16);
  const auto at = [](const cuda::DeviceBuffer& buffer, size_t element) {
    return reinterpret_cast<float*>(cuda::address(buffer) + element * sizeof(float));
  };
  std::vector<MergePart> parts(2);
  for (size_t i = 0; i < 2; i++)
    parts[i].output = {at(*inputs, i), 1, 1, 1, 1}, parts[i].lse = {at(*inputs, 2 + i), 1, 1, 1, 0};
  Merge merge;
  merge.batch = merge.heads = merge.rows = merge.dims = 1;
  merge.output = {at(*outputs, 0), 1, 1, 1, 1}, merge.lse = {at(*outputs, 1), 1, 1, 1, 0};
  merge.parts = parts.data(), merge.partCount = 2;
  {
    const cuda::CurrentContext current(device);
    cuda::loadKernels(device, merge);
  }
  CapturedGraph graph(*stream, [&](CUstream order) { cuda::launchMerge(device, order, merge, workspace->pointer()); });
  for (int replay = 0; replay < 2; replay++) {
    cuda::clear(*stream, cuda::address(*outputs), 8);
    graph.replay();
    std::vector<float> merged(2);
    finish([&](cuda::Settled settled) {
      cuda::read(*stream, cuda::address(*outputs), merged.data(), 8, std::move(settled));
    });
    check(merged[0] == 3 && std::abs(merged[1] - std::log(2.0F)) < 1e-6F, "a wrong merge");
  }
}

/// One for each kernel of devices that are not of compute capability 9, then Hopper's.
std::vector<std::pair<Case, Kernel>> capturedCases(bool hopper) {
  std::vector<std::pair<Case, Kernel>> cases;
  const auto add = [&](const std::string& name, Algorithm algorithm, DType dtype, Kernel kernel) -> Case& {
    Case& about = cases.emplace_back(Case{}, kernel).first;
    about.name = name, about.algorithm = algorithm, about.dtype = dtype;
    about.heads = 2, about.headDim = about.valueDim = 32, about.causal = true;
    about.queryLengths = {40}, about.keyLengths = {70};
    return about;
  };
  if (hopper) {
    add("tiled_sm90", Algorithm::tiled, DType::float16, Kernel::cudaTiledSm90);
    Case& few = add("decode_sm90", Algorithm::tiled, DType::float16, Kernel::cudaDecodeSm90);
    few.heads = 18, few.queryLengths = {1}, few.keyLengths = {1400};
    return cases;
  }
  add("standard, weights", Algorithm::standard, DType::float16, Kernel::cudaStandard).weights = true;
  add("tiled, weights", Algorithm::tiled, DType::float16, Kernel::cudaTiled).weights = true;
  add("tiled float32", Algorithm::tiled, DType::float32, Kernel::cudaTiled);
  Case& splits = add("tiled in splits", Algorithm::tiled, DType::float16, Kernel::cudaTiled);
  splits.queryLengths = {9}, splits.keyLengths = {1200};
  Case& few = add("decode", Algorithm::tiled, DType::float32, Kernel::cudaDecode);
  few.queryLengths = {1}, few.keyLengths = {600};
  Case& shared = add("decode of int8 pages, a shared prefix", Algorithm::tiled, DType::float16, Kernel::cudaDecode);
  shared.queryLengths = {1, 1}, shared.keyLengths = {600, 600};
  shared.pageSize = 16, shared.int8 = true, shared.sharedKeys = 256;
  return cases;
}

}  // namespace

void addGraphTests(std::vector<Test>& tests) {
  const auto devices = cuda::info().devices;
  for (const bool hopper : {false, true}) {
    const auto found = std::find_if(devices.begin(), devices.end(),
                                    [&](const auto& each) { return (each.computeMajor == 9) == hopper; });
    if (found == devices.end()) continue;
    for (const auto& [about, kernel] : capturedCases(hopper))
      tests.push_back({"graphs: " + about.name, [index = int(found - devices.begin()), about = about, kernel = kernel] {
                         attentionGraph(index, about, kernel);
                       }});
  }
  tests.push_back({"graphs: mergeAttention", mergeGraph});
}

}  // namespace fovea::test
