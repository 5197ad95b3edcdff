import { totalmem } from "node:os";
import { types } from "node:util";
import { isMainThread } from "node:worker_threads";
import { Float16Array as Float16Polyfill } from "@petamoriken/float16";
import { FoveaError, list, show } from "./errors.js";
import { preferHugePages } from "./native.js";

/** Element types of queries, keys, values and outputs. */
export type FloatDType = "float32" | "float16" | "bfloat16";
/** Element types of cached keys and values: int8 has one scale per token and head. */
export type StoredDType = FloatDType | "int8";
/** Element types of tensors. `bool` is one byte per element, non-zero is true. */
export type DType = FloatDType | "int32" | "bool";

/** The typed array that holds elements of a dtype. The 16-bit floats are held as their bits. */
export type DataOf<D extends DType> = D extends "float32"
  ? Float32Array
  : D extends "float16" | "bfloat16"
    ? Uint16Array
    : D extends "int32"
      ? Int32Array
      : Uint8Array;

/** Every typed array a tensor can live in. */
export type DataArray = DataOf<DType>;

/** A Float16Array, where the runtime has it. */
export interface Float16ArrayLike extends ArrayBufferView {
  readonly [Symbol.toStringTag]: "Float16Array";
  readonly length: number;
  readonly [index: number]: number;
}

/** The kind of array that holds a dtype. */
export const arrayTypes: {
  readonly float32: Float32ArrayConstructor;
  readonly float16: Uint16ArrayConstructor;
  readonly bfloat16: Uint16ArrayConstructor;
  readonly int32: Int32ArrayConstructor;
  readonly bool: Uint8ArrayConstructor;
} = {
  float32: Float32Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int32: Int32Array,
  bool: Uint8Array,
};

export const dtypes = Object.keys(arrayTypes) as DType[];

export function isDType(value: unknown): value is DType {
  return typeof value === "string" && Object.hasOwn(arrayTypes, value);
}

export function isFloatDType(dtype: DType): dtype is FloatDType {
  return dtype === "float32" || dtype === "float16" || dtype === "bfloat16";
}

/** A zeroed array of `length` elements; running out of memory is an ERR_FOVEA_OUT_OF_MEMORY. */
export function allocate<D extends DType>(dtype: D, length: number): DataOf<D> {
  const array = orOutOfMemory(length, dtype, arrayTypes[dtype].BYTES_PER_ELEMENT, () => {
    return new arrayTypes[dtype](length) as DataOf<D>;
  });
  if (array.byteLength >= hugeBytes) preferHugePages(array);
  return array;
}

/** From here on huge pages are asked for: whoever reads the memory misses fewer translations of addresses. */
const hugeBytes = 4 * 2 ** 20;

/** The same of numbers that are not a tensor's. */
export function allocateFloat64(length: number): Float64Array {
  return orOutOfMemory(length, "float64", 8, () => new Float64Array(length));
}

function orOutOfMemory<T>(length: number, dtype: string, bytes: number, make: () => T): T {
  try {
    // Node 26 ends a worker that asks for more, where others throw.
    if (!isMainThread && length * bytes > totalmem()) throw new RangeError("more than the memory of this machine");
    return make();
  } catch (cause) {
    const message = `cannot allocate ${length} elements of ${dtype}`;
    throw new FoveaError("ERR_FOVEA_OUT_OF_MEMORY", message, { cause });
  }
}

/** The dtype of an array of this kind, where its kind tells. */
function impliedDType(data: ArrayBufferView): DType | undefined {
  if (types.isFloat32Array(data)) return "float32";
  if (types.isInt32Array(data)) return "int32";
  if (isFloat16Array(data)) return "float16";
  return undefined;
}

function isFloat16Array(data: ArrayBufferView): data is Float16ArrayLike {
  return (data as Partial<Float16ArrayLike>)[Symbol.toStringTag] === "Float16Array";
}

/**
 * Whether an array is of the kind that holds a dtype. It is asked what it is, not whose instance: a context of node:vm, as
 * some test runners make one, has classes of its own.
 */
