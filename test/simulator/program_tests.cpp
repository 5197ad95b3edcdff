// State spaces, control flow, calls, special registers: whole small kernels.
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "harness.h"

namespace fovea::simulatorTest {
namespace {

// Runs the body with one warp and compares the first output words.
void check(const std::string& body, const std::vector<uint32_t>& input, const std::vector<uint32_t>& expected,
           const std::string& declarations = "", unsigned block = 32, unsigned shared = 0) {
  Run request;
  request.ptx = kernelText(body, declarations);
  request.input = input;
  request.outputWords = std::max<size_t>(expected.size(), block);
  request.block = block;
  request.shared = shared;
  const Outcome outcome = run(request);
  expectSuccess(outcome.loadResult, "loading");
  if (outcome.loadResult) return;
  expectSuccess(outcome.result, "running\n" + outcome.reports);
  if (outcome.result) return;
  for (size_t i = 0; i < expected.size(); i++)
    expect(outcome.output[i] == expected[i], "word " + std::to_string(i) + ": got " + hexadecimal(outcome.output[i]) +
                                                 ", expected " + hexadecimal(expected[i]));
}

// Runs a body in which thread 3 stops the kernel, and expects a report of that kind which names it.
void checkStop(const std::string& body, const std::string& kind, const std::string& declarations = "") {
  Run request;
  request.ptx = kernelText(body, declarations);
  const Outcome outcome = run(request);
  expectSuccess(outcome.loadResult, "loading");
  expectEqual<int>(outcome.result, CUDA_ERROR_LAUNCH_FAILED, "result");
  expect(outcome.reports.rfind(kind, 0) == 0, "expected " + kind + "got: " + outcome.reports);
  expect(outcome.reports.find("thread (3, 0, 0)") != std::string::npos, "names the thread: " + outcome.reports);
}

// What is written to standard error meanwhile, where the simulator says what is wrong with PTX.
std::string saidToUser(const std::function<void()>& action) {
  std::FILE* file = std::tmpfile();
  std::fflush(stderr);
  const int before = dup(STDERR_FILENO);
  dup2(fileno(file), STDERR_FILENO);
  action();
  std::fflush(stderr);
  dup2(before, STDERR_FILENO);
  close(before);
  std::rewind(file);
  std::string said(4096, '\0');
  said.resize(std::fread(said.data(), 1, said.size(), file));
  std::fclose(file);
  return said;
}

// %l1 = out + 4·tid
const std::string kOut = "mul.wide.u32 %l1, %r30, 4; add.u64 %l1, %l31, %l1;\n";

// clang-format off
const Register kLoads[] = {
    {"ld/global widths", [] {
       check(R"(ld.global.u8 %r0, [%l30]; ld.global.s8 %r1, [%l30]; ld.global.u16 %h0, [%l30+2]; cvt.u32.u16 %r2, %h0;
                ld.global.s16 %r3, [%l30+2]; ld.global.b32 %r4, [%l30]; ld.global.u64 %l2, [%l30+8]; cvt.u32.u64 %r5, %l2;
                st.global.u32 [%l31], %r0; st.global.u32 [%l31+4], %r1; st.global.u32 [%l31+8], %r2;
                st.global.u32 [%l31+12], %r3; st.global.u32 [%l31+16], %r4; st.global.u32 [%l31+20], %r5;)",
             {0x876543f1, 0, 7, 8}, {0xf1, 0xfffffff1, 0x8765, 0xffff8765, 0x876543f1, 7}, "", 1);
     }},
    {"ld/wide destination", [] {
       check("ld.global.s32 %l2, [%l30]; ld.global.u32 %l3, [%l30]; st.global.u64 [%l31], %l2; st.global.u64 [%l31+8], %l3;",
             {0x80000000}, {0x80000000, 0xffffffff, 0x80000000, 0}, "", 1);
     }},
    {"ld/vectors", [] {
       check(R"(ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%l30]; ld.global.v2.u64 {%l2, %l3}, [%l30];
                st.global.v4.u32 [%l31], {%r3, %r2, %r1, %r0}; st.global.v2.u64 [%l31+16], {%l3, %l2};)",
             {1, 2, 3, 4}, {4, 3, 2, 1, 3, 4, 1, 2}, "", 1);
     }},
    {"ld/negative offset and hints", [] {
       check(R"(add.u64 %l2, %l30, 16; ld.global.nc.L1::no_allocate.L2::128B.u32 %r0, [%l2+-8]; ld.volatile.global.u32 %r1, [%l2+-4];
                createpolicy.fractional.L2::evict_first.b64 %l4, 1.0; prefetch.global.L2 [%l30];
                st.global.cs.u32 [%l31], %r0; st.relaxed.gpu.global.u32 [%l31+4], %r1;)",
             {1, 2, 3, 4}, {3, 4}, "", 1);
     }},
    {"ld/ldu, and hints that change nothing", [] {
       check(R"(prefetchu.L1 [%l30]; applypriority.global.L2::evict_normal [%l30], 128; discard.global.L2 [%l31], 128;
                ldu.global.u32 %r0, [%l30+4]; st.global.u32 [%l31], %r0;)",
             {1, 2}, {2}, "", 1);
     }},
    {"ld/generic", [] {
       check(R"(.shared .align 4 .b8 buffer[16]; .local .align 4 .b8 stack[16]; mov.u32 %r0, 5;
                mov.u64 %l2, buffer; cvta.shared.u64 %l3, %l2; st.u32 [%l3+4], %r0; ld.shared.u32 %r1, [buffer+4];
                mov.u64 %l4, stack; cvta.local.u64 %l5, %l4; st.u32 [%l5+8], %r1; ld.local.u32 %r2, [stack+8]; ld.u32 %r3, [%l30];
                isspacep.shared %p0, %l3; selp.u32 %r4, 1, 0, %p0; isspacep.global %p1, %l3; selp.u32 %r5, 1, 0, %p1;
                cvta.to.shared.u64 %l6, %l3; sub.u64 %l6, %l6, %l2; cvt.u32.u64 %r6, %l6;
                st.u32 [%l31], %r1; st.u32 [%l31+4], %r2; st.u32 [%l31+8], %r3; st.u32 [%l31+12], %r4; st.u32 [%l31+16], %r5; st.u32 [%l31+20], %r6;)",
             {77}, {5, 5, 77, 1, 0, 0}, "", 1);
     }},
    {"ld/local is per thread", [] {
       check(kOut + R"(.local .align 4 .b8 stack[8]; st.local.u32 [stack+4], %r30; ld.local.u32 %r0, [stack+4]; st.global.u32 [%l1], %r0;)",
             {}, {0, 1, 2, 3, 4, 5});
     }},
    {"ld/const and global variables", [] {
       check(R"(ld.const.u32 %r0, [table+4]; ld.global.f32 %r1, [scale]; mov.u64 %l2, counter; ld.global.u32 %r2, [%l2];
                st.global.u32 [counter], %r0; ld.global.u32 %r3, [counter]; ld.global.u64 %l3, [pointer]; ld.u32 %r4, [%l3+8];
                st.global.u32 [%l31], %r0; st.global.u32 [%l31+4], %r1; st.global.u32 [%l31+8], %r2; st.global.u32 [%l31+12], %r3; st.global.u32 [%l31+16], %r4;)",
             {}, {20, F(1.5f), 0, 20, 30},
             ".const .align 4 .u32 table[3] = {10, 20, 30}; .global .f32 scale = 0f3FC00000; .global .align 4 .u32 counter; .global .align 8 .u64 pointer = generic(table);", 1);
     }},
    {"ld/param", [] {
       check("ld.param.u32 %r0, [n]; mov.b64 %l2, in; ld.param.u64 %l3, [%l2]; setp.eq.u64 %p0, %l3, %l30; selp.u32 %r1, 1, 0, %p0; st.global.u32 [%l31], %r0; st.global.u32 [%l31+4], %r1;",
             {}, {0, 1}, "", 1);
     }},
    {"ld/dynamic shared memory", [] {
       check(R"(mov.u32 %r0, dynamic; and.b32 %r1, %r0, 63; mad.lo.u32 %r2, %r30, 4, %r0; st.shared.u32 [%r2], %r30; bar.sync 0;
                sub.u32 %r3, 31, %r30; mad.lo.u32 %r4, %r3, 4, %r0; ld.shared.u32 %r5, [%r4]; add.u32 %r5, %r5, %r1;)" + kOut + "st.global.u32 [%l1], %r5;",
             {}, {31, 30, 29}, ".extern .shared .align 64 .b8 dynamic[];", 32, 128);
     }},
    {"ld/dynamic shared memory begins as ptxas has it", [] {
       const std::string put = "mov.u32 %r0, dynamic; st.global.u32 [%l31], %r0;";
       check(put, {}, {0x400}, ".extern .shared .align 1024 .b8 dynamic[];", 1, 16);
       check(put, {}, {0x400}, ".extern .shared .align 2048 .b8 dynamic[];", 1, 16);
       check(".shared .align 4 .b8 fixed[68]; mov.u32 %r0, fixed;" + put, {}, {0x480}, ".extern .shared .align 128 .b8 dynamic[];", 1, 16);
       check(".shared .align 4 .b8 fixed[68]; mov.u32 %r0, fixed;" + put, {}, {0xc00}, ".extern .shared .align 2048 .b8 dynamic[];", 1, 16);
     }},
};
// clang-format on

