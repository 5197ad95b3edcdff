// That as many thread blocks fit on a multiprocessor as kernels are made for, by the registers that resources.json has
// and the shared memory that launches ask for.
#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "../../../native/attention/tiles_sm90.h"
#include "../../../native/cuda/kernels/copy.h"
#include "../../../native/cuda/kernels/standard.h"
#include "../../../native/cuda/kernels/store.h"
#include "../../../native/cuda/kernels/tiled.h"
#include "check.h"
#include "numbers.h"

namespace fovea::test {
namespace {

/// A multiprocessor, and the code that runs on it.
struct Multiprocessor {
  const char* code;
  int sharedKib;
};
/// Of capabilities 8.6 and 8.9, and, by another compiler's registers, 12.0.
constexpr Multiprocessor small{"sm_80", 100};
constexpr Multiprocessor ampere{"sm_80", 164}, hopper{"sm_90", 228}, hopperOwn{"sm_90a", 228};

/// Registers per thread that resources.json gives a kernel.
int registersOf(const std::string& kernel, const Multiprocessor& on) {
  std::ifstream file(FOVEA_RESOURCES);
  const std::string table(std::istreambuf_iterator<char>(file), {});
  size_t at = table.find('"' + kernel + '"');
  const size_t next = std::min(table.find("\"fovea_", at + 1), table.size());
  for (const std::string& key : {'"' + std::string(on.code) + '"', std::string("\"registers\":")})
    at = table.find(key, at);
  check(at < next, "resources.json does not have " + kernel + " for " + on.code);
  return std::atoi(table.c_str() + at + std::string("\"registers\":").size());
}

/// Thread blocks on a multiprocessor: by registers, which a warp takes 256 at a time, by shared memory, of which each
/// takes another KiB, by threads.
int blocksOn(const Multiprocessor& on, int registers, int threads, int sharedBytes) {
  const int byRegisters = 65536 / int(cuda::roundUp(registers, 8) * threads);
  const int byShared = on.sharedKib * 1024 / (sharedBytes + 1024);
  return std::min({byRegisters, byShared, 2048 / threads});
}

void expectBlocks(const Multiprocessor& on, const std::string& kernel, int threads, int sharedBytes, int blocks) {
  const int found = blocksOn(on, registersOf(kernel, on), threads, sharedBytes);
  check(found >= blocks, kernel + " (" + on.code + "): " + std::to_string(found) +
                             " thread blocks on a multiprocessor, made for " + std::to_string(blocks));
}

/// Of a kernel for all GPUs.
void expectBlocks(const std::string& kernel, int threads, int sharedBytes, int blocks) {
  for (const Multiprocessor& on : {ampere, hopper}) expectBlocks(on, kernel, threads, sharedBytes, blocks);
  check(sharedBytes <= 99 * 1024, kernel + ": more shared memory than a thread block of capability 8.6 has");
}

/// While one thread block is in its softmax, or waits, another multiplies. Keys and values in the dtype, or int8.
void checkTiledAndDecode(DType dtype, DType stored) {
  const bool int8 = stored == DType::int8, exact = dtype == DType::float32;
  const std::string type = std::string(nameOf(dtype)) + (int8 ? "_int8_" : "_");
  for (const int dims : {64, 128, 256}) {
    if (int8 && dims == 64) continue;  // is padded to 128
    const std::string suffix = type + std::to_string(dims);
    // Of 64 rows of float32, 256 wide, queries alone take 64 KiB.
    cuda::TiledShape shape = cuda::tiledShape(dtype, stored, dims);
    expectBlocks("fovea_tiled_" + suffix, cuda::tiledThreads, cuda::tiledSharedBytes(dtype, stored, shape),
                 exact && dims == 256 ? 1 : 2);
    shape.stages = cuda::tiledStages(dtype, stored, shape, small.sharedKib << 10);
    expectBlocks(small, "fovea_tiled_" + suffix, cuda::tiledThreads, cuda::tiledSharedBytes(dtype, stored, shape),
                 !int8 && dims <= (exact ? 64 : 128) ? 2 : 1);
    expectBlocks("fovea_decode_" + suffix, cuda::decodeThreads,
                 cuda::decodeSharedBytes(dtype, stored, cuda::decodeShape(dtype, stored, dims)), 2);
  }
}

void checkOccupancy() {
  for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16}) {
    const std::string type = nameOf(dtype);
    checkTiledAndDecode(dtype, dtype);
    checkTiledAndDecode(dtype, DType::int8);
    expectBlocks("fovea_tiled_weights_" + type, cuda::standardThreads, cuda::weightSharedBytes, 1);
    expectBlocks("fovea_merge_splits_" + type, cuda::decodeThreads, 0, 6);  // a warp has 4 KiB on their way
    expectBlocks("fovea_merge_attention_" + type, cuda::decodeThreads, 0, 8);
    expectBlocks("fovea_standard_scores_" + type, cuda::standardThreads, cuda::scoresSharedBytes, 2);
    expectBlocks("fovea_standard_output_" + type + "_64", cuda::standardThreads, cuda::outputSharedBytes(64), 2);
    // Float32 has twice the accumulators and their factors.
    expectBlocks("fovea_standard_output_" + type + "_128", cuda::standardThreads, cuda::outputSharedBytes(128),
                 dtype == DType::float32 ? 1 : 2);
  }
  // What only moves bytes needs as many on their way as there are threads. Conversions, of up to 16 bytes a thread, and
  // int8, of a row a warp, are content with fewer.
  expectBlocks("fovea_standard_weights", cuda::standardThreads, 0, 8);
  expectBlocks("fovea_store_rows", cuda::storeThreads, 0, 8);
  expectBlocks("fovea_store_int8", cuda::storeThreads, 0, 4);
  expectBlocks(ampere, "fovea_copy_units", cuda::copyThreads, 0, 8);
  expectBlocks(hopper, "fovea_copy_units", cuda::copyThreads, 0, 6);
  expectBlocks("fovea_convert_elements", cuda::copyThreads, 0, 6);
  expectBlocks("fovea_convert_vectors", cuda::copyThreads, 0, 6);
  for (const char* kernel : {"fovea_write_table_small", "fovea_write_table_large"})
    expectBlocks(kernel, cuda::standardThreads, 0, 8);
}

