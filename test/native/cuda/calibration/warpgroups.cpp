// Expectations for mbarriers, copies by tensor map and wgmma, from the wording of the documentation.
#include <array>

#include "inputs.h"

namespace fovea::test::calibration {
namespace {

/// Chunks of 16 bytes change places within lines of 128: chunk c of line r goes to c ^ (r mod the chunks of a span).
int swizzled(int byte, int span) {
  const int line = byte / 128, chunk = byte % 128 / 16, chunks = span > 16 ? span / 16 : 1;
  return line * 128 + (chunk ^ line % chunks) * 16 + byte % 16;
}

// Tensor maps -------------------------------------------------------------------------------------------------------

constexpr int tensorColumns = 80, tensorRows = 20, boxRows = 16;

uint32_t halfOf(const Words& words, int index) { return words[size_t(index / 2)] >> (16 * (index % 2)) & 0xffff; }
void setHalf(Words& words, int index, uint32_t value) {
  uint32_t& word = words[size_t(index / 2)];
  word = index % 2 ? (word & 0xffff) | value << 16 : (word & 0xffff0000) | value;
}

/// Boxes that lie inside, over each edge, and outside; zeros come from beyond the tensor, which has `columns` of each
/// row's numbers.
Micro loadBox(const std::string& name, int boxColumns, int swizzle, int columns = tensorColumns) {
  const std::vector<std::pair<int, int>> places{
      {8, 3}, {-5, 2}, {tensorColumns - 7, 1}, {0, -4}, {16, 9}, {-3, tensorRows - 2}, {0, tensorRows}};
  const int boxHalves = boxColumns * boxRows;
  Micro micro{name,
              Image::warpgroups,
              int(places.size()),
              randomWords(name, tensorColumns * tensorRows / 2),
              Words(places.size() * size_t(boxHalves) / 2),
              {}};
  micro.tensor = Tensor{false, columns, tensorRows, tensorColumns, boxColumns, boxRows, swizzle};
  for (size_t block = 0; block < places.size(); block++) {
    const auto [firstColumn, firstRow] = places[block];
    for (int i = 0; i < boxHalves; i++) {
      const int column = firstColumn + i % boxColumns, row = firstRow + i / boxColumns;
      const bool inside = column >= 0 && column < columns && row >= 0 && row < tensorRows;
      setHalf(micro.expected, int(block) * boxHalves + swizzled(2 * i, swizzle) / 2,
              inside ? halfOf(micro.input, row * tensorColumns + column) : 0);
    }
  }
  for (const auto& [column, row] : places) {
    micro.input.push_back(uint32_t(column));
    micro.input.push_back(uint32_t(row));
  }
  return micro;
}

Micro storeBox() {
  constexpr int columns = 64;
  Micro micro{"store_box_128",
              Image::warpgroups,
              1,
              randomWords("store_box", columns * boxRows / 2),
              Words(tensorColumns * tensorRows / 2, 0),
              {}};
  micro.tensor = Tensor{true, tensorColumns, tensorRows, tensorColumns, columns, boxRows, 128};
  for (int i = 0; i < columns * boxRows; i++) {
    const int column = 64 + i % columns, row = 12 + i / columns;
    if (column < tensorColumns && row < tensorRows)
      setHalf(micro.expected, row * tensorColumns + column, halfOf(micro.input, swizzled(2 * i, 128) / 2));
  }
  return micro;
}

/// f(place in a box's shared memory, place in the tensor or -1) for each number of a box whose first is at `place`.
template <class F>
void forBox(const MappedTensor& tensor, const std::array<int, 4>& place, F f) {
  const int width = tensor.padded % 64 == 0 ? 64 : 32;
  int64_t boxHalves = width;
  for (const cuda::BoxDimension& dimension : tensor.dimensions) boxHalves *= dimension.box;
  for (int i = 0; i < boxHalves; i++) {
    int64_t at = place[0] + i % width, rest = i / width;
    bool inside = at >= 0 && at < tensor.columns;
    for (size_t k = 0; k < tensor.dimensions.size(); k++) {
      const auto& [count, box, stride] = tensor.dimensions[k];
      const int64_t index = place[k + 1] + rest % box;
      inside = inside && index >= 0 && index < count;
      at += index * stride;
      rest /= box;
    }
    f(swizzled(2 * i, 2 * width) / 2, inside ? int(at) : -1);
  }
}

/// Boxes of `boxHalves` numbers at places, of a tensor of `halves`: loaded, or stored where it was 0.
Micro moveBoxes(const std::string& name, const MappedTensor& tensor, int halves, int boxHalves,
                const std::vector<std::array<int, 4>>& places) {
  const int blocks = int(places.size());
  const size_t tensorWords = size_t(halves) / 2, boxWords = size_t(blocks * boxHalves) / 2;
  Micro micro{name,
              Image::warpgroups,
              blocks,
              randomWords(name, tensor.isOutput ? boxWords : tensorWords),
              Words(tensor.isOutput ? tensorWords : boxWords, 0),
              {}};
  micro.mapped = tensor;
  for (int block = 0; block < blocks; block++)
    forBox(tensor, places[size_t(block)], [&](int inBox, int inTensor) {
      inBox += block * boxHalves;
      if (inTensor < 0) return;
      if (tensor.isOutput)
        setHalf(micro.expected, inTensor, halfOf(micro.input, inBox));
      else
        setHalf(micro.expected, inBox, halfOf(micro.input, inTensor));
    });
  for (const auto& place : places) micro.input.insert(micro.input.end(), place.begin(), place.end());
  return micro;
}

/// As kernels have them, and memory beyond what maps say, so that it would show. Queries and output: [30 of 63 queries,
/// 2 groups of 3 heads, 72], boxes of 21 queries. Pages: 3 of [48 keys, 2 heads, 72], of as many as no memory has;
/// boxes of 16 keys. Keys: [50 of 112, 2 heads, 88], boxes of 112.
void addMappedBoxes(std::vector<Micro>& micros) {
  constexpr int heads = 3, columns = 72, row = 2 * heads * columns;
  const auto rows = [&](bool isOutput) {
    return MappedTensor{isOutput, columns, 128, {{heads, heads, columns}, {30, 21, row}, {2, 1, heads * columns}}};
  };
  const std::vector<std::array<int, 4>> places{{0, 0, 0, 0}, {64, 0, 0, 1}, {0, 0, 21, 1}, {64, 0, 42, 0}};
  micros.push_back(moveBoxes("load_box_queries", rows(false), 63 * row, 63 * 64, places));
  micros.push_back(moveBoxes("store_box_output", rows(true), 63 * row, 63 * 64, places));

  constexpr int pageKeys = 48, key = 2 * columns, page = pageKeys * key;
  const MappedTensor pages{
      false, columns, 128, {{pageKeys, 16, key}, {2, 1, columns}, {(int64_t{1} << 42) / (2 * page), 1, page}}};
  micros.push_back(
      moveBoxes("load_box_pages", pages, 3 * page, 16 * 64, {{0, 32, 1, 2}, {64, 16, 0, 1}, {0, pageKeys, 0, 0}}));

  const MappedTensor keys{false, 88, 96, {{50, 112, 2 * 88}, {2, 1, 88}}};
  micros.push_back(moveBoxes("load_box_keys", keys, 112 * 2 * 88, 112 * 32, {{0, 0, 1}, {64, 0, 0}}));
}

// Products ----------------------------------------------------------------------------------------------------------

constexpr int groupThreads = 128, rowsA = 64;

/// A matrix in shared memory: "MN" is the row of A or the column of B. Panels one behind the other, each of `rows` rows
/// of `span` bytes, in atoms of eight; what has more columns than a row holds goes on in the next panel.
struct Layout {
  int span, start;
  bool mnMajor;
  int rows;        // of a panel: k where MN-major, else MN
  int firstK = 0;  // where the product begins: within the rows, or behind a block

