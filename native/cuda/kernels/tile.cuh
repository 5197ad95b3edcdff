// The vocabulary of tiles. Device code above this file loads panels, multiplies warp tiles and reduces their rows; how
// elements lie in shared memory and in registers is decided here, once.
#pragma once
#include "../../attention/tiles_cuda.h"
#include "ptx.cuh"

namespace fovea::cuda {

FOVEA_DEVICE int laneIndex() { return threadIdx.x % 32; }
FOVEA_DEVICE int warpIndex() { return threadIdx.x / 32; }

/// Columns of a panel.
template <class Element>
constexpr int panelColumns = panelBytes / int(sizeof(Element));

/// Part of a matrix in shared memory: rows of 128 bytes. The 16-byte granule g of row r lies at place g ^ (r % 8), so
/// that eight neighbouring rows read at one column (ldmatrix, float2) meet all 32 banks.
template <int rows>
struct alignas(1024) Panel {
  uint4 granules[rows * 8];

  FOVEA_DEVICE static int place(int row, int granule) { return row * 8 + (granule ^ (row & 7)); }
  FOVEA_DEVICE uint32_t address(int row, int granule) const {
    return ptx::sharedAddress(granules + place(row, granule));
  }
  /// The address `down` rows (a multiple of 8) and `further` granules from a place whose granule has no bit of
  /// `further`: both leave the swizzle as it is, so of many addresses only one takes more than an exclusive or.
  FOVEA_DEVICE uint32_t addressFrom(int place, int down, int further) const {
    return ptx::sharedAddress(granules + (place ^ further) + down * 8);
  }
  FOVEA_DEVICE float4 four(int row, int granule) const {
    return reinterpret_cast<const float4*>(granules)[place(row, granule)];
  }
  FOVEA_DEVICE float2 two(int row, int column) const {
    return reinterpret_cast<const float2*>(granules + place(row, column / 4))[column / 2 % 2];
  }
  FOVEA_DEVICE float one(int row, int column) const {
    return reinterpret_cast<const float*>(granules + place(row, column / 4))[column % 4];
  }
};

/// Where the rows of one head's matrix are in global memory: equally spaced, or in pages.
template <class Element>
struct RowSource {
  const Element* base;
  int64_t rowStride, columnStride, pageStride;  // in elements
  const int32_t* pageTable;                     // null: not paged
  Divisor pageSize;
  bool aligned;  // every row starts at a multiple of 16 bytes and its columns are neighbours

