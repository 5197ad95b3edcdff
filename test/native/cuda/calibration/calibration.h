// Calibration: what single instructions do, on a GPU and on the simulator.
//
// A micro-kernel runs one instruction on fixed inputs. Its results are compared with an expectation computed here, on
// the host, from the wording of the PTX documentation, and with goldens: results that were recorded on real GPUs.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace fovea::test::calibration {

using Words = std::vector<uint32_t>;

/// How far results may be from each other: the errors that the documentation allows an approximation. Both 0: the same
/// bits, NaN included.
struct Tolerance {
  enum class Format { single, halves } format = Format::single;  // of a word: one float32, or a pair of float16
  double relative = 0, absolute = 0;
};

enum class Image { elements, warps, matrices, hopper };

struct Micro {
  std::string name;  // of kernel calibrate_<name>
  Image image;
  int blocks;  // of 32 threads
  Words input;
  Words expected;  // every thread's first result, then every thread's second, ...
  Tolerance tolerance;
};

constexpr int warpSize = 32;

std::vector<Micro> elementMicros();
std::vector<Micro> warpMicros();
std::vector<Micro> matrixMicros();
/// For compute capability 9.0 and newer.
std::vector<Micro> hopperMicros();

/// Where `got` is not `want` within `scale` times the tolerance: the first such word; empty if there is none.
std::string difference(const Words& got, const Words& want, const Tolerance& tolerance, double scale = 1);

}  // namespace fovea::test::calibration
