// An ONNX model of one Attention node, as the bytes of its protocol buffers: only the fields that such a model needs, by the
// numbers of github.com/onnx/onnx, onnx/onnx.proto.

const elementTypes = { float32: 1, int64: 7, bool: 9, float16: 10, float64: 11 } as const;

type Bytes = number[];

function varint(value: number): Bytes {
  const bytes: Bytes = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    bytes.push(Number(rest & 0x7fn) | (rest > 0x7fn ? 0x80 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return bytes;
}

const int = (field: number, value: number): Bytes => [...varint(field << 3), ...varint(value)];
const message = (field: number, bytes: Bytes): Bytes => [
  ...varint((field << 3) | 2),
  ...varint(bytes.length),
  ...bytes,
];
const text = (field: number, value: string): Bytes => message(field, [...Buffer.from(value)]);
const float = (field: number, value: number): Bytes => [
  ...varint((field << 3) | 5),
  ...new Uint8Array(Float32Array.of(value).buffer),
];

const floats = new Set(["scale", "softcap"]);

/** A number that is an attribute's; "scale" and "softcap" are floats, the others integers. */
function attribute(name: string, value: number): Bytes {
  const isFloat = floats.has(name);
  return [...text(1, name), ...(isFloat ? float(2, value) : int(3, value)), ...int(20, isFloat ? 1 : 2)];
}

function valueInfo(name: string, type: string, dims: readonly number[] | undefined): Bytes {
  const element = int(1, elementTypes[type as keyof typeof elementTypes]);
  const shape =
    dims &&
    message(
      2,
      dims.flatMap((dim) => message(1, int(1, dim))),
    );
  return [...text(1, name), ...message(2, message(1, [...element, ...(shape ?? [])]))];
}

interface Value {
  readonly type: string;
  readonly dims: readonly number[];
}

const inputOrder = ["Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen"];
const outputOrder = ["Y", "present_key", "present_value", "qk_matmul_output"];

export function attentionModel(
  inputs: Readonly<Record<string, Value>>,
  attributes: Readonly<Record<string, number>>,
  opset: number,
  outputs: readonly string[],
): Uint8Array {
  const last = inputOrder.findLastIndex((name) => name in inputs);
  const lastOutput = outputOrder.findLastIndex((name) => outputs.includes(name));
  const node = [
    ...inputOrder.slice(0, last + 1).flatMap((name) => text(1, name in inputs ? name : "")),
    ...outputOrder.slice(0, lastOutput + 1).flatMap((name) => text(2, outputs.includes(name) ? name : "")),
    ...text(4, "Attention"),
    ...Object.entries(attributes).flatMap(([name, value]) => message(5, attribute(name, value))),
  ];
  const { type } = inputs["Q"]!;
  const graph = [
    ...message(1, node),
    ...text(2, "attention"),
    ...Object.entries(inputs).flatMap(([name, { type, dims }]) => message(11, valueInfo(name, type, dims))),
    ...outputs.flatMap((name) =>
      message(12, valueInfo(name, name === "present_value" ? inputs["V"]!.type : type, undefined)),
    ),
  ];
  return Uint8Array.from([...int(1, 10), ...message(7, graph), ...message(8, [...text(1, ""), ...int(2, opset)])]);
}