export const holdsDType: Readonly<Record<DType, (data: ArrayBufferView) => boolean>> = {
  float32: types.isFloat32Array,
  float16: (data) => types.isUint16Array(data) || isFloat16Array(data),
  bfloat16: types.isUint16Array,
  int32: types.isInt32Array,
  bool: types.isUint8Array,
};

/**
 * The dtype of `data`, given or implied, after a check that the two agree.
 * A Uint16Array needs "float16" or "bfloat16", a Uint8Array "bool"; others imply theirs.
 */
export function checkDType(name: string, data: ArrayBufferView, given: unknown): DType {
  const dtype = given ?? impliedDType(data);
  if (dtype === undefined) {
    const fitting = dtypes.filter((one) => holdsDType[one](data)).map(show);
    if (fitting.length === 0) {
      const wanted = "a Float32Array, a Float16Array or Int32Array, or with its dtype a Uint16Array or Uint8Array";
      throw new FoveaError("ERR_FOVEA_DTYPE", `${name}: expected ${wanted}, got ${show(data)}`);
    }
    const wanted = fitting.join(" or ");
    throw new FoveaError("ERR_FOVEA_DTYPE", `${name}: ${show(data)} needs a dtype: expected ${wanted}`);
  }
  if (!isDType(dtype)) {
    throw new FoveaError("ERR_FOVEA_DTYPE", `${name}: expected a dtype of ${list(dtypes)}, got ${show(dtype)}`);
  }
  if (!holdsDType[dtype](data)) {
    const wanted = arrayTypes[dtype].name;
    throw new FoveaError("ERR_FOVEA_DTYPE", `${name}: expected a ${wanted} for dtype "${dtype}", got ${show(data)}`);
  }
  return dtype;
}

/** The same memory as the array that native code and `data` use: a Float16Array becomes the Uint16Array of its bits. */
export function asDataArray(data: ArrayBufferView): DataArray {
  return isFloat16Array(data) ? new Uint16Array(data.buffer, data.byteOffset, data.length) : (data as DataArray);
}

/** Rounds numbers to a float dtype (to nearest, ties to even; NaN stays NaN), into a new array. */
export function encode<D extends FloatDType>(values: Float32Array | Float64Array, dtype: D): DataOf<D> {
  const array = allocate(dtype, values.length);
  if (dtype === "float32") array.set(values);
  else if (dtype === "float16") new Float16Polyfill(array.buffer as ArrayBuffer).set(values);
  else for (let i = 0; i < array.length; i++) array[i] = bfloat16Bits(values[i]!);
  return array;
}

/** Reads one element as a number; exact for every dtype. */
export function decode(dtype: DType, data: DataArray, index: number): number {
  if (dtype === "float16") return float16Values()[data[index]!]!;
  if (dtype === "bfloat16") return bfloat16Value(data[index]!);
  return data[index]!;
}

const float32 = new Float32Array(1);
const float32Bits = new Uint32Array(float32.buffer);

/** bfloat16 is the upper half of a float32. Adding half of the last place that stays rounds; its parity settles ties. */
function bfloat16Bits(value: number): number {
  float32[0] = value;
  const bits = float32Bits[0]!;
  if (Number.isNaN(value)) return (bits >>> 16) | 0x40; // quiet: the upper half alone must still be a NaN
  // A tie that float32 made of a number beside it is none: rounding twice is not rounding once.
  const beyond = Math.abs(value) - Math.abs(float32[0]);
  if ((bits & 0xffff) === 0x8000 && beyond !== 0) return (bits >>> 16) + (beyond > 0 ? 1 : 0);
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

function bfloat16Value(bits: number): number {
  float32Bits[0] = bits << 16;
  return float32[0]!;
}

let float16Table: Float32Array | undefined;

/** The value of each of the 65536 bit patterns: 256 KB, made when the first float16 is read. */
function float16Values(): Float32Array {
  float16Table ??= Float32Array.from(new Float16Polyfill(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer));
  return float16Table;
}
