// Writes a small ONNX model: the messages and fields of onnx.proto that a graph of a few nodes needs, by their own
// names and numbers (github.com/onnx/onnx, onnx/onnx.proto).
import protobuf from "protobufjs";

const { root } = protobuf.parse(
  `syntax = "proto3";
   message Attribute { string name = 1; float f = 2; int64 i = 3; repeated int64 ints = 8; int32 type = 20; }
   message Tensor { repeated int64 dims = 1; int32 data_type = 2; repeated float float_data = 4; string name = 8; }
   message Dimension { int64 dim_value = 1; }
   message Shape { repeated Dimension dim = 1; }
   message TensorType { int32 elem_type = 1; Shape shape = 2; }
   message Type { TensorType tensor_type = 1; }
   message ValueInfo { string name = 1; Type type = 2; }
   message Node {
     repeated string input = 1; repeated string output = 2; string name = 3; string op_type = 4;
     repeated Attribute attribute = 5; string domain = 7;
   }
   message Graph {
     repeated Node node = 1; string name = 2; repeated Tensor initializer = 5;
     repeated ValueInfo input = 11; repeated ValueInfo output = 12;
   }
   message OperatorSet { string domain = 1; int64 version = 2; }
   message Model { int64 ir_version = 1; Graph graph = 7; repeated OperatorSet opset_import = 8; }`,
  { keepCase: true },
);
const Model = root.lookupType("Model");

const elementTypes = { float32: 1, int32: 6 } as const;
const attributeTypes = { f: 1, i: 2, ints: 7 } as const;

export type Attribute = { f: number } | { i: number } | { ints: number[] };

export interface Node {
  op: string;
  /** "" is the standard operator set; "com.microsoft" holds onnxruntime's own. */
  domain?: "" | "com.microsoft";
  /** Names; "" leaves an optional one out. */
  inputs: string[];
  outputs: string[];
  attributes?: Record<string, Attribute>;
}

export interface Value {
  name: string;
  dtype: keyof typeof elementTypes;
  shape: readonly number[];
}

export interface Graph {
  nodes: Node[];
  inputs: Value[];
  outputs: Value[];
  /** float32 scalars by name. */
  constants?: Record<string, number>;
}

/** The bytes of a model with standard operator set 23 and com.microsoft 1. */
export function encodeModel(graph: Graph): Uint8Array {
  const valueInfo = ({ name, dtype, shape }: Value) => ({
    name,
    type: {
      tensor_type: { elem_type: elementTypes[dtype], shape: { dim: shape.map((dim_value) => ({ dim_value })) } },
    },
  });
  const attribute = ([name, value]: [string, Attribute]) => {
    const kind = Object.keys(value)[0] as keyof typeof attributeTypes;
    return { name, type: attributeTypes[kind], ...value };
  };
  const message = {
    ir_version: 10,
    opset_import: [
      { domain: "", version: 23 },
      { domain: "com.microsoft", version: 1 },
    ],
    graph: {
      name: "attention",
      input: graph.inputs.map(valueInfo),
      output: graph.outputs.map(valueInfo),
      initializer: Object.entries(graph.constants ?? {}).map(([name, value]) => ({
        name,
        dims: [],
        data_type: elementTypes.float32,
        float_data: [value],
      })),
      node: graph.nodes.map((node, index) => ({
        name: `${node.op}_${index}`,
        op_type: node.op,
        domain: node.domain ?? "",
        input: node.inputs,
        output: node.outputs,
        attribute: Object.entries(node.attributes ?? {}).map(attribute),
      })),
    },
  };
  const problem = Model.verify(message);
  if (problem) throw new Error(`ONNX model: ${problem}`);
  return Model.encode(Model.create(message)).finish();
}
