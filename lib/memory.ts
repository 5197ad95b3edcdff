// Memory for tensors: getting it, copying within a device, moving between devices.
import { attempt, deviceNumber, whenSettled, type Device } from "./device.js";
import { allocate, arrayTypes, dtypes, type DType } from "./dtype.js";
import { assertFree, takeOff } from "./flight.js";
import { native } from "./native.js";
import { DeviceStorage, HostStorage, type Storage } from "./storage.js";
import { contiguousStrides, forEachIndex, makeView, product, type View } from "./view.js";

/** A contiguous view of new memory: zeros on the host, unspecified on a GPU. */
export function newView(name: string, dtype: DType, device: Device, shape: readonly number[]): View {
  const storage = newStorage(dtype, device, product(shape));
  return makeView(name, storage, dtype, device, shape, contiguousStrides(shape), 0);
}

function newStorage(dtype: DType, device: Device, length: number): Storage {
  if (device === "cpu") return new HostStorage(allocate(dtype, length));
  const bytes = arrayTypes[dtype].BYTES_PER_ELEMENT;
  const memory = attempt(() => native().allocate(deviceNumber(device), length * bytes));
  return new DeviceStorage(device, memory, bytes, length);
}

/** Gives new memory back that nothing came to hold. */
export function discard({ storage }: View): void {
  storage?.retain();
  storage?.release();
}

/** The view once `fill` has filled it; its memory is given back if that fails. */
export function filled(view: View, fill: (view: View) => void): View {
  try {
    fill(view);
    return view;
  } catch (error) {
    discard(view);
    throw error;
  }
}

/** The same elements without gaps, in new memory of the same device. On a GPU they may become another float dtype. */
export function packed(name: string, view: View, dtype: DType = view.dtype): View {
  return filled(newView(name, dtype, view.device, view.shape), (copy) => {
    if (view.device !== "cpu") return copyOnDevice(name, view, copy);
    const from = view.storage!.array(name);
    const to = copy.storage!.array(name);
    forEachIndex(view, (index, position) => (to[position] = from[index]!));
  });
}

function copyOnDevice(name: string, from: View, to: View): void {
  const codes = [dtypes.indexOf(from.dtype), dtypes.indexOf(to.dtype)];
  const numbers = Float64Array.from([...codes, from.offset, ...from.shape, ...from.strides]);
  const source = from.storage as DeviceStorage;
  const target = to.storage as DeviceStorage;
  attempt(() => native().copyElements(source.handle(name), target.handle(name), numbers));
}

/** Copies an array to a GPU; it may change once this returns. */
export function copyToDevice(name: string, array: ArrayBufferView, to: View): void {
  attempt(() => native().writeNow((to.storage as DeviceStorage).handle(name), array));
}

/**
 * The same elements on another device, in new memory. What fills its stretch of memory keeps its strides; else the copy is
 * contiguous.
 */
export async function moved(name: string, view: View, device: Device): Promise<View> {
  if (view.device !== "cpu" && device !== "cpu") {
    const onHost = await moved(name, view, "cpu");
    return moved(name, onHost, device);
  }
  assertFree(name, view, false);
  const source = view.end - view.begin === view.size ? view : packed(name, view);
  const { shape, strides, begin, end, offset, dtype } = source;
  const storage = newStorage(dtype, device, end - begin);
  const target = makeView(name, storage, dtype, device, shape, strides, offset - begin);
  const land = takeOff([source], undefined);
  try {
    await (device === "cpu" ? read(name, source, target) : write(name, source, target));
    return target;
  } catch (error) {
    discard(target);
    throw error;
  } finally {
    land();
  }
}

function write(name: string, from: View, to: View): Promise<void> {
  const array = from.storage!.array(name).subarray(from.begin, from.end);
  return whenSettled((done) => native().write((to.storage as DeviceStorage).handle(name), array, done));
}

function read(name: string, from: View, to: View): Promise<void> {
  const storage = from.storage as DeviceStorage;
  const begin = from.begin * storage.bytesPerElement;
  return whenSettled((done) => native().read(storage.handle(name), begin, to.storage!.array(name), done));
}
