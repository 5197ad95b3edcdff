// onnxruntime-node: one attention operator in a model of its own, in each form that can be the fastest somewhere.
import * as ort from "onnxruntime-node";
import { type Layout } from "./inputs.js";
import type { Contestant, MakeInputs } from "./measure.js";
import {
  type Attribute,
  encodeModel,
  type Graph,
  type Node,
  type Value,
} from "../../examples/embedding-server/onnx-model.js";
import { type Point, scoreBytes } from "./points.js";

export interface Form {
  name: string;
  offered(point: Point): boolean;
  outputLayout: Layout;
  graph(point: Point): Graph;
  /** Memory order of the model's tensor inputs. */
  layouts: { query: Layout; keyValue: Layout };
  /** Inputs beside query, key and value, or in their place. */
  extras?(point: Point, inputs: MakeInputs): Record<string, ort.Tensor>;
}

// A form that stores every score is left out where those alone fill a gigabyte.
const scoresFit = (point: Point): boolean => scoreBytes(point) <= 2 ** 30;

const isGrouped = ({ heads, kvHeads }: Point): boolean => kvHeads < heads;

const packed = (name: string, batch: number, length: number, width: number): Value => ({
  name,
  dtype: "float32",
  shape: [batch, length, width],
});

const perHead = (name: string, { batch, headDim }: Point, heads: number, length: number): Value => ({
  name,
  dtype: "float32",
  shape: [batch, heads, length, headDim],
});

function packedInputs({ batch, heads, kvHeads, queryLength, keyLength, headDim }: Point): Value[] {
  return [
    packed("query", batch, queryLength, heads * headDim),
    packed("key", batch, keyLength, kvHeads * headDim),
    packed("value", batch, keyLength, kvHeads * headDim),
  ];
}

const packedOutput = ({ batch, heads, queryLength, headDim }: Point): Value =>
  packed("output", batch, queryLength, heads * headDim);

function perHeadInputs(point: Point): Value[] {
  return [
    perHead("query", point, point.heads, point.queryLength),
    perHead("key", point, point.kvHeads, point.keyLength),
    perHead("value", point, point.kvHeads, point.keyLength),
  ];
}

const node = (op: string, inputs: string[], output: string, attributes: Record<string, Attribute> = {}): Node => ({
  op,
  inputs,
  outputs: [output],
  attributes,
});

// What GroupQueryAttention wants to know of the keys.
const lengthInputs = ({ batch }: Point): Value[] => [
  { name: "seqlens_k", dtype: "int32", shape: [batch] },
  { name: "total_sequence_length", dtype: "int32", shape: [1] },
];
const lengths = ({ batch, keyLength }: Point): Record<string, ort.Tensor> => ({
  seqlens_k: new ort.Tensor("int32", new Int32Array(batch).fill(keyLength - 1), [batch]),
  total_sequence_length: new ort.Tensor("int32", Int32Array.of(keyLength), [1]),
});

/** Rows [from, to) of each head of [batch, kvHeads, keyLength, headDim], one head after the other. */
function rowsOfHeads({ batch, kvHeads, keyLength, headDim }: Point, data: Float32Array, from: number, to: number) {
  const rows = new Float32Array(batch * kvHeads * (to - from) * headDim);
  for (let head = 0; head < batch * kvHeads; head++) {
    const begin = head * keyLength;
    rows.set(data.subarray((begin + from) * headDim, (begin + to) * headDim), head * (to - from) * headDim);
  }
  return rows;
}
const pastRows = (point: Point, data: Float32Array): ort.Tensor => {
  const { batch, kvHeads, keyLength, headDim } = point;
  return new ort.Tensor("float32", rowsOfHeads(point, data, 0, keyLength - 1), [
    batch,
    kvHeads,
    keyLength - 1,
    headDim,
  ]);
};
const lastRows = (point: Point, data: Float32Array): ort.Tensor => {
  const { batch, kvHeads, keyLength, headDim } = point;
  return new ort.Tensor("float32", rowsOfHeads(point, data, keyLength - 1, keyLength), [batch, 1, kvHeads * headDim]);
};

const multiHeadAttention = ({ heads }: Point): Node => ({
  ...node("MultiHeadAttention", ["query", "key", "value"], "output", { num_heads: { i: heads } }),
  domain: "com.microsoft",
});

/** Tiled only if its present outputs have names. `past`: the inputs of past keys and values, "" where there are none. */
const groupQueryAttention = ({ heads, kvHeads }: Point, past: [string, string]): Node => ({
  op: "GroupQueryAttention",
  domain: "com.microsoft",
  inputs: ["query", "key", "value", ...past, "seqlens_k", "total_sequence_length"],
  outputs: ["output", "present_key", "present_value"],
  attributes: { num_heads: { i: heads }, kv_num_heads: { i: kvHeads } },
});