  int atom() const { return 8 * span; }
  int panel() const { return rows * span; }
  int leading() const { return span == 16 ? (mnMajor ? atom() : panel()) : mnMajor ? panel() : 0; }
  int stride() const { return span == 16 && mnMajor ? panel() : atom(); }
  int place(int mn, int k) const {  // before swizzling
    const int row = mnMajor ? k : mn, column = mnMajor ? mn : k, perRow = span / 2;
    return column / perRow * panel() + row * span + column % perRow * 2;
  }
  int byteOf(int mn, int k) const { return start + swizzled(place(mn, k + firstK), span); }
  /// Of 16 k from `k` on.
  uint64_t descriptor(int k) const {
    const uint64_t mode = span == 128 ? 1 : span == 64 ? 2 : span == 32 ? 3 : 0;
    return uint64_t((start + place(0, k + firstK)) >> 4) | uint64_t(leading() >> 4) << 16 |
           uint64_t(stride() >> 4) << 32 | mode << 62;
  }
};

struct Product {
  std::string name;
  Format format;
  int columns, depth, sharedBytes;
};
/// A block's matrices; without A that is in registers alone.
struct Operands {
  std::optional<Layout> a;
  Layout b;
};

/// Small integers, whose sums are exact in any order.
Micro multiply(const Product& product, const std::vector<Operands>& blocks) {
  const int count = int(blocks.size()) * groupThreads, depth = product.depth,
            words = product.sharedBytes / 4 / groupThreads;
  Micro micro{product.name,
              Image::warpgroups,
              int(blocks.size()),
              Words(size_t((words + depth / 16 * 8) * count)),
              Words(size_t(product.columns / 2 * count)),
              {},
              groupThreads};
  const auto number = [&](int i) { return double(int(randomWord(product.name, uint32_t(i)) % 15) - 7); };
  const auto code = [&](double value) { return encode(product.format, value); };
  for (int block = 0; block < int(blocks.size()); block++) {
    const auto& [layoutA, layoutB] = blocks[size_t(block)];
    const auto a = [&](int m, int k) { return number((block * rowsA + m) * depth + k); };
    const auto b = [&](int k, int n) { return number(8192 + (block * product.columns + n) * depth + k); };
    Words matrices(size_t(words * groupThreads));
    for (int k = 0; k < depth; k++) {
      for (int m = 0; layoutA && m < rowsA; m++) setHalf(matrices, layoutA->byteOf(m, k) / 2, code(a(m, k)));
      for (int n = 0; n < product.columns; n++) setHalf(matrices, layoutB.byteOf(n, k) / 2, code(b(k, n)));
    }
    for (int thread = 0; thread < groupThreads; thread++) {
      const int g = thread % warpSize / 4, t = thread % 4, firstRow = thread / warpSize * 16;
      int operand = 0;
      const auto put = [&](uint32_t word) {
        micro.input[size_t(operand++ * count + block * groupThreads + thread)] = word;
      };
      for (int i = 0; i < words; i++) put(matrices[size_t(i * groupThreads + thread)]);
      for (int firstK = 0; firstK < depth; firstK += 16) {
        for (int r = 0; r < 4; r++) {  // rows g and g + 8, k from 2t and from 2t + 8
          const int row = firstRow + g + r % 2 * 8, k = firstK + 2 * t + r / 2 * 8;
          put(code(a(row, k)) | code(a(row, k + 1)) << 16);
        }
        for (const uint64_t descriptor : {layoutA ? layoutA->descriptor(firstK) : 0, layoutB.descriptor(firstK)}) {
          put(uint32_t(descriptor));
          put(uint32_t(descriptor >> 32));
        }
      }
      for (int r = 0; r < product.columns / 2; r++) {
        const int row = firstRow + g + r / 2 % 2 * 8, column = r / 4 * 8 + 2 * t + r % 2;
        double sum = 0;
        for (int k = 0; k < depth; k++) sum += a(row, k) * b(k, column);
        micro.expected[size_t(r * count + block * groupThreads + thread)] = encode(float32, sum);
      }
    }
  }
  return micro;
}

/// One block per swizzle: none, 32, 64, 128 bytes.
Micro multiplyOnce(const std::string& name, Format format, bool mMajor, bool nMajor) {
  constexpr int matrixBytes = 8192;
  std::vector<Operands> blocks;
  for (const int span : {16, 32, 64, 128}) {
    const auto layout = [&](int start, bool mnMajor) {
      return Layout{span, start, mnMajor, mnMajor ? 16 : 64, !mnMajor && span != 32 ? 16 : 0};
    };
    blocks.push_back({layout(0, mMajor), layout(matrixBytes, nMajor)});
  }
  return multiply({name, format, 64, 16, 2 * matrixBytes}, blocks);
}

/// Tiles of kernels: 64 queries with keys, and probabilities with the values of keys. 96 dims lie in rows of 64 bytes.
Micro multiplyKeys(Format format, int keys, int dims) {
  const int span = dims == 96 ? 64 : 128;
  return multiply({"wgmma_keys_" + std::to_string(keys), format, keys, dims, (rowsA + keys) * dims * 2},
                  {{Layout{span, 0, false, rowsA}, Layout{span, rowsA * dims * 2, false, keys}}});
}
Micro multiplyValues(Format format, int keys, int dims) {
  return multiply({"wgmma_values_" + std::to_string(dims), format, dims, keys, keys * dims * 2},
                  {{std::nullopt, Layout{dims == 96 ? 64 : 128, 0, true, keys}}});
}

}  // namespace

std::vector<Micro> warpgroupMicros() {
  std::vector<Micro> micros;
  // Phases complete with every second arrival; the phase before the first counts as odd.
  Micro parity{"mbarrier_parity", Image::warpgroups, 1, {}, Words(warpSize, 0), {}};
  for (int arrivals = 0; arrivals < 6; arrivals++) parity.expected[0] |= (arrivals / 2 % 2 ? 1u : 2u) << (2 * arrivals);
  micros.push_back(std::move(parity));
  micros.push_back(loadBox("load_box", 64, 0));
  micros.push_back(loadBox("load_box_32", 16, 32));
  micros.push_back(loadBox("load_box_64", 32, 64));
  micros.push_back(loadBox("load_box_128", 64, 128));
  micros.push_back(loadBox("load_box_narrow", 64, 128, tensorColumns - 3));  // ends within 16 bytes
  micros.push_back(storeBox());
  addMappedBoxes(micros);
  micros.push_back(multiplyOnce("wgmma_k_k", float16, false, false));
  micros.push_back(multiplyOnce("wgmma_m_k", float16, true, false));
  micros.push_back(multiplyOnce("wgmma_k_n", bfloat16, false, true));
  micros.push_back(multiplyOnce("wgmma_m_n", bfloat16, true, true));
  micros.push_back(multiplyOnce("wgmma_registers_k", float16, false, false));
  micros.push_back(multiplyOnce("wgmma_registers_n", bfloat16, false, true));
  micros.push_back(multiplyKeys(bfloat16, 80, 128));
  micros.push_back(multiplyKeys(float16, 112, 96));
  micros.push_back(multiplyKeys(float16, 128, 128));
  micros.push_back(multiplyValues(float16, 112, 96));
  micros.push_back(multiplyValues(bfloat16, 128, 128));
  micros.push_back(multiplyValues(float16, 112, 192));
  micros.push_back(multiplyValues(bfloat16, 80, 256));
  return micros;
}

}  // namespace fovea::test::calibration
