// Copies of elements on the device: every 16-bit number and the ties between them, and strided arrays of all types.
#include <algorithm>
#include <numeric>

#include "../../../native/cuda/backend.h"
#include "../../../native/cuda/launch_copy.h"
#include "device_case.h"

namespace fovea::test {
namespace {

using cuda::CopyKernel;
using cuda::ElementCopy;
using cuda::ElementType;

/// Device memory with these elements.
template <class Element>
std::shared_ptr<cuda::DeviceBuffer> upload(cuda::Stream& stream, const std::vector<Element>& elements) {
  const auto bytes = int64_t(elements.size() * sizeof(Element));
  auto buffer = cuda::allocate(stream, bytes);
  cuda::writeNow(stream, cuda::address(*buffer), elements.data(), bytes);
  return buffer;
}

template <class Element>
std::vector<Element> download(cuda::Stream& stream, const cuda::DeviceBuffer& buffer, size_t count) {
  std::vector<Element> elements(count);
  finish([&](cuda::Settled settled) {
    cuda::read(stream, cuda::address(buffer), elements.data(), int64_t(count * sizeof(Element)), std::move(settled));
  });
  return elements;
}

DType dtypeOf(ElementType type) { return static_cast<DType>(type); }

std::string hexadecimal(uint32_t bits) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%x", bits);
  return text;
}

/// Converts bit patterns on the device and by the formats' definitions. Contiguous ones take vectors, every other one
/// of a longer array single elements.
template <class From, class To>
void convertPatterns(ElementType fromType, ElementType toType, const std::vector<From>& patterns) {
  const auto stream = cuda::open(0);
  const auto count = int64_t(patterns.size());
  for (const int64_t stride : {1, 2}) {
    std::vector<From> spread(patterns.size() * size_t(stride), From(1));
    for (size_t i = 0; i < patterns.size(); i++) spread[i * size_t(stride)] = patterns[i];
    const auto from = upload(*stream, spread), to = cuda::allocate(*stream, count * int64_t(sizeof(To)));
    const ElementCopy copy{cuda::address(*from), cuda::address(*to), fromType, toType, {count}, {stride}};
    check(cuda::planElementCopy(copy)[0].kernel == (stride == 1 ? CopyKernel::vectors : CopyKernel::convert),
          "not the kernel that was to be tested");
    cuda::copyElements(*stream, copy);
    const std::vector<To> results = download<To>(*stream, *to, patterns.size());
    for (size_t i = 0; i < patterns.size(); i++) {
      const double value = load(dtypeOf(fromType), patterns.data(), int64_t(i));
      To expected;
      store(dtypeOf(toType), &expected, 0, value);
      const bool isRight =
          std::isnan(value) ? std::isnan(load(dtypeOf(toType), results.data(), int64_t(i))) : results[i] == expected;
      check(isRight, hexadecimal(patterns[i]) + " became " + hexadecimal(results[i]) + ", expected " +
                         (std::isnan(value) ? "NaN" : hexadecimal(expected)) + ", stride " + std::to_string(stride));
    }
  }
}

std::vector<uint16_t> allPatterns() {
  std::vector<uint16_t> patterns(65536);
  std::iota(patterns.begin(), patterns.end(), uint16_t(0));
  return patterns;
}

uint32_t bitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

/// Every number of a 16-bit format as float32, what lies halfway to the next, its neighbours, and random bits. The
/// neighbour of the largest number is the one that a wider exponent would give: from halfway on, infinity.
std::vector<uint32_t> floatPatterns(ElementType type) {
  std::vector<uint32_t> patterns;
  const uint16_t infinity = type == ElementType::float16 ? 0x7c00 : 0x7f80;
  for (uint16_t bits = 0; bits < infinity; bits++) {
    const uint16_t pair[] = {bits, uint16_t(bits + 1)};
    const double low = load(dtypeOf(type), pair, 0);
    double high = load(dtypeOf(type), pair, 1);
    if (std::isinf(high)) high = type == ElementType::float16 ? 65536 : 0x1p128;
    const uint32_t halfway = bitsOf(float((low + high) / 2));
    for (const uint32_t exact : {bitsOf(float(low)), halfway - 1, halfway, halfway + 1})
      for (const uint32_t sign : {0u, 0x80000000u}) patterns.push_back(exact | sign);
  }
  for (const uint32_t special : {0x7f800000u, 0xff800000u, 0x7fc00000u, 0xffc00000u, 0x7f800001u, 0x7fffffffu, 1u,
                                 0x80000001u, 0x7f7fffffu, 0xff7fffffu, 0x007fffffu, 0x00800000u})
    patterns.push_back(special);
  Random random(7);
  for (int i = 0; i < 50001; i++) patterns.push_back(uint32_t(random.bits()));
  return patterns;
}

/// Copies on the host, element by element.
std::vector<uint32_t> expectedOf(const ElementCopy& copy, const std::vector<std::byte>& source, int64_t origin) {
  std::vector<uint32_t> expected;
  std::vector<int64_t> index(copy.shape.size(), 0);
  const int64_t count = std::accumulate(copy.shape.begin(), copy.shape.end(), int64_t{1}, std::multiplies<>());
  const int64_t size = cuda::byteSize(copy.fromType);
  for (int64_t i = 0; i < count; i++) {
    int64_t at = origin;
    for (size_t d = 0; d < index.size(); d++) at += index[d] * copy.strides[d];
    uint32_t bits = 0;
    if (copy.fromType == copy.toType)
      std::memcpy(&bits, source.data() + at * size, size_t(size));
    else
      store(dtypeOf(copy.toType), &bits, 0, load(dtypeOf(copy.fromType), source.data(), at));
    expected.push_back(bits);
    for (size_t d = index.size(); d-- > 0 && ++index[d] == copy.shape[d];) index[d] = 0;
  }
  return expected;
}

/// Elements between where memory begins and an array.
struct Shift {
  int64_t from, to;
};

/// Copies random elements; what lies around the copy must stay as it is.
void copyStrided(cuda::Stream& stream, ElementCopy copy, Random& random, Shift shift) {
  const int64_t fromSize = cuda::byteSize(copy.fromType), toSize = cuda::byteSize(copy.toType);
  int64_t low = 0, high = 0, count = 1;
  for (size_t d = 0; d < copy.shape.size(); d++) {
    (copy.strides[d] < 0 ? low : high) += copy.strides[d] * (copy.shape[d] - 1);
    count *= copy.shape[d];
  }
  const int64_t origin = shift.from - low;
  std::vector<std::byte> source(size_t((origin + high + 1) * fromSize));
  for (int64_t i = 0; i < origin + high + 1; i++) {
    const uint64_t bits = random.bits();
    std::memcpy(source.data() + i * fromSize, &bits, size_t(fromSize));
    if (copy.fromType != copy.toType) store(dtypeOf(copy.fromType), source.data(), i, random.normal());
  }
  const std::vector<uint8_t> mark(size_t((shift.to + count + 1) * toSize), 0xa5);
  const auto from = upload(stream, source), to = upload(stream, mark);
  copy.from = cuda::address(*from) + uint64_t(origin * fromSize);
  copy.to = cuda::address(*to) + uint64_t(shift.to * toSize);
  cuda::copyElements(stream, copy);
  const std::vector<uint8_t> result = download<uint8_t>(stream, *to, mark.size());
  const std::vector<uint32_t> expected = expectedOf(copy, source, origin);
  std::vector<uint8_t> all = mark;
  for (size_t i = 0; i < expected.size(); i++)
    std::memcpy(all.data() + (shift.to + int64_t(i)) * toSize, &expected[i], size_t(toSize));
  std::string text;
  for (size_t d = 0; d < copy.shape.size(); d++)
    text.append(" ").append(std::to_string(copy.shape[d])).append(":").append(std::to_string(copy.strides[d]));
  check(result == all, "wrong elements, types " + std::to_string(int(copy.fromType)) + " to " +
                           std::to_string(int(copy.toType)) + ", dimensions" + text + ", " +
                           std::to_string(shift.from) + " and " + std::to_string(shift.to) + " elements in");
}

const std::vector<std::pair<ElementType, ElementType>>& typePairs() {
  static const auto& pairs = *new std::vector<std::pair<ElementType, ElementType>>{
      {ElementType::float32, ElementType::float32},   {ElementType::float16, ElementType::float16},
      {ElementType::bfloat16, ElementType::bfloat16}, {ElementType::int32, ElementType::int32},
      {ElementType::boolean, ElementType::boolean},   {ElementType::float32, ElementType::float16},
      {ElementType::float32, ElementType::bfloat16},  {ElementType::float16, ElementType::float32},
      {ElementType::float16, ElementType::bfloat16},  {ElementType::bfloat16, ElementType::float32},
      {ElementType::bfloat16, ElementType::float16}};
  return pairs;
}

/// Arrays as tensors are: contiguous, with heads and rows exchanged, sliced, broadcast, reversed.
void layouts() {
  const auto stream = cuda::open(0);
  Random random(1);
  const std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>> arrays = {
      {{}, {}},                            // one element
      {{3, 0, 4}, {8, 4, 1}},              // none
      {{4099}, {1}},                       // contiguous, with elements left over
      {{2, 3, 5, 32}, {480, 32, 96, 1}},   // heads and rows exchanged
      {{2, 3, 5, 20}, {300, 20, 60, 1}},   // the same, in short runs
      {{6, 16, 16}, {512, -32, 1}},        // rows in reverse
      {{7, 48}, {0, 1}},                   // a row for all
      {{9, 33}, {1, 9}},                   // transposed
      {{5, 16}, {17, 1}},                  // rows that are not aligned
      {{50}, {-1}},                        // reversed
      {{300, 5, 100}, {500, 100, 1}},      // contiguous in pieces, more than a grid's threads
      {{5, 5, 130}, {-1500, 150, -1}},     // reversed and sliced
      {{2, 1, 2, 1, 2, 2, 2, 2, 2, 1, 2},  // 8 dimensions among those of size 1
       {4096, 5, 1, 7, 4, 16, 64, 256, 1024, 3, 9000}}};
  for (const auto& [fromType, toType] : typePairs())
    for (const auto& [shape, strides] : arrays)
      for (const Shift shift : {Shift{0, 0}, Shift{1, 1}, Shift{0, 1}, Shift{1, 0}}) {
        if (std::find(shape.begin(), shape.end(), 0) != shape.end()) {
          cuda::copyElements(*stream, {0, 0, fromType, toType, shape, strides});
          continue;
        }
        copyStrided(*stream, {0, 0, fromType, toType, shape, strides}, random, shift);
      }
}

void randomArrays() {
  const auto stream = cuda::open(0);
  Random random(2);
  const auto below = [&](uint64_t limit) { return int64_t(random.bits() % limit); };
  for (int i = 0; i < 200; i++) {
    ElementCopy copy;
    std::tie(copy.fromType, copy.toType) = typePairs()[size_t(below(typePairs().size()))];
    const int64_t rank = below(7);
    int64_t stride = 1;
    for (int64_t d = 0; d < rank; d++) {
      const int64_t size = below(4) == 0 ? 8 * (1 + below(4)) : 1 + below(4);
      copy.shape.insert(copy.shape.begin(), size);
      copy.strides.insert(copy.strides.begin(), below(8) == 0 ? 0 : below(4) == 0 ? -stride : stride);
      if (below(3) == 0) stride += 8 * below(2);
      stride *= size;
    }
    for (int64_t d = rank - 1; d > 0 && below(2) == 0; d--) {  // some permutation
      const auto other = size_t(below(uint64_t(d + 1)));
      std::swap(copy.shape[size_t(d)], copy.shape[other]);
      std::swap(copy.strides[size_t(d)], copy.strides[other]);
    }
    int64_t count = 1, extent = 1;
    for (size_t d = 0; d < copy.shape.size(); d++) {
      count *= copy.shape[d];
      extent += std::abs(copy.strides[d]) * (copy.shape[d] - 1);
    }
    if (std::max(count, extent) > 40000) continue;
    copyStrided(*stream, copy, random, below(2) == 0 ? Shift{0, 0} : Shift{below(9), below(9)});
  }
}

/// Which way an array goes.
void kernels() {
  const auto expectPieces = [](const ElementCopy& copy, const std::vector<CopyKernel>& kernels, int64_t count,
                               int unitBytes, int rank) {
    const auto pieces = cuda::planElementCopy(copy);
    std::vector<CopyKernel> found;
    for (const auto& piece : pieces) found.push_back(piece.kernel);
    check(found == kernels && pieces[0].arguments.count == count && pieces[0].arguments.rank == rank &&
              pieces[0].arguments.unitBytes == unitBytes,
          "kernel " + std::to_string(int(found.at(0))) + ", " + std::to_string(pieces[0].arguments.count) +
              " units of " + std::to_string(pieces[0].arguments.unitBytes) + " bytes, rank " +
              std::to_string(pieces[0].arguments.rank));
  };
  const auto f32 = ElementType::float32, f16 = ElementType::float16, flag = ElementType::boolean;
  expectPieces({256, 512, f16, f16, {2, 3, 7}, {21, 7, 1}}, {CopyKernel::none}, 84, 2, 1);
  expectPieces({256, 512, f32, f16, {2, 3, 8}, {24, 8, 1}}, {CopyKernel::vectors}, 6, 32, 1);
  expectPieces({256, 512, f32, f16, {51}, {1}}, {CopyKernel::vectors, CopyKernel::convert}, 6, 32, 1);
  expectPieces({260, 512, f32, f16, {48}, {1}}, {CopyKernel::convert}, 48, 4, 1);
  expectPieces({256, 514, f32, f16, {48}, {1}}, {CopyKernel::convert}, 48, 4, 1);
  expectPieces({256, 512, f16, f32, {3, 2, 8}, {8, 24, 1}}, {CopyKernel::vectors}, 6, 16, 2);
  expectPieces({256, 512, f16, f32, {3, 2, 8}, {8, 25, 1}}, {CopyKernel::convert}, 48, 2, 3);
  expectPieces({256, 512, f16, f16, {3, 2, 16}, {16, 48, 1}}, {CopyKernel::units}, 12, 16, 3);
  expectPieces({256, 512, f16, f16, {3, 2, 12}, {12, 36, 1}}, {CopyKernel::units}, 18, 8, 3);
  expectPieces({264, 512, f16, f16, {3, 2, 4}, {4, 12, 1}}, {CopyKernel::units}, 6, 8, 2);
  expectPieces({256, 512, flag, flag, {3, 2, 6}, {6, 18, 1}}, {CopyKernel::units}, 18, 2, 3);
  expectPieces({256, 512, f32, f32, {3, 5}, {1, 3}}, {CopyKernel::units}, 15, 4, 2);
  expectPieces({256, 512, f32, f32, {int64_t{1} << 33, 3}, {0, 7}}, {CopyKernel::units}, int64_t{3} << 33, 4, 2);
}

void refusals() {
  const auto expectRefused = [](const ElementCopy& copy, const std::string& part) {
    try {
      cuda::planElementCopy(copy);
    } catch (const std::invalid_argument& error) {
      return check(std::string(error.what()).find(part) != std::string::npos, error.what());
    }
    throw Failure("not refused: " + part);
  };
  const auto f32 = ElementType::float32, f16 = ElementType::float16, i32 = ElementType::int32;
  expectRefused({256, 512, i32, f32, {4}, {1}}, "got int32 to float32");
  expectRefused({256, 512, f16, ElementType::boolean, {4}, {1}}, "got float16 to bool");
  expectRefused({256, 512, f32, f32, {4, 4}, {1}}, "as many strides as dimensions, got 1 and 2");
  expectRefused({256, 512, f32, f32, {4, -1}, {1, 1}}, "dimensions of 0 or more");
  expectRefused({258, 512, f32, f32, {4}, {1}}, "multiples of their element's size");
  expectRefused({256, 513, f32, f16, {4}, {1}}, "multiples of their element's size");
  expectRefused({256, 512, f32, f32, std::vector<int64_t>(9, 2), {1, 3, 5, 7, 9, 11, 13, 15, 17}},
                "at most 8 dimensions that cannot be joined, got 9");
}

}  // namespace

