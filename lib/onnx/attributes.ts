import { FoveaError, show } from "../errors.js";
import { checkNames } from "../rules.js";

/** The version of the operator: the newest that is not above the model's opset. */
export type OnnxOpset = 23 | 24 | 25;

/** The operator's attributes, by its names. */
export interface OnnxAttentionAttributes {
  /**
   * 1: query i sees key j only where j <= i + offset. The offset is the length of `past_key`, or `nonpad_kv_seqlen` less the
   * number of queries, or 0. Default 0.
   */
  is_causal?: number | undefined;
  /** Heads of Q, and of K and V: required where those have three dimensions. */
  q_num_heads?: number | undefined;
  kv_num_heads?: number | undefined;
  /**
   * What `qk_matmul_output` is: 0 (the default) scale * Q Kᵀ, 1 that after the softcap, 2 after mask and bias were added too, 3
   * after the softmax.
   */
  qk_matmul_output_mode?: number | undefined;
  /** Default 1 / sqrt(head_size). At least 0: the operator multiplies Q and K each by its square root. */
  scale?: number | undefined;
  /** Scores become softcap * tanh(score / softcap), before mask and bias; 0 (the default) or less: they do not. */
  softcap?: number | undefined;
  /**
   * TensorProto's number of a type: 1 float, 10 float16, 11 double, 16 bfloat16. fovea's softmax is in float32, and with 11 or
   * double inputs in float64 by the reference, which is slow. Less than that can be had only as the type of Q.
   */
  softmax_precision?: number | undefined;
  /** Opset 25: with p = i + offset, keys from p - left to p + right are seen; -1 (the default) is no limit. */
  left_window_size?: number | undefined;
  right_window_size?: number | undefined;
}

const names = new Set(
  Object.keys({
    is_causal: true,
    q_num_heads: true,
    kv_num_heads: true,
    qk_matmul_output_mode: true,
    scale: true,
    softcap: true,
    softmax_precision: true,
    left_window_size: true,
    right_window_size: true,
  } satisfies Record<keyof OnnxAttentionAttributes, true>),
);

/** The attributes, checked, with their defaults. */
export interface Attributes {
  readonly causal: boolean;
  readonly heads: number | undefined;
  readonly kvHeads: number | undefined;
  readonly outputMode: 0 | 1 | 2 | 3;
  readonly scale: number | undefined;
  readonly softcap: number;
  readonly softmaxPrecision: SoftmaxPrecision | undefined;
  /** Undefined: no limit. */
  readonly left: number | undefined;
  readonly right: number | undefined;
}

const precisions = { 1: "float32", 10: "float16", 11: "float64", 16: "bfloat16" } as const;
export type SoftmaxPrecision = (typeof precisions)[keyof typeof precisions];

export function checkAttributes(given: OnnxAttentionAttributes, opset: OnnxOpset): Attributes {
  checkNames("attributes", given, names);
  for (const name of ["left_window_size", "right_window_size"] as const) {
    if (given[name] !== undefined && opset < 25) throw attributeError(name, "opset 25", `opset ${opset}`);
  }
  const { scale, softcap = 0 } = given;
  if (scale !== undefined && !(typeof scale === "number" && scale >= 0)) {
    throw attributeError("scale", "a number >= 0", show(scale));
  }
  if (typeof softcap !== "number" || Number.isNaN(softcap)) throw attributeError("softcap", "a number", show(softcap));
  const precision = integer("softmax_precision", given.softmax_precision, 1, 16);
  const softmaxPrecision = precision === undefined ? undefined : precisions[precision as keyof typeof precisions];
  if (precision !== undefined && softmaxPrecision === undefined) {
    throw attributeError("softmax_precision", "1 (float), 10 (float16), 11 (double) or 16 (bfloat16)", show(precision));
  }
  return {
    causal: integer("is_causal", given.is_causal, 0, 1) === 1,
    heads: integer("q_num_heads", given.q_num_heads, 1),
    kvHeads: integer("kv_num_heads", given.kv_num_heads, 1),
    outputMode: (integer("qk_matmul_output_mode", given.qk_matmul_output_mode, 0, 3) ?? 0) as 0 | 1 | 2 | 3,
    scale,
    softcap: Math.max(0, softcap),
    softmaxPrecision,
    left: limit("left_window_size", given.left_window_size),
    right: limit("right_window_size", given.right_window_size),
  };
}

function limit(name: string, value: number | undefined): number | undefined {
  const checked = integer(name, value, -1);
  return checked === -1 ? undefined : checked;
}

function integer(name: string, value: number | undefined, least: number, most = Infinity): number | undefined {
  if (value === undefined || (Number.isSafeInteger(value) && value >= least && value <= most)) return value;
  const range = most === Infinity ? `>= ${least}` : `from ${least} to ${most}`;
  throw attributeError(name, `an integer ${range}`, show(value));
}

export function attributeError(name: string, expected: string, got: string): FoveaError {
  return new FoveaError("ERR_FOVEA_OPTION", `${name}: expected ${expected}, got ${got}`);
}
