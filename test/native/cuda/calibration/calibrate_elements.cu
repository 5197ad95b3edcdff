// Instructions that compute each element by itself: conversions, approximations, arithmetic, bits.
#include "calibrate.cuh"

CALIBRATE_R_FF(cvt_rn_f16x2_f32, "cvt.rn.f16x2.f32")
CALIBRATE_R_FF(cvt_rz_f16x2_f32, "cvt.rz.f16x2.f32")
CALIBRATE_R_FF(cvt_rn_relu_f16x2_f32, "cvt.rn.relu.f16x2.f32")
CALIBRATE_R_FF(cvt_rn_bf16x2_f32, "cvt.rn.bf16x2.f32")
CALIBRATE_R_FF(cvt_rz_bf16x2_f32, "cvt.rz.bf16x2.f32")
CALIBRATE_H_F(cvt_rn_f16_f32, "cvt.rn.f16.f32")
CALIBRATE_H_F(cvt_rn_bf16_f32, "cvt.rn.bf16.f32")
CALIBRATE(cvt_rna_tf32_f32) {  // only the upper 19 bits of the result mean something
  uint32_t d;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(d) : "f"(at.number()));
  at.put(d & 0xffffe000u);
}
CALIBRATE_F_H(cvt_f32_f16, "cvt.f32.f16")
CALIBRATE_R_F(cvt_rni_s32_f32, "cvt.rni.s32.f32")
CALIBRATE_R_F(cvt_rzi_u32_f32, "cvt.rzi.u32.f32")
CALIBRATE_F_R(cvt_rn_f32_s32, "cvt.rn.f32.s32")

CALIBRATE_F_F(ex2_approx_ftz_f32, "ex2.approx.ftz.f32")
CALIBRATE_F_F(lg2_approx_ftz_f32, "lg2.approx.ftz.f32")
CALIBRATE_F_F(rcp_approx_ftz_f32, "rcp.approx.ftz.f32")
CALIBRATE_F_F(sqrt_approx_ftz_f32, "sqrt.approx.ftz.f32")
CALIBRATE_F_F(rsqrt_approx_ftz_f32, "rsqrt.approx.ftz.f32")
CALIBRATE_F_F(tanh_approx_f32, "tanh.approx.f32")
CALIBRATE_R_R(tanh_approx_f16x2, "tanh.approx.f16x2")
CALIBRATE_R_R(ex2_approx_f16x2, "ex2.approx.f16x2")

CALIBRATE_F_FFF(fma_rn_f32, "fma.rn.f32")
CALIBRATE_F_FFF(fma_rn_ftz_f32, "fma.rn.ftz.f32")
CALIBRATE_F_FF(add_rz_f32, "add.rz.f32")
CALIBRATE_F_FF(max_f32, "max.f32")
CALIBRATE_F_FF(max_nan_f32, "max.NaN.f32")
CALIBRATE_R_RRR(fma_rn_f16x2, "fma.rn.f16x2")
CALIBRATE_R_RRR(fma_rn_relu_f16x2, "fma.rn.relu.f16x2")
CALIBRATE_R_RRR(fma_rn_bf16x2, "fma.rn.bf16x2")
CALIBRATE_R_RR(mul_rn_f16x2, "mul.rn.f16x2")
CALIBRATE_R_RR(max_f16x2, "max.f16x2")
CALIBRATE_R_RR(max_nan_f16x2, "max.NaN.f16x2")
CALIBRATE_R_RR(max_bf16x2, "max.bf16x2")

CALIBRATE_R_RRR(mad_lo_s32, "mad.lo.s32")
CALIBRATE_R_RR(mul_hi_s32, "mul.hi.s32")
CALIBRATE_R_RR(mul_hi_u32, "mul.hi.u32")
CALIBRATE(mad_wide_s32) {
  uint64_t d;
  asm("mad.wide.s32 %0, %1, %2, %3;" : "=l"(d) : "r"(at.word(0)), "r"(at.word(1)), "l"(uint64_t(at.word(2))));
  at.put(uint32_t(d), 0);
  at.put(uint32_t(d >> 32), 1);
}
CALIBRATE_R_RRR(prmt_b32, "prmt.b32")
CALIBRATE(lop3_b32) {  // a table of no symmetry
  uint32_t d;
  asm("lop3.b32 %0, %1, %2, %3, 0xe2;" : "=r"(d) : "r"(at.word(0)), "r"(at.word(1)), "r"(at.word(2)));
  at.put(d);
}
CALIBRATE_R_RRR(shf_l_wrap_b32, "shf.l.wrap.b32")
CALIBRATE_R_RRR(bfe_s32, "bfe.s32")