  /// Finds row `first` and every `step`th one after it. For those past `last` there may be any address.
  template <int step, int count>
  FOVEA_DEVICE void find(const Element* (&at)[count], int first, int last) const {
    at[0] = base + uint32_t(first) * rowStride;
    if (pageTable) {
      Divisor::Quotient row[count];  // of page and place in it
      row[0] = pageSize.divide(min(first, last));
      if (uint32_t(row[0].remainder) + (count - 1) * step >= pageSize.divisor) {  // not all in one page
        uint32_t page[count];
#pragma unroll
        for (int i = 1; i < count; i++) row[i] = pageSize.divide(min(first + i * step, last));
#pragma unroll
        for (int i = 0; i < count; i++) page[i] = pageTable[row[i].quotient];  // all are asked for before one is used
#pragma unroll
        for (int i = 0; i < count; i++) at[i] = base + page[i] * pageStride + uint32_t(row[i].remainder) * rowStride;
        return;
      }
      at[0] = base + uint32_t(pageTable[row[0].quotient]) * pageStride + uint32_t(row[0].remainder) * rowStride;
    }
#pragma unroll
    for (int i = 1; i < count; i++) at[i] = at[i - 1] + step * rowStride;
  }
};

/// Eight (or four) elements one by one, where 16-byte copies cannot be used; zeros from `count` on.
template <class Element>
FOVEA_DEVICE uint4 gatherGranule(const Element* source, int64_t columnStride, int count) {
  constexpr int perGranule = 16 / int(sizeof(Element));
  union {
    uint4 granule;
    Element elements[perGranule];
  } result;
  result.granule = {0, 0, 0, 0};
#pragma unroll
  for (int i = 0; i < perGranule; i++) {
    if (i < count) result.elements[i] = *source;
    source = ptx::anew(source + columnStride);  // or all addresses would be made first
  }
  return result.granule;
}

/// Starts copying rows into a tile of panels side by side: rows [0, count) and columns [0, columnEnd). Further rows,
/// and columns up to the last panel that is begun, become 0; nothing of them is read. find(at, row) gives the addresses
/// of row `row` and of every `threads` / 8th one after it, as many as `at` has; of rows from `count` on it may be any.
/// All `threads` take part: those of the block, or of the warp. The tile may be read after commitCopies, waitCopies and
/// a barrier.
template <int threads, class Element, int rows, int panels, class Find>
FOVEA_DEVICE void loadRows(Panel<rows> (&to)[panels], const RowSource<Element>& source, int count, int columnEnd,
                           Find find) {
  constexpr int perGranule = 16 / int(sizeof(Element)), step = threads / 8;
  constexpr int runs = rows / step, most = threads == standardThreads ? 1 : 4;
  constexpr int batch = runs < most ? runs : most;  // more would take registers from the products
  static_assert(rows % step == 0 && runs % batch == 0);
  const int thread = threads == 32 ? laneIndex() : int(threadIdx.x), firstRow = thread / 8, granule = thread % 8;
  const auto elementsOf = [&](int panel) {
    return max(min(columnEnd - panel * panelColumns<Element> - granule * perGranule, perGranule), 0);
  };
  const auto isBegun = [&](int panel) { return panel == 0 || panel * panelColumns<Element> < columnEnd; };
  if (!source.aligned) {
#pragma unroll 1
    for (int row = firstRow; row < rows; row += step) {
      const Element* from[1];
      find(from, row);
#pragma unroll
      for (int panel = 0; panel < panels; panel++) {
        if (!isBegun(panel)) break;
        const int column = panel * panelColumns<Element> + granule * perGranule;
        to[panel].granules[Panel<rows>::place(row, granule)] = gatherGranule(
            from[0] + column * source.columnStride, source.columnStride, row < count ? elementsOf(panel) : 0);
      }
    }
    return;
  }
#pragma unroll 1
  for (int first = 0; first < runs; first += batch) {
    const int row = firstRow + first * step;
    const Element* from[batch];
    find(from, row);
    // Anew, or compilers would find each copy's address from `base` again.
#pragma unroll
    for (int i = 0; i < batch; i++) from[i] = ptx::anew(from[i] + granule * perGranule);
    if (count >= rows && columnEnd == panels * panelColumns<Element>) {  // whole: nothing is looked at for each copy
#pragma unroll
      for (int panel = 0; panel < panels; panel++)
#pragma unroll
        for (int i = 0; i < batch; i++)
          ptx::copyAsync(to[panel].address(row + i * step, granule), from[i] + panel * panelColumns<Element>);
    } else {
#pragma unroll
      for (int panel = 0; panel < panels; panel++) {
        if (!isBegun(panel)) break;
        const int bytes = elementsOf(panel) * int(sizeof(Element));
#pragma unroll
        for (int i = 0; i < batch; i++)
          ptx::copyAsync(to[panel].address(row + i * step, granule), from[i] + panel * panelColumns<Element>,
                         row + i * step < count ? bytes : 0);
      }
    }
  }
}

/// The same for rows [first, first + rows) of a source of rowEnd rows.
template <int threads, class Element, int rows, int panels>
FOVEA_DEVICE void loadRows(Panel<rows> (&to)[panels], const RowSource<Element>& source, int first, int rowEnd,
                           int columnEnd) {
  loadRows<threads>(to, source, rowEnd - first, columnEnd,
                    [&](auto& at, int row) { source.template find<threads / 8>(at, first + row, rowEnd - 1); });
}

/// The same for one panel, of columns [firstColumn, firstColumn + panelColumns) of columnEnd, by the standard kernels'
/// threads.
template <class Element, int rows>
FOVEA_DEVICE void loadPanel(Panel<rows>& panel, RowSource<Element> source, int firstRow, int rowEnd, int firstColumn,
                            int columnEnd) {
  source.base += firstColumn * source.columnStride;
  loadRows<standardThreads>(reinterpret_cast<Panel<rows>(&)[1]>(panel), source, firstRow, rowEnd,
                            min(columnEnd - firstColumn, panelColumns<Element>));
}

/// Rows that are stored as int8, in pages, each to be multiplied by a number of its own.
struct ScaledRows {
  RowSource<int8_t> rows;
  const float* scales;       // of one head, in pages as the rows
  int64_t scalesPageStride;  // in elements

