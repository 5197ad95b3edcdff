// Attention as exporters write it: scores, softmax and values as three products of onnxruntime, text by text.

import { createRequire } from "node:module";
import type * as OnnxRuntime from "onnxruntime-common";
import type { Attended, Attention, Heads } from "../../../examples/embedding-server/attention.js";
import { layers } from "../../../examples/embedding-server/encoder-weights.js";
import { free } from "../../../examples/embedding-server/free.js";
import { encodeModel, type Node } from "../../../examples/embedding-server/onnx-model.js";

const server = new URL("../../../examples/embedding-server/package.json", import.meta.url);
const { InferenceSession, Tensor } = createRequire(server)("onnxruntime-node") as typeof OnnxRuntime;

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

export class OnnxAttention implements Attention {
  /** By headDim. */
  readonly #sessions: ReadonlyMap<number, OnnxRuntime.InferenceSession>;

  private constructor(sessions: ReadonlyMap<number, OnnxRuntime.InferenceSession>) {
    this.#sessions = sessions;
  }

  static async create(): Promise<OnnxAttention> {
    const options = { intraOpNumThreads: 1, enableMemPattern: false, logSeverityLevel: 3 } as const;
    const sessions = new Map<number, OnnxRuntime.InferenceSession>();
    for (const heads of layers) sessions.set(heads.headDim, await InferenceSession.create(model(heads), options));
    return new OnnxAttention(sessions);
  }

  async attend(queryKeyValue: Float32Array, starts: Int32Array, { heads, headDim }: Heads): Promise<Attended> {
    const width = heads * headDim;
    const attended = new Float32Array(starts.at(-1)! * width);
    for (const [i, first] of starts.subarray(0, -1).entries()) {
      const length = starts[i + 1]! - first;
      const rows = queryKeyValue.subarray(3 * first * width, 3 * (first + length) * width);
      const input = new Tensor("float32", rows, [length, 3, heads, headDim]);
      const output = (await this.#sessions.get(headDim)!.run({ queryKeyValue: input }))["attended"]!;
      attended.set(output.data as Float32Array, first * width);
      free([output.data as Float32Array]);
    }
    return { attended, weights: [] };
  }
}
