// Tensors whose elements lie further apart than 32 bits count: more than 2^31 elements and 2^32 bytes, in the strides
// of heads, of rows and of pages. Of the 10 GiB little is touched, so that they cost the simulator nothing.
#include <algorithm>
#include <cmath>

#include "device_case.h"

namespace fovea::test {
namespace {

/// From a tensor's first row to its last.
constexpr int64_t span = 10'200'000'000;
/// Tensors begin so far from one another, and what lies together in them is smaller.
constexpr int64_t slotBytes = 1 << 20;
constexpr int64_t arenaBytes = span + 64 * slotBytes;

/// Memory for tensors that lie in between one another's rows.
class Arena {
 public:
  explicit Arena(cuda::Stream& stream) : stream_(stream), buffer_(cuda::allocate(stream, arenaBytes)) {}
  uint64_t slot(int number) const { return cuda::address(*buffer_) + uint64_t(number * slotBytes); }
  uint64_t nextSlot() { return slot(used_++); }
  void write(uint64_t to, const void* from, int64_t bytes) {
    finish([&](cuda::Settled settled) { cuda::write(stream_, to, from, bytes, std::move(settled)); });
  }
  void read(uint64_t from, void* to, int64_t bytes) {
    finish([&](cuda::Settled settled) { cuda::read(stream_, from, to, bytes, std::move(settled)); });
  }

 private:
  cuda::Stream& stream_;
  std::shared_ptr<cuda::DeviceBuffer> buffer_;
  int used_ = 0;
};

/// The step that leads from the first of `count` to the last over the whole span.
int64_t stepOver(int64_t count) { return count > 1 ? span / (count - 1) / 4096 * 4096 : 0; }

/// A case of one sequence, spread over an arena: rows apart, or heads. Pages are apart from one another.
class FarTensors {
 public:
  FarTensors(cuda::Stream& stream, const Case& about, bool rowsApart)
      : stream_(stream),
        arena_(stream),
        rowsApart_(rowsApart),
        host_(about),
        problem_(host_.problem()),
        sequence_(problem_.sequences[0]) {
    const int64_t heads = problem_.heads, queries = sequence_.queryRows, keys = sequence_.keyColumns;
    const int64_t element = byteSize(problem_.dtype), bias = byteSize(problem_.biasDtype);
    spread(sequence_.query, {heads, queries, problem_.headDim, element}, Role::input);
    spread(sequence_.mask, {heads, queries, keys, 1}, Role::input);
    spread(sequence_.bias, {heads, queries, keys, bias}, Role::input);
    spread(sequence_.output, {heads, queries, problem_.valueDim, element}, Role::output);
    spread(sequence_.lse, {heads, queries, 1, int64_t(sizeof(float))}, Role::output);
    spread(sequence_.weights, {heads, queries, keys, int64_t(sizeof(float))}, Role::output);
    spread(sequence_.scores, {heads, queries, keys, int64_t(sizeof(float))}, Role::output);
    if (about.pageSize > 0) {
      spreadPages();
    } else {
      spread(sequence_.key, {problem_.kvHeads, keys, problem_.headDim, element}, Role::input);
      spread(sequence_.value, {problem_.kvHeads, keys, problem_.valueDim, element}, Role::input);
    }
    problem_.sequences = &sequence_;
  }

  void runAndCompare(int device, Kernel expected) {
    const Plan plan = cuda::plan(device, problem_);
    check(plan.sequences[0].kernel == expected, std::string("another kernel: ") + kernelName(plan.sequences[0].kernel));
    const cuda::Residence parametersOnHost{false, true, true, true};
    const cuda::Result result = cuda::run(stream_, problem_, plan, parametersOnHost);
    check(result.outcome == cuda::Outcome::done, "not done: " + result.message);
    for (const auto& [host, device, bytes] : outputs_) arena_.read(device, host, bytes);
    const std::string wrong = compare(host_.problem());
    check(wrong.empty(), wrong);
  }

 private:
  enum class Role { input, output };
  struct Shape {
    int64_t heads, rows, columns, elementBytes;
  };
  struct Row {
    void* host;
    uint64_t device;
    int64_t bytes;
  };

