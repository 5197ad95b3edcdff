// mbarrier instructions, from the wording of the PTX documentation.
#include "harness.h"

namespace fovea::simulatorTest {
namespace {

const std::string kBarrier = ".shared .align 8 .b64 b; mov.u32 %r20, b; mov.u32 %r0, 0;\n";
// Adds bit `number` of %r0 when the predicate holds.
std::string bit(int number, const std::string& predicate) {
  return predicate + " or.b32 %r0, %r0, " + std::to_string(1 << number) + ";\n";
}

// Runs the body with one thread; it leaves its answer in %r0.
void check(const std::string& body, uint32_t expected) {
  const Setting capability("FOVEA_SIM_COMPUTE_CAPABILITY", "9.0", "8.0");
  for (const char* completion : {"early", "late", "random"}) {
    const Setting mode("FOVEA_SIM_COMPLETION", completion, "late");
    Run request;
    request.ptx = kernelText(kBarrier + body + "st.global.u32 [%l31], %r0;", "", "sm_90a");
    request.block = 1;
    request.outputWords = 1;
    const Outcome outcome = run(request);
    expectSuccess(outcome.loadResult, "loading");
    expectSuccess(outcome.result, "running\n" + outcome.reports);
    expect(outcome.output[0] == expected,
           "got " + hexadecimal(outcome.output[0]) + ", expected " + hexadecimal(expected));
  }
}

const std::string kInit2 = "mbarrier.init.shared::cta.b64 [%r20], 2;\n";
const std::string kParity0 = "mbarrier.test_wait.parity.shared::cta.b64 %p0, [%r20], 0;\n";
const std::string kParity1 = "mbarrier.test_wait.parity.shared::cta.b64 %p1, [%r20], 1;\n";
const std::string kBoth = kParity0 + kParity1;
const std::string kArrive = "mbarrier.arrive.shared::cta.b64 _, [%r20];\n";

// clang-format off
const Register kMbarriers[] = {
    {"mbarrier/a fresh one passes parity 1", [] { check(kInit2 + kBoth + bit(0, "@%p0") + bit(1, "@%p1"), 2); }},
    {"mbarrier/a phase completes with its last arrival", [] {
       check(kInit2 + kArrive + kBoth + bit(0, "@%p0") + bit(1, "@%p1") + kArrive + kBoth + bit(2, "@%p0") + bit(3, "@%p1"), 2 | 4);
     }},
    {"mbarrier/phases alternate", [] {
       check(kInit2 + kArrive + kArrive + kArrive + kBoth + bit(0, "@%p0") + kArrive + kBoth + bit(1, "@%p0") + bit(2, "@%p1"), 1 | 4);
     }},
    {"mbarrier/arrive with a count", [] { check(kInit2 + "mbarrier.arrive.shared::cta.b64 _, [%r20], 2;\n" + kBoth + bit(0, "@%p0") + bit(1, "@%p1"), 1); }},
    {"mbarrier/the state of arrive names its phase", [] {
       check(kInit2 + "mbarrier.arrive.shared.b64 %l0, [%r20]; mbarrier.test_wait.shared.b64 %p0, [%r20], %l0;" + bit(0, "@%p0") + kArrive +
             "mbarrier.try_wait.shared.b64 %p1, [%r20], %l0, 1000;" + bit(1, "@%p1"), 2);
     }},
    {"mbarrier/bytes hold a phase", [] {
       check(kInit2 + kArrive + "mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%r20], 32;\n" + kBoth + bit(0, "@%p0") +
             "mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%r20], 16;\n" + kBoth + bit(1, "@%p0") +
             "mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%r20], 16;\n" + kBoth + bit(2, "@%p0"), 4);
     }},
    {"mbarrier/expect_tx by itself does not arrive; bytes may come early", [] {
       check(kInit2 + "mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%r20], 8;\n" + kArrive + kArrive + kBoth + bit(0, "@%p0") +
             "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%r20], 8;\n" + kBoth + bit(1, "@%p0"), 0);
     }},
    {"mbarrier/arrive_drop lowers later phases' count", [] {
       check(kInit2 + kArrive + "mbarrier.arrive_drop.shared::cta.b64 _, [%r20];\n" + kBoth + bit(0, "@%p0") + kArrive + kBoth + bit(1, "@%p1"), 3);
     }},
    {"mbarrier/inval, and init again", [] { check(kInit2 + kArrive + "mbarrier.inval.shared::cta.b64 [%r20];\n" + kInit2 + kArrive + kArrive + kBoth + bit(0, "@%p0"), 1); }},
    {"mbarrier/modifiers of try_wait", [] {
       std::string body = kInit2;
       for (const char* modifiers : {"", ".acquire.cta", ".relaxed.cta", ".acquire.cluster"})
         body += std::string("mbarrier.try_wait.parity") + modifiers + ".shared::cta.b64 %p0, [%r20], 1, 20000;\n" + bit(0, "@!%p0");
       check(body, 0);
     }},
    // With several warps: a producer's data is known to whoever waited, whatever the schedule.
    {"mbarrier/hands data from warp to warp", [] {
       const Setting capability("FOVEA_SIM_COMPUTE_CAPABILITY", "9.0", "8.0");
       for (const char* seed : {"0", "1", "2", "3"}) {
         const Setting schedule("FOVEA_SIM_SEED", seed, "1");
         const Setting mode("FOVEA_SIM_COMPLETION", "random", "late");
         Run request;
         request.ptx = kernelText(kBarrier + R"(
           .shared .align 4 .b32 s[32]; mov.u32 %r21, s; and.b32 %r22, %r30, 31; mad.lo.u32 %r23, %r22, 4, %r21;
           setp.eq.u32 %p0, %r30, 0;
           @%p0 mbarrier.init.shared::cta.b64 [%r20], 32;
           bar.sync 0; setp.ge.u32 %p1, %r30, 32; @%p1 bra WAIT;
           st.shared.u32 [%r23], %r22; mbarrier.arrive.shared::cta.b64 _, [%r20]; bra DONE;
           WAIT: mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r20], 0; @!%p2 bra WAIT;
           xor.b32 %r24, %r23, 4; ld.shared.u32 %r1, [%r24]; mul.wide.u32 %l1, %r22, 4; add.u64 %l1, %l31, %l1; st.global.u32 [%l1], %r1;
           DONE:)", "", "sm_90a");
         request.block = 64;
         const Outcome outcome = run(request);
         expectSuccess(outcome.result, "running\n" + outcome.reports);
         for (uint32_t i = 0; i < 32; i++) expectEqual(outcome.output[i], i ^ 1, "word " + std::to_string(i));
         expectEqual<uint64_t>(counter(outcome.counters, "mbarrierWaits"), 1, "mbarrierWaits");
       }
     }},
};
// clang-format on

}  // namespace
}  // namespace fovea::simulatorTest
