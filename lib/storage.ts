import { markAsUntransferable } from "node:worker_threads";
import type { DataArray } from "./dtype.js";
import { FoveaError } from "./errors.js";

/**
 * Memory that tensors share. It is counted: each tensor handle and each call in flight holds it once, and the last one to
 * let go drops the array, so that the garbage collector can take it even while disposed handles are still about.
 */
export class Storage {
  readonly buffer: ArrayBufferLike;
  readonly byteOffset: number;
  readonly bytesPerElement: number;
  readonly length: number;
  #array: DataArray | undefined;
  #holders = 0;
  #pinned = false;

  constructor(array: DataArray) {
    this.#array = array;
    this.buffer = array.buffer;
    this.byteOffset = array.byteOffset;
    this.bytesPerElement = array.BYTES_PER_ELEMENT;
    this.length = array.length;
  }

  /** The array itself, after a check that it is still there. `name` is the argument that an error names. */
  array(name: string): DataArray {
    const array = this.#array;
    if (array === undefined) throw new FoveaError("ERR_FOVEA_DISPOSED", `${name}: its memory was disposed`);
    if (array.length !== this.length) throw detachedError(name);
    return array;
  }

  retain(): void {
    this.#holders++;
  }

  release(): void {
    if (--this.#holders === 0) this.#array = undefined;
  }

  /** Whether nobody holds it any more. */
  get released(): boolean {
    return this.#array === undefined;
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
    if (this.buffer instanceof ArrayBuffer && !pinnedBuffers.has(this.buffer)) {
      markAsUntransferable(this.buffer);
      forbidTransfer(this.buffer);
      pinnedBuffers.add(this.buffer);
    }
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

function detachedError(name: string): FoveaError {
  return new FoveaError("ERR_FOVEA_BUFFER", `${name}: its ArrayBuffer is detached (transferred to another thread?)`);
}

/** Refuses memory that can move or shrink under a call: resizable and detached buffers. */
export function checkBuffer(name: string, data: ArrayBufferView): void {
  const buffer = data.buffer as { resizable?: boolean; growable?: boolean };
  if (buffer.resizable === true || buffer.growable === true) {
    throw new FoveaError(
      "ERR_FOVEA_BUFFER",
      `${name}: its ArrayBuffer is resizable; copy the data into one of fixed size`,
    );
  }
  if (data.byteLength === 0 && isDetached(data.buffer)) throw detachedError(name);
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
