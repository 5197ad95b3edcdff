import { inspect } from "node:util";
import { attempt, checkDevice, checkGpu, deviceNumber, type Device } from "./device.js";
import type { DataArray, DataOf, DType, FloatDType, Float16ArrayLike } from "./dtype.js";
import {
  allocateFloat64,
  arrayTypes,
  asDataArray,
  checkDType,
  decode,
  dtypes,
  encode,
  isDType,
  isFloatDType,
} from "./dtype.js";
import { FoveaError, list, show } from "./errors.js";
import { assertFree } from "./flight.js";
import { native } from "./native.js";
import { randomNumbers, type Distribution } from "./random.js";
import { copyToDevice, filled, moved, newView, packed } from "./memory.js";
import { checkNames } from "./rules.js";
import { checkBuffer, DeviceStorage, HostStorage } from "./storage.js";
import {
  checkShape,
  contiguousStrides,
  forEachIndex,
  isContiguous,
  makeView,
  product,
  reshaped,
  stridesFor,
  type View,
} from "./view.js";

export interface TensorOptions<D extends DType = DType> {
  /** Element type; "float32" by default. */
  dtype?: D | undefined;
  /** Where its memory lives; "cpu" by default. */
  device?: Device | undefined;
}

export interface RandomOptions<D extends FloatDType = FloatDType> extends TensorOptions<D> {
  /** An integer from 0 to 2^32 - 1; the same seed gives the same numbers everywhere. */
  seed: number;
  /** Standard normal ("normal", the default) or uniform in [0, 1) ("uniform"), before rounding to 16 bits. */
  distribution?: Distribution | undefined;
}

const tensorNames: ReadonlySet<string> = new Set(["dtype", "device"] satisfies (keyof TensorOptions)[]);
const randomNames: ReadonlySet<string> = new Set([
  ...tensorNames,
  ...(["seed", "distribution"] satisfies (keyof RandomOptions)[]),
]);

/** What says that it is the library that makes a tensor. */
const makerKey = Symbol();

/** A new handle on what a view shows. For the library itself. */
export let makeTensor: (view: View) => Tensor;

/** What a tensor shows, after a check that it is not disposed; `name` is the argument that an error names. */
export let viewOf: (tensor: Tensor, name: string) => View;

/**
 * An n-dimensional array: a handle on memory that other handles (views) may share.
 *
 * Views (`transpose`, `slice`, `reshape`) copy nothing. `dispose()` ends one handle; the memory goes with the last of them,
 * and once no call in flight uses it. What is never disposed is garbage collected.
 *
 * Methods throw (those that give promises reject with) a `FoveaError`: ERR_FOVEA_DISPOSED after `dispose()`; ERR_FOVEA_SHAPE for
 * shapes, dimensions and ranges that do not fit; ERR_FOVEA_ARGUMENT, ERR_FOVEA_OPTION and ERR_FOVEA_DTYPE for data, options and
 * dtypes that cannot be; ERR_FOVEA_DEVICE for a device that is not here, or for reading on the host what is on a GPU;
 * ERR_FOVEA_BUFFER for an ArrayBuffer that is resizable or detached; ERR_FOVEA_BUSY for reading what an unsettled call writes;
 * ERR_FOVEA_BOUNDS for memory that is too small for its shape; ERR_FOVEA_OUT_OF_MEMORY; ERR_FOVEA_DEVICE_LOST once a GPU failed.
 */
export class Tensor<D extends DType = DType> {
  readonly #view: View;
  #disposed = false;

  private constructor(view: View, key: typeof makerKey) {
    if (key !== makerKey) {
      const message = "Tensor: expected Tensor.from, zeros, empty or random to make it, got new Tensor";
      throw new FoveaError("ERR_FOVEA_ARGUMENT", message);
    }
    // What was checked once must stay so, whoever has these lists.
    this.#view = { ...view, shape: [...view.shape], strides: [...view.strides] };
    view.storage!.retain();
  }

