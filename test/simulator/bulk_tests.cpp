// Bulk copies: tensor maps, boxes, swizzles, what lies outside the tensor, stores and reductions.
#include <cstring>

#include "harness.h"

namespace fovea::simulatorTest {
namespace {

struct Box {
  const char* name;
  CUtensorMapDataType type;
  uint32_t elementBytes;
  CUtensorMapSwizzle swizzle;
  std::vector<cuuint64_t> sizes;
  std::vector<cuuint32_t> box;
  std::vector<int> at;
};

// Strides of a dense tensor whose rows are padded to a multiple of 16 bytes.
std::vector<cuuint64_t> stridesOf(const Box& box) {
  std::vector<cuuint64_t> strides = {(box.sizes[0] * box.elementBytes + 15) / 16 * 16};
  for (size_t i = 1; i < box.sizes.size(); i++) strides.push_back(strides.back() * box.sizes[i]);
  return strides;  // the last one is the size of the whole
}

void encode(const Box& box, CUdeviceptr address, CUtensorMap& map) {
  const std::vector<cuuint64_t> strides = stridesOf(box);
  const cuuint32_t ones[5] = {1, 1, 1, 1, 1};
  expectSuccess(driver.cuTensorMapEncodeTiled(&map, box.type, static_cast<cuuint32_t>(box.sizes.size()),
                                              reinterpret_cast<void*>(address), box.sizes.data(), strides.data(),
                                              box.box.data(), ones, CU_TENSOR_MAP_INTERLEAVE_NONE, box.swizzle,
                                              CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
                "encoding");
}

uint32_t boxBytes(const Box& box) {
  uint32_t bytes = box.elementBytes;
  for (cuuint32_t size : box.box) bytes *= size;
  return bytes;
}

// Calls f(byte of the dense box, byte of the tensor or -1) for every byte of the box.
template <class F>
void eachByte(const Box& box, F f) {
  const std::vector<cuuint64_t> strides = stridesOf(box);
  for (uint32_t byte = 0; byte < boxBytes(box); byte++) {
    uint32_t index = byte / box.elementBytes;
    int64_t place = byte % box.elementBytes;
    bool inside = true;
    for (size_t i = 0; i < box.sizes.size(); i++) {
      const int64_t coordinate = box.at[i] + static_cast<int64_t>(index % box.box[i]);
      index /= box.box[i];
      inside &= coordinate >= 0 && coordinate < static_cast<int64_t>(box.sizes[i]);
      place += coordinate * static_cast<int64_t>(i ? strides[i - 1] : box.elementBytes);
    }
    f(byte, inside ? place : -1);
  }
}

// Where a byte of the dense box lies in shared memory: in the 128-byte line r, chunk c goes to c ^ (r % chunks of a
// span).
uint32_t swizzledByte(const Box& box, uint32_t byte) {
  const uint32_t chunks = box.swizzle == CU_TENSOR_MAP_SWIZZLE_128B  ? 8
                          : box.swizzle == CU_TENSOR_MAP_SWIZZLE_64B ? 4
                          : box.swizzle == CU_TENSOR_MAP_SWIZZLE_32B ? 2
                                                                     : 1;
  const uint32_t line = byte / 128, chunk = byte % 128 / 16;
  return line * 128 + (chunk ^ line % chunks) * 16 + byte % 16;
}

std::string coordinates(const Box& box) {
  std::string text;
  for (int at : box.at) text += (text.empty() ? "" : ", ") + std::to_string(at);
  return "{" + text + "}";
}

const std::string kDynamic = ".extern .shared .align 1024 .b8 d[];";
const std::string kSetup =
    R"(.shared .align 8 .b64 b; mov.u32 %r20, b; mov.u32 %r21, d; mov.b64 %l20, map; cvta.param.u64 %l20, %l20;
  setp.eq.u32 %p6, %r30, 0; @%p6 mbarrier.init.shared::cta.b64 [%r20], 1; @%p6 fence.mbarrier_init.release.cluster; bar.sync 0;
)";
const std::string kWait = "WAIT: mbarrier.try_wait.parity.shared::cta.b64 %p5, [%r20], 0; @!%p5 bra WAIT;\n";
// Copies words between shared memory and global memory.
std::string copyWords(const std::string& label, uint32_t words, bool toShared, const char* global) {
  return "mov.u32 %r10, %r30;\n" + label + ": mul.wide.u32 %l1, %r10, 4; add.u64 %l1, " + global +
         ", %l1; mad.lo.u32 %r11, %r10, 4, %r21;\n" +
         (toShared ? "ld.global.u32 %r12, [%l1]; st.shared.u32 [%r11], %r12;"
                   : "ld.shared.u32 %r12, [%r11]; st.global.u32 [%l1], %r12;") +
         " add.u32 %r10, %r10, 32; setp.lt.u32 %p4, %r10, " + std::to_string(words) + "; @%p4 bra " + label + ";\n";
}

template <class F>
void underModes(F f) {
  const Setting capability("FOVEA_SIM_COMPUTE_CAPABILITY", "9.0", "8.0");
  for (const char* completion : {"early", "late", "random"}) {
    const Setting mode("FOVEA_SIM_COMPLETION", completion, "late");
    f();
  }
}

uint8_t byteOf(const std::vector<uint32_t>& words, size_t byte) {
  return static_cast<uint8_t>(words[byte / 4] >> (8 * (byte % 4)));
}
std::vector<uint32_t> numbers(size_t bytes) {
  std::vector<uint32_t> words((bytes + 3) / 4);
  for (size_t i = 0; i < words.size(); i++) words[i] = static_cast<uint32_t>(i * 0x9e3779b9u + 0x01020304u);
  return words;
}

void checkLoad(const Box& box) {
  const uint32_t bytes = boxBytes(box), rank = static_cast<uint32_t>(box.sizes.size());
  underModes([&] {
    Run request;
    request.ptx =
        kernelText(kSetup + "@%p6 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], " + std::to_string(bytes) +
                       ";\n@%p6 cp.async.bulk.tensor." + std::to_string(rank) +
                       "d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r21], [%l20, " + coordinates(box) +
                       "], [%r20];\n" + kWait + copyWords("COPY", bytes / 4, false, "%l31"),
                   kDynamic, "sm_90a");
    request.input = numbers(stridesOf(box).back());
    request.outputWords = bytes / 4;
    request.shared = bytes;
    request.encode = [&](CUdeviceptr in, CUdeviceptr, CUtensorMap& map) { encode(box, in, map); };
    const Outcome outcome = run(request);
    expectSuccess(outcome.loadResult, "loading");
    expectSuccess(outcome.result, std::string(box.name) + "\n" + outcome.reports);
    uint32_t inside = 0, wrong = 0;
    eachByte(box, [&](uint32_t byte, int64_t place) {
      inside += place >= 0;
      const uint8_t expected = place < 0 ? 0 : byteOf(request.input, static_cast<size_t>(place));
      wrong += byteOf(outcome.output, swizzledByte(box, byte)) != expected;
    });
    expectEqual<uint32_t>(wrong, 0, std::string(box.name) + ": wrong bytes");
    expectEqual<uint64_t>(counter(outcome.counters, "bulkBytes"), bytes, "bulkBytes");
    expectEqual<uint64_t>(counter(outcome.counters, "globalBytes"), inside + bytes, "globalBytes");
  });
}

// `reduction`: "" stores; "add" combines with the ones (as u32) that the tensor holds before.
void checkStore(const Box& box, const std::string& reduction = "") {
  const uint32_t bytes = boxBytes(box), rank = static_cast<uint32_t>(box.sizes.size());
  underModes([&] {
    Run request;
    const std::string instruction =
        reduction.empty() ? "cp.async.bulk.tensor." + std::to_string(rank) + "d.global.shared::cta.tile.bulk_group"
                          : "cp.reduce.async.bulk.tensor." + std::to_string(rank) + "d.global.shared::cta." +
                                reduction + ".tile.bulk_group";
    request.ptx = kernelText(kSetup + copyWords("COPY", bytes / 4, true, "%l30") +
                                 "fence.proxy.async.shared::cta; bar.sync 0;\n@%p6 " + instruction + " [%l20, " +
                                 coordinates(box) +
                                 "], [%r21];\n@%p6 cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 0;",
                             kDynamic, "sm_90a");
    request.input = numbers(bytes);
    request.outputWords = (stridesOf(box).back() + 3) / 4;
    request.shared = bytes;
    request.encode = [&](CUdeviceptr, CUdeviceptr out, CUtensorMap& map) {
      encode(box, out, map);
      driver.cuMemsetD32(out, 1, request.outputWords);
    };
    const Outcome outcome = run(request);
    expectSuccess(outcome.loadResult, "loading");
    expectSuccess(outcome.result, std::string(box.name) + "\n" + outcome.reports);
    std::vector<uint32_t> expected(request.outputWords, 1);
    eachByte(box, [&](uint32_t byte, int64_t place) {
      if (place < 0) return;
      reinterpret_cast<uint8_t*>(expected.data())[place] = byteOf(request.input, swizzledByte(box, byte));
    });
    if (!reduction.empty())
      eachByte(box, [&](uint32_t byte, int64_t place) {
        if (place >= 0 && byte % 4 == 0) expected[static_cast<size_t>(place) / 4]++;
      });
    uint32_t wrong = 0;
    for (size_t i = 0; i < expected.size(); i++) wrong += outcome.output[i] != expected[i];
    expectEqual<uint32_t>(wrong, 0, std::string(box.name) + ": wrong words");
  });
}

constexpr auto kNone = CU_TENSOR_MAP_SWIZZLE_NONE;
constexpr auto k32 = CU_TENSOR_MAP_SWIZZLE_32B;
constexpr auto k64 = CU_TENSOR_MAP_SWIZZLE_64B;
constexpr auto k128 = CU_TENSOR_MAP_SWIZZLE_128B;
constexpr auto kHalves = CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
constexpr auto kWords = CU_TENSOR_MAP_DATA_TYPE_UINT32;

// clang-format off
const std::vector<Box> kBoxes = {
    {"1d", kWords, 4, kNone, {64}, {32}, {8}},
    {"1d over both ends", kWords, 4, kNone, {16}, {64}, {-8}},
    {"2d, unswizzled, rows of 96 bytes", kHalves, 2, kNone, {64, 8}, {48, 4}, {16, 2}},
    {"2d, 32 bytes", kHalves, 2, k32, {16, 32}, {16, 32}, {0, 0}},
    {"2d, 64 bytes", kHalves, 2, k64, {64, 32}, {32, 32}, {32, 0}},
    {"2d, 128 bytes", kHalves, 2, k128, {128, 40}, {64, 32}, {64, 8}},
    {"2d, 128 bytes, past the last row and column", kHalves, 2, k128, {80, 20}, {64, 16}, {64, 9}},
    {"2d, negative", kHalves, 2, k128, {72, 20}, {64, 16}, {-3, -5}},
    {"2d, wholly outside", kHalves, 2, k128, {64, 8}, {64, 8}, {0, 8}},
    {"3d", kHalves, 2, k64, {32, 5, 4}, {32, 4, 2}, {0, 3, 1}},
    {"4d, heads and batches", CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, k128, {64, 10, 2, 3}, {64, 8, 1, 1}, {0, 4, 1, 2}},
    {"5d", CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4, kNone, {8, 3, 3, 2, 2}, {4, 2, 2, 2, 2}, {2, -1, 2, 0, 1}},
};

// A copy without a map: 64 bytes, from in + 16 to out + 32, by way of shared memory.
const std::string kLinear = kSetup + R"(add.u64 %l2, %l30, 16; add.u64 %l3, %l31, 32;
  @%p6 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], 64;
  @%p6 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r21], [%l2], 64, [%r20];
)" + kWait + "@%p6 cp.async.bulk.global.shared::cta.bulk_group [%l3], [%r21], 64; @%p6 cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;";