/// Hopper's own: thread blocks of the tiled kernel take a multiprocessor each; of decode two keep bytes on their way.
void checkOccupancyOnHopper() {
  for (const std::string type : {"float16", "bfloat16"}) {
    for (const int dims : {64, 128, 256})
      expectBlocks(hopperOwn, "fovea_decode_sm90_" + type + '_' + std::to_string(dims), cuda::sm90DecodeThreads,
                   cuda::sm90DecodeSharedBytes(cuda::sm90DecodeShape(dims)), dims == 256 ? 1 : 2);
    for (const bool ruled : {false, true})
      for (const auto& [dims, valueDims] :
           {std::pair{64, 64}, {96, 96}, {128, 128}, {192, 128}, {192, 192}, {256, 256}}) {
        const cuda::Sm90Shape shape = cuda::sm90Shape(dims, valueDims, ruled);
        const std::string suffix =
            type + '_' + std::to_string(dims) + '_' + std::to_string(valueDims) + (ruled ? "_ruled" : "");
        expectBlocks(hopperOwn, "fovea_tiled_sm90_" + suffix, shape.threads(), cuda::sm90SharedBytes(shape), 1);
        const int moved =
            cuda::warpgroupThreads * (shape.producerRegisters() + shape.consumers * shape.consumerRegisters());
        check(moved <= shape.threads() * registersOf("fovea_tiled_sm90_" + suffix, hopperOwn),
              suffix + ": warpgroups want more registers than the thread block has");
      }
  }
}

}  // namespace

void addOccupancyTests(std::vector<Test>& tests) {
  tests.push_back({"counters: occupancy", checkOccupancy});
  tests.push_back({"counters: occupancy on Hopper", checkOccupancyOnHopper});
}

}  // namespace fovea::test
