// Calibration: what single instructions do, on a GPU and on the simulator.
//
// A micro-kernel runs one instruction on fixed inputs. Its results are compared with an expectation computed here, on
// the host, from the wording of the PTX documentation, and with goldens: results that were recorded on real GPUs.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "../../../../native/cuda/tensor_maps.h"

namespace fovea::test::calibration {

using Words = std::vector<uint32_t>;

/// How far results may be from each other: the errors that the documentation allows an approximation. Both 0: the same
/// bits, NaN included.
struct Tolerance {
  enum class Format { single, halves } format = Format::single;  // of a word: one float32, or a pair of float16
  double relative = 0, absolute = 0;
};

enum class Image { elements, warps, matrices, hopper, warpgroups };

/// The kernel's third parameter: a map of a two-dimensional tensor of 16-bit numbers.
struct Tensor {
  bool isOutput;  // otherwise the input
  int columns, rows;
  int stride;  // numbers from one row to the next, a multiple of 8
  int boxColumns, boxRows;
  int swizzle;  // bytes: 0, 32, 64, 128
};

/// Or the address of a map in device memory: described, and written, as the kernels' own are.
struct MappedTensor {
  bool isOutput;
  int columns, padded;                         // of a row, and those that panels have
  std::vector<cuda::BoxDimension> dimensions;  // beside columns: two or three
};

struct Micro {
  std::string name;  // of kernel calibrate_<name>
  Image image;
  int blocks;
  Words input;
  Words expected;  // every thread's first result, then every thread's second, ...
  Tolerance tolerance;
  int threads = 32;  // of a block
  std::optional<Tensor> tensor = std::nullopt;
  std::optional<MappedTensor> mapped = std::nullopt;
};

constexpr int warpSize = 32;

std::vector<Micro> elementMicros();
std::vector<Micro> warpMicros();
std::vector<Micro> matrixMicros();
/// For compute capability 9.0 and newer.
std::vector<Micro> hopperMicros();
/// For 9.0 alone: mbarriers, tensor maps, wgmma.
std::vector<Micro> warpgroupMicros();

/// Where `got` is not `want` within `scale` times the tolerance: the first such word; empty if there is none.
std::string difference(const Words& got, const Words& want, const Tolerance& tolerance, double scale = 1);

}  // namespace fovea::test::calibration