  /// Has the view lead to the arena.
  template <class Element>
  void spread(View<Element>& view, const Shape& shape, Role role) {
    if (!view) return;
    const View<Element> from = view;
    const int64_t size = shape.elementBytes, rowBytes = shape.columns * size;
    const int64_t near = (rowBytes + 255) / 256 * 256;
    const int64_t headStep = rowsApart_ ? near : stepOver(shape.heads);
    const int64_t rowStep = rowsApart_ ? stepOver(shape.rows) : near;
    const uint64_t base = arena_.nextSlot();
    view = {reinterpret_cast<Element*>(base), headStep / size, rowStep / size, 1};
    for (int64_t head = 0; head < shape.heads; head++)
      for (int64_t row = 0; row < shape.rows; row++) {
        char* host = reinterpret_cast<char*>(const_cast<void*>(static_cast<const void*>(from.data))) +
                     (head * from.headStride + row * from.rowStride) * size;
        const uint64_t to = base + uint64_t(head * headStep + row * rowStep);
        if (role == Role::output)
          outputs_.push_back({host, to, rowBytes});
        else
          arena_.write(to, host, rowBytes);
      }
  }

  /// Pages as they are, but with numbers that are as large as their strides, and those of int8's scales, allow.
  void spreadPages() {
    const int64_t used = (sequence_.keyLength + problem_.pageSize - 1) / problem_.pageSize;
    const bool int8 = problem_.kvDtype() == DType::int8;
    for (int64_t i = 0; i < used; i++) {
      const int32_t page = sequence_.pageTable[i];
      pageTable_.push_back(int8 ? largestPage() - 4000 * page : page);
    }
    spreadPages(sequence_.key, sequence_.keyPageStride, problem_.headDim, used);
    spreadPages(sequence_.value, sequence_.valuePageStride, problem_.valueDim, used);
    if (int8) {
      spreadScales(problem_.keyScales, used);
      spreadScales(problem_.valueScales, used);
    }
    sequence_.pageTable = pageTable_.data();
  }
  int64_t pageRows() const { return int64_t(problem_.kvHeads) * problem_.pageSize; }
  int32_t largestPage() const { return int32_t(span / (pageRows() * int64_t(sizeof(float)))); }
  void spreadPages(View<const void>& view, int64_t& pageStride, int64_t columns, int64_t used) {
    const int64_t size = byteSize(problem_.kvDtype()), bytes = pageRows() * columns * size;
    const auto last = *std::max_element(pageTable_.begin(), pageTable_.end());
    const auto* from = static_cast<const char*>(view.data);
    const int64_t hostStride = pageStride * size, step = span / last / 256 * 256;
    const uint64_t base = arena_.nextSlot();
    for (int64_t i = 0; i < used; i++)
      arena_.write(base + uint64_t(pageTable_[size_t(i)] * step), from + sequence_.pageTable[i] * hostStride, bytes);
    view.data = reinterpret_cast<const void*>(base);
    pageStride = step / size;
  }
  void spreadScales(const float*& scales, int64_t used) {
    const uint64_t base = arena_.nextSlot();
    const int64_t bytes = pageRows() * int64_t(sizeof(float));
    for (int64_t i = 0; i < used; i++)
      arena_.write(base + uint64_t(pageTable_[size_t(i)] * bytes), scales + sequence_.pageTable[i] * pageRows(), bytes);
    scales = reinterpret_cast<const float*>(base);
  }

