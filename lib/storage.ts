import { types } from "node:util";
import * as threads from "node:worker_threads";
import type { DeviceMemory, Storage as NativeStorage } from "../binding.js";
import type { Device } from "./device.js";
import type { DataArray } from "./dtype.js";
import { FoveaError } from "./errors.js";
import { native } from "./native.js";

/**
 * Memory that tensors share. It is counted: each tensor handle and each call in flight holds it once, and the last one to
 * let go drops it.
 */
export abstract class Storage {
  /** What addresses count within: storages overlap only in the same space. */
  abstract readonly space: ArrayBuffer | number | Device;
  /** Address of the first element, in bytes. */
  abstract readonly byteOffset: number;
  readonly device: Device;
  readonly bytesPerElement: number;
  /** Number of elements. */
  readonly length: number;
  #holders = 0;

  constructor(device: Device, bytesPerElement: number, length: number) {
    this.device = device;
    this.bytesPerElement = bytesPerElement;
    this.length = length;
  }

  /** What native code knows it by, after a check that it is still there. `name` is the argument that an error names. */
  abstract handle(name: string): NativeStorage;

  /** The elements, after the same check. Only the host's can be read. */
  abstract array(name: string): DataArray;

  retain(): void {
    this.#holders++;
  }

  release(): void {
    if (--this.#holders === 0) this.drop();
  }

  /** Whether nobody holds it any more. */
  abstract readonly released: boolean;

  /** Gives the memory back. */
  protected abstract drop(): void;
}

/** An array. Dropped, the garbage collector can take it even while disposed handles are still about. */
export class HostStorage extends Storage {
  /** A SharedArrayBuffer is a handle, of which a clone shows the same memory: that begins at this address. */
  space: ArrayBuffer | number;
  readonly byteOffset: number;
  #array: DataArray | undefined;
  #pinned = false;

  constructor(array: DataArray) {
    super("cpu", array.BYTES_PER_ELEMENT, array.length);
    this.#array = array;
    const { buffer, byteOffset } = array;
    this.space = types.isSharedArrayBuffer(buffer) ? native().address(array) - byteOffset : buffer;
    this.byteOffset = byteOffset;
  }

  handle(name: string): NativeStorage {
    return this.array(name);
  }

  array(name: string): DataArray {
    const array = this.#array;
    if (array === undefined) throw disposedError(name);
    if (array.length !== this.length) throw detachedError(name);
    return array;
  }

  get released(): boolean {
    return this.#array === undefined;
  }

  protected drop(): void {
    this.#array = undefined;
    this.space = 0; // it would keep the memory; no array is there
  }

  /**
   * Keeps the ArrayBuffer from being transferred, to another thread or by its own `transfer`, which would take the memory away
   * under a running call. Node has no way back: from then on, posting it with a transfer list copies (or fails, by Node
   * version), and `transfer` throws. The limit: before Node 24, `ArrayBuffer.prototype.transfer.call(buffer)` still goes past
   * this, and so does a buffer that was frozen.
   */
  pin(): void {
    if (this.#pinned) return;
    this.#pinned = true;
    if (typeof this.space !== "number" && !pinnedBuffers.has(this.space)) {
      threads.markAsUntransferable(this.space);
      forbidTransfer(this.space);
      pinnedBuffers.add(this.space);
    }
  }
}

/** A GPU's memory. */
export class DeviceStorage extends Storage {
  readonly space: Device;
  readonly byteOffset: number;
  readonly pointer: bigint;
  #memory: DeviceMemory | undefined;

  constructor(device: Device, memory: DeviceMemory, bytesPerElement: number, length: number) {
    super(device, bytesPerElement, length);
    this.#memory = memory;
    this.space = device;
    this.pointer = native().pointer(memory);
    this.byteOffset = Number(this.pointer); // device addresses have fewer than 53 bits
  }