void addCopyTests(std::vector<Test>& tests) {
  const auto f32 = ElementType::float32, f16 = ElementType::float16, bf16 = ElementType::bfloat16;
  tests.push_back({"copy: float16 to float32", [=] { convertPatterns<uint16_t, uint32_t>(f16, f32, allPatterns()); }});
  tests.push_back(
      {"copy: bfloat16 to float32", [=] { convertPatterns<uint16_t, uint32_t>(bf16, f32, allPatterns()); }});
  tests.push_back(
      {"copy: float16 to bfloat16", [=] { convertPatterns<uint16_t, uint16_t>(f16, bf16, allPatterns()); }});
  tests.push_back(
      {"copy: bfloat16 to float16", [=] { convertPatterns<uint16_t, uint16_t>(bf16, f16, allPatterns()); }});
  tests.push_back(
      {"copy: float32 to float16", [=] { convertPatterns<uint32_t, uint16_t>(f32, f16, floatPatterns(f16)); }});
  tests.push_back(
      {"copy: float32 to bfloat16", [=] { convertPatterns<uint32_t, uint16_t>(f32, bf16, floatPatterns(bf16)); }});
  tests.push_back({"copy: layouts", layouts});
  tests.push_back({"copy: random arrays", randomArrays});
  tests.push_back({"copy: kernels", kernels});
  tests.push_back({"copy: refusals", refusals});
}

}  // namespace fovea::test