  cuda::Stream& stream_;
  Arena arena_;
  const bool rowsApart_;
  Tensors host_;
  Problem problem_;
  Sequence sequence_;
  std::vector<int32_t> pageTable_;
  std::vector<Row> outputs_;
};

struct FarCase {
  Case about;
  Kernel kernel;
};

/// Of kernels for all GPUs, or Hopper's own.
std::vector<FarCase> farCases(DType dtype, bool hopper) {
  std::vector<FarCase> cases;
  const auto add = [&](const char* name, Kernel kernel, const std::function<void(Case&)>& change) {
    Case about;
    about.name = std::string(nameOf(dtype)) + ' ' + name;
    about.algorithm = Algorithm::tiled;
    about.dtype = about.biasDtype = dtype;
    about.heads = 4, about.kvHeads = 2;
    about.queryLengths = {37}, about.keyLengths = {70};
    change(about);
    cases.push_back({about, kernel});
  };
  const auto biasAndMask = [](Case& c) { c.bias = Case::Bias::full, c.mask = true; };
  const Kernel tiled = hopper ? Kernel::cudaTiledSm90 : Kernel::cudaTiled;
  add("tiled", tiled, [](Case& c) { c.causal = c.sinks = true; });
  add("tiled, bias and mask", tiled, biasAndMask);
  add("tiled, weights", tiled, [](Case& c) { c.weights = true; });
  if (hopper) {
    const auto rows = [](Case& c) { c.queryLengths = {1}, c.keyLengths = {1500}, c.heads = 40; };
    add("decode_sm90", Kernel::cudaDecodeSm90, rows);
    add("decode_sm90, pages", Kernel::cudaDecodeSm90, [=](Case& c) { rows(c), c.pageSize = 16; });
    return cases;
  }
  add("standard", Kernel::cudaStandard, [=](Case& c) {
    biasAndMask(c), c.algorithm = Algorithm::standard;
    c.weights = true, c.scoreStage = ScoreStage::capped;
  });
  add("decode", Kernel::cudaDecode, [=](Case& c) { biasAndMask(c), c.queryLengths = {2}, c.keyLengths = {540}; });
  add("tiled, pages", Kernel::cudaTiled, [](Case& c) { c.pageSize = 16; });
  add("decode, pages", Kernel::cudaDecode,
      [](Case& c) { c.pageSize = 16, c.queryLengths = {1}, c.keyLengths = {540}; });
  const auto int8 = [](Case& c) { c.int8 = true, c.pageSize = 512, c.keyLengths = {1030}; };
  add("tiled, int8", Kernel::cudaTiled, int8);
  add("decode, int8", Kernel::cudaDecode, [=](Case& c) { int8(c), c.queryLengths = {1}; });
  return cases;
}

void runCase(int device, const FarCase& far, bool rowsApart) {
  const auto stream = cuda::open(device);
  FarTensors(*stream, far.about, rowsApart).runAndCompare(device, far.kernel);
}

/// Three rows that lie far apart, copied or converted next to one another.
void copyRows(cuda::ElementType fromType, cuda::ElementType toType, int64_t columnStride) {
  constexpr int64_t rows = 3, columns = 64;
  const auto stream = cuda::open(testDevice());
  Arena arena(*stream);
  const auto from = DType(fromType), to = DType(toType);
  const int64_t size = byteSize(from), step = stepOver(rows), rowElements = columns * columnStride;
  std::vector<std::byte> source(size_t(rows * rowElements * size)), found(size_t(rows * columns * byteSize(to)));
  for (int64_t i = 0; i < rows * rowElements; i++) store(from, source.data(), i, double(i));
  for (int64_t row = 0; row < rows; row++)
    arena.write(arena.slot(0) + uint64_t(row * step), &source[size_t(row * rowElements * size)], rowElements * size);
  cuda::copyElements(*stream,
                     {arena.slot(0), arena.slot(1), fromType, toType, {rows, columns}, {step / size, columnStride}});
  arena.read(arena.slot(1), found.data(), int64_t(found.size()));
  for (int64_t i = 0; i < rows * columns; i++)
    check(load(to, found.data(), i) == double(i * columnStride), "element " + std::to_string(i));
}

/// Tokens that lie far apart, stored in a page of a number that leads as far.
void storeTokens(bool int8) {
  constexpr int tokens = 2, heads = 2;
  const auto stream = cuda::open(testDevice());
  Arena arena(*stream);
  RowStore rows;
  rows.tokens = tokens, rows.heads = heads, rows.pageSize = 16;
  rows.dims = int8 ? 2 : 64;  // of int8, so that scales too lead far
  rows.toDtype = int8 ? DType::int8 : DType::float32;
  const int64_t step = stepOver(tokens), rowBytes = rows.dims * int64_t(byteSize(rows.toDtype));
  const int64_t slot = span / heads / std::max<int64_t>(rowBytes, sizeof(float)) / 16 * 16;  // the first of a page
  const std::vector<int32_t> slots{int32_t(slot), 3};
  std::vector<float> values(size_t(tokens * heads * rows.dims));
  for (size_t i = 0; i < values.size(); i++) values[i] = i % 2 == 0 ? 127 : float(i);  // 127: a scale of 1
  for (int64_t token = 0; token < tokens; token++)
    arena.write(arena.slot(0) + uint64_t(token * step), &values[size_t(token * heads * rows.dims)],
                heads * rows.dims * int64_t(sizeof(float)));
  rows.from = {reinterpret_cast<const void*>(arena.slot(0)), rows.dims, step / int64_t(sizeof(float)), 1};
  rows.to = reinterpret_cast<void*>(arena.slot(1));
  rows.scales = reinterpret_cast<float*>(arena.slot(2));
  rows.slots = slots.data();
  finish([&](cuda::Settled settled) { return cuda::start(*stream, {rows}, std::move(settled)); });
  std::vector<std::byte> found(size_t(rowBytes), std::byte{0});
  for (int token = 0; token < tokens; token++)
    for (int head = 0; head < heads; head++) {
      const std::string name = "token " + std::to_string(token) + " of head " + std::to_string(head);
      const int64_t place = slots[size_t(token)], row = (place / 16 * heads + head) * 16 + place % 16;
      arena.read(arena.slot(1) + uint64_t(row * rowBytes), found.data(), rowBytes);
      for (int d = 0; d < rows.dims; d++)
        check(load(rows.toDtype, found.data(), d) == values[size_t((token * heads + head) * rows.dims + d)], name);
      if (!int8) continue;
      float scale = 0;
      arena.read(arena.slot(2) + uint64_t(row) * sizeof(float), &scale, sizeof(float));
      check(scale == 1, name + ": its scale");
    }
}

/// The mean of two parts of equal weight, whose rows lie far apart.
void mergeParts() {
  constexpr int64_t rows = 2, dims = 8;
  const auto stream = cuda::open(testDevice());
  Arena arena(*stream);
  const int64_t stride = stepOver(rows) / int64_t(sizeof(float));
  const auto rowAt = [&](int slot, int64_t row) { return arena.slot(slot) + uint64_t(row * stride) * sizeof(float); };
  std::vector<MergePart> parts;
  for (int part = 0; part < 2; part++) {
    for (int64_t row = 0; row < rows; row++) {
      const std::vector<float> output(dims, float(4 * part + row));
      const float lse = float(row);
      arena.write(rowAt(2 * part, row), output.data(), dims * int64_t(sizeof(float)));
      arena.write(rowAt(2 * part + 1, row), &lse, sizeof lse);
    }
    parts.push_back({{reinterpret_cast<const void*>(rowAt(2 * part, 0)), 0, 0, stride, 1},
                     {reinterpret_cast<const float*>(rowAt(2 * part + 1, 0)), 0, 0, stride, 0}});
  }
  const Merge merge{DType::float32,
                    1,
                    1,
                    rows,
                    dims,
                    {reinterpret_cast<void*>(rowAt(4, 0)), 0, 0, stride, 1},
                    {reinterpret_cast<float*>(rowAt(5, 0)), 0, 0, stride, 0},
                    parts.data(),
                    int64_t(parts.size())};
  finish([&](cuda::Settled settled) { return cuda::start(*stream, merge, std::move(settled)); });
  for (int64_t row = 0; row < rows; row++) {
    float output = 0, lse = 0;
    arena.read(rowAt(4, row) + (dims - 1) * sizeof(float), &output, sizeof output);
    arena.read(rowAt(5, row), &lse, sizeof lse);
    check(output == float(2 + row) && std::abs(lse - (float(row) + std::log(2.f))) < 1e-6f,
          "row " + std::to_string(row) + ": " + std::to_string(output) + ", lse " + std::to_string(lse));
  }
}

}  // namespace

void addFarTests(std::vector<Test>& tests) {
  const auto devices = cuda::info().devices;
  const bool fits = std::all_of(devices.begin(), devices.end(),
                                [](const auto& each) { return each.memoryBytes > arenaBytes + (int64_t{1} << 30); });
  if (!fits) {
    std::printf("no tensors over 10 GiB: a GPU has less\n");
    return;
  }
  for (const bool hopper : {false, true}) {
    const auto device = std::find_if(devices.begin(), devices.end(),
                                     [&](const auto& each) { return hopper == (each.computeMajor == 9); });
    if (device == devices.end()) continue;
    const int index = int(device - devices.begin());
    for (const DType dtype : {DType::float32, DType::float16})
      for (const FarCase& far : farCases(dtype, hopper))
        for (const bool rowsApart : {true, false})
          if (!hopper || dtype == DType::float16)
            tests.push_back({"far: " + far.about.name + (rowsApart ? ", rows" : ", heads") + (hopper ? ", Hopper" : ""),
                             [=] { runCase(index, far, rowsApart); }});
  }
  using cuda::ElementType;
  tests.push_back({"far: copies", [] { copyRows(ElementType::float16, ElementType::float16, 1); }});
  tests.push_back({"far: conversions", [] { copyRows(ElementType::float32, ElementType::float16, 1); }});
  tests.push_back({"far: conversions one by one", [] { copyRows(ElementType::float16, ElementType::float32, 3); }});
  tests.push_back({"far: stored rows", [] { storeTokens(false); }});
  tests.push_back({"far: stored rows of int8", [] { storeTokens(true); }});
  tests.push_back({"far: merging", mergeParts});
}

}  // namespace fovea::test