  handle(name: string): DeviceMemory {
    if (this.#memory === undefined) throw disposedError(name);
    return this.#memory;
  }

  array(name: string): never {
    this.handle(name);
    const message = `${name}: is on ${this.device}, where only its kernels can read it; await its read() first`;
    throw new FoveaError("ERR_FOVEA_DEVICE", message);
  }

  get released(): boolean {
    return this.#memory === undefined;
  }

  protected drop(): void {
    native().release(this.#memory!);
    this.#memory = undefined;
  }
}

const pinnedBuffers = new WeakSet<ArrayBuffer>();

/** The ways in which an ArrayBuffer hands its memory to a new one, where this runtime has them. */
const transfers = ["transfer", "transferToFixedLength"].filter((method) => method in ArrayBuffer.prototype);

/** Before Node 24 these do not look at `markAsUntransferable`. */
function forbidTransfer(buffer: ArrayBuffer): void {
  for (const method of transfers) Reflect.defineProperty(buffer, method, { value: refuseTransfer });
}

function refuseTransfer(): never {
  throw new TypeError("this ArrayBuffer was given to fovea's attention() and cannot be transferred: copy it instead");
}

function disposedError(name: string): FoveaError {
  return new FoveaError("ERR_FOVEA_DISPOSED", `${name}: its memory was disposed`);
}

function detachedError(name: string): FoveaError {
  return new FoveaError("ERR_FOVEA_BUFFER", `${name}: its ArrayBuffer is detached (transferred to another thread?)`);
}

/** Refuses memory that can move or shrink under a call: resizable and detached buffers, and what a WebAssembly.Memory may grow. */
export function checkBuffer(name: string, data: ArrayBufferView): void {
  const buffer = data.buffer as { resizable?: boolean; growable?: boolean };
  if (buffer.resizable === true || buffer.growable === true) {
    throw new FoveaError(
      "ERR_FOVEA_BUFFER",
      `${name}: its ArrayBuffer is resizable; copy the data into one of fixed size`,
    );
  }
  if (data.byteLength === 0 && isDetached(data.buffer)) throw detachedError(name);
  if (isWasmMemory(data)) {
    const message = `${name}: its ArrayBuffer is a WebAssembly.Memory's, which ends when that grows; copy the data out of it`;
    throw new FoveaError("ERR_FOVEA_BUFFER", message);
  }
}

const wasmPage = 65536;
/** Of the operating system; a WebAssembly memory begins on one. */
const memoryPage = 4096;

/**
 * Whether this is a WebAssembly.Memory's buffer: its `grow()` detaches it whoever uses it, and where it was marked as
 * untransferable, newer versions of Node end the process. Nothing says what it is, but that it cannot be transferred does. A list
 * with the same buffer twice transfers none in any case, and the error tells which of the two was the reason (Node 20 has no
 * error for the first). That takes microseconds, and is for the few buffers that by their size and address may be ones.
 */
function isWasmMemory(data: ArrayBufferView): boolean {
  const { buffer } = data;
  const { byteLength } = buffer;
  if (byteLength === 0 || byteLength % wasmPage !== 0 || types.isSharedArrayBuffer(buffer)) return false;
  if (pinnedBuffers.has(buffer) || isMarked?.(buffer) === true || !startsPage(data)) return false;
  try {
    structuredClone(null, { transfer: [buffer, buffer] });
    return true;
  } catch (error) {
    return !/duplicate/.test((error as Error).message);
  }
}

/** Node 20 has none. */
const { isMarkedAsUntransferable: isMarked } = threads as { isMarkedAsUntransferable?: (object: unknown) => boolean };

/** Without native code nobody computes, and whoever would is told so. */
function startsPage(data: ArrayBufferView): boolean {
  try {
    return (native().address(data) - data.byteOffset) % memoryPage === 0;
  } catch (error) {
    if (error instanceof FoveaError) return false;
    throw error;
  }
}

/** Node 20 has no `ArrayBuffer.prototype.detached`, but even nothing cannot be sliced out of a detached buffer. */
function isDetached(buffer: ArrayBufferLike): boolean {
  try {
    buffer.slice(0, 0);
    return false;
  } catch {
    return true;
  }
}
