// Every tensor in an allocation of its own that ends with its last element, so that the simulator sees any access past
// it. (Host tensors share one allocation on their way through the backend.)
#include <algorithm>

#include "../../../native/attention/tiles_cuda.h"
#include "device_case.h"

namespace fovea::test {
namespace {

/// A case's tensors on the device, one allocation each.
class SeparateTensors {
 public:
  SeparateTensors(cuda::Stream& stream, const Case& about)
      : stream_(stream), host_(about), problem_(host_.problem()), sequence_(problem_.sequences[0]) {
    check(problem_.sequenceCount == 1, "one sequence is enough here");
    const int64_t heads = problem_.heads, queries = sequence_.queryLength, keys = sequence_.keyLength;
    const int64_t element = byteSize(problem_.dtype);
    place(sequence_.query, {{heads, sequence_.query.headStride}, {queries, sequence_.query.rowStride}},
          problem_.headDim, element);
    placeKeys(sequence_.key, sequence_.keyPageStride, problem_.headDim);
    placeKeys(sequence_.value, sequence_.valuePageStride, problem_.valueDim);
    place(sequence_.mask, {{heads, sequence_.mask.headStride}, {queries, sequence_.mask.rowStride}}, keys, 1);
    place(sequence_.bias, {{heads, sequence_.bias.headStride}, {queries, sequence_.bias.rowStride}}, keys,
          byteSize(problem_.biasDtype));
    placePointer(sequence_.alibiSlopes, heads);
    placePointer(sequence_.sinks, heads);
    if (problem_.pageSize > 0) placePointer(sequence_.pageTable, cuda::ceilDivide(keys, problem_.pageSize));
    const int64_t rows = sequence_.queryRows;
    placeOutput(sequence_.output, heads * rows * problem_.valueDim * element);
    placeOutput(sequence_.lse, heads * rows * int64_t(sizeof(float)));
    placeOutput(sequence_.weights, heads * rows * sequence_.keyColumns * int64_t(sizeof(float)));
    placeOutput(sequence_.scores, heads * rows * sequence_.keyColumns * int64_t(sizeof(float)));
    problem_.sequences = &sequence_;
  }

  void runAndCompare() {
    const cuda::Result result = cuda::run(stream_, problem_, cuda::plan(testDevice(), problem_), {});
    check(result.outcome == cuda::Outcome::done, "not done: " + result.message);
    for (const auto& [to, from, bytes] : outputs_)
      finish([&](cuda::Settled settled) { cuda::read(stream_, from, to, bytes, std::move(settled)); });
    const std::string wrong = compare(host_.problem());
    check(wrong.empty(), wrong);
  }

 private:
  struct Dimension {
    int64_t count, stride;
  };
  struct Output {
    void* host;
    uint64_t device;
    int64_t bytes;
  };

  uint64_t allocate(int64_t bytes) {
    buffers_.push_back(cuda::allocate(stream_, bytes));
    return cuda::address(*buffers_.back());
  }
  template <class Element>
  void copy(const Element*& data, int64_t bytes) {
    const uint64_t address = allocate(bytes);
    finish([&](cuda::Settled settled) { cuda::write(stream_, address, data, bytes, std::move(settled)); });
    data = reinterpret_cast<const Element*>(address);
  }
  /// An input whose rows of `columns` neighbouring elements are counted and spaced by `dimensions`.
  template <class Element>
  void place(View<Element>& view, const std::vector<Dimension>& dimensions, int64_t columns, int64_t elementBytes) {
    if (!view) return;
    int64_t last = columns;
    for (const auto& [count, stride] : dimensions) last += (count - 1) * stride;
    copy(view.data, last * elementBytes);
  }
  void placeKeys(View<const void>& view, int64_t pageStride, int64_t columns) {
    int64_t rows = sequence_.keyLength, pages = 1;
    if (problem_.pageSize > 0) {
      const int64_t used = cuda::ceilDivide(rows, problem_.pageSize);
      rows = problem_.pageSize;
      pages = *std::max_element(sequence_.pageTable, sequence_.pageTable + used) + 1;
    }
    place(view, {{pages, pageStride}, {problem_.kvHeads, view.headStride}, {rows, view.rowStride}}, columns,
          byteSize(problem_.dtype));
  }
  template <class Element>
  void placePointer(const Element*& data, int64_t count) {
    if (data) copy(data, count * int64_t(sizeof(Element)));
  }
  template <class Element>
  void placeOutput(View<Element>& view, int64_t bytes) {
    if (!view) return;
    outputs_.push_back({view.data, allocate(bytes), bytes});
    view.data = reinterpret_cast<Element*>(outputs_.back().device);
  }

  cuda::Stream& stream_;
  Tensors host_;
  Problem problem_;
  Sequence sequence_;
  std::vector<std::shared_ptr<cuda::DeviceBuffer>> buffers_;
  std::vector<Output> outputs_;
};

void runCase(const Case& about) {
  const auto stream = cuda::open(testDevice());
  SeparateTensors(*stream, about).runAndCompare();
}

std::vector<Case> casesOf(Algorithm algorithm, DType dtype) {
  Case base;
  base.algorithm = algorithm;
  base.dtype = base.biasDtype = dtype;
  base.queryLengths = {33}, base.keyLengths = {65};
  std::vector<Case> cases(7, base);
  cases[0].name = "aligned rows";
  cases[0].headDim = 72, cases[0].valueDim = 40;
  cases[1].name = "rows that are not aligned";
  cases[1].headDim = 35, cases[1].valueDim = 67;
  cases[2].name = "rows before heads, causal";
  cases[2].heads = 4, cases[2].kvHeads = 2, cases[2].rowsFirst = true, cases[2].causal = true;
  cases[2].queryLengths = {129}, cases[2].keyLengths = {127};
  cases[3].name = "everything";
  cases[3].mask = cases[3].alibi = cases[3].sinks = cases[3].weights = true;
  cases[3].heads = 2, cases[3].bias = Case::Bias::full;
  if (algorithm == Algorithm::standard) cases[3].scoreStage = ScoreStage::capped;
  cases[4].name = "pages";
  cases[4].kvHeads = cases[4].heads = 2, cases[4].pageSize = 16, cases[4].queryLengths = {1};
  cases[5].name = "several tiles";
  cases[5].queryLengths = {140}, cases[5].keyLengths = {200}, cases[5].valueDim = 136;
  cases[6].name = "bias and mask, rows of pairs";
  cases[6].bias = Case::Bias::full, cases[6].mask = true;
  cases[6].queryLengths = {64}, cases[6].keyLengths = {130};
  if (algorithm != Algorithm::tiled) return cases;
  for (const int i : {0, 1, 3, 4}) {  // the same by the decode kernel
    Case decode = cases[size_t(i)];
    decode.name = "decode, " + decode.name;
    decode.weights = false, decode.queryLengths = {2}, decode.keyLengths = {540};
    cases.push_back(decode);
  }
  return cases;
}

}  // namespace

void addBoundsTests(std::vector<Test>& tests) {
  for (const Algorithm algorithm : {Algorithm::standard, Algorithm::tiled})
    for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16})
      for (const Case& about : casesOf(algorithm, dtype))
        tests.push_back({std::string("bounds: ") + nameOf(algorithm) + " " + nameOf(dtype) + " " + about.name,
                         [about] { runCase(about); }});
}

}  // namespace fovea::test