  FOVEA_DEVICE const float* scale(int index) const {
    const Divisor::Quotient row = rows.pageSize.divide(index);
    return scales + rows.pageTable[row.quotient] * scalesPageStride + row.remainder;
  }
};

/// Four int8 times a scale. A byte in the mantissa of 2^23 is exact, and faster than a conversion.
FOVEA_DEVICE float4 dequantise(uint32_t four, float scale) {
  const uint32_t biased = four ^ 0x80808080;
  const auto at = [&](uint32_t byte) {
    return (__uint_as_float(__byte_perm(biased, 0x4b000000, 0x7440 | byte)) - 8388736.f) * scale;
  };
  return {at(0), at(1), at(2), at(3)};
}

FOVEA_DEVICE uint4 packGranule(const uint32_t (&bytes)[1], float scale, float) {
  const float4 four = dequantise(bytes[0], scale);
  return {__float_as_uint(four.x), __float_as_uint(four.y), __float_as_uint(four.z), __float_as_uint(four.w)};
}

template <class Element>
FOVEA_DEVICE uint4 packGranule(const uint32_t (&bytes)[2], float scale, Element) {
  const float4 low = dequantise(bytes[0], scale), high = dequantise(bytes[1], scale);
  return {ptx::pack<Element>(low.x, low.y), ptx::pack<Element>(low.z, low.w), ptx::pack<Element>(high.x, high.y),
          ptx::pack<Element>(high.z, high.w)};
}

/// The numbers themselves, which are exact in every dtype.
template <class Element, int words>
FOVEA_DEVICE uint4 packGranule(const uint32_t (&bytes)[words], Element) {
  return packGranule(bytes, 1.f, Element{});
}

/// The same as float16: bytes in the mantissas of 2^10, two at a time.
FOVEA_DEVICE uint4 packGranule(const uint32_t (&bytes)[2], Half) {
  const auto pair = [&](uint32_t four, uint32_t places) {
    return ptx::addPair(__byte_perm(four ^ 0x80808080, 0x64646464, places), 0xe480e480);  // - 1152
  };
  return {pair(bytes[0], 0x4140), pair(bytes[0], 0x4342), pair(bytes[1], 0x4140), pair(bytes[1], 0x4342)};
}

/// A ring of places in shared memory for tiles of keys or values, which all `threads` load and take.
template <class Element, class Stored, int keys, int dims, int stages>
struct TileRing {
  static constexpr int panels = dims / panelColumns<Element>;
  using Tile = Panel<keys>[panels];
  using Source = RowSource<Element>;
  Tile places[stages];