// clang-format off
const Register kControl[] = {
    {"control/divergent branch", [] {
       check(kOut + "setp.lt.u32 %p0, %r30, 2; @%p0 bra LESS; mov.u32 %r0, 10; bra DONE; LESS: mov.u32 %r0, 20; DONE: add.u32 %r0, %r0, %r30; st.global.u32 [%l1], %r0;",
             {}, {20, 21, 12, 13});
     }},
    {"control/divergent loop", [] {
       check(kOut + "mov.u32 %r0, 0; mov.u32 %r1, 0; LOOP: add.u32 %r0, %r0, %r1; add.u32 %r1, %r1, 1; setp.le.u32 %p0, %r1, %r30; @%p0 bra LOOP; shfl.sync.idx.b32 %r2, %r0, 4, 31, -1; add.u32 %r0, %r0, %r2; st.global.u32 [%l1], %r0;",
             {}, {10, 11, 13, 16, 20});
     }},
    {"control/predicated exit", [] {
       check(kOut + "setp.ge.u32 %p0, %r30, 3; @%p0 exit; mov.u32 %r0, 7; st.global.u32 [%l1], %r0;", {}, {7, 7, 7, 0, 0});
     }},
    {"control/brx.idx", [] {
       check(kOut + R"(and.b32 %r0, %r30, 3; table: .branchtargets A, B, C, A; brx.idx %r0, table;
                A: mov.u32 %r1, 100; bra.uni OUT; B: mov.u32 %r1, 200; bra.uni OUT; C: mov.u32 %r1, 300; OUT: st.global.u32 [%l1], %r1;)",
             {}, {100, 200, 300, 100, 100, 200});
     }},
    {"control/scopes and local labels", [] {
       check("mov.u32 %r0, 0; { .reg .pred p; .reg .b32 x; mov.u32 x, 3; AGAIN: add.u32 %r0, %r0, 2; sub.u32 x, x, 1; setp.ne.u32 p, x, 0; @p bra AGAIN; } "
             "{ .reg .b32 x; mov.u32 x, 5; AGAIN: add.u32 %r0, %r0, x; setp.lt.u32 %p0, %r0, 20; @%p0 bra AGAIN; } st.global.u32 [%l31], %r0;",
             {}, {21}, "", 1);
     }},
    {"control/calls", [] {
       check(kOut + R"({ .param .b32 p0; .param .b32 r; st.param.b32 [p0+0], %r30; call.uni (r), twice, (p0); ld.param.b32 %r0, [r+0]; }
                { .param .b32 p0; .param .b32 r; st.param.b32 [p0+0], %r0; call.uni (r), twice, (p0); ld.param.b32 %r0, [r+0]; } st.global.u32 [%l1], %r0;)",
             {}, {1000, 4, 8, 12},
             R"(.func (.param .b32 result) twice(.param .b32 x) { .reg .b32 %r<4>; .reg .pred %p<2>; ld.param.b32 %r1, [x]; setp.ne.u32 %p1, %r1, 0; @%p1 bra GO;
                mov.u32 %r2, 500; st.param.b32 [result+0], %r2; ret; GO: add.u32 %r2, %r1, %r1; setp.ne.u32 %p1, %r1, 500; @%p1 bra STORE; mov.u32 %r2, 1000; STORE: st.param.b32 [result+0], %r2; ret; })");
     }},
    {"control/special registers", [] {
       check(kOut + R"(mov.u32 %r0, %laneid; mov.u32 %r1, %ntid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %nctaid.x; mov.u32 %r4, %warpid; mov.u32 %r5, %lanemask_lt; mov.u32 %r6, %lanemask_ge; popc.b32 %r5, %r5; popc.b32 %r6, %r6;
                mad.lo.u32 %r0, %r1, 100, %r0; mad.lo.u32 %r0, %r3, 10000, %r0; add.u32 %r0, %r0, %r2; mad.lo.u32 %r0, %r4, 100000, %r0; mad.lo.u32 %r0, %r5, 1000000, %r0; sub.u32 %r6, 32, %r6; sub.u32 %r5, %r5, %r6; add.u32 %r0, %r0, %r5; st.global.u32 [%l1], %r0;)",
             {}, {16400, 1016401, 2016402}, "", 64);
     }},
    {"control/unknown instruction", [] {
       Run request;
       request.ptx = kernelText("mov.u32 %r1, 1;\nfrobnicate.b32 %r0, %r1;");
       const std::string before = request.ptx.substr(0, request.ptx.find("frobnicate"));
       const auto line = std::count(before.begin(), before.end(), '\n') + 1;
       CUresult result = CUDA_SUCCESS;
       const std::string said = saidToUser([&] { result = run(request).loadResult; });
       expectEqual<int>(result, CUDA_ERROR_INVALID_PTX, "loading");
       const std::string wanted = "ptx line " + std::to_string(line) + ": unknown instruction 'frobnicate";
       expect(said.find(wanted) != std::string::npos, "expected " + wanted + ", got " + said);
     }},
    {"control/instructions that change nothing", [] {
       check("nanosleep.u32 20; griddepcontrol.launch_dependents; griddepcontrol.wait; pmevent 7; mov.u32 %r0, 5; st.global.u32 [%l31], %r0;",
             {}, {5}, "", 1);
     }},
    {"control/trap", [] { checkStop("setp.eq.u32 %p0, %r30, 3; @%p0 trap;", "trap: "); }},
    {"control/brkpt", [] { checkStop("setp.eq.u32 %p0, %r30, 3; @%p0 brkpt;", "trap: "); }},
    {"control/a failed assertion", [] {
       checkStop(R"(setp.ne.u32 %p0, %r30, 3; @%p0 bra PASSED;
                    { .param .b64 a; .param .b64 b; .param .b32 c; .param .b64 d; .param .b64 e;
                      st.param.b64 [a+0], 0; st.param.b64 [b+0], 0; st.param.b32 [c+0], 7; st.param.b64 [d+0], 0; st.param.b64 [e+0], 1;
                      call.uni __assertfail, (a, b, c, d, e); } PASSED:)",
                 "assert: ", ".extern .func __assertfail (.param .b64 a, .param .b64 b, .param .b32 c, .param .b64 d, .param .b64 e);");
     }},
};
// clang-format on

}  // namespace
}  // namespace fovea::simulatorTest