export const forms: Form[] = [
  {
    // com.microsoft MultiHeadAttention: tiled when it has no mask, [batch, length, heads * headDim].
    name: "mha",
    offered: (point) => !point.causal && !isGrouped(point),
    outputLayout: "bshd",
    layouts: { query: "bshd", keyValue: "bshd" },
    graph: (point) => ({
      inputs: packedInputs(point),
      nodes: [multiHeadAttention(point)],
      outputs: [packedOutput(point)],
    }),
  },
  {
    // The same with keys and values per head, as a cache holds them: they need no transposition then.
    name: "mha-bnsh",
    offered: (point) => !point.causal && !isGrouped(point),
    outputLayout: "bshd",
    layouts: { query: "bshd", keyValue: "bhsd" },
    graph: (point) => ({
      inputs: [packedInputs(point)[0]!, ...perHeadInputs(point).slice(1)],
      nodes: [multiHeadAttention(point)],
      outputs: [packedOutput(point)],
    }),
  },
  {
    // com.microsoft GroupQueryAttention, always causal. Its present outputs are no outputs of the graph, which would copy
    // them to JavaScript.
    name: "gqa-inner",
    offered: (point) => point.causal,
    outputLayout: "bshd",
    layouts: { query: "bshd", keyValue: "bshd" },
    graph: (point) => ({
      inputs: [...packedInputs(point), ...lengthInputs(point)],
      nodes: [groupQueryAttention(point, ["", ""])],
      outputs: [packedOutput(point)],
    }),
    extras: lengths,
  },
  {
    // A step of decoding: the last key and value join those of the past, which the operator copies.
    name: "gqa-past",
    offered: (point) => isGrouped(point) && point.queryLength === 1,
    outputLayout: "bshd",
    layouts: { query: "bshd", keyValue: "bhsd" },
    graph: (point) => ({
      inputs: [
        packed("query", point.batch, 1, point.heads * point.headDim),
        packed("key", point.batch, 1, point.kvHeads * point.headDim),
        packed("value", point.batch, 1, point.kvHeads * point.headDim),
        perHead("past_key", point, point.kvHeads, point.keyLength - 1),
        perHead("past_value", point, point.kvHeads, point.keyLength - 1),
        ...lengthInputs(point),
      ],
      nodes: [groupQueryAttention(point, ["past_key", "past_value"])],
      outputs: [packedOutput(point)],
    }),
    extras: (point, inputs) => {
      const { key, value } = inputs("bhsd");
      return {
        key: lastRows(point, key),
        value: lastRows(point, value),
        past_key: pastRows(point, key),
        past_value: pastRows(point, value),
        ...lengths(point),
      };
    },
  },
  {
    // The standard operator since opset 23: stores every score, the masked ones too.
    name: "att23",
    offered: scoresFit,
    outputLayout: "bhsd",
    layouts: { query: "bhsd", keyValue: "bhsd" },
    graph: (point) => ({
      inputs: perHeadInputs(point),
      nodes: [node("Attention", ["query", "key", "value"], "output", { is_causal: { i: point.causal ? 1 : 0 } })],
      outputs: [perHead("output", point, point.heads, point.queryLength)],
    }),
  },
  {
    // As exporters wrote it before there was an operator; the runtime fuses scale and transposition into the product.
    name: "unfused",
    offered: (point) => !point.causal && !isGrouped(point) && scoresFit(point),
    outputLayout: "bhsd",
    layouts: { query: "bhsd", keyValue: "bhsd" },
    graph: (point) => ({
      inputs: perHeadInputs(point),
      constants: { scale: 1 / Math.sqrt(point.headDim) },
      nodes: [
        node("Transpose", ["key"], "keyT", { perm: { ints: [0, 1, 3, 2] } }),
        node("MatMul", ["query", "keyT"], "products"),
        node("Mul", ["products", "scale"], "scores"),
        node("Softmax", ["scores"], "weights", { axis: { i: -1 } }),
        node("MatMul", ["weights", "value"], "output"),
      ],
      outputs: [perHead("output", point, point.heads, point.queryLength)],
    }),
  },
];

/** A form ready to run on a point. */
export async function onnxruntime(form: Form, point: Point, inputs: MakeInputs, threads: number): Promise<Contestant> {
  const graph = form.graph(point);
  const session = await ort.InferenceSession.create(encodeModel(graph), {
    executionProviders: ["cpu"],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: "sequential",
    graphOptimizationLevel: "all",
    logSeverityLevel: 3,
  });
  const tensor = (index: number, data: Float32Array): ort.Tensor =>
    new ort.Tensor("float32", data, graph.inputs[index]!.shape.map(Number)); // none is symbolic
  const extras = form.extras?.(point, inputs);
  const feeds = {
    query: tensor(0, inputs(form.layouts.query).query),
    key: extras?.["key"] ?? tensor(1, inputs(form.layouts.keyValue).key),
    value: extras?.["value"] ?? tensor(2, inputs(form.layouts.keyValue).value),
    ...extras,
  };
  return {
    name: form.name,
    layout: form.outputLayout,
    call: async () => (await session.run(feeds))["output"]!.data as Float32Array,
    release: () => session.release(),
  };
}