  /// Starts copying a tile: rows [first, first + keys) of rowEnd, and columns [0, columnEnd).
  template <int threads>
  FOVEA_DEVICE void load(int place, const Source& source, int first, int rowEnd, int columnEnd) {
    loadRows<threads>(places[place], source, first, rowEnd, columnEnd);
  }
  /// The tile at a place, which is there for all threads, as products take it; until they take another. Of keys, scores
  /// are to be scaled afterwards.
  template <int threads>
  FOVEA_DEVICE const Tile& keysAt(int place, int) {
    return places[place];
  }
  template <int threads>
  FOVEA_DEVICE const Tile& valuesAt(int place, int) {
    return places[place];
  }
  template <class Scores>
  FOVEA_DEVICE void scale(Scores&, int) const {}
};

/// Of int8: tiles arrive as they are stored, and each is converted when it is taken, so that bytes in flight are few
/// and registers are free meanwhile. Keys are converted without their scales, which is exact in every dtype; values
/// with them, as probabilities times a scale could leave float16's range.
template <class Element, int keys, int dims, int stages>
struct TileRing<Element, int8_t, keys, dims, stages> {
  static constexpr int panels = dims / panelColumns<Element>;
  using Tile = Panel<keys>[panels];
  using Source = ScaledRows;
  Panel<keys> places[stages][ceilDivide(dims, panelColumns<int8_t>)];
  Tile converted;
  float scales[stages][keys];

  template <int threads>
  FOVEA_DEVICE void load(int place, const Source& source, int first, int rowEnd, int columnEnd) {
    loadRows<threads>(places[place], source.rows, first, rowEnd, columnEnd);
    const int key = threads == 32 ? laneIndex() : int(threadIdx.x);
    const bool exists = first + key < rowEnd;
    if (key < keys)
      ptx::copyFourAsync(ptx::sharedAddress(&scales[place][key]), exists ? source.scale(first + key) : source.scales,
                         exists);
  }
  template <int threads>
  FOVEA_DEVICE const Tile& keysAt(int place, int columnEnd) {
    return convert<threads, false>(place, columnEnd);
  }
  template <int threads>
  FOVEA_DEVICE const Tile& valuesAt(int place, int columnEnd) {
    return convert<threads, true>(place, columnEnd);
  }
  template <class Scores>
  FOVEA_DEVICE void scale(Scores& scores, int place) const {
#pragma unroll
    for (int j = 0; j < Scores::columnsPerThread; j++) {
      const float scale = scales[place][Scores::column(j)];
#pragma unroll
      for (int i = 0; i < Scores::rowsPerThread; i++) scores.at(i, j) *= scale;
    }
  }

 private:
  template <int threads, bool scaled>
  FOVEA_DEVICE const Tile& convert(int place, int columnEnd) {
    constexpr int perGranule = 16 / int(sizeof(Element)), step = threads / 8;
    const int thread = threads == 32 ? laneIndex() : int(threadIdx.x), granule = thread % 8;
#pragma unroll 1
    for (int i = thread / 8; i < keys; i += step) {
      // Lanes read neighbouring bytes of a part of a row, which swizzling spreads by the row's last three bits:
      // reversed, rows read together differ in the first of those, and come from different banks.
      static_assert(keys % 8 == 0);
      const int row = (i & ~7) | int(__brev(unsigned(i)) >> 29);
      const int from = Panel<keys>::place(row, granule * perGranule / 16), to = Panel<keys>::place(row, granule);
#pragma unroll
      for (int panel = 0; panel < panels; panel++) {
        const int column = panel * panelColumns<Element>;
        if (panel > 0 && column >= columnEnd) break;
        const auto& stored = places[place][column / panelColumns<int8_t>];
        const auto* source =
            reinterpret_cast<const unsigned char*>(&stored.granules[from ^ column % panelColumns<int8_t> / 16]) +
            granule * perGranule % 16;
        uint32_t bytes[perGranule / 4];
        if constexpr (perGranule == 8) {  // in one load: in two, four rows would be read at once
          const auto both = *reinterpret_cast<const uint64_t*>(source);
          bytes[0] = uint32_t(both), bytes[1] = uint32_t(both >> 32);
        } else {
          bytes[0] = *reinterpret_cast<const uint32_t*>(source);
        }
        if constexpr (scaled)
          converted[panel].granules[to] = packGranule(bytes, scales[place][row], Element{});
        else
          converted[panel].granules[to] = packGranule(bytes, Element{});
      }
    }
    if constexpr (threads == 32)
      __syncwarp();
    else
      __syncthreads();
    return converted;
  }
};

/// Starts copying `bytes` (a multiple of 16) as they are.
FOVEA_DEVICE void loadImage(void* shared, const void* global, int bytes) {
  const uint32_t to = ptx::sharedAddress(shared);
#pragma unroll 2
  for (int offset = threadIdx.x * 16; offset < bytes; offset += standardThreads * 16)
    ptx::copyAsync(to + offset, static_cast<const char*>(global) + offset, 16);
}

/// Accumulators of mma.m16n8k*, float32: a warp's 16 * groups rows of `columns`. Each thread holds rowsPerThread x
/// columnsPerThread of them, at(i, j) being element (row(i), column(j)); lanesPerRow neighbouring lanes share a row.
template <int groups, int columns>
struct MatrixTile {
  static constexpr int rowsPerThread = 2 * groups, columnsPerThread = columns / 4, lanesPerRow = 4;
  float fragments[groups][columns / 8][4];

