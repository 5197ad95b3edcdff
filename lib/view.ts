import type { Device } from "./device.js";
import type { DType } from "./dtype.js";
import { FoveaError, list, show, showList } from "./errors.js";
import type { Storage } from "./storage.js";

/** An n-dimensional array somewhere in a storage: what tensors, and all arguments of a call, are inside. */
export interface View {
  /** Absent for a bare shape, which can be planned for and nothing else. */
  readonly storage: Storage | undefined;
  readonly dtype: DType;
  readonly device: Device;
  readonly shape: readonly number[];
  /** In elements, one per dimension. */
  readonly strides: readonly number[];
  /** Of the first element, in elements from the start of the storage. */
  readonly offset: number;
  /** Number of elements. */
  readonly size: number;
  /** The elements of the storage that the view can touch: [begin, end). */
  readonly begin: number;
  readonly end: number;
}

/** Throws ERR_FOVEA_BOUNDS when the view reaches outside its storage. */
export function makeView(
  name: string,
  storage: Storage | undefined,
  dtype: DType,
  device: Device,
  shape: readonly number[],
  strides: readonly number[],
  offset: number,
): View {
  let size = 1;
  let begin = offset;
  let end = offset + 1;
  for (let i = 0; i < shape.length; i++) {
    size *= shape[i]!;
    const reach = (shape[i]! - 1) * strides[i]!;
    if (reach < 0) begin += reach;
    else end += reach;
  }
  if (size === 0) begin = end = offset = 0; // what touches nothing may lie anywhere
  if (storage !== undefined && (begin < 0 || end > storage.length)) {
    const wanted = `shape ${list(shape)} with strides ${list(strides)} and offset ${offset}`;
    const message = `${name}: ${wanted} touches elements ${begin} to ${end - 1}, but its data has ${storage.length}`;
    throw new FoveaError("ERR_FOVEA_BOUNDS", message);
  }
  return { storage, dtype, device, shape, strides, offset, size, begin, end };
}

/** Throws ERR_FOVEA_SHAPE unless `shape` is a list of integers >= 0. */
export function checkShape(name: string, shape: unknown): asserts shape is readonly number[] {
  if (!Array.isArray(shape)) {
    throw new FoveaError("ERR_FOVEA_SHAPE", `${name}: expected a shape, an array of sizes, got ${show(shape)}`);
  }
  for (const size of shape as unknown[]) {
    if (!Number.isSafeInteger(size) || (size as number) < 0) {
      const isLarge = typeof size === "number" && size > Number.MAX_SAFE_INTEGER;
      const wanted = isLarge ? "sizes below 2^53" : "sizes that are integers >= 0";
      throw new FoveaError("ERR_FOVEA_SHAPE", `${name}: expected ${wanted}, got ${showList(shape)}`);
    }
  }
}

export function product(shape: readonly number[]): number {
  let size = 1;
  for (const length of shape) size *= length;
  return size;
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) return false;
  }
  return true;
}

/** Strides of a dense array whose last dimension varies fastest. */
export function contiguousStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride;
    stride *= shape[i]!;
  }
  return strides;
}

/** Whether the elements lie in logical order without gaps. */
export function isContiguous({ shape, strides, size }: View): boolean {
  if (size === 0) return true;
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== stride) return false;
    stride *= shape[i]!;
  }
  return true;
}

/** The same view with other dimensions. Never reaches further than `view`. */
export function reshaped(view: View, shape: readonly number[], strides: readonly number[], offset: number): View {
  return makeView("tensor", view.storage, view.dtype, view.device, shape, strides, offset);
}

/**
 * Strides that show the elements of `view` in logical order as `shape` (of the same size), or undefined when only a copy
 * could. Runs of dimensions with the same number of elements are matched from the left; inside a run of old dimensions
 * each must step over exactly the next one.
 */
export function stridesFor(view: View, shape: readonly number[]): number[] | undefined {
  if (view.size === 0) return contiguousStrides(shape);
  const old = view.shape.flatMap((length, i) => (length === 1 ? [] : [{ length, stride: view.strides[i]! }]));
  const strides = new Array<number>(shape.length).fill(1);
  let from = 0;
  let to = 0;
  while (from < old.length) {
    const firstOld = from;
    const firstNew = to;
    let oldSize = old[from++]!.length;
    let newSize = shape[to++]!;
    while (oldSize !== newSize) {
      if (oldSize < newSize) oldSize *= old[from++]!.length;
      else newSize *= shape[to++]!;
    }
    for (let i = firstOld; i + 1 < from; i++) {
      if (old[i]!.stride !== old[i + 1]!.stride * old[i + 1]!.length) return undefined;
    }
    let stride = old[from - 1]!.stride;
    for (let i = to - 1; i >= firstNew; i--) {
      strides[i] = stride;
      stride *= shape[i]!;
    }
  }
  return strides;
}

/** Calls `visit` with the storage index of each element, in logical order. */
export function forEachIndex(view: View, visit: (index: number, position: number) => void): void {
  const { shape, strides, size } = view;
  const rank = shape.length;
  if (size === 0) return;
  const counters = new Array<number>(rank).fill(0);
  const inner = rank === 0 ? 1 : shape[rank - 1]!;
  const step = rank === 0 ? 0 : strides[rank - 1]!;
  let row = view.offset;
  for (let position = 0; ;) {
    for (let i = 0; i < inner; i++) visit(row + i * step, position++);
    let dim = rank - 2;
    for (; dim >= 0; dim--) {
      row += strides[dim]!;
      if (++counters[dim]! < shape[dim]!) break;
      row -= counters[dim]! * strides[dim]!;
      counters[dim] = 0;
    }
    if (dim < 0) return;
  }
}
