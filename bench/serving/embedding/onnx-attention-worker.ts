import { createRequire } from "node:module";
import type * as OnnxRuntime from "onnxruntime-common";
import type { Heads } from "../../../examples/embedding-server/attention.js";
import { layers } from "../../../examples/embedding-server/encoder-weights.js";
import { encodeModel, type Node } from "../../../examples/embedding-server/onnx-model.js";
import { serve } from "../../../examples/embedding-server/worker-pool.js";

const server = new URL("../../../examples/embedding-server/package.json", import.meta.url);
const { InferenceSession, Tensor } = createRequire(server)("onnxruntime-node") as typeof OnnxRuntime;

export interface AttendRequest extends Heads {
  readonly queryKeyValue: Float32Array;
  readonly starts: readonly number[];
}

export interface AttendReply {
  readonly attended: Float32Array;
}

/** [tokens, 3, heads, headDim] to [tokens, heads, headDim]. */
function model({ heads, headDim }: Heads): Uint8Array {
  const node = (op: string, inputs: string[], outputs: string[], attributes: Node["attributes"] = {}): Node => ({
    op,
    inputs,
    outputs,
    attributes,
  });
  const nodes = [
    node("Transpose", ["queryKeyValue"], ["perHead"], { perm: { ints: [1, 2, 0, 3] } }),
    node("Split", ["perHead"], ["query", "key", "value"], { axis: { i: 0 }, num_outputs: { i: 3 } }),
    node("Transpose", ["key"], ["keyT"], { perm: { ints: [0, 1, 3, 2] } }),
    node("MatMul", ["query", "keyT"], ["products"]),
    node("Mul", ["products", "scale"], ["scores"]),
    node("Softmax", ["scores"], ["weights"], { axis: { i: -1 } }),
    node("MatMul", ["weights", "value"], ["outputPerHead"]),
    node("Transpose", ["outputPerHead"], ["attended"], { perm: { ints: [0, 2, 1, 3] } }),
  ];
  return encodeModel({
    nodes,
    inputs: [{ name: "queryKeyValue", dtype: "float32", shape: ["tokens", 3, heads, headDim] }],
    outputs: [{ name: "attended", dtype: "float32", shape: [1, "tokens", heads, headDim] }],
    constants: { scale: 1 / Math.sqrt(headDim) },
  });
}

const options = { intraOpNumThreads: 1, enableMemPattern: false, logSeverityLevel: 3 } as const;
const sessions = new Map<number, OnnxRuntime.InferenceSession>();
for (const layer of layers) sessions.set(layer.headDim, await InferenceSession.create(model(layer), options));

serve(async ({ queryKeyValue, starts, heads, headDim }: AttendRequest): Promise<AttendReply> => {
  const width = heads * headDim;
  const attended = new Float32Array(starts.at(-1)! * width);
  for (const [i, first] of starts.slice(0, -1).entries()) {
    const length = starts[i + 1]! - first;
    const rows = queryKeyValue.subarray(3 * first * width, 3 * (first + length) * width);
    const input = new Tensor("float32", rows, [length, 3, heads, headDim]);
    const output = await sessions.get(headDim)!.run({ queryKeyValue: input });
    attended.set(output["attended"]!.data as Float32Array, first * width);
  }
  return { attended };
});