  static {
    makeTensor = (view) => new Tensor(view, makerKey);
    viewOf = (tensor, name) => {
      if (#view in tensor) return tensor.#live(name);
      throw new FoveaError("ERR_FOVEA_ARGUMENT", `${name}: expected a Tensor, got an object with its prototype alone`);
    };
    Object.defineProperty(this.prototype, inspect.custom, {
      value: function (this: Tensor): string {
        return this.toString();
      },
    });
  }

  /**
   * Wraps a typed array; copies and casts nothing. `data.length` must be the product of `shape`. With `device` a GPU, where
   * nothing can be wrapped, it copies the data there, and `data` may change as soon as this returns.
   *
   * Float32Array, Int32Array and Float16Array imply their dtype; a Uint16Array holds the bits of "float16" or "bfloat16" and
   * a Uint8Array those of "bool", and must say so.
   */
  static from(data: Float32Array, shape: readonly number[], options?: TensorOptions<"float32">): Tensor<"float32">;
  static from(data: Int32Array, shape: readonly number[], options?: TensorOptions<"int32">): Tensor<"int32">;
  static from(data: Float16ArrayLike, shape: readonly number[], options?: TensorOptions<"float16">): Tensor<"float16">;
  static from<D extends DType>(
    data: DataOf<D>,
    shape: readonly number[],
    options: TensorOptions<D> & { dtype: D },
  ): Tensor<D>;
  static from(data: DataArray | Float16ArrayLike, shape: readonly number[], options: TensorOptions = {}): Tensor {
    if (!ArrayBuffer.isView(data)) {
      throw new FoveaError("ERR_FOVEA_ARGUMENT", `data: expected a typed array, got ${show(data)}`);
    }
    checkShape("shape", shape);
    checkNames("options", options, tensorNames);
    const device = checkDevice("device", options.device);
    const dtype = checkDType("data", data, options.dtype);
    checkBuffer("data", data);
    const array = asDataArray(data);
    if (array.length !== product(shape)) {
      const message = `data: expected ${product(shape)} elements for shape ${list(shape)}, got ${array.length}`;
      throw new FoveaError("ERR_FOVEA_SHAPE", message);
    }
    return place(array, dtype, shape, device);
  }

  /**
   * A tensor around device memory that others own: `pointer` is the address of its first element, a multiple of the dtype's
   * size, on `device` (by default the first GPU). They keep it until the tensor and its views are disposed and calls that use
   * them are done, and order their own work with fovea's (see `streamHandle`).
   */
  static fromDevicePointer<D extends DType = "float32">(
    pointer: bigint,
    shape: readonly number[],
    options: TensorOptions<D> = {},
  ): Tensor<D> {
    checkShape("shape", shape);
    checkNames("options", options, tensorNames);
    const device = checkGpu("device", options.device ?? "cuda");
    const dtype = checkDTypeName(options.dtype);
    const { BYTES_PER_ELEMENT: bytes } = arrayTypes[dtype];
    if (typeof pointer !== "bigint" || pointer <= 0n || pointer >= 1n << 53n || pointer % BigInt(bytes) !== 0n) {
      const wanted = `an address (a bigint) that is a multiple of ${bytes}`;
      throw new FoveaError("ERR_FOVEA_ARGUMENT", `pointer: expected ${wanted}, got ${show(pointer)}`);
    }
    const size = product(shape);
    const memory = attempt(() => native().adopt(deviceNumber(device), pointer, size * bytes));
    const storage = new DeviceStorage(device, memory, bytes, size);
    const sizes = [...shape];
    return makeTensor(makeView("tensor", storage, dtype, device, sizes, contiguousStrides(sizes), 0)) as Tensor<D>;
  }

  /** A new tensor whose contents are not specified, by default float32 on the processor. */
  static empty<D extends DType = "float32">(shape: readonly number[], options: TensorOptions<D> = {}): Tensor<D> {
    checkShape("shape", shape);
    checkNames("options", options, tensorNames);
    const device = checkDevice("device", options.device);
    const dtype = checkDTypeName(options.dtype);
    return makeTensor(newView("tensor", dtype, device, [...shape])) as Tensor<D>;
  }

  /** A new tensor of zeros, by default float32 on the processor. */
  static zeros<D extends DType = "float32">(shape: readonly number[], options: TensorOptions<D> = {}): Tensor<D> {
    const tensor = Tensor.empty(shape, options);
    const { storage, device } = tensor.#view;
    try {
      if (device !== "cpu") attempt(() => native().clear((storage as DeviceStorage).handle("tensor")));
    } catch (error) {
      tensor.dispose();
      throw error;
    }
    return tensor; // JavaScript hands out zeroed memory only
  }

  /** A new tensor of pseudo-random numbers, rounded to the dtype; the same for the same seed on every machine. */
  static random<D extends FloatDType = "float32">(shape: readonly number[], options: RandomOptions<D>): Tensor<D> {
    checkShape("shape", shape);
    checkNames("options", options, randomNames);
    const { seed, dtype = "float32", distribution = "normal" } = options;
    const device = checkDevice("device", options.device);
    if (!Number.isInteger(seed) || seed < 0 || seed > 0xffffffff) {
      throw new FoveaError("ERR_FOVEA_OPTION", `seed: expected an integer from 0 to 4294967295, got ${show(seed)}`);
    }
    if (!isDType(dtype) || !isFloatDType(dtype)) {
      const message = `dtype: expected "float32", "float16" or "bfloat16", got ${show(dtype)}`;
      throw new FoveaError("ERR_FOVEA_DTYPE", message);
    }
    if (distribution !== "normal" && distribution !== "uniform") {
      const message = `distribution: expected "normal" or "uniform", got ${show(distribution)}`;
      throw new FoveaError("ERR_FOVEA_OPTION", message);
    }
    const numbers = randomNumbers(product(shape), seed, distribution);
    return place(encode(numbers, dtype), dtype, shape, device) as Tensor<D>;
  }

  /** Sizes of the dimensions. */
  get shape(): readonly number[] {
    return Object.freeze(this.#view.shape); // when it is seen, as most shapes of results never are
  }

  /** Distance of neighbours along each dimension, in elements. */
  get strides(): readonly number[] {
    return Object.freeze(this.#view.strides);
  }

  /** Type of the elements. */
  get dtype(): D {
    return this.#view.dtype as D;
  }

  /** Where the memory lives. */
  get device(): Device {
    return this.#view.device;
  }

  /** Number of elements. */
  get size(): number {
    return this.#view.size;
  }

  /** Whether the elements lie in logical order without gaps. */
  get isContiguous(): boolean {
    return isContiguous(this.#view);
  }

  /** Whether `dispose()` was called on this handle. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /**
   * The memory, from the tensor's first element to its last: element (i, j, ...) is
   * `data[i * strides[0] + j * strides[1] + ...]`. For a contiguous tensor exactly its elements. Not a copy; the 16-bit
   * floats are a Uint16Array of their bits (see `toNumbers` and `cast`). Only of tensors on the host: see `read`.
   */
  get data(): DataOf<D> {
    const { storage, begin, end } = this.#live("tensor");
    const array = storage!.array("tensor");
    return (begin === 0 && end === array.length ? array : array.subarray(begin, end)) as DataOf<D>;
  }

  /** The address of the first element on a GPU, for native modules that share its memory. */
  get devicePointer(): bigint {
    const { storage, device, offset } = this.#live("tensor");
    if (storage instanceof DeviceStorage) return storage.pointer + BigInt(offset * storage.bytesPerElement);
    throw new FoveaError("ERR_FOVEA_DEVICE", `devicePointer: expected a tensor on a GPU, got one on ${device}`);
  }

  /** A view with two dimensions exchanged, or (given one number per dimension) with all of them in the order named. */
  transpose(...dims: number[]): Tensor<D> {
    const view = this.#live("tensor");
    const rank = view.shape.length;
    const named = dims.map((dim) => checkDim("transpose", view, dim));
    let order = named;
    if (named.length === 2) {
      order = view.shape.map((_, i) => i);
      [order[named[0]!], order[named[1]!]] = [named[1]!, named[0]!];
    }
    if (order.length !== rank || new Set(order).size !== rank) {
      const message = `transpose: expected 2 dimensions or each of ${rank} once, got ${list(dims)}`;
      throw new FoveaError("ERR_FOVEA_SHAPE", message);
    }
    const shape = order.map((dim) => view.shape[dim]!);
    const strides = order.map((dim) => view.strides[dim]!);
    return makeTensor(reshaped(view, shape, strides, view.offset)) as Tensor<D>;
  }

  /**
   * A view of the indices [start, end) of one dimension; `end` is its length by default. As in `Array.slice`, a negative index
   * counts from the end; so does a negative `dim` among the dimensions. A range that is not there is an ERR_FOVEA_SHAPE.
   */
  slice(dim: number, start: number, end?: number): Tensor<D> {
    const view = this.#live("tensor");
    const along = checkDim("slice", view, dim);
    const length = view.shape[along]!;
    const from = fromEnd(start, length);
    const to = end === undefined ? length : fromEnd(end, length);
    if (!(0 <= from && from <= to && to <= length)) {
      const got = `${show(start)} to ${show(end)}`;
      const message = `slice: expected a range within the ${length} indices of dimension ${along}, got ${got}`;
      throw new FoveaError("ERR_FOVEA_SHAPE", message);
    }
    const shape = view.shape.with(along, to - from);
    const empty = view.size === 0 || from === to; // the place of its first element may lie outside the memory
    const offset = empty ? view.offset : view.offset + from * view.strides[along]!;
    return makeTensor(reshaped(view, shape, view.strides, offset)) as Tensor<D>;
  }

  /**
   * A view with another shape of the same size; one dimension may be -1, which means what is left. Where only a copy could
   * show the elements in that shape it is an error: call `contiguous()` first.
   */
  reshape(shape: readonly number[]): Tensor<D> {
    const view = this.#live("tensor");
    const wanted = completeShape(view, shape);
    const strides = stridesFor(view, wanted);
    if (strides === undefined) {
      const from = `${list(view.shape)} with strides ${list(view.strides)}`;
      const message = `reshape: ${from} cannot be viewed as ${list(wanted)}; call contiguous() first, which copies`;
      throw new FoveaError("ERR_FOVEA_SHAPE", message);
    }
    return makeTensor(reshaped(view, wanted, strides, view.offset)) as Tensor<D>;
  }

  /**
   * A contiguous tensor of the same elements: a view if this one is contiguous, else a copy, which on a GPU is enqueued there.
   */
  contiguous(): Tensor<D> {
    const view = this.#live("tensor");
    if (isContiguous(view)) return makeTensor(view) as Tensor<D>;
    assertFree("tensor", view, false);
    return makeTensor(packed("tensor", view)) as Tensor<D>;
  }

  /**
   * A new, contiguous tensor of another float dtype: rounded to nearest, ties to even; what is too large becomes infinite,
   * NaN stays NaN. On a GPU it is enqueued there.
   */
  cast<To extends FloatDType>(dtype: To): Tensor<To> {
    const view = this.#live("tensor");
    if (!isDType(dtype) || !isFloatDType(dtype) || !isFloatDType(view.dtype)) {
      const message = `cast: expected float dtypes, got ${show(view.dtype)} to ${show(dtype)}`;
      throw new FoveaError("ERR_FOVEA_DTYPE", message);
    }
    if (view.device !== "cpu") {
      assertFree("tensor", view, false);
      return makeTensor(packed("tensor", view, dtype)) as Tensor<To>;
    }
    return wrap(encode(this.toNumbers(), dtype), dtype, view.shape) as Tensor<To>;
  }

  /** The elements as numbers, in logical order; exact for every dtype. Always a copy. Only of tensors on the host. */
  toNumbers(): Float64Array {
    const view = this.#live("tensor");
    const { dtype } = view;
    const from = readable(view);
    const to = allocateFloat64(view.size);
    forEachIndex(view, (index, position) => (to[position] = decode(dtype, from, index)));
    return to;
  }

  /**
   * This tensor on a device: a view where it is there already, else a copy. Copies from and to a GPU happen in call order with
   * everything else there, and off the event loop; until the promise settles, a host tensor that is sent must not change, and a
   * GPU tensor that is read takes its bytes there once more, where there is room.
   */
  async to(device: Device): Promise<Tensor<D>> {
    const target = checkDevice("device", device);
    const view = this.#live("tensor");
    if (target !== view.device) return makeTensor(await moved("tensor", view, target)) as Tensor<D>;
    if (target === "cpu") readable(view);
    return makeTensor(view) as Tensor<D>;
  }

  /** This tensor on the host: `to("cpu")`. */
  async read(): Promise<Tensor<D>> {
    return this.to("cpu");
  }

  /** Ends this handle. Idempotent. Calls in flight keep the memory until they are done. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#view.storage!.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return `Tensor ${this.dtype} ${list(this.shape)}${this.#disposed ? " (disposed)" : ""}`;
  }

  #live(name: string): View {
    if (this.#disposed) throw new FoveaError("ERR_FOVEA_DISPOSED", `${name}: the tensor was disposed`);
    return this.#view;
  }
}

/** A tensor of all of `array`. */
export function wrap(array: DataArray, dtype: DType, shape: readonly number[]): Tensor {
  const sizes = [...shape];
  return makeTensor(makeView("tensor", new HostStorage(array), dtype, "cpu", sizes, contiguousStrides(sizes), 0));
}

/** The same, on a device. */
function place(array: DataArray, dtype: DType, shape: readonly number[], device: Device): Tensor {
  if (device === "cpu") return wrap(array, dtype, shape);
  const view = newView("tensor", dtype, device, [...shape]);
  return makeTensor(filled(view, () => copyToDevice("data", array, view)));
}

/** "float32" by default. */
function checkDTypeName(dtype: unknown = "float32"): DType {
  if (isDType(dtype)) return dtype;
  throw new FoveaError("ERR_FOVEA_DTYPE", `dtype: expected one of ${list(dtypes)}, got ${show(dtype)}`);
}

/** The memory to read elements from, which no call in flight may be writing. */
function readable(view: View): DataArray {
  assertFree("tensor", view, false);
  return view.storage!.array("tensor");
}

/** An index that counts from the end where it is negative; NaN where it is no integer. */
function fromEnd(index: number, length: number): number {
  if (!Number.isInteger(index)) return NaN;
  return index < 0 ? index + length : index;
}

function checkDim(method: string, { shape }: View, dim: number): number {
  const rank = shape.length;
  const index = fromEnd(dim, rank);
  if (!(0 <= index && index < rank)) {
    const wanted =
      rank === 0 ? "no dimension, as it has none" : `a dimension from ${-rank} to ${rank - 1} of ${list(shape)}`;
    throw new FoveaError("ERR_FOVEA_SHAPE", `${method}: expected ${wanted}, got ${show(dim)}`);
  }
  return index;
}

/** `shape` with its -1 filled in. */
function completeShape({ shape: from, size }: View, shape: readonly number[]): number[] {
  if (!Array.isArray(shape)) checkShape("reshape", shape); // which throws
  const open = shape.indexOf(-1);
  const wanted = open < 0 ? shape : shape.with(open, 1);
  if (wanted.includes(-1)) {
    throw new FoveaError("ERR_FOVEA_SHAPE", `reshape: expected at most one -1, got ${list(shape)}`);
  }
  checkShape("reshape", wanted);
  const complete = open < 0 ? wanted : wanted.with(open, size / product(wanted));
  if (product(complete) !== size || !complete.every(Number.isInteger)) {
    throw new FoveaError(
      "ERR_FOVEA_SHAPE",
      `reshape: ${list(from)} has ${size} elements, which do not fit ${list(shape)}`,
    );
  }
  return [...complete];
}
