// Expectations for mbarriers, copies by tensor map and wgmma, from the wording of the documentation.
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

// Products ----------------------------------------------------------------------------------------------------------

constexpr int groupThreads = 128, size = 64, depth = 16, matrixBytes = 8192;

/// A matrix of 64 x 16 in shared memory: "MN" is the row of A or the column of B. Rows of `span` bytes in atoms of
/// eight.
struct Layout {
  int span, start;
  bool mnMajor;

  int firstK() const {
    return !mnMajor && span != 32 ? 16 : 0;
  }  // the product begins within the rows, or behind a block
  int atom() const { return 8 * span; }
  int leading() const { return span == 16 ? (mnMajor ? atom() : size / 8 * atom()) : mnMajor ? 2 * atom() : 16; }
  int stride() const { return span == 16 && mnMajor ? 2 * atom() : atom(); }
  int byteOf(int mn, int k) const {
    const int perRow = span / 2;
    int byte = 0;
    if (mnMajor) {
      const int along = mn / perRow * (span == 16 ? stride() : leading()),
                down = k / 8 * (span == 16 ? leading() : stride());
      byte = along + down + k % 8 * span + mn % perRow * 2;
    } else {
      const int at = k + firstK();
      byte = mn / 8 * stride() + (span == 16 ? at / 8 * leading() : 0) + mn % 8 * span + at % perRow * 2;
    }
    return start + swizzled(byte, span);
  }
  uint64_t descriptor() const {
    const uint64_t mode = span == 128 ? 1 : span == 64 ? 2 : span == 32 ? 3 : 0;
    const int first = start + (span == 16 ? firstK() / 8 * leading() : firstK() * 2);
    return uint64_t(first >> 4) | uint64_t(leading() >> 4) << 16 | uint64_t(stride() >> 4) << 32 | mode << 62;
  }
};

/// One block per swizzle: none, 32, 64, 128 bytes. Small integers, whose sums are exact in any order.
Micro multiply(const std::string& name, Format format, bool mMajor, bool nMajor) {
  constexpr int spans[] = {16, 32, 64, 128};
  constexpr int count = 4 * groupThreads;
  Micro micro{name, Image::warpgroups, 4, Words(40 * count), Words(32 * count), {}, groupThreads};
  const auto number = [&](int i) { return double(int(randomWord(name, uint32_t(i)) % 15) - 7); };
  for (int block = 0; block < 4; block++) {
    const auto a = [&](int m, int k) { return number((block * size + m) * depth + k); };
    const auto b = [&](int k, int n) { return number(8192 + (block * size + n) * depth + k); };
    const Layout layoutA{spans[block], 0, mMajor}, layoutB{spans[block], matrixBytes, nMajor};
    Words matrices(2 * matrixBytes / 4);
    for (int i = 0; i < size; i++)
      for (int k = 0; k < depth; k++) {
        setHalf(matrices, layoutA.byteOf(i, k) / 2, encode(format, a(i, k)));
        setHalf(matrices, layoutB.byteOf(i, k) / 2, encode(format, b(k, i)));
      }
    for (int thread = 0; thread < groupThreads; thread++) {
      const int g = thread % warpSize / 4, t = thread % 4, firstRow = thread / warpSize * 16;
      const auto put = [&](int operand, uint32_t word) {
        micro.input[size_t(operand * count + block * groupThreads + thread)] = word;
      };
      for (int i = 0; i < 32; i++) put(i, matrices[size_t(i * groupThreads + thread)]);
      for (int r = 0; r < 4; r++) {  // rows g and g + 8, k from 2t and from 2t + 8
        const int row = firstRow + g + r % 2 * 8, k = 2 * t + r / 2 * 8;
        put(32 + r, encode(format, a(row, k)) | encode(format, a(row, k + 1)) << 16);
      }
      put(36, uint32_t(layoutA.descriptor()));
      put(37, uint32_t(layoutA.descriptor() >> 32));
      put(38, uint32_t(layoutB.descriptor()));
      put(39, uint32_t(layoutB.descriptor() >> 32));
      for (int r = 0; r < 32; r++) {
        const int row = firstRow + g + r / 2 % 2 * 8, column = r / 4 * 8 + 2 * t + r % 2;
        double sum = 0;
        for (int k = 0; k < depth; k++) sum += a(row, k) * b(k, column);
        micro.expected[size_t(r * count + block * groupThreads + thread)] = encode(float32, sum);
      }
    }
  }
  return micro;
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
  micros.push_back(multiply("wgmma_k_k", float16, false, false));
  micros.push_back(multiply("wgmma_m_k", float16, true, false));
  micros.push_back(multiply("wgmma_k_n", bfloat16, false, true));
  micros.push_back(multiply("wgmma_m_n", bfloat16, true, true));
  micros.push_back(multiply("wgmma_registers_k", float16, false, false));
  micros.push_back(multiply("wgmma_registers_n", bfloat16, false, true));
  return micros;
}

}  // namespace fovea::test::calibration
