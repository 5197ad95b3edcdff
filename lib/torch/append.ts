// New keys and values on their way into a cache [entries, rows, heads, dim] (or its blocks): in place, before attention reads it.
import { storeNow, type RowStore } from "../cache/store.js";
import { encode, type FloatDType } from "../dtype.js";
import { deviceError, FoveaError, list } from "../errors.js";
import { sharesMemory } from "../flight.js";
import { axes, place } from "../layout.js";
import { reshaped, stridesFor, type View } from "../view.js";

/** Where row i of sequence b goes: an entry of the cache (or block), and the row there. */
export type Destination = (b: number, i: number) => [entry: number, row: number];

/** Rows [batch, length, heads, dim] for a cache. `numbers`: what they are instead, densely. */
export interface Rows {
  readonly name: string;
  readonly cache: View;
  readonly view: View;
  readonly numbers?: Float64Array | undefined;
}

/** Copies rows into a cache on the host. */
export function appendOnHost({ name, cache, view, numbers }: Rows, to: Destination): void {
  const [batch, length, heads, dim] = view.shape as [number, number, number, number];
  const target = cache.storage!.array(name);
  const bits = numbers && encode(numbers, cache.dtype as FloatDType);
  const source = view.storage!.array(name);
  let position = 0;
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < length; i++) {
      const [entry, row] = to(b, i);
      for (let h = 0; h < heads; h++) {
        const first = offsetOf(cache, entry, row, h);
        const from = offsetOf(view, b, i, h);
        for (let d = 0; d < dim; d++, position++) {
          target[first + d * cache.strides[3]!] = bits ? bits[position]! : source[from + d * view.strides[3]!]!;
        }
      }
    }
  }
}

function offsetOf({ offset, strides }: View, b: number, i: number, h: number): number {
  return offset + b * strides[0]! + i * strides[1]! + h * strides[2]!;
}

/**
 * Enqueues copies of rows into caches on a GPU, once all of them are checked; later calls on that GPU see them. A row of the
 * cache, all its heads, is a page of one token to native code.
 */
export function appendOnDevice(all: readonly Rows[], to: Destination): void {
  const stores = all.map(({ name, cache, view }): RowStore => {
    const { device, strides, offset, end } = cache;
    if (view.device !== device) throw deviceError(name, `${device}, where its cache is`, view.device);
    const [batch, length, heads, dim] = view.shape as [number, number, number, number];
    const width = heads * dim;
    const tokens = batch * length;
    const dense = strides[3] === 1 && strides[2] === dim && [strides[0]!, strides[1]!, offset].every(fits);
    const flat = stridesFor(view, [tokens, heads, dim]);
    if (!dense || flat === undefined || flat[2] !== 1) {
      const which = dense ? name : `${name}Cache`;
      const got = `strides ${list(dense ? view.strides : strides)}`;
      throw new FoveaError(
        "ERR_FOVEA_SHAPE",
        `${which}: on a GPU its rows lie densely, got ${got}; contiguous() helps`,
      );
    }
    function fits(elements: number): boolean {
      return elements >= 0 && elements % width === 0;
    }
    const slots = Int32Array.from({ length: tokens }, (_, token) => {
      const [entry, row] = to(Math.floor(token / length), token % length);
      return (offset + entry * strides[0]! + row * strides[1]!) / width;
    });
    return {
      from: place(reshaped(view, [tokens, heads, dim], flat, view.offset), axes.thd),
      tokens,
      heads,
      dims: dim,
      pages: end / width,
      pageSize: 1,
      to: cache,
      toDtype: cache.dtype as FloatDType,
      scales: undefined,
      slots,
      rotation: undefined,
    };
  });
  // The stores of one launch are in no order, so where one writes what another reads or writes they are launched one by one.
  const touches = (a: Rows, b: Rows) => a !== b && [b.cache, b.view].some((view) => sharesMemory(a.cache, view));
  if (all.some((a) => all.some((b) => touches(a, b)))) for (const store of stores) storeNow([store]);
  else storeNow(stores);
}
