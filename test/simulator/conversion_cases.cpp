// cvt in all kinds.
#include "harness.h"
#include "instruction_cases.h"

namespace fovea::simulatorTest {
namespace {

constexpr uint32_t kNotANumber = 0x7fc12345u;

// clang-format off
const std::vector<InstructionCase> kCases = {
    {"u64.u32", "cvt.u64.u32 ld, ra;", 'l', {{0xffffffff, 0, 0, 0xffffffff}}},
    {"s64.s32", "cvt.s64.s32 ld, ra;", 'l', {{0xffffffff, 0, 0, ~0ull}}},
    {"u32.u64", "cvt.u32.u64 rd, la;", 'r', {{0x123456789, 0, 0, 0x23456789}}},
    {"s32.s16", "cvt.s32.s16 rd, ha;", 'r', {{0x8000, 0, 0, 0xffff8000}}},
    {"u32.u16", "cvt.u32.u16 rd, ha;", 'r', {{0x8000, 0, 0, 0x8000}}},
    {"s32.s8", "cvt.s32.s8 rd, ra;", 'r', {{0x180, 0, 0, 0xffffff80}}},
    {"u32.u8", "cvt.u32.u8 rd, ra;", 'r', {{0x1ff, 0, 0, 0xff}}},
    {"u16.u32", "cvt.u16.u32 hd, ra;", 'h', {{0x12345678, 0, 0, 0x5678}}},
    {"s8.s32", "cvt.s8.s32 rd, ra;", 'r', {{0x1ff, 0, 0, 0xffffffff}}},
    {"s16.s64", "cvt.s16.s64 hd, la;", 'h', {{0xffffffffffff1234, 0, 0, 0x1234}}},
    {"sat.s8.s32", "cvt.sat.s8.s32 rd, ra;", 'r', {{300, 0, 0, 127}, {0xffffff00, 0, 0, 0xffffff80}, {5, 0, 0, 5}}},
    {"sat.u8.s32", "cvt.sat.u8.s32 rd, ra;", 'r', {{300, 0, 0, 255}, {0xffffffff, 0, 0, 0}}},
    {"sat.u16.u32", "cvt.sat.u16.u32 hd, ra;", 'h', {{0x12345, 0, 0, 0xffff}}},
    {"sat.s32.u32", "cvt.sat.s32.u32 rd, ra;", 'r', {{0xffffffff, 0, 0, 0x7fffffff}}},
    {"sat.u32.s32", "cvt.sat.u32.s32 rd, ra;", 'r', {{0xffffffff, 0, 0, 0}}},
    {"sat.s32.s64", "cvt.sat.s32.s64 rd, la;", 'r', {{1ull << 40, 0, 0, 0x7fffffff}, {~0ull << 40, 0, 0, 0x80000000}}},

    {"rn.f32.s32", "cvt.rn.f32.s32 rd, ra;", 'r', {{0xffffffff, 0, 0, F(-1)}, {16777217, 0, 0, F(16777216)}, {16777219, 0, 0, F(16777220)}}},
    {"rz.f32.s32", "cvt.rz.f32.s32 rd, ra;", 'r', {{16777219, 0, 0, F(16777218)}}},
    {"rp.f32.u32", "cvt.rp.f32.u32 rd, ra;", 'r', {{16777217, 0, 0, F(16777218)}}},
    {"rn.f32.u32", "cvt.rn.f32.u32 rd, ra;", 'r', {{0xffffffff, 0, 0, F(4294967296.f)}}},
    {"rn.f32.u64", "cvt.rn.f32.u64 rd, la;", 'r', {{~0ull, 0, 0, F(18446744073709551616.f)}, {0x8000008000000001, 0, 0, 0x5f000001}}},
    {"rn.f32.s64", "cvt.rn.f32.s64 rd, la;", 'r', {{~0ull, 0, 0, F(-1)}}},
    {"rn.f64.s32", "cvt.rn.f64.s32 ld, ra;", 'l', {{0xffffffff, 0, 0, D(-1)}}},
    {"rn.f64.u64", "cvt.rn.f64.u64 ld, la;", 'l', {{3, 0, 0, D(3)}}},
    {"rn.f16.s32", "cvt.rn.f16.s32 hd, ra;", 'h', {{2049, 0, 0, 0x6800}, {2051, 0, 0, 0x6802}, {0x7fffffff, 0, 0, 0x7c00}}},
    {"rn.f16.u16", "cvt.rn.f16.u16 hd, ha;", 'h', {{3, 0, 0, 0x4200}}},
    {"rn.bf16.s32", "cvt.rn.bf16.s32 hd, ra;", 'h', {{257, 0, 0, 0x4380}, {259, 0, 0, 0x4382}}},

    {"rzi.s32.f32", "cvt.rzi.s32.f32 rd, ra;", 'r', {{F(2.9f), 0, 0, 2}, {F(-2.9f), 0, 0, 0xfffffffe}, {F(3e9f), 0, 0, 0x7fffffff}, {F(-3e9f), 0, 0, 0x80000000}, {kNotANumber, 0, 0, 0}}},
    {"rni.s32.f32", "cvt.rni.s32.f32 rd, ra;", 'r', {{F(2.5f), 0, 0, 2}, {F(3.5f), 0, 0, 4}, {F(-2.5f), 0, 0, 0xfffffffe}}},
    {"rmi.s32.f32", "cvt.rmi.s32.f32 rd, ra;", 'r', {{F(-2.1f), 0, 0, 0xfffffffd}}},
    {"rpi.s32.f32", "cvt.rpi.s32.f32 rd, ra;", 'r', {{F(2.1f), 0, 0, 3}}},
    {"rzi.u32.f32", "cvt.rzi.u32.f32 rd, ra;", 'r', {{F(-1), 0, 0, 0}, {F(5e9f), 0, 0, 0xffffffff}, {F(7), 0, 0, 7}}},
    {"rzi.s64.f32", "cvt.rzi.s64.f32 ld, ra;", 'l', {{F(1e10f), 0, 0, 10000000000}, {F(1e30f), 0, 0, 0x7fffffffffffffff}, {F(-1e30f), 0, 0, 1ull << 63}}},
    {"rzi.u64.f64", "cvt.rzi.u64.f64 ld, la;", 'l', {{D(1e30), 0, 0, ~0ull}, {D(12.5), 0, 0, 12}}},
    {"rzi.s16.f16", "cvt.rzi.s16.f16 hd, ha;", 'h', {{0xc100, 0, 0, 0xfffe}}},
    {"rzi.s8.f32", "cvt.rzi.s8.f32 rd, ra;", 'r', {{F(300), 0, 0, 127}, {F(-300), 0, 0, 0xffffff80}}},
    {"rni.f32.f32", "cvt.rni.f32.f32 rd, ra;", 'r', {{F(2.5f), 0, 0, F(2)}, {F(-0.2f), 0, 0, 0x80000000}}},
    {"rmi.f32.f32", "cvt.rmi.f32.f32 rd, ra;", 'r', {{F(-2.5f), 0, 0, F(-3)}}},
    {"rzi.f64.f64", "cvt.rzi.f64.f64 ld, la;", 'l', {{D(2.9), 0, 0, D(2)}}},
    {"sat.f32.f32", "cvt.sat.f32.f32 rd, ra;", 'r', {{F(2), 0, 0, F(1)}, {F(-2), 0, 0, 0}, {kNotANumber, 0, 0, 0}}},
    {"ftz.f32.f32", "cvt.ftz.f32.f32 rd, ra;", 'r', {{1, 0, 0, 0}}},

    {"f32.f16", "cvt.f32.f16 rd, ha;", 'r', {{0x3c00, 0, 0, F(1)}, {1, 0, 0, 0x33800000}, {0xfc00, 0, 0, 0xff800000}, {0x7e00, 0, 0, kNan}}},
    {"f32.bf16", "cvt.f32.bf16 rd, ha;", 'r', {{0x3f80, 0, 0, F(1)}}},
    {"f64.f32", "cvt.f64.f32 ld, ra;", 'l', {{F(1.5f), 0, 0, D(1.5)}}},
    {"f64.f16", "cvt.f64.f16 ld, ha;", 'l', {{0x3e00, 0, 0, D(1.5)}}},
    {"rn.f32.f64", "cvt.rn.f32.f64 rd, la;", 'r', {{D(1.5), 0, 0, F(1.5f)}, {0x3ff0000010000000, 0, 0, F(1)}, {0x3ff0000010000001, 0, 0, 0x3f800001}}},
    {"rz.f32.f64", "cvt.rz.f32.f64 rd, la;", 'r', {{0x3ff000001fffffff, 0, 0, F(1)}}},
    {"rp.f32.f64", "cvt.rp.f32.f64 rd, la;", 'r', {{0x3ff0000000000001, 0, 0, 0x3f800001}}},
    {"rn.f16.f32", "cvt.rn.f16.f32 hd, ra;", 'h', {{F(1), 0, 0, 0x3c00}, {0x3f801000, 0, 0, 0x3c00}, {0x3f803000, 0, 0, 0x3c02}, {F(65520), 0, 0, 0x7c00}, {F(65519), 0, 0, 0x7bff}, {kNotANumber, 0, 0, 0x7fff}, {0x33000001, 0, 0, 1}, {0x33000000, 0, 0, 0}}},
    {"rz.f16.f32", "cvt.rz.f16.f32 hd, ra;", 'h', {{0x3f803000, 0, 0, 0x3c01}, {F(70000), 0, 0, 0x7bff}}},
    {"rn.sat.f16.f32", "cvt.rn.sat.f16.f32 hd, ra;", 'h', {{F(3), 0, 0, 0x3c00}}},
    {"rn.relu.f16.f32", "cvt.rn.relu.f16.f32 hd, ra;", 'h', {{F(-3), 0, 0, 0}, {F(3), 0, 0, 0x4200}}},
    {"rn.f16.f64", "cvt.rn.f16.f64 hd, la;", 'h', {{0x3ff0020000000001, 0, 0, 0x3c01}, {0x3ff0020000000000, 0, 0, 0x3c00}}},
    {"rn.bf16.f32", "cvt.rn.bf16.f32 hd, ra;", 'h', {{0x3f808000, 0, 0, 0x3f80}, {0x3f818000, 0, 0, 0x3f82}, {0x3f808001, 0, 0, 0x3f81}, {kNotANumber, 0, 0, 0x7fff}, {0x7f7fffff, 0, 0, 0x7f80}}},
    {"rz.bf16.f32", "cvt.rz.bf16.f32 hd, ra;", 'h', {{0x3f81ffff, 0, 0, 0x3f81}}},
    {"rn.f16x2.f32", "cvt.rn.f16x2.f32 rd, ra, rb;", 'r', {{F(1), F(2), 0, 0x3c004000}}},
    {"rz.f16x2.f32", "cvt.rz.f16x2.f32 rd, ra, rb;", 'r', {{0x3f803000, F(2), 0, 0x3c014000}}},
    {"rn.relu.f16x2.f32", "cvt.rn.relu.f16x2.f32 rd, ra, rb;", 'r', {{F(-1), F(2), 0, 0x00004000}}},
    {"rn.bf16x2.f32", "cvt.rn.bf16x2.f32 rd, ra, rb;", 'r', {{F(1), F(2), 0, 0x3f804000}, {0x3f818000, 0x3f808000, 0, 0x3f823f80}}},
    {"rna.tf32.f32", "cvt.rna.tf32.f32 rd, ra;", 'r', {{0x3f801000, 0, 0, 0x3f802000}, {0x3f800fff, 0, 0, 0x3f800000}}},
};
// clang-format on

const bool kRegistered = (registerCases("cvt", kCases), true);

}  // namespace
}  // namespace fovea::simulatorTest
