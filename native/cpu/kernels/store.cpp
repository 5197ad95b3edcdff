// Moves rows into pages (or a copy): one token after the other, all heads, through a row of float32 in the L1 cache.
#include "../../attention/row_store.h"
#include "pack.h"
#include "rows.h"
#include "tasks.h"

namespace fovea::cpu::FOVEA_ISA {
namespace {

/// cos and sin of a token's angles, which all heads share. In double: position times frequency needs all its digits.
void turnsOf(const Rotation& rotation, int64_t token, float* cosines, float* sines) {
  const double position = rotation.positions[token];
  for (int64_t i = 0; i < rotation.dim / 2; i++) {
    const double angle = position * rotation.frequencies[i];
    cosines[i] = float(__builtin_cos(angle));
    sines[i] = float(__builtin_sin(angle));
  }
}

void rotate(const Rotation& rotation, const float* cosines, const float* sines, float* row) {
  const int64_t pairs = rotation.dim / 2, step = rotation.interleaved ? 2 : 1, apart = rotation.interleaved ? 1 : pairs;
  for (int64_t i = 0; i < pairs; i++) {
    const float a = row[i * step], b = row[i * step + apart];
    row[i * step] = a * cosines[i] - b * sines[i];
    row[i * step + apart] = b * cosines[i] + a * sines[i];
  }
}

/// Returns the scale.
float quantise(const float* row, int64_t count, int8_t* to) {
  float largest = 0;
  bool finite = true;
  for (int64_t i = 0; i < count; i++) {
    const float magnitude = __builtin_fabsf(row[i]);
    finite &= magnitude <= __FLT_MAX__;
    largest = magnitude > largest ? magnitude : largest;
  }
  if (!finite) {
    std::memset(to, 0, size_t(count));
    return __builtin_nanf("");
  }
  const float scale = largest / 127;
  // Below this the division would lose digits, or divide by zero: such a row is as good as zero.
  if (!(scale >= __FLT_MIN__)) {
    std::memset(to, 0, size_t(count));
    return 0;
  }
  const float factor = 1 / scale, magic = 12582912.f;  // adding 1.5 * 2^23 rounds to nearest, ties to even
  for (int64_t i = 0; i < count; i++) {
    const float rounded = (row[i] * factor + magic) - magic;
    to[i] = int8_t(rounded > 127 ? 127 : rounded < -127 ? -127 : rounded);
  }
  return scale;
}

}  // namespace

int64_t storeScratch(const RowStore& store) { return roundUp(store.dims, 16) + 2 * roundUp(store.rotation.dim, 16); }

void storeRows(const RowStore& store, int64_t begin, int64_t end, float* scratch) {
  float* row = scratch;
  float *cosines = row + roundUp(store.dims, 16), *sines = cosines + roundUp(store.rotation.dim, 16);
  for (int64_t token = begin; token < end; token++) {
    const int64_t page = store.slots[token] / store.pageSize, place = store.slots[token] % store.pageSize;
    if (store.rotation.dim > 0) turnsOf(store.rotation, token, cosines, sines);
    for (int64_t head = 0; head < store.heads; head++) {
      const int64_t at = head * store.from.headStride + token * store.from.rowStride;
      readRow(elementAt(store.from.data, store.fromDtype, at), store.fromDtype, store.from.columnStride, store.dims,
              row);
      if (store.rotation.dim > 0) rotate(store.rotation, cosines, sines, row);
      const int64_t target = (page * store.heads + head) * store.pageSize + place;
      if (store.toDtype == DType::int8)
        store.scales[target] = quantise(row, store.dims, (int8_t*)store.to + target * store.dims);
      else
        writeRow(row, store.dims, (char*)store.to + target * store.dims * byteSize(store.toDtype), store.toDtype, 1);
    }
  }
}

}  // namespace fovea::cpu::FOVEA_ISA
