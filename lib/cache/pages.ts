// The memory of a cache: for each layer its pages of keys and of values and, with int8, their scales.
import { arrayTypes, type DType, type StoredDType } from "../dtype.js";
import { attempt, deviceNumber, type Device } from "../device.js";
import { newView } from "../memory.js";
import { native } from "../native.js";
import { DeviceStorage } from "../storage.js";
import { product, type View } from "../view.js";

/** Pages of one layer: [pages, kvHeads, pageSize, dim]; scales are float32 [pages, kvHeads, pageSize]. */
export interface LayerPages {
  readonly key: View;
  readonly value: View;
  readonly keyScales: View | undefined;
  readonly valueScales: View | undefined;
}

export interface PageShape {
  readonly layers: number;
  readonly pages: number;
  readonly kvHeads: number;
  readonly pageSize: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly dtype: StoredDType;
  readonly device: Device;
}

/** The host's memory is zeros that take no room until they are written. */
export function allocatePages(shape: PageShape): LayerPages[] {
  const { layers, pages, kvHeads, pageSize, headDim, valueDim, dtype, device } = shape;
  const made: View[] = [];
  const make = (type: DType, sizes: readonly number[]) => {
    const view = newView("cache", type, device, sizes);
    view.storage!.retain();
    made.push(view);
    return view;
  };
  const type = dtype === "int8" ? "bool" : dtype; // bytes
  const scales = () => (dtype === "int8" ? make("float32", [pages, kvHeads, pageSize]) : undefined);
  try {
    return Array.from({ length: layers }, () => ({
      key: make(type, [pages, kvHeads, pageSize, headDim]),
      value: make(type, [pages, kvHeads, pageSize, valueDim]),
      keyScales: scales(),
      valueScales: scales(),
    }));
  } catch (error) {
    for (const view of made) view.storage!.release();
    throw error;
  }
}

export function releasePages(layers: readonly LayerPages[]): void {
  for (const layer of layers) for (const view of viewsOf(layer)) view.storage!.release();
}

/** Bytes of one page in all layers. */
export function pageBytes({ layers, kvHeads, pageSize, headDim, valueDim, dtype }: PageShape): number {
  const size = dtype === "int8" ? 1 : arrayTypes[dtype].BYTES_PER_ELEMENT;
  const perRow = size * (headDim + valueDim) + (dtype === "int8" ? 8 : 0);
  return layers * kvHeads * pageSize * perRow;
}

/** Copies a page in all layers (on a GPU in call order). */
export function copyPage(layers: readonly LayerPages[], from: number, to: number): void {
  for (const layer of layers) {
    for (const { storage, shape } of viewsOf(layer)) {
      const size = product(shape) / shape[0]!;
      if (storage instanceof DeviceStorage) copyThere(storage, from * size, to * size, size);
      else storage!.array("cache").copyWithin(to * size, from * size, (from + 1) * size);
    }
  }
}

function copyThere(storage: DeviceStorage, from: number, to: number, size: number): void {
  const { device, pointer, bytesPerElement } = storage;
  const target = pointer + BigInt(to * bytesPerElement);
  attempt(() => {
    const memory = native().adopt(deviceNumber(device), target, size * bytesPerElement);
    const type = { 1: 4, 2: 1, 4: 0 }[bytesPerElement]!; // any of that size: the bits stay
    native().copyElements(storage.handle("cache"), memory, Float64Array.of(type, type, from, size, 1));
    native().release(memory);
  });
}

export function viewsOf({ key, value, keyScales, valueScales }: LayerPages): View[] {
  return [key, value, keyScales, valueScales].filter((view) => view !== undefined);
}
