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

  FOVEA_DEVICE static int place(int row, int granule) { return row * 8 + (granule ^ (row % 8)); }
  FOVEA_DEVICE uint32_t address(int row, int granule) const {
    return ptx::sharedAddress(granules + place(row, granule));
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
  int pageSize;
  bool aligned;  // every row starts at a multiple of 16 bytes and its columns are neighbours

  FOVEA_DEVICE const Element* row(int index) const {
    if (!pageTable) return base + index * rowStride;
    return base + pageTable[index / pageSize] * pageStride + index % pageSize * rowStride;
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
  for (int i = 0; i < perGranule; i++)
    if (i < count) result.elements[i] = source[i * columnStride];
  return result.granule;
}

/// Starts copying rows [firstRow, firstRow + rows) and columns [firstColumn, firstColumn + panelColumns) into a panel,
/// with zeros for rows from rowEnd and columns from columnEnd on; nothing outside is read. All threads of the block
/// take part. The panel may be read after commitCopies, waitCopies and a barrier.
template <class Element, int rows>
FOVEA_DEVICE void loadPanel(Panel<rows>& panel, const RowSource<Element>& source, int firstRow, int rowEnd,
                            int firstColumn, int columnEnd) {
  constexpr int perGranule = 16 / int(sizeof(Element));
#pragma unroll 2  // more would take registers from the products
  for (int slot = threadIdx.x; slot < rows * 8; slot += standardThreads) {
    const int row = slot / 8, granule = slot % 8, column = firstColumn + granule * perGranule;
    int count = min(columnEnd - column, perGranule);
    if (firstRow + row >= rowEnd || count < 0) count = 0;
    const Element* from = count > 0 ? source.row(firstRow + row) + column * source.columnStride : source.base;
    if (source.aligned)
      ptx::copyAsync(panel.address(row, granule), from, count * int(sizeof(Element)));
    else
      panel.granules[panel.place(row, granule)] = gatherGranule(from, source.columnStride, count);
  }
}

/// Goes through the rows of a source in order, without a division for each.
template <class Element>
class RowCursor {
 public:
  FOVEA_DEVICE RowCursor(const RowSource<Element>& source, int index) : source_(source), page_(0), inPage_(index) {
    if (!source.pageTable) return;
    page_ = index / source.pageSize;
    inPage_ = index % source.pageSize;
  }
  FOVEA_DEVICE const Element* row() const {
    const Element* page = source_.base;
    if (source_.pageTable) page += source_.pageTable[page_] * source_.pageStride;
    return page + inPage_ * source_.rowStride;
  }
  FOVEA_DEVICE void advance(int rows) {
    inPage_ += rows;
    while (source_.pageTable && inPage_ >= source_.pageSize) {
      inPage_ -= source_.pageSize;
      page_++;
    }
  }

 private:
  const RowSource<Element>& source_;
  int page_, inPage_;
};

/// Starts copying rows into a tile of panels side by side: rows [0, count), which rowAt(row) finds (asked for each row
/// once, in ascending order per thread, `threads` / 8 rows apart, by all threads), and columns [0, columnEnd). Further
/// rows, and columns up to the last panel that is begun, become 0; nothing of them is read. All `threads` take part: those
/// of the block, or of the warp.
template <int threads, class Element, int rows, int panels, class RowAt>
FOVEA_DEVICE void loadRows(Panel<rows> (&to)[panels], const RowSource<Element>& source, int count, int columnEnd,
                           RowAt rowAt) {
  constexpr int perGranule = 16 / int(sizeof(Element)), step = threads / 8;
  const int thread = threads == 32 ? laneIndex() : int(threadIdx.x), granule = thread % 8;
#pragma unroll 2
  for (int row = thread / 8; row < rows; row += step) {
    const Element* from = row < count ? rowAt(row) : source.base;
#pragma unroll
    for (int panel = 0; panel < panels; panel++) {
      const int column = panel * panelColumns<Element> + granule * perGranule;
      if (panel > 0 && panel * panelColumns<Element> >= columnEnd) break;
      const int elements = row < count ? max(min(columnEnd - column, perGranule), 0) : 0;
      const Element* at = elements > 0 ? from + column * source.columnStride : source.base;
      if (source.aligned)
        ptx::copyAsync(to[panel].address(row, granule), at, elements * int(sizeof(Element)));
      else
        to[panel].granules[Panel<rows>::place(row, granule)] = gatherGranule(at, source.columnStride, elements);
    }
  }
}

/// The same for rows [first, first + rows) of a source of rowEnd rows.
template <int threads, class Element, int rows, int panels>
FOVEA_DEVICE void loadRows(Panel<rows> (&to)[panels], const RowSource<Element>& source, int first, int rowEnd,
                           int columnEnd) {
  int at = (threads == 32 ? laneIndex() : int(threadIdx.x)) / 8;
  RowCursor<Element> cursor(source, first + at);
  loadRows<threads>(to, source, rowEnd - first, columnEnd, [&](int row) {
    cursor.advance(row - at);
    at = row;
    return cursor.row();
  });
}

/// Rows that are stored as int8, in pages, each to be multiplied by a number of its own.
struct ScaledRows {
  RowSource<int8_t> rows;
  const float* scales;       // of one head, in pages as the rows
  int64_t scalesPageStride;  // in elements

  FOVEA_DEVICE const float* scale(int index) const {
    return scales + rows.pageTable[index / rows.pageSize] * scalesPageStride + index % rows.pageSize;
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
/// and registers are free meanwhile. Keys are converted without their scales, which is exact in every dtype; values with
/// them, as probabilities times a scale could leave float16's range.
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
      // Lanes read neighbouring bytes of a part of a row, which swizzling spreads by the row's last three bits: reversed,
      // rows read together differ in the first of those, and come from different banks.
      static_assert(keys % 8 == 0);
      const int row = (i & ~7) | int(__brev(unsigned(i)) >> 29);
      const float scale = scaled ? scales[place][row] : 1.f;
#pragma unroll
      for (int panel = 0; panel < panels; panel++) {
        if (panel > 0 && panel * panelColumns<Element> >= columnEnd) break;
        const int column = panel * panelColumns<Element> + granule * perGranule;
        const auto& from = places[place][column / panelColumns<int8_t>];
        const int inPanel = column % panelColumns<int8_t>;
        uint32_t bytes[perGranule / 4];
        const auto* source =
            reinterpret_cast<const unsigned char*>(&from.granules[from.place(row, inPanel / 16)]) + inPanel % 16;
        if constexpr (perGranule == 8) {  // in one load: in two, four rows would be read at once
          const auto both = *reinterpret_cast<const uint64_t*>(source);
          bytes[0] = uint32_t(both), bytes[1] = uint32_t(both >> 32);
        } else {
          bytes[0] = *reinterpret_cast<const uint32_t*>(source);
        }
        converted[panel].granules[Panel<keys>::place(row, granule)] = packGranule(bytes, scale, Element{});
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
