import { Tensor as OrtTensor } from "onnxruntime-common";
import { Tensor } from "../../lib/index.js";
import { onnxAttention } from "../../lib/onnx.js";
import { attentionModel } from "../../test/dropin/onnx-model.js";
import { onnxruntime } from "../../test/support/onnxruntime.js";
import type { Pair, Point } from "./points.js";

/** The operator Attention of opset 23, in a model of its own, with all the processors. */
export async function onnxPairs({ heads, length, headDim, causal }: Point): Promise<Pair[]> {
  if (!onnxruntime) return [];
  const dims = [1, heads, length, headDim];
  const [Q, K, V] = [1, 2, 3].map((seed) => new OrtTensor("float32", Tensor.random(dims, { seed }).data, dims));
  const inputs = { Q: Q!, K: K!, V: V! };
  const attributes = { is_causal: causal ? 1 : 0 };
  const session = await onnxruntime.InferenceSession.create(attentionModel(inputs, attributes, 23, ["Y"]));
  const theirs = {
    name: "onnxruntime Attention",
    call: async () => (await session.run(inputs))["Y"]!.data as Float32Array,
  };
  const ours = {
    name: "fovea/onnx",
    call: async () => (await onnxAttention(inputs, attributes, { opset: 23 })).Y.data,
  };
  return [{ theirs, ours }];
}
