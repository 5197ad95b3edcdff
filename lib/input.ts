import { types } from "node:util";
import type { Device } from "./device.js";
import { asDataArray, checkDType, isDType, isFloatDType, dtypes, type DType, type FloatDType } from "./dtype.js";
import { FoveaError, list, show, showList } from "./errors.js";
import { packed } from "./memory.js";
import { checkBuffer, HostStorage } from "./storage.js";
import { Tensor, viewOf } from "./tensor.js";
import { checkShape, contiguousStrides, isContiguous, makeView, type View } from "./view.js";

/**
 * Anything that holds a typed array and says its shape: an onnxruntime Tensor, an ndarray, a plain object. Nothing is copied.
 */
export interface TensorLike {
  /** A typed array. (Lists of strings are refused; they are in the type because onnxruntime's tensors may be ones.) */
  readonly data: ArrayBufferView | readonly string[];
  /** Sizes of the dimensions. One of `shape` and `dims` is required. */
  readonly shape?: readonly number[] | undefined;
  readonly dims?: readonly number[] | undefined;
  /** A dtype's name. Optional where the kind of array tells: Float32Array, Int32Array, Float16Array. */
  readonly dtype?: string | undefined;
  readonly type?: string | undefined;
  /** In elements; may be 0 or negative. By default the last dimension varies fastest, without gaps. */
  readonly strides?: readonly number[] | undefined;
  readonly stride?: readonly number[] | undefined;
  /** Index of the first element in `data`. Default 0. */
  readonly offset?: number | undefined;
}

/** An argument of a call. */
export type TensorInput = Tensor | TensorLike;

/** An argument of `explain`, which needs no data. `strides`: as of `TensorLike`, contiguous by default. */
export type ShapeInput =
  TensorInput | { readonly shape: readonly number[]; readonly dtype: DType; readonly strides?: readonly number[] };

/** The float dtype of an argument, where its type tells. */
export type FloatDTypeOf<Input> = Input extends Tensor<infer D> ? Extract<D, FloatDType> : FloatDType;

const tensors = "a Tensor or { data: typed array, shape, dtype }";

/** What an argument shows. `bare`: a shape and a dtype without data will do. `wanted`: what an error says would do. */
export function inputView(name: string, input: unknown, bare: boolean, wanted: string = tensors): View {
  if (input instanceof Tensor) {
    const view = viewOf(input, name);
    view.storage!.handle(name); // still there
    return view;
  }
  const like = input as (Partial<TensorLike> & { data?: unknown }) | null | undefined;
  if (typeof like !== "object" || like === null || ArrayBuffer.isView(like)) throw notTensor(name, wanted, input);
  const shape = like.shape ?? like.dims;
  const given = like.dtype ?? like.type;
  if (like.data === undefined && bare && shape !== undefined)
    return bareView(name, shape, given, like.strides ?? like.stride);
  if (!ArrayBuffer.isView(like.data) || shape === undefined) throw notTensor(name, wanted, input);

  checkShape(name, shape);
  const dtype = checkDType(name, like.data, given);
  checkBuffer(name, like.data);
  const strides: unknown = like.strides ?? like.stride ?? contiguousStrides(shape);
  const offset = like.offset ?? 0;
  if (!areStrides(strides, shape.length) || !Number.isSafeInteger(offset)) {
    const wanted = `${shape.length} integer strides and an integer offset`;
    const got = `${showList(strides)} and ${show(offset)}`;
    throw new FoveaError("ERR_FOVEA_SHAPE", `${name}: expected ${wanted}, got ${got}`);
  }
  return makeView(name, new HostStorage(asDataArray(like.data)), dtype, "cpu", shape, strides, offset);
}

function areStrides(strides: unknown, rank: number): strides is readonly number[] {
  if (!Array.isArray(strides) || strides.length !== rank) return false;
  for (const stride of strides) if (!Number.isSafeInteger(stride)) return false; // `every` would skip holes
  return true;
}

function bareView(name: string, shape: unknown, dtype: unknown, strides: unknown): View {
  checkShape(name, shape);
  if (!isDType(dtype)) {
    throw new FoveaError("ERR_FOVEA_DTYPE", `${name}: expected a dtype of ${list(dtypes)}, got ${show(dtype)}`);
  }
  if (strides === undefined) return shapeOnly(name, dtype, "cpu", shape);
  if (!areStrides(strides, shape.length)) {
    const message = `${name}: expected ${shape.length} integer strides, got ${showList(strides)}`;
    throw new FoveaError("ERR_FOVEA_SHAPE", message);
  }
  return makeView(name, undefined, dtype, "cpu", shape, strides, 0);
}

/** A contiguous view without memory: for planning and for writing sizes. */
export function shapeOnly(name: string, dtype: DType, device: Device, shape: readonly number[]): View {
  return makeView(name, undefined, dtype, device, shape, contiguousStrides(shape), 0);
}

/** As `inputView`, where a plain Float32Array is a vector. */
export function vectorView(name: string, input: unknown, bare: boolean): View {
  if (types.isFloat32Array(input)) return inputView(name, { data: input, shape: [input.length] }, bare);
  return inputView(name, input, bare, `a Float32Array, ${tensors}`);
}

/** The integers of an Int32Array or of an int32 tensor with one dimension, in order. */
export function integers(name: string, input: unknown): Int32Array {
  if (types.isInt32Array(input)) {
    checkBuffer(name, input);
    return input;
  }
  const isTensor = input instanceof Tensor || (typeof input === "object" && input !== null && "data" in input);
  const view = isTensor ? inputView(name, input, false) : undefined;
  if (view?.dtype !== "int32" || view.shape.length !== 1) {
    const got = view === undefined ? show(input) : `${view.dtype} ${list(view.shape)}`;
    throw new FoveaError("ERR_FOVEA_ARGUMENT", `${name}: expected an Int32Array or an int32 tensor [*], got ${got}`);
  }
  const { storage, begin, end } = isContiguous(view) ? view : packed(name, view);
  return (storage!.array(name) as Int32Array).subarray(begin, end);
}

export function floatDType(name: string, view: View): FloatDType {
  if (isFloatDType(view.dtype)) return view.dtype;
  throw dtypeError(name, '"float32", "float16" or "bfloat16"', view);
}

export function dtypeError(name: string, expected: string, view: View): FoveaError {
  return new FoveaError("ERR_FOVEA_DTYPE", `${name}: expected dtype ${expected}, got "${view.dtype}"`);
}

function notTensor(name: string, wanted: string, input: unknown): FoveaError {
  return new FoveaError("ERR_FOVEA_ARGUMENT", `${name}: expected ${wanted}, got ${show(input)}`);
}
