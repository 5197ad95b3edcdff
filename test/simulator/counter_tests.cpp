// Counters, and that they and all results depend on nothing but the launch and the seed.
#include "harness.h"

namespace fovea::simulatorTest {
namespace {

// Bank conflicts, sectors, exponentials: small kernels whose counts are known.
// clang-format off
const Register kCounters[] = {
    {"counters/shared wavefronts", [] {
       const auto wavefronts = [](const std::string& address, const std::string& access) {
         Run request;
         request.ptx = kernelText(".shared .align 16 .b8 s[8192]; mov.u32 %r1, s; " + address + " add.u32 %r2, %r2, %r1; " + access);
         const Outcome outcome = run(request);
         expectSuccess(outcome.result, outcome.reports);
         return counter(outcome.counters, "sharedWavefronts");
       };
       expectEqual<uint64_t>(wavefronts("shl.b32 %r2, %r30, 2;", "st.shared.u32 [%r2], %r30;"), 1, "consecutive words");
       expectEqual<uint64_t>(wavefronts("shl.b32 %r2, %r30, 3;", "st.shared.u32 [%r2], %r30;"), 2, "every second word");
       expectEqual<uint64_t>(wavefronts("shl.b32 %r2, %r30, 7;", "st.shared.u32 [%r2], %r30;"), 32, "one bank");
       expectEqual<uint64_t>(wavefronts("mov.u32 %r2, 0;", "ld.shared.u32 %r3, [%r2];"), 1, "broadcast");
       expectEqual<uint64_t>(wavefronts("shl.b32 %r2, %r30, 4;", "ld.shared.v4.u32 {%r3, %r4, %r5, %r6}, [%r2];"), 4, "16 bytes each");
     }},
    {"counters/global sectors", [] {
       const auto sectors = [](const std::string& shift) {
         Run request;
         request.input.assign(1024, 1);
         request.ptx = kernelText("shl.b32 %r1, %r30, " + shift + "; cvt.u64.u32 %l1, %r1; add.u64 %l1, %l30, %l1; ld.global.u32 %r2, [%l1];");
         const Outcome outcome = run(request);
         expectEqual<uint64_t>(counter(outcome.counters, "globalBytes"), 128, "bytes");
         return counter(outcome.counters, "globalSectors");
       };
       expectEqual<uint64_t>(sectors("2"), 4, "consecutive");
       expectEqual<uint64_t>(sectors("5"), 32, "one per lane");
     }},
    {"counters/instructions, exponentials and barriers", [] {
       Run request;
       request.ptx = kernelText("mov.f32 %f0, 0f00000000; ex2.approx.ftz.f32 %f1, %f0; ex2.approx.f32 %f2, %f0; bar.sync 0; bar.sync 0;");
       request.block = 64;
       const Outcome outcome = run(request);
       expectEqual<uint64_t>(counter(outcome.counters, "exponentials"), 128, "exponentials");
       expectEqual<uint64_t>(counter(outcome.counters, "barriers"), 4, "barriers");
       expectEqual<uint64_t>(counter(outcome.counters, "warpInstructions"), 24, "warp instructions");
       expectEqual<uint64_t>(counter(outcome.counters, "divergentInstructions"), 0, "divergent instructions");
     }},
    {"counters/the same for every thread count and seed", [] {
       std::string first;
       for (const char* threads : {"1", "4"})
         for (const char* seed : {"0", "1", "99"}) {
           const Setting one("FOVEA_SIM_THREADS", threads, "2");
           const Setting two("FOVEA_SIM_SEED", seed, "1");
           Run request;
           request.grid = 24;
           request.block = 96;
           request.outputWords = 24;
           request.ptx = kernelText(R"(.shared .b32 s[96]; mov.u32 %r1, s; mad.lo.u32 %r2, %r30, 4, %r1; mov.u32 %r3, 0;
             LOOP: bar.sync 0; st.shared.u32 [%r2], %r3; bar.sync 0; ld.shared.u32 %r4, [s]; add.u32 %r3, %r3, %r4; add.u32 %r3, %r3, 1; setp.lt.u32 %p0, %r3, 40; @%p0 bra LOOP;
             mov.u32 %r5, %ctaid.x; mul.wide.u32 %l1, %r5, 4; add.u64 %l1, %l31, %l1; setp.eq.u32 %p1, %r30, 0; @%p1 st.global.u32 [%l1], %r3;)");
           const Outcome outcome = run(request);
           expectSuccess(outcome.result, outcome.reports);
           if (first.empty()) first = outcome.counters;
           expect(outcome.counters == first, "counters differ: " + outcome.counters + first);
         }
     }},
    {"determinism/floating-point atomics depend on the seed alone", [] {
       // Sums of values of very different size: their order shows.
       const auto sum = [](const char* threads, const char* seed) {
         const Setting one("FOVEA_SIM_THREADS", threads, "2");
         const Setting two("FOVEA_SIM_SEED", seed, "1");
         Run request;
         request.grid = 16;
         request.ptx = kernelText(R"(mov.u32 %r0, %ctaid.x; add.u32 %r1, %r0, %r30; and.b32 %r2, %r1, 15; shl.b32 %r2, %r2, 24; add.u32 %r2, %r2, 0x30123456; mov.b32 %f0, %r2; red.global.add.f32 [%l31], %f0;)");
         const Outcome outcome = run(request);
         expectSuccess(outcome.result, outcome.reports);
         return outcome.output[0];
       };
       expectEqual(sum("1", "5"), sum("4", "5"), "sum");
     }},
};
// clang-format on

}  // namespace
}  // namespace fovea::simulatorTest
