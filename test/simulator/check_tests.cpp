// Every check: a kernel with the bug is reported, the same kernel without it is not.
#include "checks.h"

namespace fovea::simulatorTest {
namespace {

const std::string kOut = "mul.wide.u32 %l1, %r30, 4; add.u64 %l1, %l31, %l1;\n";
// %r2: this thread's word of s; %r3: the word of the thread 37 further, of 128.
const std::string kShared =
    ".shared .align 16 .b32 s[128]; mov.u32 %r1, s; mad.lo.u32 %r2, %r30, 4, %r1; add.u32 %r3, %r30, 37; and.b32 %r3, "
    "%r3, 127; mad.lo.u32 %r3, %r3, 4, %r1;\n";
const std::string kCopy =
    ".shared .align 16 .b8 s[512]; mov.u32 %r1, s; mad.lo.u32 %r2, %r30, 16, %r1; and.b32 %r5, %r30, 15; mul.wide.u32 "
    "%l2, %r5, 16; add.u64 %l2, %l30, %l2;\n";
const std::string kMatrix = ".shared .align 16 .b8 s[1024]; mov.u32 %r1, s; mad.lo.u32 %r2, %r30, 16, %r1; ";
const std::string kZero16 = "st.shared.v4.u32 [%r2], {%r30, %r30, %r30, %r30}; ";

// clang-format off
const std::vector<Pair> kPairs = {
    // -------------------------------------------------------------------------------- bounds and alignment
    {"global read past the end", "out-of-bounds-global", {"ld.global.u32 %r0, [%l30+1024];"}, {"ld.global.u32 %r0, [%l30+1020];"}},
    {"global write before the start", "out-of-bounds-global", {"st.global.u32 [%l31+-4], %r30;"}, {"setp.eq.u32 %p0, %r30, 0; @%p0 st.global.u32 [%l31], %r30;"}},
    {"host pointer", "out-of-bounds-global", {"mov.u64 %l2, 4096; ld.global.u32 %r0, [%l2];"}, {"ld.global.u32 %r0, [%l30];"}},
    {"vector read across the end", "out-of-bounds-global", {"ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%l30+1024];"}, {"ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%l30+1008];"}},
    {"misaligned vector", "misaligned", {"ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%l30+8];"}, {"ld.global.v2.u32 {%r0, %r1}, [%l30+8];"}},
    {"misaligned shared", "misaligned", {kShared + "st.shared.u32 [%r2+2], %r30;"}, {kShared + "st.shared.u32 [%r2], %r30;"}},
    {"shared write past the end", "out-of-bounds-shared", {kShared + "st.shared.u32 [%r2+512], %r30;"}, {kShared + "st.shared.u32 [%r2], %r30;"}},
    {"shared address 0", "out-of-bounds-shared", {"mov.u32 %r0, 0; ld.shared.u32 %r1, [%r0];"}, {"mov.u32 %r0, 0;"}},
    {"dynamic shared memory past the launch's", "out-of-bounds-shared",
     {"mov.u32 %r0, d; setp.eq.u32 %p0, %r30, 0; @%p0 st.shared.u32 [%r0+64], %r30;", 32, 1, 64, ".extern .shared .align 16 .b8 d[];"},
     {"mov.u32 %r0, d; setp.eq.u32 %p0, %r30, 0; @%p0 st.shared.u32 [%r0+60], %r30;", 32, 1, 64, ".extern .shared .align 16 .b8 d[];"}},
    {"local array", "out-of-bounds-local", {".local .align 4 .b8 q[8]; st.local.u32 [q+8], %r30;"}, {".local .align 4 .b8 q[8]; st.local.u32 [q+4], %r30;"}},
    {"matrix row misaligned", "misaligned", {kMatrix + kZero16 + "bar.warp.sync -1; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r4}, [%r2+8];"}, {kMatrix + kZero16 + "bar.warp.sync -1; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r4}, [%r2];"}},

    // -------------------------------------------------------------------------------- uninitialised data
    {"uninitialised register stored", "uninitialized", {kOut + "st.global.u32 [%l1], %r9;"}, {kOut + "mov.u32 %r9, 1; st.global.u32 [%l1], %r9;"}},
    {"uninitialised memory loaded and stored", "uninitialized",
     {kOut + "ld.global.u32 %r0, [%l1]; add.u32 %r0, %r0, 1; st.global.u32 [%l1], %r0;", 32, 1, 0, "", {1}, 256, false},
     {kOut + "ld.global.u32 %r0, [%l1]; add.u32 %r0, %r0, 1; mov.u32 %r0, 5; st.global.u32 [%l1], %r0;", 32, 1, 0, "", {1}, 256, false}},
    {"uninitialised branch", "uninitialized-branch", {kShared + "ld.shared.u32 %r4, [%r2]; setp.eq.u32 %p0, %r4, 0; @%p0 bra X; mov.u32 %r0, 1; X:"}, {kShared + "ld.shared.u32 %r4, [%r2]; setp.eq.u32 %p0, %r4, 0; selp.u32 %r0, 1, 2, %p0;"}},
    {"uninitialised address", "uninitialized", {kShared + "ld.shared.u32 %r4, [%r2]; and.b32 %r4, %r4, 60; add.u32 %r4, %r4, %r1; ld.shared.u32 %r5, [%r4];"}, {kShared + "ld.shared.u32 %r4, [%r2]; and.b32 %r4, %r4, 0; add.u32 %r4, %r4, %r1; ld.shared.u32 %r5, [%r4];"}},
    {"uninitialised predicate guards a store", "uninitialized-branch", {kOut + "setp.eq.u32 %p0, %r9, 0; @%p0 st.global.u32 [%l1], %r30;"}, {kOut + "setp.eq.u32 %p0, %r30, 0; @%p0 st.global.u32 [%l1], %r30;"}},
    {"selection of the uninitialised side", "uninitialized", {kOut + "setp.eq.u32 %p0, %r30, 0; selp.u32 %r0, %r9, 1, %p0; st.global.u32 [%l1], %r0;"}, {kOut + "setp.ge.u32 %p0, %r30, 0; selp.u32 %r0, 1, %r9, %p0; st.global.u32 [%l1], %r0;"}},
    {"poison decided by an and of predicates", "uninitialized-branch",
     {"setp.eq.u32 %p0, %r9, 0; setp.ge.u32 %p1, %r30, 0; and.pred %p2, %p0, %p1; @%p2 bra X; mov.u32 %r0, 1; X:"},
     {"setp.eq.u32 %p0, %r9, 0; setp.lt.s32 %p1, %r30, 0; and.pred %p2, %p0, %p1; @%p2 bra X; mov.u32 %r0, 1; X:"}},
    {"poison through a shuffle", "uninitialized",
     {kOut + "setp.eq.u32 %p0, %r30, 7; @!%p0 mov.u32 %r9, 1; shfl.sync.idx.b32 %r0, %r9, 7, 31, -1; st.global.u32 [%l1], %r0;"},
     {kOut + "setp.eq.u32 %p0, %r30, 7; @!%p0 mov.u32 %r9, 1; shfl.sync.idx.b32 %r0, %r9, 6, 31, -1; st.global.u32 [%l1], %r0;"}},
    {"poison through shared memory and ldmatrix", "uninitialized",
     {kMatrix + "setp.ne.u32 %p0, %r30, 3; @%p0 st.shared.v4.u32 [%r2], {%r30, %r30, %r30, %r30}; bar.warp.sync -1; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r4}, [%r2];" + kOut + "st.global.u32 [%l1], %r4;"},
     {kMatrix + "setp.ne.u32 %p0, %r30, 9; @%p0 st.shared.v4.u32 [%r2], {%r30, %r30, %r30, %r30}; bar.warp.sync -1; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r4}, [%r2];" + kOut + "st.global.u32 [%l1], %r4;"}},
    {"poison of one column of a product", "uninitialized",
     // Lanes 4-7 hold column 1 of B: columns 0 and 1 of D lie in lanes with t = 0.
     {"mov.u32 %r0, 0; setp.eq.u32 %p0, %r30, 4; @!%p0 mov.u32 %r9, 0; mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%r4, %r5, %r6, %r7}, {%r0, %r0}, {%r9}, {%r0, %r0, %r0, %r0};" + kOut + "st.global.u32 [%l1], %r5;"},
     {"mov.u32 %r0, 0; setp.eq.u32 %p0, %r30, 4; @!%p0 mov.u32 %r9, 0; mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%r4, %r5, %r6, %r7}, {%r0, %r0}, {%r9}, {%r0, %r0, %r0, %r0};" + kOut + "st.global.u32 [%l1], %r4;"}},
    {"poison through a local array", "uninitialized",
     {kOut + ".local .align 4 .b8 q[8]; st.local.u32 [q], %r30; ld.local.u32 %r0, [q+4]; st.global.u32 [%l1], %r0;"},
     {kOut + ".local .align 4 .b8 q[8]; st.local.u32 [q], %r30; ld.local.u32 %r0, [q]; st.global.u32 [%l1], %r0;"}},

    // -------------------------------------------------------------------------------- races in shared memory
    {"shared read after write", "race-shared", {kShared + "st.shared.u32 [%r2], %r30; ld.shared.u32 %r4, [%r3];", 128}, {kShared + "st.shared.u32 [%r2], %r30; bar.sync 0; ld.shared.u32 %r4, [%r3];", 128}},
    {"shared write after read", "race-shared",
     {kShared + "st.shared.u32 [%r2], %r30; bar.sync 0; ld.shared.u32 %r4, [%r3]; st.shared.u32 [%r2], %r4;", 128},
     {kShared + "st.shared.u32 [%r2], %r30; bar.sync 0; ld.shared.u32 %r4, [%r3]; bar.sync 0; st.shared.u32 [%r2], %r4;", 128}},
    {"shared write after write", "race-shared", {kShared + "st.shared.u32 [%r1], %r30;", 64}, {kShared + "setp.ge.u32 %p0, %r30, 32; @%p0 bra B; st.shared.u32 [%r1], 1; bar.sync 0; bra E; B: bar.sync 0; st.shared.u32 [%r1], 2; E:", 64}},
    {"within a warp", "race-shared", {kShared + "st.shared.u32 [%r2], %r30; xor.b32 %r4, %r2, 4; ld.shared.u32 %r5, [%r4];"}, {kShared + "st.shared.u32 [%r2], %r30; bar.warp.sync -1; xor.b32 %r4, %r2, 4; ld.shared.u32 %r5, [%r4];"}},
    {"ldmatrix of rows another lane stored", "race-shared",
     {kMatrix + kZero16 + "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r4, %r5, %r6, %r7}, [%r2];"},
     {kMatrix + kZero16 + "bar.warp.sync -1; ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r4, %r5, %r6, %r7}, [%r2];"}},
    {"write over what another lane of the warp read", "race-shared",
     {kShared + "st.shared.u32 [%r2], %r30; bar.warp.sync -1; xor.b32 %r4, %r2, 4; ld.shared.u32 %r5, [%r4]; st.shared.u32 [%r2], %r5;"},
     {kShared + "st.shared.u32 [%r2], %r30; bar.warp.sync -1; xor.b32 %r4, %r2, 4; ld.shared.u32 %r5, [%r4]; bar.warp.sync -1; st.shared.u32 [%r2], %r5;"}},
    {"write over a half that another lane of the warp read", "race-shared",
     {kShared + "mad.lo.u32 %r2, %r30, 2, %r1; cvt.u16.u32 %h0, %r30; st.shared.u16 [%r2], %h0; bar.warp.sync -1; xor.b32 %r4, %r2, 2; ld.shared.u16 %h1, [%r4]; st.shared.u16 [%r2], %h1;"},
     {kShared + "mad.lo.u32 %r2, %r30, 2, %r1; cvt.u16.u32 %h0, %r30; st.shared.u16 [%r2], %h0; bar.warp.sync -1; ld.shared.u16 %h1, [%r2]; st.shared.u16 [%r2], %h1;"}},
    {"write over what ldmatrix read for other lanes", "race-shared",
     {kMatrix + kZero16 + "bar.warp.sync -1; ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r4, %r5, %r6, %r7}, [%r2]; " + kZero16},
     {kMatrix + kZero16 + "bar.warp.sync -1; ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r4, %r5, %r6, %r7}, [%r2]; bar.warp.sync -1; " + kZero16}},
    {"bar.arrive waits for no lane", "race-shared",
     {kShared + "setp.ge.u32 %p0, %r30, 32; @%p0 bra B; st.shared.u32 [%r2], %r30; bar.arrive 1, 64; xor.b32 %r4, %r2, 4; ld.shared.u32 %r5, [%r4]; bra E; B: bar.sync 1, 64; E:", 64},
     {kShared + "setp.ge.u32 %p0, %r30, 32; @%p0 bra B; st.shared.u32 [%r2], %r30; bar.sync 1, 64; xor.b32 %r4, %r2, 4; ld.shared.u32 %r5, [%r4]; bra E; B: bar.arrive 1, 64; E:", 64}},
    {"named barrier of the wrong warps", "race-shared",
     {kShared + "st.shared.u32 [%r2], %r30; shr.u32 %r5, %r30, 6; add.u32 %r5, %r5, 1; bar.sync %r5, 64; ld.shared.u32 %r4, [%r3];", 128},
     {kShared + "st.shared.u32 [%r2], %r30; shr.u32 %r5, %r30, 6; add.u32 %r5, %r5, 1; bar.sync %r5, 64; xor.b32 %r3, %r2, 128; ld.shared.u32 %r4, [%r3];", 128}},
    {"bytes of one word by two warps", "race-shared",
     {kShared + "shr.u32 %r4, %r30, 5; add.u32 %r4, %r4, %r1; and.b32 %r6, %r30, 31; setp.ne.u32 %p0, %r6, 0; @%p0 exit; st.shared.u8 [%r4], %r30; ld.shared.u16 %h5, [%r1];", 64},
     {kShared + "shr.u32 %r4, %r30, 5; add.u32 %r4, %r4, %r1; and.b32 %r6, %r30, 31; setp.ne.u32 %p0, %r6, 0; @%p0 exit; st.shared.u8 [%r4], %r30; ld.shared.u8 %r5, [%r4];", 64}},
    {"plain read of an atomic's word", "race-shared",
     {kShared + "setp.eq.u32 %p0, %r30, 0; @%p0 st.shared.u32 [%r1], 0; bar.sync 0; setp.lt.u32 %p1, %r30, 32; @%p1 atom.shared.add.u32 %r4, [%r1], 1; @!%p1 ld.shared.u32 %r4, [%r1];", 64},
     {kShared + "setp.eq.u32 %p0, %r30, 0; @%p0 st.shared.u32 [%r1], 0; bar.sync 0; atom.shared.add.u32 %r4, [%r1], 1; bar.sync 0; ld.shared.u32 %r4, [%r1];", 64}},

    // -------------------------------------------------------------------------------- races in global memory
    {"two CTAs write one word", "race-global", {"st.global.u32 [%l31], %r30;", 32, 2}, {"mov.u32 %r0, %ctaid.x; mul.wide.u32 %l2, %r0, 4; add.u64 %l2, %l31, %l2; setp.eq.u32 %p0, %r30, 0; @%p0 st.global.u32 [%l2], %r30;", 32, 2}},
    {"a CTA reads what another writes", "race-global",
     {"mov.u32 %r0, %ctaid.x; mul.wide.u32 %l2, %r0, 4; add.u64 %l2, %l31, %l2; setp.eq.u32 %p0, %r30, 0; @%p0 st.global.u32 [%l2], %r30; ld.global.u32 %r1, [%l31+4];", 32, 3},
     {"mov.u32 %r0, %ctaid.x; mul.wide.u32 %l2, %r0, 4; add.u64 %l2, %l31, %l2; setp.eq.u32 %p0, %r30, 0; @%p0 st.global.u32 [%l2], %r30; ld.global.u32 %r1, [%l31+16];", 32, 3}},
    {"two warps of a CTA", "race-global", {"setp.eq.u32 %p0, %r30, 0; @%p0 st.global.u32 [%l31], %r30; ld.global.u32 %r1, [%l31];", 64}, {"setp.eq.u32 %p0, %r30, 0; @%p0 st.global.u32 [%l31], %r30; bar.sync 0; ld.global.u32 %r1, [%l31];", 64}},
    {"halves of one word by two CTAs", "race-global",
     {"mov.u32 %r0, %ctaid.x; mul.wide.u32 %l2, %r0, 2; add.u64 %l2, %l31, %l2; cvt.u16.u32 %h0, %r0; setp.eq.u32 %p0, %r30, 0; @%p0 st.global.u16 [%l2], %h0; @%p0 ld.global.u32 %r1, [%l31];", 32, 2},
     {"mov.u32 %r0, %ctaid.x; mul.wide.u32 %l2, %r0, 2; add.u64 %l2, %l31, %l2; cvt.u16.u32 %h0, %r0; setp.eq.u32 %p0, %r30, 0; @%p0 st.global.u16 [%l2], %h0;", 32, 2}},
    // The last CTA sums what all wrote: each must fence before it counts itself, and the last one after.
    {"last block without a fence", "race-global",
     {R"(mov.u32 %r0, %ctaid.x; mul.wide.u32 %l2, %r0, 4; add.u64 %l2, %l31, %l2; setp.ne.u32 %p0, %r30, 0; @%p0 exit;
         st.global.u32 [%l2+64], %r0; atom.global.add.u32 %r1, [%l31], 1; setp.ne.u32 %p1, %r1, 3; @%p1 exit; membar.gl; ld.global.u32 %r2, [%l31+64]; ld.global.u32 %r3, [%l31+68]; ld.global.u32 %r4, [%l31+72]; ld.global.u32 %r5, [%l31+76];)", 32, 4},
     {R"(mov.u32 %r0, %ctaid.x; mul.wide.u32 %l2, %r0, 4; add.u64 %l2, %l31, %l2; setp.ne.u32 %p0, %r30, 0; @%p0 exit;
         st.global.u32 [%l2+64], %r0; membar.gl; atom.global.add.u32 %r1, [%l31], 1; setp.ne.u32 %p1, %r1, 3; @%p1 exit; membar.gl; ld.global.u32 %r2, [%l31+64]; ld.global.u32 %r3, [%l31+68]; ld.global.u32 %r4, [%l31+72]; ld.global.u32 %r5, [%l31+76];)", 32, 4}},
    {"fence of the CTA's scope only", "race-global",
     {R"(mov.u32 %r0, %ctaid.x; setp.ne.u32 %p0, %r30, 0; @%p0 exit; setp.eq.u32 %p1, %r0, 1; @%p1 bra READ; st.global.u32 [%l31+64], %r0; fence.acq_rel.cta; st.relaxed.gpu.global.u32 [%l31], 1; exit;
         READ: ld.relaxed.gpu.global.u32 %r1, [%l31]; setp.eq.u32 %p2, %r1, 0; @%p2 bra READ; fence.acq_rel.gpu; ld.global.u32 %r2, [%l31+64];)", 32, 2},
     {R"(mov.u32 %r0, %ctaid.x; setp.ne.u32 %p0, %r30, 0; @%p0 exit; setp.eq.u32 %p1, %r0, 1; @%p1 bra READ; st.global.u32 [%l31+64], %r0; fence.acq_rel.gpu; st.relaxed.gpu.global.u32 [%l31], 1; exit;
         READ: ld.relaxed.gpu.global.u32 %r1, [%l31]; setp.eq.u32 %p2, %r1, 0; @%p2 bra READ; fence.acq_rel.gpu; ld.global.u32 %r2, [%l31+64];)", 32, 2}},
    {"release without acquire", "race-global",
     {R"(mov.u32 %r0, %ctaid.x; setp.ne.u32 %p0, %r30, 0; @%p0 exit; setp.eq.u32 %p1, %r0, 1; @%p1 bra READ; st.global.u32 [%l31+64], %r0; st.release.gpu.global.u32 [%l31], 1; exit;
         READ: ld.relaxed.gpu.global.u32 %r1, [%l31]; setp.eq.u32 %p2, %r1, 0; @%p2 bra READ; ld.global.u32 %r2, [%l31+64];)", 32, 2},
     {R"(mov.u32 %r0, %ctaid.x; setp.ne.u32 %p0, %r30, 0; @%p0 exit; setp.eq.u32 %p1, %r0, 1; @%p1 bra READ; st.global.u32 [%l31+64], %r0; st.release.gpu.global.u32 [%l31], 1; exit;
         READ: ld.acquire.gpu.global.u32 %r1, [%l31]; setp.eq.u32 %p2, %r1, 0; @%p2 bra READ; ld.global.u32 %r2, [%l31+64];)", 32, 2}},

    // -------------------------------------------------------------------------------- asynchronous copies
    {"copy read before its wait", "copy-in-flight", {kCopy + "cp.async.cg.shared.global [%r2], [%l2], 16; cp.async.commit_group; ld.shared.u32 %r0, [%r2]; cp.async.wait_all;"}, {kCopy + "cp.async.cg.shared.global [%r2], [%l2], 16; cp.async.commit_group; cp.async.wait_all; ld.shared.u32 %r0, [%r2];"}},
    {"copy written before its wait", "copy-in-flight", {kCopy + "cp.async.cg.shared.global [%r2], [%l2], 16; st.shared.u32 [%r2], 1; cp.async.wait_all;"}, {kCopy + "cp.async.cg.shared.global [%r2], [%l2], 16; cp.async.wait_all; st.shared.u32 [%r2], 1;"}},
    {"wait without a commit", "copy-in-flight", {kCopy + "cp.async.cg.shared.global [%r2], [%l2], 16; cp.async.wait_group 0; ld.shared.u32 %r0, [%r2]; cp.async.wait_all;"}, {kCopy + "cp.async.cg.shared.global [%r2], [%l2], 16; cp.async.commit_group; cp.async.wait_group 0; ld.shared.u32 %r0, [%r2];"}},
    {"wait for one group too few", "copy-in-flight",
     {kCopy + "cp.async.cg.shared.global [%r2], [%l2], 16; cp.async.commit_group; cp.async.wait_group 1; ld.shared.u32 %r0, [%r2]; cp.async.wait_all;"},
     {kCopy + "cp.async.cg.shared.global [%r2], [%l2], 16; cp.async.commit_group; cp.async.commit_group; cp.async.wait_group 1; ld.shared.u32 %r0, [%r2];"}},
    {"copy of another lane, waited for but not synchronised", "race-shared",
     {kCopy + "cp.async.cg.shared.global [%r2], [%l2], 16; cp.async.wait_all; xor.b32 %r4, %r2, 16; ld.shared.u32 %r0, [%r4];"},
     {kCopy + "cp.async.cg.shared.global [%r2], [%l2], 16; cp.async.wait_all; bar.warp.sync -1; xor.b32 %r4, %r2, 16; ld.shared.u32 %r0, [%r4];"}},
    {"copy never waited for", "copy-left", {kCopy + "cp.async.cg.shared.global [%r2], [%l2], 16; cp.async.commit_group;"}, {kCopy + "cp.async.cg.shared.global [%r2], [%l2], 16; cp.async.wait_all;"}},
    {"copy from beyond the end", "out-of-bounds-global", {kCopy + "cp.async.cg.shared.global [%r2], [%l2+1024], 16; cp.async.wait_all;"}, {kCopy + "cp.async.cg.shared.global [%r2], [%l2+768], 16; cp.async.wait_all;"}},
    {"copied poison", "uninitialized",
     {kCopy + "add.u64 %l3, %l31, 512; mul.wide.u32 %l4, %r5, 16; add.u64 %l3, %l3, %l4; cp.async.cg.shared.global [%r2], [%l3], 16; cp.async.wait_all; ld.shared.u32 %r0, [%r2];" + kOut + "st.global.u32 [%l1], %r0;", 32, 1, 0, "", std::vector<uint32_t>(256, 1), 256, false},
     {kCopy + "cp.async.cg.shared.global [%r2], [%l2], 16; cp.async.wait_all; ld.shared.u32 %r0, [%r2];" + kOut + "st.global.u32 [%l1], %r0;", 32, 1, 0, "", std::vector<uint32_t>(256, 1), 256, false}},

    // -------------------------------------------------------------------------------- barriers and divergence
    {"one warp misses a barrier", "deadlock", {"setp.lt.u32 %p0, %r30, 32; @%p0 bra A; bar.sync 1, 96; bra E; A: bar.sync 2, 96; E:", 64 + 32}, {"bar.sync 1, 96;", 96}},
    {"barrier in divergent code", "divergence", {"setp.lt.u32 %p0, %r30, 16; @%p0 bra A; bar.sync 0; bra E; A: bar.sync 0; E:"}, {"setp.lt.u32 %p0, %r30, 16; @%p0 bra A; mov.u32 %r0, 1; bra E; A: mov.u32 %r0, 2; E: bar.sync 0;"}},
    {"named barrier left half full", "barrier-left", {"setp.lt.u32 %p0, %r30, 32; @%p0 bra E; bar.arrive 1, 64; E:", 64}, {"setp.lt.u32 %p0, %r30, 32; @%p0 bra A; bar.arrive 1, 64; bra E; A: bar.sync 1, 64; E:", 64}},
    {"barrier used with different counts", "barrier", {"setp.lt.u32 %p0, %r30, 32; @%p0 bra A; bar.sync 1, 64; bra E; A: bar.sync 1, 96; E:", 64}, {"bar.sync 1, 96;", 96}},
    {"barrier number 16", "barrier", {"mov.u32 %r0, 16; bar.sync %r0, 32;"}, {"mov.u32 %r0, 15; bar.sync %r0, 32;"}},
    {"thread count not a multiple of 32", "barrier", {"mov.u32 %r0, 48; bar.sync 1, %r0;", 64}, {"mov.u32 %r0, 64; bar.sync 1, %r0;", 64}},
    {"shuffle of lanes that are elsewhere", "deadlock", {"setp.lt.u32 %p0, %r30, 16; @%p0 bra A; shfl.sync.idx.b32 %r0, %r30, 0, 31, -1; bra E; A: shfl.sync.idx.b32 %r0, %r30, 0, 31, -1; E:"}, {"setp.lt.u32 %p0, %r30, 16; @%p0 bra A; shfl.sync.idx.b32 %r0, %r30, 16, 31, 0xffff0000; bra E; A: shfl.sync.idx.b32 %r0, %r30, 0, 31, 0xffff; E:"}},
    {"thread not in its membermask", "divergence", {"shfl.sync.idx.b32 %r0, %r30, 0, 31, 0xffff;"}, {"shfl.sync.idx.b32 %r0, %r30, 0, 31, -1;"}},
    {"branch index outside its table", "branch", {"t: .branchtargets A, B; brx.idx %r30, t; A: mov.u32 %r0, 1; B:"}, {"t: .branchtargets A, B; and.b32 %r1, %r30, 1; brx.idx %r1, t; A: mov.u32 %r0, 1; B:"}},
};
// clang-format on

struct RegisterPairs {
  RegisterPairs() {
    for (const Pair& pair : kPairs) Register(std::string("check/") + pair.name, [pair] { checkPair(pair); });
  }
} const registerPairs;

// clang-format off
const Register kOthers[] = {
    {"check/endless loop", [] {
       const Setting limit("FOVEA_SIM_INSTRUCTION_LIMIT", "100000", "2000000000");
       expectReport({"L: bra L;"}, "endless");
     }},
    {"check/report names kernel, CTA, thread, line and source", [] {
       const Outcome outcome = runProgram({"mov.u32 %r0, %ctaid.x;\n.loc 1 42 7\nsetp.ne.u32 %p0, %r30, 5; setp.ne.u32 %p1, %r0, 2; or.pred %p0, %p0, %p1; @!%p0 ld.global.u32 %r0, [%l30+4096];",
                                           32, 3, 0, ".file 1 \"attention.cu\"\n"});
       for (const char* part : {"kernel test", "CTA (2, 0, 0)", "thread (5, 0, 0)", "ld.global.u32", "attention.cu:42"})
         expect(outcome.reports.find(part) != std::string::npos, std::string("has '") + part + "': " + outcome.reports);
     }},
    {"check/deadlock shows the barriers", [] {
       const Outcome outcome = runProgram({"setp.lt.u32 %p0, %r30, 32; @%p0 bra A; bar.sync 1, 96; bra E; A: bar.sync 2, 96; E:", 96});
       for (const char* part : {"barrier 1: 64 of 96", "barrier 2: 32 of 96", "warp 0", "waits for barrier 2"})
         expect(outcome.reports.find(part) != std::string::npos, std::string("has '") + part + "': " + outcome.reports);
     }},
    {"check/use after free", [] {
       CUmodule module = nullptr;
       CUfunction function = nullptr;
       CUdeviceptr in = 0, out = 0;
       const std::string text = kernelText("ld.global.u32 %r0, [%l30];");
       driver.clear();
       expectSuccess(driver.cuModuleLoadData(&module, text.c_str()), "load");
       expectSuccess(driver.cuModuleGetFunction(&function, module, "test"), "function");
       driver.cuMemAlloc(&in, 64);
       driver.cuMemAlloc(&out, 64);
       driver.cuMemFree(in);
       uint32_t n = 0;
       void* parameters[] = {&in, &out, &n};
       driver.cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, nullptr, parameters, nullptr);
       expectEqual<int>(driver.cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED, "result");
       expect(std::string(driver.reports()).find("freed") != std::string::npos, driver.reports());
       driver.cuDevicePrimaryCtxReset(0);
       driver.cuModuleUnload(module);
     }},
};
// clang-format on

}  // namespace
}  // namespace fovea::simulatorTest
