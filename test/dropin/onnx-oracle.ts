// The operator Attention written out from its documentation, on attention written out.
import { naive, swapMiddle, type Values } from "./naive.js";

export interface Numbers {
  readonly type: string;
  readonly data: ArrayLike<number> | BigInt64Array;
  readonly dims: readonly number[];
}

export type Inputs = Readonly<Record<string, Numbers>>;
export type Attributes = Readonly<Record<string, number>>;

export function oracle(
  inputs: Inputs,
  attributes: Attributes,
): Record<string, { data: ArrayLike<number>; dims: number[] }> {
  const { Q, K, V, attn_mask: mask, past_key: pastKey, past_value: pastValue, nonpad_kv_seqlen: nonpad } = inputs;
  const flat = Q!.dims.length === 3;
  const { q_num_heads: heads = 0, kv_num_heads: kvHeads = 0, softcap = 0 } = attributes;
  const q = inFour(Q!, heads);
  const k = joined(pastKey && inFour(pastKey, 0), inFour(K!, kvHeads));
  const v = joined(pastValue && inFour(pastValue, 0), inFour(V!, kvHeads));
  const [B, H, L, D] = q.shape;
  const T = k.shape[2];
  const past = pastKey?.dims[2] ?? 0;
  const { left_window_size: left = -1, right_window_size: right = -1, scale = 1 / Math.sqrt(D) } = attributes;

  const lengthOf = (b: number) => (nonpad === undefined ? T : Number(nonpad.data[b]));
  const masked = (b: number, h: number, i: number, j: number): number => {
    if (mask === undefined) return 0;
    const { dims } = mask;
    if (j >= dims.at(-1)! && dims.at(-1) !== 1) return -Infinity;
    const index = [b, h, i, j].slice(4 - dims.length).map((at, dim) => (dims[dim] === 1 ? 0 : at));
    const value = Number(mask.data[index.reduce((at, i, dim) => at * dims[dim]! + i, 0)]);
    return mask.type === "bool" ? (value ? 0 : -Infinity) : value;
  };
  const stages = [0, 1].map(() => new Float64Array(B * H * L * T));
  const result = naive(q, k, v, scale, (score, b, h, i, j) => {
    const at = ((b * H + h) * L + i) * T + j;
    const capped = softcap > 0 ? softcap * Math.tanh(score / softcap) : score;
    stages[0]![at] = score;
    stages[1]![at] = capped;
    const p = i + (nonpad === undefined ? past : lengthOf(b) - L);
    const seen =
      j < lengthOf(b) &&
      (attributes["is_causal"] !== 1 || j <= p) &&
      (left < 0 || j >= p - left) &&
      (right < 0 || j <= p + right);
    return seen ? capped + masked(b, h, i, j) : -Infinity;
  });
  const E = v.shape[3];
  const scores = [...stages, result.scores, result.weights][attributes["qk_matmul_output_mode"] ?? 0]!;
  return {
    Y: flat
      ? { data: swapMiddle(result.output, [B, H, L, E]), dims: [B, L, H * E] }
      : { data: result.output, dims: [B, H, L, E] },
    present_key: { data: k.data, dims: [...k.shape] },
    present_value: { data: v.data, dims: [...v.shape] },
    qk_matmul_output: { data: scores, dims: [B, H, L, T] },
  };
}

function inFour({ data, dims }: Numbers, heads: number): Values {
  const values = Float32Array.from(data as ArrayLike<number>);
  if (dims.length === 4) return { data: values, shape: dims as unknown as Values["shape"] };
  const [batch, length, width] = dims as [number, number, number];
  const size = width / heads;
  return { data: swapMiddle(values, [batch, length, heads, size]), shape: [batch, heads, length, size] };
}

function joined(past: Values | undefined, { data, shape }: Values): Values {
  if (past === undefined) return { data, shape };
  const [B, H, L, D] = shape;
  const P = past.shape[2];
  const all = new Float32Array(B * H * (P + L) * D);
  for (let row = 0; row < B * H; row++) {
    all.set(past.data.subarray(row * P * D, (row + 1) * P * D), row * (P + L) * D);
    all.set(data.subarray(row * L * D, (row + 1) * L * D), (row * (P + L) + P) * D);
  }
  return { data: all, shape: [B, H, P + L, D] };
}
