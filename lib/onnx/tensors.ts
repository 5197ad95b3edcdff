// The operator's inputs as views, and its results as tensors of the kind that came.
import { types } from "node:util";
import {
  allocate,
  allocateFloat64,
  arrayTypes,
  asDataArray,
  decode,
  encode,
  holdsDType,
  type DataArray,
  type FloatDType,
} from "../dtype.js";
import { FoveaError, list, shapeError, show } from "../errors.js";
import { assertFree } from "../flight.js";
import { HostStorage, checkBuffer } from "../storage.js";
import { Tensor } from "../tensor.js";
import { checkShape, contiguousStrides, forEachIndex, isContiguous, makeView, product, type View } from "../view.js";

/** A tensor of onnxruntime, or any object that says the same; what it says is dense. */
export interface OnnxTensor {
  /** "float32", "float16", "bfloat16" (bits in a Uint16Array), "float64"; "bool" (Uint8Array), "int64" (BigInt64Array). */
  readonly type: string;
  readonly data: ArrayBufferView | readonly string[];
  readonly dims: readonly number[];
}

/** The operator's inputs, by its names. Results are of the class of Q. */
export interface OnnxAttentionInputs<T extends OnnxTensor = OnnxTensor> {
  /** [batch, q_num_heads, q_sequence_length, head_size] or [batch, q_sequence_length, q_num_heads * head_size] */
  Q: T;
  /** [batch, kv_num_heads, kv_sequence_length, head_size] or three dimensions likewise, of Q's type. */
  K: OnnxTensor;
  /** [batch, kv_num_heads, kv_sequence_length, v_head_size] or three dimensions likewise. */
  V: OnnxTensor;
  /**
   * Broadcasts to [batch, q_num_heads, q_sequence_length, total_sequence_length]; bool (true takes part), or a float, which is
   * added. From opset 24 on its last dimension may be shorter (1, too): keys past it take no part.
   */
  attn_mask?: OnnxTensor | undefined;
  /** [batch, kv_num_heads, past_sequence_length, head_size] and v_head_size: keys and values before K and V. Both or neither. */
  past_key?: OnnxTensor | undefined;
  past_value?: OnnxTensor | undefined;
  /** Opset 24: int64 [batch], how many keys of each sequence exist. Not with past_key and past_value. */
  nonpad_kv_seqlen?: OnnxTensor | undefined;
}

export type InputName = keyof OnnxAttentionInputs;
/** "float64" is held by views that say float32, over a Float64Array: only the reference, which computes in float64, sees them. */
export type Kind = FloatDType | "float64";

export interface Input {
  readonly kind: Kind | "bool";
  readonly view: View;
}

export function readTensor(name: InputName, tensor: OnnxTensor): Input {
  const { type, data, dims } = check(name, tensor);
  const kind = type as Input["kind"];
  const known = kind === "float64" || (kind !== ("int32" as never) && kind in arrayTypes);
  const holds = kind === "float64" ? types.isFloat64Array(data) : known && holdsDType[kind](data);
  if (!known || !holds) {
    const wanted = name === "attn_mask" ? "bool or a float type" : "a float type";
    const message = `${name}: expected a tensor of ${wanted} and its typed array, got ${show(type)} in ${show(data)}`;
    throw new FoveaError("ERR_FOVEA_DTYPE", message);
  }
  if (kind === "bool" && name !== "attn_mask") {
    throw new FoveaError("ERR_FOVEA_DTYPE", `${name}: expected a float type, got "bool"`);
  }
  const array = kind === "float64" ? (data as unknown as DataArray) : asDataArray(data);
  return { kind, view: viewOver(array, kind, dims) };
}

/** nonpad_kv_seqlen: a length for each sequence, from 0 to `total`. */
export function readLengths(name: InputName, tensor: OnnxTensor, batch: number, total: number): Int32Array {
  const { data, dims } = check(name, tensor);
  if (!types.isBigInt64Array(data)) {
    throw new FoveaError("ERR_FOVEA_DTYPE", `${name}: expected int64 in a BigInt64Array, got ${show(data)}`);
  }
  if (dims.length !== 1 || dims[0] !== batch) throw shapeError(name, [batch], "batch", dims);
  return Int32Array.from(data, (length, i) => {
    if (length >= 0n && length <= BigInt(total)) return Number(length);
    throw new FoveaError("ERR_FOVEA_BOUNDS", `${name}[${i}]: expected 0 to ${total}, got ${length}`);
  });
}

function check(name: string, tensor: OnnxTensor): { type: string; data: ArrayBufferView; dims: readonly number[] } {
  const given = tensor as Partial<OnnxTensor> | undefined | null;
  if (typeof given !== "object" || given === null || !ArrayBuffer.isView(given.data) || given.dims === undefined) {
    const got = given instanceof Tensor ? "a Tensor of fovea, which has dtype, data and shape" : show(tensor);
    const message = `${name}: expected an onnxruntime Tensor or { type, data, dims }, got ${got}`;
    throw new FoveaError("ERR_FOVEA_ARGUMENT", message);
  }
  const { data, dims } = given;
  checkShape(name, dims);
  checkBuffer(name, data);
  const { length } = data as unknown as { length: number };
  if (length !== product(dims)) {
    const message = `${name}: expected ${product(dims)} elements for dims ${list(dims)}, got ${length}`;
    throw new FoveaError("ERR_FOVEA_SHAPE", message);
  }
  return { type: String(given.type), data, dims };
}

export function viewOver(array: DataArray, kind: Input["kind"], shape: readonly number[]): View {
  const dtype = kind === "float64" ? "float32" : kind;
  return makeView("tensor", new HostStorage(array), dtype, "cpu", shape, contiguousStrides(shape), 0);
}

/** The same numbers, densely, as another kind; exact where that is wider. */
export function converted(name: string, { kind, view }: Input, to: Kind): View {
  if (kind === to) return view;
  const numbers = numbersOf(name, view);
  return viewOver(to === "float64" ? (numbers as unknown as DataArray) : encode(numbers, to), to, view.shape);
}

function numbersOf(name: string, view: View): Float64Array {
  assertFree(name, view, false);
  const from = view.storage!.array(name);
  const numbers = new Float64Array(view.size);
  forEachIndex(view, (index, position) => (numbers[position] = decode(view.dtype, from, index)));
  return numbers;
}

/** The elements in logical order. `own`: in an array that nobody else has. */
export function denseArray(view: View, kind: Input["kind"], own: boolean): DataArray {
  const from = view.storage!.array("tensor");
  if (isContiguous(view)) return own ? from.slice(view.begin, view.end) : from.subarray(view.begin, view.end);
  const to = allocateArray(kind, view.size);
  forEachIndex(view, (index, position) => (to[position] = from[index]!));
  return to;
}

/** New memory for elements of a kind. */
export function allocateArray(kind: Input["kind"], length: number): DataArray {
  return kind === "float64" ? (allocateFloat64(length) as unknown as DataArray) : allocate(kind, length);
}

/** A tensor like `like`: of its class, or a plain object where it is one. */
export function makeLike<T extends OnnxTensor>(like: T, type: string, data: DataArray, dims: readonly number[]): T {
  const { constructor } = like as { constructor?: unknown };
  if (constructor === undefined || constructor === Object) return { type, data, dims } as unknown as T;
  return new (constructor as new (type: string, data: DataArray, dims: number[]) => T)(type, data, [...dims]);
}
