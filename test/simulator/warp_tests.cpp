// Exchange between lanes, barriers, atomics, asynchronous copies.
#include "harness.h"

namespace fovea::simulatorTest {
namespace {

const std::string kOut = "mul.wide.u32 %l1, %r30, 4; add.u64 %l1, %l31, %l1;\n";

// Runs the body; each thread stores %r0. `expected` gives the value of a thread.
template <class F>
void check(const std::string& body, F expected, unsigned block = 32, const std::string& declarations = "") {
  Run request;
  request.ptx = kernelText(body + "\n" + kOut + "st.global.u32 [%l1], %r0;", declarations);
  request.outputWords = block;
  request.block = block;
  for (uint32_t i = 0; i < 64; i++) request.input.push_back(i * i + 1);
  const Outcome outcome = run(request);
  expectSuccess(outcome.loadResult, "loading");
  if (outcome.loadResult) return;
  expectSuccess(outcome.result, "running\n" + outcome.reports);
  if (outcome.result) return;
  for (uint32_t i = 0; i < block; i++) {
    const auto want = static_cast<uint32_t>(expected(i));
    expect(outcome.output[i] == want, "thread " + std::to_string(i) + ": got " + hexadecimal(outcome.output[i]) +
                                          ", expected " + hexadecimal(want));
  }
}

// clang-format off
const Register kShuffles[] = {
    {"shfl/bfly", [] { check("shfl.sync.bfly.b32 %r0, %r30, 5, 31, -1;", [](uint32_t i) { return i ^ 5; }); }},
    {"shfl/idx", [] { check("shfl.sync.idx.b32 %r0, %r30, 7, 31, -1;", [](uint32_t) { return 7; }); }},
    {"shfl/up", [] { check("shfl.sync.up.b32 %r0|%p0, %r30, 3, 0, -1; @!%p0 add.u32 %r0, %r0, 100;", [](uint32_t i) { return i >= 3 ? i - 3 : i + 100; }); }},
    {"shfl/down", [] { check("shfl.sync.down.b32 %r0|%p0, %r30, 3, 31, -1; @!%p0 add.u32 %r0, %r0, 100;", [](uint32_t i) { return i + 3 < 32 ? i + 3 : i + 100; }); }},
    // Width 8: segment mask 24 in bits 8-12, clamp 7.
    {"shfl/segments", [] { check("shfl.sync.idx.b32 %r0, %r30, 2, 0x1807, -1;", [](uint32_t i) { return (i & 24) + 2; }); }},
    {"shfl/segments down", [] { check("shfl.sync.down.b32 %r0, %r30, 2, 0x1807, -1;", [](uint32_t i) { return i % 8 < 6 ? i + 2 : i; }); }},
    {"shfl/partial mask", [] { check("mov.u32 %r0, 9; setp.lt.u32 %p0, %r30, 4; @%p0 shfl.sync.bfly.b32 %r0, %r30, 1, 31, 15;", [](uint32_t i) { return i < 4 ? i ^ 1 : 9; }); }},
    {"vote/ballot", [] { check("setp.lt.u32 %p0, %r30, 5; vote.sync.ballot.b32 %r0, %p0, -1;", [](uint32_t) { return 31; }); }},
    {"vote/all any uni", [] {
       check("setp.lt.u32 %p0, %r30, 5; vote.sync.all.pred %p1, %p0, -1; vote.sync.any.pred %p2, %p0, -1; vote.sync.uni.pred %p3, !%p0, -1; selp.u32 %r1, 1, 0, %p1; selp.u32 %r2, 2, 0, %p2; selp.u32 %r3, 4, 0, %p3; or.b32 %r0, %r1, %r2; or.b32 %r0, %r0, %r3;",
             [](uint32_t) { return 2; });
     }},
    {"match/any", [] { check("and.b32 %r1, %r30, 1; match.any.sync.b32 %r0, %r1, -1;", [](uint32_t i) { return i & 1 ? 0xaaaaaaaau : 0x55555555u; }); }},
    {"match/all", [] { check("mov.u32 %r1, 3; match.all.sync.b32 %r0|%p0, %r1, -1; @!%p0 mov.u32 %r0, 5;", [](uint32_t) { return ~0u; }); }},
    {"redux/add", [] { check("redux.sync.add.u32 %r0, %r30, -1;", [](uint32_t) { return 496; }); }},
    {"redux/min and max", [] { check("sub.u32 %r1, %r30, 16; redux.sync.min.s32 %r2, %r1, -1; redux.sync.max.u32 %r3, %r1, -1; sub.u32 %r0, %r2, %r3;", [](uint32_t) { return static_cast<uint32_t>(-16) - 0xffffffffu; }); }},
    {"redux/and or xor", [] { check("or.b32 %r1, %r30, 32; redux.sync.and.b32 %r2, %r1, -1; redux.sync.or.b32 %r3, %r1, -1; redux.sync.xor.b32 %r4, %r1, -1; mad.lo.u32 %r0, %r2, 1000, %r3; add.u32 %r0, %r0, %r4;", [](uint32_t) { return 32063; }); }},
    {"activemask", [] { check("mov.u32 %r0, 0; setp.lt.u32 %p0, %r30, 8; @!%p0 bra SKIP; activemask.b32 %r0; SKIP:", [](uint32_t i) { return i < 8 ? 255u : 0u; }); }},
    {"elect", [] { check("elect.sync _|%p0, -1; vote.sync.ballot.b32 %r1, %p0, -1; popc.b32 %r0, %r1;", [](uint32_t) { return 1; }); }},
    {"bar.warp.sync", [] {
       check(".shared .b32 s[32]; mov.u32 %r1, s; mad.lo.u32 %r2, %r30, 4, %r1; st.shared.u32 [%r2], %r30; bar.warp.sync -1; xor.b32 %r3, %r30, 1; mad.lo.u32 %r3, %r3, 4, %r1; ld.shared.u32 %r0, [%r3];",
             [](uint32_t i) { return i ^ 1; });
     }},
};
// clang-format on

// clang-format off
const Register kBarriers[] = {
    {"bar/sync", [] {
       check(".shared .b32 s[128]; mov.u32 %r1, s; mad.lo.u32 %r2, %r30, 4, %r1; st.shared.u32 [%r2], %r30; bar.sync 0; sub.u32 %r3, 127, %r30; mad.lo.u32 %r3, %r3, 4, %r1; ld.shared.u32 %r0, [%r3];",
             [](uint32_t i) { return 127 - i; }, 128);
     }},
    {"bar/named arrive and sync", [] {
       // Warp 0 waits for what warp 1 wrote; warp 1 only arrives.
       check(".shared .b32 s[32]; mov.u32 %r0, 1; mov.u32 %r1, s; and.b32 %r2, %r30, 31; mad.lo.u32 %r2, %r2, 4, %r1; setp.lt.u32 %p0, %r30, 32; @%p0 bra READ; st.shared.u32 [%r2], %r30; bar.arrive 3, 64; bra DONE; READ: bar.sync 3, 64; ld.shared.u32 %r0, [%r2]; DONE:",
             [](uint32_t i) { return i < 32 ? i + 32 : 1; }, 64);
     }},
    {"bar/red.popc", [] { check("setp.lt.u32 %p0, %r30, 40; bar.red.popc.u32 %r0, 0, %p0;", [](uint32_t) { return 40; }, 64); }},
    {"bar/red.and or", [] {
       check("setp.lt.u32 %p0, %r30, 40; bar.red.and.pred %p1, 0, %p0; bar.red.or.pred %p2, 0, %p0; selp.u32 %r0, 1, 0, %p1; selp.u32 %r1, 2, 0, %p2; or.b32 %r0, %r0, %r1;",
             [](uint32_t) { return 2; }, 64);
     }},
    {"bar/exited warps do not count", [] {
       Run request;
       request.ptx = kernelText("setp.ge.u32 %p0, %r30, 64; @%p0 exit; bar.sync 0; st.global.u32 [%l31], %r31;");
       request.block = 96;
       request.n = 4;
       // One thread of each of two warps writes the same word: order them.
       request.ptx = kernelText("setp.ge.u32 %p0, %r30, 64; @%p0 exit; bar.sync 0; setp.eq.u32 %p1, %r30, 0; @%p1 st.global.u32 [%l31], %r31;");
       const Outcome outcome = run(request);
       expectSuccess(outcome.result, "running\n" + outcome.reports);
       expectEqual<uint32_t>(outcome.output[0], 4, "value");
     }},
};
// clang-format on

void checkAtomic(const std::string& instruction, uint32_t initial, uint32_t expected) {
  Run request;
  request.ptx = kernelText("setp.eq.u32 %p0, %r30, 0; mov.u32 %r1, " + std::to_string(initial) +
                           "; @%p0 st.global.u32 [%l31], %r1; bar.sync 0; " + instruction);
  request.outputWords = 1;
  const Outcome outcome = run(request);
  expectSuccess(outcome.loadResult, "loading");
  expectSuccess(outcome.result, "running\n" + outcome.reports);
  if (!outcome.result)
    expect(outcome.output[0] == expected,
           instruction + ": got " + hexadecimal(outcome.output[0]) + ", expected " + hexadecimal(expected));
}

// clang-format off
const Register kAtomics[] = {
    {"atom/global", [] {
       checkAtomic("atom.global.add.u32 %r0, [%l31], %r30;", 5, 501);
       checkAtomic("red.global.add.u32 [%l31], 1;", 5, 37);
       checkAtomic("atom.global.max.s32 %r0, [%l31], %r30;", 5, 31);
       checkAtomic("atom.global.min.u32 %r0, [%l31], %r30;", 5, 0);
       checkAtomic("atom.global.or.b32 %r0, [%l31], %r30;", 32, 63);
       checkAtomic("atom.global.and.b32 %r0, [%l31], 6;", 5, 4);
       checkAtomic("atom.global.xor.b32 %r0, [%l31], 1;", 5, 5);
       checkAtomic("atom.global.inc.u32 %r0, [%l31], 9;", 5, 7);
       checkAtomic("atom.global.dec.u32 %r0, [%l31], 9;", 5, 3);
       checkAtomic("atom.global.exch.b32 %r0, [%l31], 9;", 5, 9);
       checkAtomic("atom.global.cas.b32 %r0, [%l31], 5, 77;", 5, 77);
       checkAtomic("mov.f32 %f0, 0f3F800000; atom.global.add.f32 %f1, [%l31], %f0;", F(0.5f), F(32.5f));
       checkAtomic("mov.u32 %r2, 0x3c003c00; atom.global.add.noftz.f16x2 %r3, [%l31], %r2;", 0, 0x50005000);
       checkAtomic("mov.u32 %r2, 0x3f803f80; red.global.add.noftz.bf16x2 [%l31], %r2;", 0, 0x42004200);
       checkAtomic("red.release.gpu.global.add.u32 [%l31], 1;", 0, 32);
       checkAtomic("atom.add.u32 %r0, [%l31], 1;", 0, 32);
     }},
    {"atom/returns the old value", [] {
       check(".shared .b32 s[1]; setp.eq.u32 %p0, %r30, 0; @%p0 st.shared.u32 [s], 0; bar.warp.sync -1; atom.shared.add.u32 %r0, [s], 2;", [](uint32_t i) { return 2 * i; });
     }},
    {"atom/b64", [] {
       check(".shared .align 8 .b64 s[1]; setp.eq.u32 %p0, %r30, 0; mov.u64 %l2, 5; @%p0 st.shared.u64 [s], %l2; bar.warp.sync -1; atom.shared.add.u64 %l3, [s], 1; cvt.u32.u64 %r0, %l3;", [](uint32_t i) { return 5 + i; });
     }},
    {"atom/CTAs wait for one another", [] {
       // Each CTA waits until all four have added 1.
       Run request;
       request.ptx = kernelText(R"(setp.ne.u32 %p0, %r30, 0; @%p0 exit; fence.acq_rel.gpu; atom.global.add.u32 %r0, [%l31], 1;
         SPIN: ld.acquire.gpu.global.u32 %r1, [%l31]; setp.lt.u32 %p1, %r1, 4; @%p1 bra SPIN;)");
       request.grid = 4;
       const Outcome outcome = run(request);
       expectSuccess(outcome.result, "running\n" + outcome.reports);
       expectEqual<uint32_t>(outcome.output[0], 4, "count");
     }},
};
// clang-format on

const std::string kCopy =
    ".shared .align 16 .b8 s[512]; mov.u32 %r1, s; mad.lo.u32 %r2, %r30, 16, %r1; mul.wide.u32 %l2, %r30, 16; add.u64 "
    "%l2, %l30, %l2;\n";
const std::string kCopyInput = "and.b32 %r5, %r30, 15;";

// clang-format off
const Register kCopies[] = {
    {"cp.async/16 bytes", [] {
       check(kCopy + "setp.lt.u32 %p0, %r30, 16; @%p0 cp.async.cg.shared.global [%r2], [%l2], 16; cp.async.commit_group; cp.async.wait_group 0; mov.u32 %r0, 0; @%p0 ld.shared.u32 %r0, [%r2+4];",
             [](uint32_t i) { return i < 16 ? (4 * i + 1) * (4 * i + 1) + 1 : 0; });
     }},
    {"cp.async/4 and 8 bytes", [] {
       check(kCopy + "setp.lt.u32 %p0, %r30, 16; @%p0 cp.async.ca.shared.global [%r2], [%l2+4], 4; @%p0 cp.async.ca.shared.global [%r2+8], [%l2+8], 8; cp.async.wait_all; mov.u32 %r0, 0; @%p0 ld.shared.u32 %r0, [%r2]; @%p0 ld.shared.u32 %r3, [%r2+12]; @%p0 add.u32 %r0, %r0, %r3;",
             [](uint32_t i) { return i < 16 ? (4 * i + 1) * (4 * i + 1) + (4 * i + 3) * (4 * i + 3) + 2 : 0; });
     }},
    {"cp.async/zero fill", [] {
       check(kCopy + kCopyInput + "mad.lo.u32 %r2, %r30, 16, %r1; mov.u32 %r3, 4; mul.wide.u32 %l2, %r5, 16; add.u64 %l2, %l30, %l2; cp.async.cg.shared.global [%r2], [%l2], 16, %r3; cp.async.wait_all; ld.shared.v4.u32 {%r6, %r7, %r8, %r9}, [%r2]; add.u32 %r0, %r6, %r7; add.u32 %r0, %r0, %r8; add.u32 %r0, %r0, %r9;",
             [](uint32_t i) { return 16 * (i % 16) * (i % 16) + 1; });
     }},
    {"cp.async/nothing is read for size 0", [] {
       check(kCopy + "mov.u32 %r3, 0; mov.u64 %l3, 0; cp.async.cg.shared.global [%r2], [%l3], 16, %r3; cp.async.wait_all; ld.shared.u32 %r0, [%r2+12];", [](uint32_t) { return 0; });
     }},
    {"cp.async/ignore predicate", [] {
       check(kCopy + kCopyInput + "setp.lt.u32 %p0, %r30, 4; mul.wide.u32 %l2, %r5, 16; add.u64 %l2, %l30, %l2; cp.async.cg.shared.global [%r2], [%l2], 16, %p0; cp.async.wait_all; ld.shared.u32 %r0, [%r2];",
             [](uint32_t i) { return i < 4 ? 0 : 16 * (i % 16) * (i % 16) + 1; });
     }},
    {"cp.async/groups", [] {
       check(kCopy + kCopyInput + "mul.wide.u32 %l2, %r5, 4; add.u64 %l2, %l30, %l2; cp.async.ca.shared.global [%r2], [%l2], 4; cp.async.commit_group; cp.async.ca.shared.global [%r2+4], [%l2], 4; cp.async.commit_group; cp.async.wait_group 1; ld.shared.u32 %r0, [%r2]; cp.async.wait_group 0; ld.shared.u32 %r3, [%r2+4]; add.u32 %r0, %r0, %r3;",
             [](uint32_t i) { return 2 * ((i % 16) * (i % 16) + 1); });
     }},
};
// clang-format on

}  // namespace
}  // namespace fovea::simulatorTest
