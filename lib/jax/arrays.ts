// Between @jax-js/jax's arrays and what fovea takes. The package is needed only to make an array, and loaded then.
import type { Array as JaxArray } from "@jax-js/jax";
import { FoveaError } from "../errors.js";
import type { TensorLike } from "../input.js";
import { Tensor } from "../tensor.js";

/** Told by their method `data`: the package need not be there to ask. (A tensor's `data` is not asked for: on a GPU it has none.) */
export function isJaxArray(value: unknown): value is JaxArray {
  if (typeof value !== "object" || value === null || value instanceof Tensor) return false;
  return typeof (value as { data?: unknown }).data === "function";
}

/** Its numbers on the host. Consumes the array, as `data()` does. Booleans come as 0 and 1. */
export async function readJaxArray(name: string, array: JaxArray): Promise<TensorLike> {
  const { shape } = array;
  const dtype: string = array.dtype;
  const data = await array.data();
  if (dtype === "bool") return { data: Uint8Array.from(data as Int32Array), shape, dtype };
  if (dtype === "float32" || dtype === "int32" || dtype === "float16") return { data, shape, dtype };
  const message = `${name}: expected an array of float32, float16, int32 or bool, got ${dtype}`;
  throw new FoveaError("ERR_FOVEA_DTYPE", message);
}

/** A jax array of the same numbers on one of jax-js's backends. */
export async function toJaxArray({ data, shape, dtype }: Tensor, device: JaxArray["device"]): Promise<JaxArray> {
  const { numpy } = await import("@jax-js/jax");
  const values = dtype === "float16" ? float16Array(data as Uint16Array) : (data as Float32Array<ArrayBuffer>);
  return numpy.array(values, { shape: [...shape], device });
}

/** The same bits. Arrays of float16 come only where the runtime has a Float16Array, which TypeScript's library does not know yet. */
function float16Array({ buffer, byteOffset, length }: Uint16Array): Float32Array<ArrayBuffer> {
  const { Float16Array } = globalThis as unknown as {
    Float16Array: new (buffer: ArrayBufferLike, byteOffset: number, length: number) => Float32Array<ArrayBuffer>;
  };
  return new Float16Array(buffer, byteOffset, length);
}