  FOVEA_DEVICE float& at(int i, int j) { return fragments[i / 2][j / 2][i % 2 * 2 + j % 2]; }
  FOVEA_DEVICE static int row(int i) { return i * 8 + laneIndex() / 4; }
  FOVEA_DEVICE static int column(int j) { return j / 2 * 8 + laneIndex() % 4 * 2 + j % 2; }
};

/// A warp's 32 x columns accumulators in the standard kernels. 16-bit types multiply on tensor cores.
template <class Element, int columns>
struct WarpTile : MatrixTile<2, columns> {};

template <int columns>
struct WarpTile<float, columns> {  // float32: 8 x columns/8 values per thread, 4 x 8 lanes
  static constexpr int rowsPerThread = 8, columnsPerThread = columns / 8, lanesPerRow = 8;
  float values[8][columns / 8];

  FOVEA_DEVICE float& at(int i, int j) { return values[i][j]; }
  FOVEA_DEVICE static int row(int i) { return i * 4 + laneIndex() / 8; }
  FOVEA_DEVICE static int column(int j) { return j * 8 + laneIndex() % 8; }
};

/// Calls action(value, i, j) for every element that this thread holds.
template <class Tile, class Action>
FOVEA_DEVICE void forEach(Tile& tile, Action action) {
#pragma unroll
  for (int i = 0; i < Tile::rowsPerThread; i++)
#pragma unroll
    for (int j = 0; j < Tile::columnsPerThread; j++) action(tile.at(i, j), i, j);
}

template <class Tile>
FOVEA_DEVICE void clear(Tile& tile) {
  forEach(tile, [](float& value, int, int) { value = 0; });
}

/// The largest element of each row, in all lanes that share it. NaN is passed over.
template <class Tile>
FOVEA_DEVICE void rowMax(Tile& tile, float (&result)[Tile::rowsPerThread]) {
#pragma unroll
  for (int i = 0; i < Tile::rowsPerThread; i++) {
    result[i] = tile.at(i, 0);
#pragma unroll
    for (int j = 1; j < Tile::columnsPerThread; j++) result[i] = fmaxf(result[i], tile.at(i, j));
#pragma unroll
    for (int lanes = 1; lanes < Tile::lanesPerRow; lanes *= 2)
      result[i] = fmaxf(result[i], __shfl_xor_sync(0xffffffff, result[i], lanes));
  }
}

template <class Tile>
FOVEA_DEVICE void rowSum(Tile& tile, float (&result)[Tile::rowsPerThread]) {
#pragma unroll
  for (int i = 0; i < Tile::rowsPerThread; i++) {
    result[i] = tile.at(i, 0);
#pragma unroll
    for (int j = 1; j < Tile::columnsPerThread; j++) result[i] += tile.at(i, j);
#pragma unroll
    for (int lanes = 1; lanes < Tile::lanesPerRow; lanes *= 2)
      result[i] += __shfl_xor_sync(0xffffffff, result[i], lanes);
  }
}

}  // namespace fovea::cuda
