// ONNX's Attention, as attention(): shapes to [batch, heads, length, size], past before present, masks padded, and the score
// stage that qk_matmul_output_mode asks for. The mathematics: onnx.ai/onnx/operators/onnx__Attention.html.
import type { Device } from "../device.js";
import { FoveaError, show } from "../errors.js";
import { checkNames } from "../rules.js";
import { attributeError, checkAttributes, type OnnxAttentionAttributes, type OnnxOpset } from "./attributes.js";
import { compute } from "./compute.js";
import { placeCall } from "./place.js";
import { denseArray, makeLike, type Kind, type OnnxAttentionInputs, type OnnxTensor } from "./tensors.js";
import type { View } from "../view.js";

/** The operator's outputs; Y is always there. */
export type OnnxOutputName = "Y" | "present_key" | "present_value" | "qk_matmul_output";

export interface OnnxAttentionOptions {
  /** The version of the operator: the newest of 23, 24 and 25 that is not above the model's opset. */
  opset: OnnxOpset;
  /** The outputs to return beside Y. Default: none. */
  outputs?: readonly OnnxOutputName[] | undefined;
  /** A device of fovea's, to which the tensors are sent. Default "cpu". */
  device?: Device | undefined;
  signal?: AbortSignal | undefined;
}

/** Y, and what `outputs` names. */
export type OnnxAttentionOutputs<T, Options> = { readonly Y: T } & {
  readonly [Name in Options extends { readonly outputs: readonly (infer N)[] } ? Extract<N, string> : never]: T;
};

const optionNames = new Set(Object.keys({ opset: true, outputs: true, device: true, signal: true }));
const inputNames = new Set(["Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen"]);
const outputNames: readonly string[] = ["Y", "present_key", "present_value", "qk_matmul_output"];

/**
 * ONNX's operator Attention. Inputs and outputs have its names and are dense tensors of onnxruntime (or `{ type, data, dims }`);
 * results are of the class that Q is. Y is of Q's type: [batch, q_num_heads, q_sequence_length, v_head_size], or
 * [batch, q_sequence_length, q_num_heads * v_head_size] where Q has three dimensions. `present_key` and `present_value` always
 * have four, `qk_matmul_output` is [batch, q_num_heads, q_sequence_length, total_sequence_length]. A query that sees no key gets
 * zeros.
 *
 * float32, float16 and bfloat16 are computed by fovea's kernels; V may be of another type than Q and K. double, and
 * softmax_precision 11, are computed in float64 by the reference on the calling thread. Rejects with a FoveaError that names
 * what was wrong.
 */
export async function onnxAttention<T extends OnnxTensor, const Options extends OnnxAttentionOptions>(
  inputs: OnnxAttentionInputs<T>,
  attributes: OnnxAttentionAttributes,
  options: Options,
): Promise<OnnxAttentionOutputs<T, Options>> {
  checkNames("options", options, optionNames);
  const { opset, outputs = [], device, signal }: OnnxAttentionOptions = options;
  checkNames("inputs", inputs, inputNames);
  if (![23, 24, 25].includes(opset)) throw attributeError("opset", "23, 24 or 25", show(opset));
  if (!Array.isArray(outputs)) throw attributeError("outputs", `an array of ${outputNames.join(", ")}`, show(outputs));
  for (const name of outputs as readonly OnnxOutputName[]) {
    if (!outputNames.includes(name)) throw attributeError("outputs", outputNames.join(", "), show(name));
  }
  const rules = checkAttributes(attributes, opset);
  const present = outputs.includes("present_key") || outputs.includes("present_value");
  if (present && inputs.nonpad_kv_seqlen !== undefined) {
    throw new FoveaError("ERR_FOVEA_OPTION", "present_key, present_value: not with nonpad_kv_seqlen");
  }
  const call = placeCall(inputs, rules, opset, outputs.includes("qk_matmul_output"));
  const make = (kind: Kind, view: View, dims: readonly number[], own = false): T =>
    makeLike(inputs.Q, kind, denseArray(view, kind, own), dims);
  // Presents that are K and V themselves are copied: a result shares no memory with an input.
  const own = inputs.past_key === undefined;
  const found: Record<string, T> = {};
  const { presentKey, presentValue } = call;
  if (outputs.includes("present_key")) found["present_key"] = make(call.type, presentKey, presentKey.shape, own);
  if (outputs.includes("present_value")) {
    found["present_value"] = make(call.valueType, presentValue, presentValue.shape, own);
  }
  const { Y, scores } = await compute(call, rules, device, signal);
  const [batch, length, heads, size] = Y.shape as [number, number, number, number];
  found["Y"] = make(call.type, Y, call.flat ? [batch, length, heads * size] : Y.shape);
  if (scores !== undefined) found["qk_matmul_output"] = make(call.type, scores, scores.shape);
  return found as unknown as OnnxAttentionOutputs<T, Options>;
}
