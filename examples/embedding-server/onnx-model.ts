// Writes an ONNX model of a few nodes as the bytes of its protocol buffers: the messages and fields that such a graph needs, by
// the numbers of github.com/onnx/onnx, onnx/onnx.proto.

const elementTypes = { float32: 1, int32: 6 } as const;

export type Attribute = { f: number } | { i: number } | { ints: readonly number[] };

export interface Node {
  op: string;
  /** "" is the standard operator set; "com.microsoft" holds onnxruntime's own. */
  domain?: "" | "com.microsoft";
  /** Names; "" leaves an optional one out. */
  inputs: readonly string[];
  outputs: readonly string[];
  attributes?: Readonly<Record<string, Attribute>>;
}

export interface Value {
  name: string;
  dtype: keyof typeof elementTypes;
  /** A name stands for a size that only a run knows. */
  shape: readonly (number | string)[];
}

export interface Weights {
  data: Float32Array;
  shape: readonly number[];
}

export interface Graph {
  nodes: readonly Node[];
  inputs: readonly Value[];
  outputs: readonly Value[];
  /** float32 by name; a number is a scalar. */
  constants?: Readonly<Record<string, number | Weights>>;
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    bytes.push(Number(rest & 0x7fn) | (rest > 0x7fn ? 0x80 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return Uint8Array.from(bytes);
}

const int = (field: number, value: number): Uint8Array => Buffer.concat([varint(field << 3), varint(value)]);
const float = (field: number, value: number): Uint8Array =>
  Buffer.concat([varint((field << 3) | 5), new Uint8Array(Float32Array.of(value).buffer)]);
function message(field: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([varint((field << 3) | 2), varint(length), ...parts]);
}
const text = (field: number, value: string): Uint8Array => message(field, Buffer.from(value));

function attribute([name, value]: [string, Attribute]): Uint8Array {
  if ("f" in value) return message(5, text(1, name), float(2, value.f), int(20, 1));
  if ("i" in value) return message(5, text(1, name), int(3, value.i), int(20, 2));
  return message(5, text(1, name), ...value.ints.map((one) => int(8, one)), int(20, 7));
}

const node = ({ op, domain = "", inputs, outputs, attributes = {} }: Node, index: number): Uint8Array =>
  message(
    1,
    ...inputs.map((name) => text(1, name)),
    ...outputs.map((name) => text(2, name)),
    text(3, `${op}_${index}`),
    text(4, op),
    ...Object.entries(attributes).map(attribute),
    text(7, domain),
  );

function constant([name, value]: [string, number | Weights]): Uint8Array {
  const { data, shape } = typeof value === "number" ? { data: Float32Array.of(value), shape: [] } : value;
  const raw = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const dims = shape.map((dim) => int(1, dim));
  return message(5, ...dims, int(2, elementTypes.float32), text(8, name), message(9, raw));
}

function valueInfo(field: number, { name, dtype, shape }: Value): Uint8Array {
  const dims = shape.map((dim) => message(1, typeof dim === "number" ? int(1, dim) : text(2, dim)));
  return message(field, text(1, name), message(2, message(1, int(1, elementTypes[dtype]), message(2, ...dims))));
}

/** The bytes of a model with standard operator set 23 and com.microsoft 1. */
export function encodeModel({ nodes, inputs, outputs, constants = {} }: Graph): Uint8Array {
  const graph = message(
    7,
    ...nodes.map(node),
    text(2, "graph"),
    ...Object.entries(constants).map(constant),
    ...inputs.map((value) => valueInfo(11, value)),
    ...outputs.map((value) => valueInfo(12, value)),
  );
  const operators = (domain: string, version: number): Uint8Array => message(8, text(1, domain), int(2, version));
  return Buffer.concat([int(1, 10), graph, operators("", 23), operators("com.microsoft", 1)]);
}
