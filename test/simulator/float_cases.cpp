// Floating-point arithmetic and approximations, comparisons, selections.
#include "harness.h"
#include "instruction_cases.h"

namespace fovea::simulatorTest {
namespace {

constexpr uint32_t kTiny = 1;  // smallest f32 subnormal
constexpr uint32_t kMinusZero = 0x80000000u;
constexpr uint32_t kNotANumber = 0x7fc12345u;  // some NaN

// clang-format off
const std::vector<InstructionCase> kArithmetic = {
    {"add.f32", "add.f32 rd, ra, rb;", 'r', {{F(1), F(2), 0, F(3)}, {F(1), 0x33800000, 0, F(1)}, {kInfinity, F(-1), 0, kInfinity}, {kNotANumber, F(1), 0, kNan}, {kTiny, kTiny, 0, 2}}},
    {"add.ftz.f32", "add.ftz.f32 rd, ra, rb;", 'r', {{kTiny, kTiny, 0, 0}, {0x00800001, 0x80800000, 0, 0}, {F(1), kTiny, 0, F(1)}}},
    {"add.rz.f32", "add.rz.f32 rd, ra, rb;", 'r', {{F(1), 0x33ffffff, 0, F(1)}, {F(-1), 0xb3ffffff, 0, F(-1)}}},
    {"add.rp.f32", "add.rp.f32 rd, ra, rb;", 'r', {{F(1), kTiny, 0, 0x3f800001}}},
    {"add.rm.f32", "add.rm.f32 rd, ra, rb;", 'r', {{F(-1), 0x80000001, 0, 0xbf800001}, {F(1), kTiny, 0, F(1)}}},
    {"add.sat.f32", "add.sat.f32 rd, ra, rb;", 'r', {{F(1), F(2), 0, F(1)}, {F(-3), F(1), 0, 0}, {kNotANumber, F(1), 0, 0}, {F(0.25f), F(0.25f), 0, F(0.5f)}}},
    {"sub.f32", "sub.f32 rd, ra, rb;", 'r', {{F(1), F(3), 0, F(-2)}, {kInfinity, kInfinity, 0, kNan}}},
    {"mul.f32", "mul.f32 rd, ra, rb;", 'r', {{F(3), F(-2), 0, F(-6)}, {0, kInfinity, 0, kNan}, {0x00800000, F(0.5f), 0, 0x00400000}}},
    {"mul.ftz.f32", "mul.ftz.f32 rd, ra, rb;", 'r', {{0x00800000, F(0.5f), 0, 0}, {0x80800000, F(0.5f), 0, kMinusZero}}},
    {"mul.rz.f32", "mul.rz.f32 rd, ra, rb;", 'r', {{0x3f800001, 0x3f800001, 0, 0x3f800002}, {0x3fffffff, 0x3fffffff, 0, 0x407ffffe}}},
    {"fma.rn.f32", "fma.rn.f32 rd, ra, rb, rc;", 'r', {{F(2), F(3), F(4), F(10)}, {0x3f800001, 0x3f800001, 0xbf800002, 0x28800000}}},
    {"fma.rn.ftz.f32", "fma.rn.ftz.f32 rd, ra, rb, rc;", 'r', {{0x3f800001, 0x3f800001, 0xbf800002, 0x28800000}, {kTiny, F(1), 0, 0}}},
    {"fma.rp.f32", "fma.rp.f32 rd, ra, rb, rc;", 'r', {{F(1), F(1), kTiny, 0x3f800001}}},
    {"div.rn.f32", "div.rn.f32 rd, ra, rb;", 'r', {{F(1), F(3), 0, 0x3eaaaaab}, {F(1), 0, 0, kInfinity}, {0, 0, 0, kNan}}},
    {"div.full.f32", "div.full.f32 rd, ra, rb;", 'r', {{F(6), F(3), 0, F(2)}}, 2},
    {"div.approx.f32", "div.approx.f32 rd, ra, rb;", 'r', {{F(6), F(3), 0, F(2)}}, 2},
    {"rcp.rn.f32", "rcp.rn.f32 rd, ra;", 'r', {{F(3), 0, 0, 0x3eaaaaab}, {kMinusZero, 0, 0, 0xff800000}}},
    {"rcp.approx.ftz.f32", "rcp.approx.ftz.f32 rd, ra;", 'r', {{F(4), 0, 0, F(0.25f)}, {kTiny, 0, 0, kInfinity}}, 1},
    {"sqrt.rn.f32", "sqrt.rn.f32 rd, ra;", 'r', {{F(2), 0, 0, 0x3fb504f3}, {F(-1), 0, 0, kNan}, {kMinusZero, 0, 0, kMinusZero}}},
    {"sqrt.rz.f32", "sqrt.rz.f32 rd, ra;", 'r', {{F(3), 0, 0, 0x3fddb3d7}}},
    {"min.f32", "min.f32 rd, ra, rb;", 'r', {{F(1), F(2), 0, F(1)}, {kNotANumber, F(2), 0, F(2)}, {F(2), kNotANumber, 0, F(2)}, {0, kMinusZero, 0, kMinusZero}, {kNotANumber, kNotANumber, 0, kNan}}},
    {"max.f32", "max.f32 rd, ra, rb;", 'r', {{F(1), F(2), 0, F(2)}, {kMinusZero, 0, 0, 0}, {kNotANumber, F(-2), 0, F(-2)}, {0xff800000, F(-2), 0, F(-2)}}},
    {"max.NaN.f32", "max.NaN.f32 rd, ra, rb;", 'r', {{kNotANumber, F(2), 0, kNan}, {F(3), F(2), 0, F(3)}}},
    {"abs.f32", "abs.f32 rd, ra;", 'r', {{F(-2), 0, 0, F(2)}, {kMinusZero, 0, 0, 0}}},
    {"neg.f32", "neg.f32 rd, ra;", 'r', {{F(-2), 0, 0, F(2)}, {0, 0, 0, kMinusZero}}},
    {"neg.ftz.f32", "neg.ftz.f32 rd, ra;", 'r', {{kTiny, 0, 0, kMinusZero}}},
    {"copysign.f32", "copysign.f32 rd, ra, rb;", 'r', {{F(-1), F(5), 0, F(-5)}, {F(1), F(-5), 0, F(5)}}},

    {"add.f64", "add.f64 ld, la, lb;", 'l', {{D(1), D(2), 0, D(3)}}},
    {"sub.f64", "sub.f64 ld, la, lb;", 'l', {{D(1), D(2), 0, D(-1)}}},
    {"mul.f64", "mul.f64 ld, la, lb;", 'l', {{D(1.5), D(2), 0, D(3)}}},
    {"fma.rn.f64", "fma.rn.f64 ld, la, lb, lc;", 'l', {{D(1.5), D(2), D(4), D(7)}}},
    {"add.rp.f64", "add.rp.f64 ld, la, lb;", 'l', {{D(1), 1, 0, 0x3ff0000000000001}}},
    {"div.rn.f64", "div.rn.f64 ld, la, lb;", 'l', {{D(1), D(4), 0, D(0.25)}}},
    {"rcp.rn.f64", "rcp.rn.f64 ld, la;", 'l', {{D(8), 0, 0, D(0.125)}}},
    {"sqrt.rn.f64", "sqrt.rn.f64 ld, la;", 'l', {{D(9), 0, 0, D(3)}}},
    {"min.f64", "min.f64 ld, la, lb;", 'l', {{D(9), D(-3), 0, D(-3)}}},
    {"neg.f64", "neg.f64 ld, la;", 'l', {{D(9), 0, 0, D(-9)}}},

    {"add.f16", "add.f16 hd, ha, hb;", 'h', {{0x3c00, 0x4000, 0, 0x4200}, {0x7bff, 0x7bff, 0, 0x7c00}, {0x7e01, 0x3c00, 0, 0x7fff}, {1, 1, 0, 2}}},
    {"add.ftz.f16", "add.ftz.f16 hd, ha, hb;", 'h', {{1, 1, 0, 0}}},
    {"add.sat.f16", "add.sat.f16 hd, ha, hb;", 'h', {{0x3c00, 0x4000, 0, 0x3c00}, {0xc000, 0x3c00, 0, 0}}},
    {"sub.f16", "sub.f16 hd, ha, hb;", 'h', {{0x3c00, 0x4000, 0, 0xbc00}}},
    {"mul.f16", "mul.f16 hd, ha, hb;", 'h', {{0x3e00, 0x4000, 0, 0x4200}}},
    {"fma.rn.f16", "fma.rn.f16 hd, ha, hb, hc;", 'h', {{0x3c01, 0x3c01, 0xbc02, 0x0010}, {0x4000, 0x4200, 0x3c00, 0x4700}}},
    {"fma.rn.relu.f16", "fma.rn.relu.f16 hd, ha, hb, hc;", 'h', {{0x4000, 0xc200, 0x3c00, 0}, {0x4000, 0x4200, 0x3c00, 0x4700}}},
    {"add.f16x2", "add.f16x2 rd, ra, rb;", 'r', {{0x3c004000, 0x40003c00, 0, 0x42004200}}},
    {"mul.f16x2", "mul.f16x2 rd, ra, rb;", 'r', {{0x3e003c00, 0x40003800, 0, 0x42003800}}},
    {"fma.rn.f16x2", "fma.rn.f16x2 rd, ra, rb, rc;", 'r', {{0x40004000, 0x42003c00, 0x3c003c00, 0x47004200}}},
    {"min.f16", "min.f16 hd, ha, hb;", 'h', {{0x3c00, 0x4000, 0, 0x3c00}, {0x7e00, 0x4000, 0, 0x4000}}},
    {"max.f16x2", "max.f16x2 rd, ra, rb;", 'r', {{0x3c004000, 0x40003c00, 0, 0x40004000}, {0x7e007e00, 0x40003c00, 0, 0x40003c00}}},
    {"max.NaN.f16x2", "max.NaN.f16x2 rd, ra, rb;", 'r', {{0x7e003c00, 0x40003c00, 0, 0x7fff3c00}}},
    {"neg.f16x2", "neg.f16x2 rd, ra;", 'r', {{0x3c00bc00, 0, 0, 0xbc003c00}}},
    {"abs.f16", "abs.f16 hd, ha;", 'h', {{0xbc00, 0, 0, 0x3c00}}},
    {"add.bf16", "add.bf16 hd, ha, hb;", 'h', {{0x3f80, 0x4000, 0, 0x4040}}},
    {"mul.bf16x2", "mul.bf16x2 rd, ra, rb;", 'r', {{0x40003f80, 0x40403f00, 0, 0x40c03f00}}},
    {"fma.rn.bf16", "fma.rn.bf16 hd, ha, hb, hc;", 'h', {{0x3f81, 0x3f81, 0xbf82, 0x3880}, {0x4000, 0x4040, 0x3f80, 0x40e0}}},
    {"fma.rn.bf16x2", "fma.rn.bf16x2 rd, ra, rb, rc;", 'r', {{0x40004000, 0x40403f80, 0x3f803f80, 0x40e04040}, {0xab0a, 0xf1a0, 0x30f2, 0x5d2d}}},
    {"fma.rn.relu.bf16x2", "fma.rn.relu.bf16x2 rd, ra, rb, rc;", 'r', {{0xc0004000, 0x40403f80, 0x3f803f80, 0x00004040}}},
    {"min.bf16x2", "min.bf16x2 rd, ra, rb;", 'r', {{0x3f804000, 0x40003f80, 0, 0x3f803f80}}},
    {"max.bf16", "max.bf16 hd, ha, hb;", 'h', {{0x3f80, 0x4000, 0, 0x4000}}},
    {"neg.bf16", "neg.bf16 hd, ha;", 'h', {{0x3f80, 0, 0, 0xbf80}}},
    {"abs.bf16x2", "abs.bf16x2 rd, ra;", 'r', {{0xbf803f80, 0, 0, 0x3f803f80}}},

    {"ex2.approx.ftz.f32", "ex2.approx.ftz.f32 rd, ra;", 'r', {{0, 0, 0, F(1)}, {F(3), 0, 0, F(8)}, {F(-1), 0, 0, F(0.5f)}, {F(0.5f), 0, 0, 0x3fb504f3}, {0xff800000, 0, 0, 0}, {kInfinity, 0, 0, kInfinity}, {kNotANumber, 0, 0, kNan}, {F(-127), 0, 0, 0}, {F(200), 0, 0, kInfinity}}, 2},
    {"ex2.approx.f32", "ex2.approx.f32 rd, ra;", 'r', {{F(-127), 0, 0, 0x00400000}, {F(10), 0, 0, F(1024)}}, 2},
    {"ex2.approx.f16x2", "ex2.approx.f16x2 rd, ra;", 'r', {{0x3c000000, 0, 0, 0x40003c00}}, 1},
    {"ex2.approx.ftz.bf16", "ex2.approx.ftz.bf16 hd, ha;", 'h', {{0x3f80, 0, 0, 0x4000}}, 1},
    {"lg2.approx.f32", "lg2.approx.f32 rd, ra;", 'r', {{F(8), 0, 0, F(3)}, {0, 0, 0, 0xff800000}, {F(-1), 0, 0, kNan}, {kInfinity, 0, 0, kInfinity}}, 2},
    {"rsqrt.approx.f32", "rsqrt.approx.f32 rd, ra;", 'r', {{F(4), 0, 0, F(0.5f)}, {0, 0, 0, kInfinity}, {kInfinity, 0, 0, 0}}, 2},
    {"sqrt.approx.f32", "sqrt.approx.f32 rd, ra;", 'r', {{F(4), 0, 0, F(2)}}, 2},
    {"sin.approx.f32", "sin.approx.f32 rd, ra;", 'r', {{0, 0, 0, 0}, {F(1), 0, 0, 0x3f576aa4}}, 8},
    {"cos.approx.f32", "cos.approx.f32 rd, ra;", 'r', {{0, 0, 0, F(1)}}, 8},
    // A relative error of 2^-11 is 2^12 to 2^13 units of the last place.
    {"tanh.approx.f32", "tanh.approx.f32 rd, ra;", 'r', {{0, 0, 0, 0}, {F(20), 0, 0, F(1)}, {F(1), 0, 0, 0x3f42f7d6}, {0x3a83126f, 0, 0, 0x3a83126c}}, 1u << 12},
    {"tanh.approx.f32 of a subnormal", "tanh.approx.f32 rd, ra;", 'r', {{kTiny, 0, 0, kTiny}}},
    {"tanh.approx.f16", "tanh.approx.f16 hd, ha;", 'h', {{0x4d00, 0, 0, 0x3c00}}, 2},
};
// clang-format on

// clang-format off
const std::vector<InstructionCase> kComparisons = {
    {"setp.lt.s32", "setp.lt.s32 pd, ra, rb;", 'p', {{0xffffffff, 0, 0, 1}, {1, 1, 0, 0}}},
    {"setp.lo.u32", "setp.lo.u32 pd, ra, rb;", 'p', {{0xffffffff, 0, 0, 0}, {0, 1, 0, 1}}},
    {"setp.hs.u32", "setp.hs.u32 pd, ra, rb;", 'p', {{1, 1, 0, 1}, {0, 1, 0, 0}}},
    {"setp.ge.s64", "setp.ge.s64 pd, la, lb;", 'p', {{~0ull, 0, 0, 0}, {5, 5, 0, 1}}},
    {"setp.gt.u64", "setp.gt.u64 pd, la, lb;", 'p', {{~0ull, 0, 0, 1}}},
    {"setp.eq.b16", "setp.eq.b16 pd, ha, hb;", 'p', {{7, 7, 0, 1}, {7, 8, 0, 0}}},
    {"setp.lt.s16", "setp.lt.s16 pd, ha, hb;", 'p', {{0xffff, 0, 0, 1}}},
    {"setp.lt.f32", "setp.lt.f32 pd, ra, rb;", 'p', {{F(1), F(2), 0, 1}, {kNotANumber, F(2), 0, 0}, {kMinusZero, 0, 0, 0}}},
    {"setp.ltu.f32", "setp.ltu.f32 pd, ra, rb;", 'p', {{kNotANumber, F(2), 0, 1}, {F(3), F(2), 0, 0}}},
    {"setp.ne.f32", "setp.ne.f32 pd, ra, rb;", 'p', {{kNotANumber, F(2), 0, 0}, {F(1), F(2), 0, 1}}},
    {"setp.neu.f32", "setp.neu.f32 pd, ra, rb;", 'p', {{kNotANumber, F(2), 0, 1}, {F(2), F(2), 0, 0}}},
    {"setp.equ.f32", "setp.equ.f32 pd, ra, rb;", 'p', {{kNotANumber, F(2), 0, 1}, {F(1), F(2), 0, 0}}},
    {"setp.num.f32", "setp.num.f32 pd, ra, rb;", 'p', {{kNotANumber, F(2), 0, 0}, {F(1), F(2), 0, 1}}},
    {"setp.nan.f32", "setp.nan.f32 pd, ra, rb;", 'p', {{kNotANumber, F(2), 0, 1}, {F(1), F(2), 0, 0}}},
    {"setp.eq.ftz.f32", "setp.eq.ftz.f32 pd, ra, rb;", 'p', {{kTiny, 0, 0, 1}}},
    {"setp.eq.f64", "setp.eq.f64 pd, la, lb;", 'p', {{D(2), D(2), 0, 1}}},
    {"setp.gt.f16", "setp.gt.f16 pd, ha, hb;", 'p', {{0x4000, 0x3c00, 0, 1}, {0xc000, 0x3c00, 0, 0}}},
    {"setp.gt.bf16", "setp.gt.bf16 pd, ha, hb;", 'p', {{0x4000, 0x3f80, 0, 1}}},
    {"setp.gt.f16x2", "setp.gt.f16x2 %q0|%q1, ra, rb; and.pred pd, %q0, !%q1;", 'p', {{0x00004000, 0x3c003c00, 0, 1}, {0x40004000, 0x3c003c00, 0, 0}}},
    {"setp.and", "setp.ne.u32 %q0, rc, 0; setp.lt.and.s32 pd, ra, rb, %q0;", 'p', {{1, 2, 1, 1}, {1, 2, 0, 0}}},
    {"setp.or, negated", "setp.ne.u32 %q0, rc, 0; setp.lt.or.s32 pd, ra, rb, !%q0;", 'p', {{2, 1, 1, 0}, {2, 1, 0, 1}}},
    {"setp p|q", "setp.lt.s32 %q0|pd, ra, rb;", 'p', {{1, 2, 0, 0}, {2, 1, 0, 1}}},
    {"set.lt.u32.s32", "set.lt.u32.s32 rd, ra, rb;", 'r', {{1, 2, 0, 0xffffffff}, {2, 1, 0, 0}}},
    {"set.lt.f32.f32", "set.lt.f32.f32 rd, ra, rb;", 'r', {{F(1), F(2), 0, F(1)}, {F(2), F(1), 0, 0}}},
    {"set.gt.f16x2.f16x2", "set.gt.f16x2.f16x2 rd, ra, rb;", 'r', {{0x40003c00, 0x3c004000, 0, 0x3c000000}}},
    {"selp.b32", "setp.ne.u32 %q0, rc, 0; selp.b32 rd, ra, rb, %q0;", 'r', {{1, 2, 1, 1}, {1, 2, 0, 2}}},
    {"selp.f64", "setp.ne.u32 %q0, rc, 0; selp.f64 ld, la, lb, %q0;", 'l', {{D(1), D(2), 1, D(1)}}},
    {"selp.b16, negated", "setp.ne.u32 %q0, rc, 0; selp.b16 hd, ha, hb, !%q0;", 'h', {{1, 2, 1, 2}}},
    {"slct.s32", "slct.s32.s32 rd, ra, rb, rc;", 'r', {{1, 2, 0, 1}, {1, 2, 0xffffffff, 2}}},
    {"slct.f32", "slct.f32.f32 rd, ra, rb, rc;", 'r', {{F(1), F(2), F(-0.5f), F(2)}, {F(1), F(2), kNotANumber, F(2)}, {F(1), F(2), kMinusZero, F(1)}}},
    {"testp.infinite", "testp.infinite.f32 pd, ra;", 'p', {{kInfinity, 0, 0, 1}, {F(1), 0, 0, 0}}},
    {"testp.notanumber", "testp.notanumber.f32 pd, ra;", 'p', {{kNotANumber, 0, 0, 1}, {F(1), 0, 0, 0}}},
    {"testp.subnormal", "testp.subnormal.f32 pd, ra;", 'p', {{kTiny, 0, 0, 1}, {F(1), 0, 0, 0}}},
    {"testp.finite", "testp.finite.f64 pd, la;", 'p', {{D(1), 0, 0, 1}}},
};
// clang-format on

const bool kRegistered = (registerCases("float", kArithmetic), registerCases("compare", kComparisons), true);

}  // namespace
}  // namespace fovea::simulatorTest
