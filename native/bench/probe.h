// What this machine can do at most, measured beside everything else: these machines drift.
#pragma once
#include <cstddef>

namespace fovea::bench {

double now();  // seconds

/// FLOP/s of independent fused multiply-adds in registers, on the calling thread; 0 where there is no such probe.
double fmaPeak(double seconds);

/// Bytes/s of reading [data, data + bytes) once, on the calling thread.
double readBandwidth(const float* data, size_t bytes);

}  // namespace fovea::bench