CUresult encodeWith(std::function<void(Box&, CUdeviceptr&, std::vector<cuuint64_t>&)> change) {
  const Setting capability("FOVEA_SIM_COMPUTE_CAPABILITY", "9.0", "8.0");
  Box box = {"", kHalves, 2, k128, {128, 64}, {64, 32}, {0, 0}};
  CUdeviceptr address = 1 << 20;
  std::vector<cuuint64_t> strides = {256};
  change(box, address, strides);
  const cuuint32_t ones[5] = {1, 1, 1, 1, 1};
  alignas(64) CUtensorMap map;
  return driver.cuTensorMapEncodeTiled(&map, box.type, static_cast<cuuint32_t>(box.sizes.size()), reinterpret_cast<void*>(address), box.sizes.data(), strides.data(),
                                       box.box.data(), ones, CU_TENSOR_MAP_INTERLEAVE_NONE, box.swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}
void expectEncoding(CUresult expected, std::function<void(Box&, CUdeviceptr&, std::vector<cuuint64_t>&)> change) {
  expectEqual<int>(encodeWith(std::move(change)), expected, "encoding");
}

const Register kBulk[] = {
    {"bulk/loads of boxes", [] { for (const Box& box : kBoxes) checkLoad(box); }},
    {"bulk/stores of boxes", [] { for (const Box& box : kBoxes) checkStore(box); }},
    {"bulk/reductions", [] {
       checkStore({"add", kWords, 4, k128, {48, 12}, {32, 8}, {32, 6}}, "add");
     }},
    {"bulk/copies without a map", [] {
       underModes([] {
         Run request;
         request.ptx = kernelText(kLinear, kDynamic, "sm_90a");
         request.input = numbers(96);
         request.shared = 64;
         const Outcome outcome = run(request);
         expectSuccess(outcome.result, "running\n" + outcome.reports);
         for (size_t i = 0; i < 32; i++) expectEqual(outcome.output[i], i >= 8 && i < 24 ? request.input[i - 4] : 0, "word " + std::to_string(i));
       });
     }},
    {"bulk/a map in global memory", [] {
       underModes([] {
         const Box box = {"", kWords, 4, kNone, {32}, {32}, {0}};
         Run request;
         request.ptx = kernelText(kSetup + "@%p6 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], 128; fence.proxy.tensormap::generic.acquire.gpu [%l31], 128;\n"
                                  "@%p6 cp.async.bulk.tensor.1d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r21], [%l31, {4}], [%r20];\n" + kWait +
                                  "add.u64 %l31, %l31, 128;\n" + copyWords("COPY", 32, false, "%l31"), kDynamic, "sm_90a");
         request.input = numbers(128);
         request.outputWords = 64;
         request.shared = 128;
         request.encode = [&](CUdeviceptr in, CUdeviceptr out, CUtensorMap& map) {
           encode(box, in, map);
           driver.cuMemcpyHtoD(out, &map, sizeof map);
         };
         const Outcome outcome = run(request);
         expectSuccess(outcome.result, "running\n" + outcome.reports);
         for (size_t i = 0; i < 32; i++) expectEqual(outcome.output[32 + i], i < 28 ? request.input[i + 4] : 0, "word " + std::to_string(i));
       });
     }},
    {"tensor map/what cuda.h allows", [] {
       expectEncoding(CUDA_SUCCESS, [](Box&, CUdeviceptr&, auto&) {});
       expectEncoding(CUDA_SUCCESS, [](Box& box, CUdeviceptr&, auto&) { box.box[1] = 256; });
       expectEncoding(CUDA_ERROR_INVALID_VALUE, [](Box& box, CUdeviceptr&, auto&) { box.box[1] = 257; });
       expectEncoding(CUDA_ERROR_INVALID_VALUE, [](Box& box, CUdeviceptr&, auto&) { box.box[1] = 0; });
       expectEncoding(CUDA_ERROR_INVALID_VALUE, [](Box& box, CUdeviceptr&, auto&) { box.box[0] = 128; });  // wider than the swizzle
       expectEncoding(CUDA_ERROR_INVALID_VALUE, [](Box& box, CUdeviceptr&, auto&) { box.box[0] = 4; });    // 8 bytes
       expectEncoding(CUDA_ERROR_INVALID_VALUE, [](Box& box, CUdeviceptr&, auto&) { box.sizes[1] = 0; });
       expectEncoding(CUDA_ERROR_INVALID_VALUE, [](Box&, CUdeviceptr& address, auto&) { address += 8; });
       expectEncoding(CUDA_ERROR_INVALID_VALUE, [](Box&, CUdeviceptr&, auto& strides) { strides[0] = 264; });
       expectEncoding(CUDA_ERROR_INVALID_VALUE, [](Box&, CUdeviceptr&, auto& strides) { strides[0] = 1ull << 40; });
     }},
    {"tensor map/not below 9.0", [] {
       alignas(64) CUtensorMap map;
       const cuuint64_t sizes[1] = {64};
       const cuuint32_t box[1] = {64}, ones[1] = {1};
       expectEqual<int>(driver.cuTensorMapEncodeTiled(&map, kHalves, 1, nullptr, sizes, nullptr, box, ones, CU_TENSOR_MAP_INTERLEAVE_NONE, kNone, CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
                        CUDA_ERROR_NOT_SUPPORTED, "encoding");
     }},
};
// clang-format on

}  // namespace
}  // namespace fovea::simulatorTest
