// The checks of Hopper's asynchronous instructions: a kernel with the bug is reported, the same one without it is not.
#include "checks.h"

namespace fovea::simulatorTest {
namespace {

// Encodes `in` as words in rows of 32 (128 bytes): 8 rows, a box of all of them.
void encodeInput(CUdeviceptr in, CUdeviceptr, CUtensorMap& map) {
  const cuuint64_t sizes[2] = {32, 8}, strides[1] = {128};
  const cuuint32_t box[2] = {32, 8}, ones[2] = {1, 1};
  expectSuccess(
      driver.cuTensorMapEncodeTiled(&map, CU_TENSOR_MAP_DATA_TYPE_UINT32, 2, reinterpret_cast<void*>(in), sizes,
                                    strides, box, ones, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                    CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
      "encoding");
}
void encodeOutput(CUdeviceptr, CUdeviceptr out, CUtensorMap& map) { encodeInput(out, 0, map); }

Program hopper(const std::string& body, unsigned block = 32, bool stores = false) {
  return {body,
          block,
          1,
          1024,
          ".extern .shared .align 1024 .b8 d[];",
          std::vector<uint32_t>(256, 1),
          256,
          true,
          "sm_90a",
          stores ? encodeOutput : encodeInput};
}

// %r20: an mbarrier for one arrival; %r21: 1024 bytes; %r22: this thread's word of them; %l20: the map; %p6: thread 0.
const std::string kPlaces =
    R"(.shared .align 8 .b64 b[2]; mov.u32 %r20, b; mov.u32 %r21, d; mov.b64 %l20, map; cvta.param.u64 %l20, %l20;
  setp.eq.u32 %p6, %r30, 0; mad.lo.u32 %r22, %r30, 4, %r21;
)";
const std::string kInitAlone = "@%p6 mbarrier.init.shared::cta.b64 [%r20], 1;\n";
const std::string kInit = kPlaces + kInitAlone + "@%p6 fence.mbarrier_init.release.cluster; bar.sync 0;\n";
const std::string kExpect = "@%p6 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], 1024;\n";
std::string load(const std::string& shared = "%r21", const std::string& barrier = "%r20") {
  return "@%p6 cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [" + shared +
         "], [%l20, {0, 0}], [" + barrier + "];\n";
}
// Thread 0 copies the map to the output, `at` bytes into it; %l20: the copy.
std::string copyMap(int at) {
  std::string text = "add.u64 %l21, %l31, " + std::to_string(at) + ";\n";
  for (int i = 0; i < 16; i++) {
    const std::string place = "+" + std::to_string(8 * i) + "]";
    text += "@%p6 ld.b64 %l22, [%l20" + place + "; @%p6 st.global.b64 [%l21" + place + ", %l22;\n";
  }
  return text + "mov.u64 %l20, %l21;\n";
}
const std::string kRelease = "@%p6 fence.proxy.tensormap::generic.release.gpu;\n";
const std::string kAcquire = "@%p6 fence.proxy.tensormap::generic.acquire.gpu [%l20], 128;\n";
std::string wait(const std::string& label, int parity) {
  return label + ": mbarrier.try_wait.parity.shared::cta.b64 %p5, [%r20], " + std::to_string(parity) + "; @!%p5 bra " +
         label + ";\n";
}
const std::string kState = "@%p6 mbarrier.arrive.shared::cta.b64 %l0, [%r20];\n";
const std::string kRead = "ld.shared.u32 %r1, [%r22];\n";
const std::string kStore =
    "@%p6 cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%l20, {0, 0}], [%r21];\n@%p6 "
    "cp.async.bulk.commit_group;\n";
const std::string kFill = "st.shared.u32 [%r22], %r30;\n";  // with 256 threads
const std::string kProxy = "fence.proxy.async.shared::cta;\n";

// The same with 32 threads; %p4: thread 1.
const std::string kFillAll =
    "setp.eq.u32 %p4, %r30, 1; mad.lo.u32 %r23, %r30, 32, %r21; st.shared.v4.u32 [%r23], {%r30, %r30, %r30, %r30}; "
    "st.shared.v4.u32 [%r23+16], {%r30, %r30, %r30, %r30};\n";
const std::string kStored = "cp.async.bulk.wait_group.read 0;\n";
// Warp 0 fills and thread 0 arrives at the first mbarrier; in warp 1 one lane waits for that, and another (kChained)
// arrives at a second one, for which warp 2 waits before it reads.
const std::string kChain =
    "@%p6 mbarrier.init.shared::cta.b64 [%r20+8], 1; bar.sync 0; setp.ge.u32 %p3, %r30, 64; @%p3 bra V; "
    "setp.ge.u32 %p4, %r30, 32; @%p4 bra U; " +
    kFill + "bar.warp.sync -1; @%p6 mbarrier.arrive.shared::cta.b64 _, [%r20]; bra X;\n" +
    "U: setp.ne.u32 %p2, %r30, 40; @%p2 bra T;\n" + wait("W", 0) + "T: ";
const std::string kNoSync = "add.u32 %r9, %r30, 0;\n";
const std::string kChained =
    "setp.eq.u32 %p4, %r30, 41; @%p4 mbarrier.arrive.shared::cta.b64 _, [%r20+8]; bra X;\n"
    "V: mbarrier.try_wait.parity.shared::cta.b64 %p5, [%r20+8], 0; @!%p5 bra V; ld.shared.u32 %r1, [%r22+-256];\nX:";

// 128 threads; B and A are 16 x 8 and 64 x 16 halves of ones in 2 KiB at %r23; %l4: their descriptor; %r3: two ones.
const std::string kOnes =
    R"(.reg .f32 %d<8>; .shared .align 1024 .b8 s[2048]; mov.u32 %r23, s; mad.lo.u32 %r24, %r30, 16, %r23;
  mov.u32 %r3, 0x3c003c00; cvt.u64.u32 %l4, %r23; shr.u64 %l4, %l4, 4; add.u64 %l4, %l4, 0x0000000800080000; setp.eq.u32 %p1, 1, 1;
  mov.f32 %d0, 0f00000000; mov.f32 %d1, %d0; mov.f32 %d2, %d0; mov.f32 %d3, %d0; mov.f32 %d4, %d0; mov.f32 %d5, %d0; mov.f32 %d6, %d0; mov.f32 %d7, %d0;
  mov.u32 %r5, %r3; mov.u32 %r6, %r3; mov.u32 %r7, %r3; mov.u32 %r8, %r3;
)";
const std::string kFillOnes = "st.shared.v4.u32 [%r24], {%r3, %r3, %r3, %r3};\n";
const std::string kReady = kOnes + kFillOnes + kProxy + "bar.sync 0;\n";
const std::string kFence = "wgmma.fence.sync.aligned;\n";
const std::string kMultiply =
    "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%d0, %d1, %d2, %d3}, {%r5, %r6, %r7, %r8}, %l4, %p1, 1, 1, "
    "0;\n";
const std::string kCommit = "wgmma.commit_group.sync.aligned;\n";
const std::string kWait = "wgmma.wait_group.sync.aligned 0;\n";
// B is the box that load() brings.
const std::string kOfBox =
    "cvt.u64.u32 %l4, %r21; shr.u64 %l4, %l4, 4; add.u64 %l4, %l4, 0x0000000800080000;\n";
// %r10: the word of another lane, after this one wrote its own.
const std::string kOwnWord =
    ".shared .align 4 .b32 x[128]; mov.u32 %r9, x; mad.lo.u32 %r10, %r30, 4, %r9; st.shared.u32 [%r10], %r30; xor.b32 "
    "%r10, %r10, 4;\n";
const std::string kUse = "mul.wide.u32 %l1, %r30, 4; add.u64 %l1, %l31, %l1; st.global.f32 [%l1], %d0;\n";

// clang-format off
const std::vector<Pair> kPairs = {
    // -------------------------------------------------------------------------------- bulk copies
    {"a box is read before its wait", "copy-in-flight|race-shared", hopper(kInit + kExpect + load() + kRead + wait("W", 0)), hopper(kInit + kExpect + load() + wait("W", 0) + kRead)},
    {"half of the lanes wait for the box of a product", "copy-in-flight|race-shared",
     hopper(kOnes + kInit + kExpect + load() + "and.b32 %r9, %r30, 16; setp.eq.u32 %p4, %r9, 0; @%p4 bra X;\n" + wait("W", 0) + "bra Y; X: add.u32 %r9, %r30, 0;\nY: " + kOfBox + kFence + kMultiply + kCommit + kWait, 128),
     hopper(kOnes + kInit + kExpect + load() + "and.b32 %r9, %r30, 16; setp.eq.u32 %p4, %r9, 0; @%p4 bra X;\n" + wait("W", 0) + "bra Y; X: " + wait("V", 0) + "\nY: " + kOfBox + kFence + kMultiply + kCommit + kWait, 128)},
    {"a box is written before its wait", "copy-in-flight|race-shared", hopper(kInit + kExpect + load() + kFill + wait("W", 0)), hopper(kInit + kExpect + load() + wait("W", 0) + kFill)},
    {"only one warp waits", "copy-in-flight|race-shared", hopper(kInit + kExpect + load() + "setp.ge.u32 %p4, %r30, 32; @%p4 bra X;" + wait("W", 0) + "X: " + kRead, 64), hopper(kInit + kExpect + load() + wait("W", 0) + kRead, 64)},
    {"more bytes are announced than come", "deadlock", hopper(kInit + "@%p6 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], 1040;\n" + load() + wait("W", 0)), hopper(kInit + kExpect + load() + wait("W", 0))},
    {"fewer bytes are announced than come", "deadlock|copy-in-flight", hopper(kInit + "@%p6 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], 1008;\n" + load() + wait("W", 0)), hopper(kInit + kExpect + load() + wait("W", 0))},
    {"nobody announces", "deadlock", hopper(kInit + load() + wait("W", 0)), hopper(kInit + kExpect + load() + wait("W", 0))},
    {"a box over what another warp still reads", "race-shared|copy-in-flight|deadlock",
     hopper(kInit + kExpect + load() + wait("W", 0) + kRead + kProxy + kExpect + load() + wait("V", 1), 64),
     hopper(kInit + kExpect + load() + wait("W", 0) + kRead + kProxy + "bar.sync 0;\n" + kExpect + load() + wait("V", 1), 64)},
    {"a box over generic reads", "missing-proxy-fence",
     hopper(kInit + kExpect + load() + wait("W", 0) + kRead + "bar.sync 0;\n" + kExpect + load() + wait("V", 1), 64),
     hopper(kInit + kExpect + load() + wait("W", 0) + kRead + kProxy + "bar.sync 0;\n" + kExpect + load() + wait("V", 1), 64)},
    {"one lane waits for a box that others read", "race-shared|copy-in-flight",
     hopper(kInit + kExpect + load() + "@!%p6 bra X;" + wait("W", 0) + "X: " + kRead),
     hopper(kInit + kExpect + load() + "@!%p6 bra X;" + wait("W", 0) + "X: bar.warp.sync -1; " + kRead)},
    {"a box over generic writes", "missing-proxy-fence",
     hopper(kInit + kFill + "bar.sync 0;\n" + kExpect + load() + wait("W", 0)), hopper(kInit + kFill + kProxy + "bar.sync 0;\n" + kExpect + load() + wait("W", 0))},
    {"a misaligned box", "misaligned", hopper(kInit + kExpect + "add.u32 %r25, %r21, 16;\n" + load("%r25")), hopper(kInit + kExpect + load() + wait("W", 0))},
    {"a box past the end", "out-of-bounds-shared", hopper(kInit + "add.u32 %r25, %r21, 128;\n" + load("%r25")), hopper(kInit + kExpect + load() + wait("W", 0))},
    {"no tensor map", "tensor-map", hopper(kInit + "mov.u64 %l20, %l30;\n" + load()), hopper(kInit + kExpect + load() + wait("W", 0))},
    {"a map in global memory with no proxy fence", "tensor-map", hopper(kInit + copyMap(0) + kRelease + kExpect + load() + wait("W", 0)), hopper(kInit + copyMap(0) + kRelease + kAcquire + kExpect + load() + wait("W", 0))},
    {"a map that a kernel wrote and did not release", "tensor-map", hopper(kInit + copyMap(0) + kAcquire + kExpect + load() + wait("W", 0)), hopper(kInit + copyMap(0) + kRelease + kAcquire + kExpect + load() + wait("W", 0))},
    {"a map that is released to its own CTA", "tensor-map", hopper(kInit + copyMap(0) + "@%p6 fence.proxy.tensormap::generic.release.cta;\n" + kAcquire + kExpect + load() + wait("W", 0)), hopper(kInit + copyMap(0) + kRelease + kAcquire + kExpect + load() + wait("W", 0))},
    {"a map that was written after the release", "tensor-map", hopper(kInit + kRelease + copyMap(0) + kAcquire + kExpect + load() + wait("W", 0)), hopper(kInit + copyMap(0) + kRelease + kAcquire + kExpect + load() + wait("W", 0))},
    {"a map at half a map's alignment", "tensor-map", hopper(kInit + copyMap(64) + kRelease + kAcquire + kExpect + load() + wait("W", 0)), hopper(kInit + copyMap(128) + kRelease + kAcquire + kExpect + load() + wait("W", 0))},
    {"a map of another rank", "tensor-map", hopper(kInit + "@%p6 cp.async.bulk.tensor.1d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r21], [%l20, {0}], [%r20];"), hopper(kInit + kExpect + load() + wait("W", 0))},

    // -------------------------------------------------------------------------------- bulk stores
    {"a store with no proxy fence", "missing-proxy-fence", hopper(kPlaces + kFill + "bar.sync 0;\n" + kStore + "cp.async.bulk.wait_group.read 0;", 256, true), hopper(kPlaces + kFill + kProxy + "bar.sync 0;\n" + kStore + "cp.async.bulk.wait_group.read 0;", 256, true)},
    {"a proxy fence by the storing thread, behind the barrier, is enough; none before the store is not", "missing-proxy-fence", hopper(kPlaces + kProxy + kFill + "bar.sync 0;\n" + kStore + "cp.async.bulk.wait_group.read 0;", 256, true),
     hopper(kPlaces + kFill + "bar.sync 0;\n" + kProxy + kStore + "cp.async.bulk.wait_group.read 0;", 256, true)},
    {"a proxy fence by one lane before what the others wrote is ordered", "missing-proxy-fence",
     hopper(kPlaces + kFillAll + "@%p6 " + kProxy + "bar.warp.sync -1;\n" + kStore + kStored, 32, true), hopper(kPlaces + kFillAll + "bar.warp.sync -1; @%p6 " + kProxy + kStore + kStored, 32, true)},
    {"a proxy fence by one lane, a store by another", "missing-proxy-fence",
     hopper(kPlaces + kFillAll + "bar.warp.sync -1; @%p4 " + kProxy + kStore + kStored, 32, true), hopper(kPlaces + kFillAll + "bar.warp.sync -1; @%p4 " + kProxy + "bar.warp.sync -1;\n" + kStore + kStored, 32, true)},
    {"a proxy fence for global memory", "missing-proxy-fence",
     hopper(kPlaces + kFillAll + "fence.proxy.async.global; bar.warp.sync -1;\n" + kStore + kStored, 32, true), hopper(kPlaces + kFillAll + "fence.proxy.async; bar.warp.sync -1;\n" + kStore + kStored, 32, true)},
    {"a store with no barrier", "race-shared|uninitialized", hopper(kPlaces + kFill + kProxy + kStore + "cp.async.bulk.wait_group.read 0;", 256, true), hopper(kPlaces + kFill + kProxy + "bar.sync 0;\n" + kStore + "cp.async.bulk.wait_group.read 0;", 256, true)},
    {"a store that nothing waits for", "copy-left", hopper(kPlaces + kFill + kProxy + "bar.sync 0;\n" + kStore, 256, true), hopper(kPlaces + kFill + kProxy + "bar.sync 0;\n" + kStore + "cp.async.bulk.wait_group.read 0;", 256, true)},
    {"a store of another group is waited for", "copy-left", hopper(kPlaces + kFill + kProxy + "bar.sync 0;\n" + kStore + "cp.async.bulk.wait_group.read 1;", 256, true), hopper(kPlaces + kFill + kProxy + "bar.sync 0;\n" + kStore + "@%p6 cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 1;", 256, true)},
    {"an uninitialised store", "uninitialized", hopper(kPlaces + kProxy + kStore + "cp.async.bulk.wait_group.read 0;", 256, true), hopper(kPlaces + kFill + kProxy + "bar.sync 0;\n" + kStore + "cp.async.bulk.wait_group.read 0;", 256, true)},

    // -------------------------------------------------------------------------------- mbarriers
    {"no mbarrier", "mbarrier", hopper(kPlaces + "@%p6 mbarrier.arrive.shared::cta.b64 _, [%r20];"), hopper(kInit + "@%p6 mbarrier.arrive.shared::cta.b64 _, [%r20];")},
    {"init with no barrier", "race-mbarrier|mbarrier", hopper(kPlaces + kInitAlone + "setp.eq.u32 %p4, %r30, 40; @%p4 mbarrier.arrive.shared::cta.b64 _, [%r20];", 64), hopper(kInit + "setp.eq.u32 %p4, %r30, 40; @%p4 mbarrier.arrive.shared::cta.b64 _, [%r20];", 64)},
    {"init with no fence for copies", "missing-proxy-fence", hopper(kPlaces + kInitAlone + "bar.sync 0;\n" + kExpect + load() + wait("W", 0)), hopper(kPlaces + kInitAlone + "@%p6 fence.proxy.async; bar.sync 0;\n" + kExpect + load() + wait("W", 0))},
    {"init fenced by another lane", "missing-proxy-fence", hopper(kPlaces + kInitAlone + "setp.eq.u32 %p4, %r30, 1; @%p4 fence.mbarrier_init.release.cluster; bar.sync 0;\n" + kExpect + load() + wait("W", 0)), hopper(kInit + kExpect + load() + wait("W", 0))},
    {"init twice", "mbarrier", hopper(kInit + kInitAlone), hopper(kInit + "@%p6 mbarrier.inval.shared::cta.b64 [%r20];\n" + kInitAlone)},
    {"more arrivals than a phase has", "mbarrier", hopper(kInit + "@%p6 mbarrier.arrive.shared::cta.b64 _, [%r20], 2;"), hopper(kInit + "@%p6 mbarrier.arrive.shared::cta.b64 _, [%r20], 1;")},
    {"an overwritten mbarrier", "mbarrier", hopper(kInit + "@%p6 st.shared.u32 [%r20], 7; @%p6 mbarrier.arrive.shared::cta.b64 _, [%r20];"), hopper(kInit + "@%p6 st.shared.u32 [%r20+8], 7; @%p6 mbarrier.arrive.shared::cta.b64 _, [%r20];")},
    {"a misaligned mbarrier", "misaligned", hopper(kPlaces + "@%p6 mbarrier.init.shared::cta.b64 [%r20+4], 1;"), hopper(kPlaces + "@%p6 mbarrier.init.shared::cta.b64 [%r20+8], 1;")},
    {"a state of two phases ago", "mbarrier",
     hopper(kInit + kState + "@%p6 mbarrier.arrive.shared::cta.b64 _, [%r20]; @%p6 mbarrier.test_wait.shared::cta.b64 %p5, [%r20], %l0;"), hopper(kInit + kState + "@%p6 mbarrier.test_wait.shared::cta.b64 %p5, [%r20], %l0;")},
    {"the wrong parity", "deadlock", hopper(kInit + "@%p6 mbarrier.arrive.shared::cta.b64 _, [%r20];\n" + wait("W", 0) + wait("V", 0) + wait("U", 1)), hopper(kInit + "@%p6 mbarrier.arrive.shared::cta.b64 _, [%r20];\n" + wait("W", 0))},
    {"relaxed arrival", "race-shared",
     hopper(kInit + "@!%p6 bra W;" + kFill + "mbarrier.arrive.relaxed.cta.shared::cta.b64 _, [%r20]; bra X;" + wait("W", 0) + "setp.ne.u32 %p4, %r30, 32; @%p4 bra X; ld.shared.u32 %r1, [%r21];\nX:", 64),
     hopper(kInit + "@!%p6 bra W;" + kFill + "mbarrier.arrive.release.cta.shared::cta.b64 _, [%r20]; bra X;" + wait("W", 0) + "setp.ne.u32 %p4, %r30, 32; @%p4 bra X; ld.shared.u32 %r1, [%r21];\nX:", 64)},

    {"one lane releases what the others read, with no __syncwarp", "race-shared",
     hopper(kInit + kFill + "bar.sync 0; setp.ge.u32 %p4, %r30, 32; @%p4 bra W;" + kRead + "@%p6 mbarrier.arrive.shared::cta.b64 _, [%r20]; bra X;" + wait("W", 0) + "st.shared.u32 [%r22+-128], %r30;\nX:", 64),
     hopper(kInit + kFill + "bar.sync 0; setp.ge.u32 %p4, %r30, 32; @%p4 bra W;" + kRead + "bar.warp.sync -1; @%p6 mbarrier.arrive.shared::cta.b64 _, [%r20]; bra X;" + wait("W", 0) + "st.shared.u32 [%r22+-128], %r30;\nX:", 64)},

    {"one lane releases what the others wrote, with no __syncwarp", "race-shared",
     hopper(kInit + "setp.ge.u32 %p4, %r30, 32; @%p4 bra W;" + kFill + "@%p6 mbarrier.arrive.shared::cta.b64 _, [%r20]; bra X;" + wait("W", 0) + "ld.shared.u32 %r1, [%r22+-128];\nX:", 64),
     hopper(kInit + "setp.ge.u32 %p4, %r30, 32; @%p4 bra W;" + kFill + "bar.warp.sync -1; @%p6 mbarrier.arrive.shared::cta.b64 _, [%r20]; bra X;" + wait("W", 0) + "ld.shared.u32 %r1, [%r22+-128];\nX:", 64)},
    {"one lane releases what it did not wait for", "race-shared",
     hopper(kInit + kChain + kNoSync + kChained, 96), hopper(kInit + kChain + "bar.warp.sync -1;\n" + kChained, 96)},

    // -------------------------------------------------------------------------------- products
    {"no fence at all", "wgmma-fence", hopper(kReady + kMultiply + kCommit + kWait, 128), hopper(kReady + kFence + kMultiply + kCommit + kWait, 128)},
    {"an accumulator written behind the fence", "wgmma-fence", hopper(kReady + kFence + "mov.f32 %d2, 0f00000000;\n" + kMultiply + kCommit + kWait, 128), hopper(kReady + "mov.f32 %d2, 0f00000000;\n" + kFence + kMultiply + kCommit + kWait, 128)},
    {"an accumulator read between two products", "wgmma-fence", hopper(kReady + kFence + kMultiply + kCommit + kWait + kUse + kMultiply + kCommit + kWait, 128), hopper(kReady + kFence + kMultiply + kCommit + kWait + kUse + kFence + kMultiply + kCommit + kWait, 128)},
    {"A written behind the fence", "wgmma-fence", hopper(kReady + kFence + "mov.u32 %r6, 0;\n" + kMultiply + kCommit + kWait, 128), hopper(kReady + "mov.u32 %r6, 0;\n" + kFence + kMultiply + kCommit + kWait, 128)},
    {"sums read before their wait", "wgmma-accumulator", hopper(kReady + kFence + kMultiply + kCommit + kUse + kWait, 128), hopper(kReady + kFence + kMultiply + kCommit + kWait + kUse, 128)},
    {"a wait without a commit", "wgmma-accumulator", hopper(kReady + kFence + kMultiply + kWait + kUse + kCommit + kWait, 128), hopper(kReady + kFence + kMultiply + kCommit + kWait + kUse, 128)},
    {"sums written while a product is in flight", "wgmma-accumulator", hopper(kReady + kFence + kMultiply + kCommit + "mov.f32 %d1, 0f00000000;\n" + kWait, 128), hopper(kReady + kFence + kMultiply + kCommit + kWait + "mov.f32 %d1, 0f00000000;\n", 128)},
    {"A written while a product is in flight", "wgmma-operand", hopper(kReady + kFence + kMultiply + kCommit + "mov.u32 %r7, 0;\n" + kWait, 128), hopper(kReady + kFence + kMultiply + kCommit + kWait + "mov.u32 %r7, 0;\n", 128)},
    {"nothing waits for a product", "wgmma-left", hopper(kReady + kFence + kMultiply + kCommit, 128), hopper(kReady + kFence + kMultiply + kCommit + kWait, 128)},
    {"accumulators of two shapes", "wgmma-accumulator",
     hopper(kReady + kFence + kMultiply + "wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 {%d0, %d1, %d2, %d3, %d4, %d5, %d6, %d7}, {%r5, %r6, %r7, %r8}, %l4, %p1, 1, 1, 0;\n" + kCommit + kWait, 128),
     hopper(kReady + kFence + kMultiply + "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%d4, %d5, %d6, %d7}, {%r5, %r6, %r7, %r8}, %l4, %p1, 1, 1, 0;\n" + kCommit + kWait, 128)},
    {"a product of generic writes with no proxy fence", "missing-proxy-fence", hopper(kOnes + kFillOnes + "bar.sync 0;\n" + kFence + kMultiply + kCommit + kWait, 128), hopper(kOnes + kFillOnes + kProxy + "bar.sync 0;\n" + kFence + kMultiply + kCommit + kWait, 128)},
    {"a product with no barrier behind the writes", "race-shared", hopper(kOnes + kFillOnes + kProxy + kFence + kMultiply + kCommit + kWait, 128), hopper(kReady + kFence + kMultiply + kCommit + kWait, 128)},
    {"a wait for products orders no accesses of lanes", "race-shared",
     hopper(kReady + kFence + kMultiply + kCommit + kOwnWord + kWait + "ld.shared.u32 %r11, [%r10];\n", 128), hopper(kReady + kFence + kMultiply + kCommit + kOwnWord + kWait + "bar.warp.sync -1; ld.shared.u32 %r11, [%r10];\n", 128)},
    {"uninitialised sums", "uninitialized", hopper(kReady + ".reg .f32 %z<4>;" + kFence + "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%d0, %d1, %d2, %z3}, {%r5, %r6, %r7, %r8}, %l4, %p1, 1, 1, 0;\n" + kCommit + kWait + kUse + "st.global.f32 [%l1], %z3;", 128),
     hopper(kReady + ".reg .f32 %z<4>; setp.eq.u32 %p1, 1, 2;" + kFence + "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%d0, %d1, %d2, %z3}, {%r5, %r6, %r7, %r8}, %l4, %p1, 1, 1, 0;\n" + kCommit + kWait + kUse + "st.global.f32 [%l1], %z3;", 128)},
    {"uninitialised matrix", "uninitialized", hopper(kOnes + "setp.ne.u32 %p0, %r30, 0; @%p0 " + kFillOnes + kProxy + "bar.sync 0;\n" + kFence + kMultiply + kCommit + kWait + kUse, 128), hopper(kReady + kFence + kMultiply + kCommit + kWait + kUse, 128)},
    {"a matrix outside shared memory", "out-of-bounds-shared", hopper(kReady + "mov.u64 %l4, 0x0000000800083f00;\n" + kFence + kMultiply + kCommit + kWait, 128), hopper(kReady + kFence + kMultiply + kCommit + kWait, 128)},
    {"a descriptor that differs between warps", "wgmma-warpgroup", hopper(kReady + "setp.ge.u32 %p0, %r30, 96; @%p0 add.u64 %l4, %l4, 0x10000;\n" + kFence + kMultiply + kCommit + kWait, 128), hopper(kReady + "setp.ge.u32 %p0, %r30, 0; @%p0 add.u64 %l4, %l4, 0x10000;\n" + kFence + kMultiply + kCommit + kWait, 128)},
    {"a warp that leaves out a product", "wgmma-warpgroup", hopper(kReady + "setp.ge.u32 %p0, %r30, 96;\n" + kFence + "@%p0 bra over;\n" + kMultiply + "over:\n" + kCommit + kWait, 128), hopper(kReady + kFence + kMultiply + kCommit + kWait, 128)},
    {"a descriptor that differs between lanes", "wgmma-descriptor", hopper(kReady + "setp.eq.u32 %p0, %r30, 3; @%p0 add.u64 %l4, %l4, 1;\n" + kFence + kMultiply + kCommit + kWait, 128), hopper(kReady + kFence + kMultiply + kCommit + kWait, 128)},
    {"a swizzled matrix off its pattern", "wgmma-descriptor", hopper(kReady + "add.u64 %l4, %l4, 0x4000000000000008;\n" + kFence + kMultiply + kCommit + kWait, 128), hopper(kReady + "add.u64 %l4, %l4, 0x4000000000000002;\n" + kFence + kMultiply + kCommit + kWait, 128)},

    // -------------------------------------------------------------------------------- registers
    {"a warp leaves setmaxnreg out", "registers", hopper("setp.lt.u32 %p0, %r30, 32; @%p0 bra DONE; setmaxnreg.dec.sync.aligned.u32 24; DONE:", 128), hopper("setp.lt.u32 %p0, %r30, 128; @%p0 bra DONE; setmaxnreg.dec.sync.aligned.u32 24; DONE:", 256)},
    {"warps of a warpgroup execute different setmaxnreg", "registers",
     hopper("setp.lt.u32 %p0, %r30, 32; @%p0 bra LESS; setmaxnreg.dec.sync.aligned.u32 32; bra DONE; LESS: setmaxnreg.dec.sync.aligned.u32 24; DONE:", 256),
     hopper("setp.lt.u32 %p0, %r30, 128; @%p0 bra LESS; setmaxnreg.dec.sync.aligned.u32 32; bra DONE; LESS: setmaxnreg.dec.sync.aligned.u32 24; DONE:", 256)},
    {"more registers than the pool has", "deadlock", hopper("setp.lt.u32 %p0, %r30, 128; @%p0 bra TAKE; setmaxnreg.dec.sync.aligned.u32 24; bra DONE; TAKE: setmaxnreg.inc.sync.aligned.u32 240; DONE:", 256), hopper("setmaxnreg.dec.sync.aligned.u32 24;", 256)},
};
// clang-format on

// The same under late completion alone: early, the mistake has no effect.
// clang-format off
const std::vector<Pair> kLatePairs = {
    {"nothing waits", "copy-left", hopper(kInit + kExpect + load() + "bar.sync 0;"), hopper(kInit + kExpect + load() + wait("W", 0))},
    {"shared memory of a product in flight is overwritten", "race-shared",
     hopper(kReady + kFence + kMultiply + kCommit + "mov.u32 %r9, 0; st.shared.u32 [%r24], %r9;\n" + kWait, 128), hopper(kReady + kFence + kMultiply + kCommit + kWait + "bar.sync 0; mov.u32 %r9, 0; st.shared.u32 [%r24], %r9;\n", 128)},
    {"shared memory is released before the product that reads it", "race-shared",
     hopper(kReady + kFence + kMultiply + kCommit + "bar.sync 0; setp.ge.u32 %p0, %r30, 32; mov.u32 %r9, 0; @%p0 st.shared.u32 [%r24+-512], %r9;\n" + kWait, 128),
     hopper(kReady + kFence + kMultiply + kCommit + kWait + "bar.sync 0; setp.ge.u32 %p0, %r30, 32; mov.u32 %r9, 0; @%p0 st.shared.u32 [%r24+-512], %r9;\n", 128)},
    {"shared memory of a store in flight is overwritten", "race-shared",
     hopper(kPlaces + kFill + kProxy + "bar.sync 0;\n" + kStore + "bar.sync 0;\n" + kFill + "cp.async.bulk.wait_group.read 0;", 256, true),
     hopper(kPlaces + kFill + kProxy + "bar.sync 0;\n" + kStore + "cp.async.bulk.wait_group.read 0; bar.sync 0;\n" + kFill, 256, true)},
};
// clang-format on

const bool kRegistered = [] {
  for (const Pair& pair : kPairs)
    tests().push_back({std::string("hopper check/") + pair.name, [&pair] { checkPair(pair); }});
  for (const Pair& pair : kLatePairs)
    tests().push_back({std::string("hopper check/") + pair.name, [&pair] {
                         expectReport(pair.bad, pair.kind);
                         underSchedules([&] { expectClean(pair.good); });
                       }});
  tests().push_back(
      {"hopper check/a deadlock tells the state of mbarriers", [] {
         const Outcome outcome = runProgram(hopper(
             kInit + "@%p6 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], 1040;\n" + load() + wait("W", 0)));
         expect(outcome.reports.find("phase 0, 0 of 1 arrivals and 16 bytes outstanding") != std::string::npos,
                outcome.reports);
       }});
  return true;
}();

}  // namespace
}  // namespace fovea::simulatorTest
