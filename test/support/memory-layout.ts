// The same numbers in other places: dimensions in another order, with gaps, with steps, backwards.
import { encode } from "../../lib/dtype.js";
import { randomNumbers } from "../../lib/random.js";
import { Tensor, type FloatDType, type TensorInput } from "../../lib/index.js";

type Data = Float32Array | Uint16Array | Uint8Array;

function encoded(values: Float64Array, dtype: FloatDType | "bool"): Data {
  return dtype === "bool" ? Uint8Array.from(values) : encode(values, dtype);
}

/** Numbers in their logical order, as a tensor. */
export function contiguous(values: Float64Array, shape: readonly number[], dtype: FloatDType | "bool"): Tensor {
  return Tensor.from(encoded(values, dtype) as Uint8Array, shape, { dtype: dtype as "bool" });
}

interface Place {
  readonly strides: readonly number[];
  /** Of the first element. */
  readonly offset: number;
  /** Of the array that holds it all. */
  readonly length: number;
  /** Dimensions from the outermost in memory to the innermost, the room each has, and how far apart its elements are. */
  readonly order: readonly number[];
  readonly room: readonly number[];
  readonly steps: readonly number[];
}

/** Chooses where elements go. `forwards`: no dimension runs backwards. */
function choosePlace(shape: readonly number[], seed: number, forwards: boolean): Place {
  const rank = shape.length;
  const luck = randomNumbers(4 * rank + 1, seed, "uniform");
  const order = [...shape.keys()];
  if (luck[4 * rank]! < 0.6) order.sort((a, b) => luck[a]! - luck[b]!);
  const room = shape.map((size, dim) => Math.max(1, size) + (luck[rank + dim]! < 0.6 ? 0 : 1 + (dim % 3)));
  const steps = shape.map((_, dim) => (luck[2 * rank + dim]! < 0.8 ? 1 : 2));
  const strides = new Array<number>(rank);
  let offset = 0;
  let length = 1;
  for (const dim of order.toReversed()) {
    const backwards = !forwards && luck[3 * rank + dim]! < 0.15 && shape[dim]! > 0;
    const stride = length * steps[dim]!;
    strides[dim] = backwards ? -stride : stride;
    if (backwards) offset += (shape[dim]! - 1) * stride;
    length = stride * room[dim]!;
  }
  return { strides, offset, length, order, room, steps };
}

/** The index in memory of each element, in logical order. */
function positions(shape: readonly number[], { strides, offset }: Place): number[] {
  let all = [offset];
  shape.forEach((size, dim) => {
    all = all.flatMap((first) => Array.from({ length: size }, (_, i) => first + i * strides[dim]!));
  });
  return all;
}

/** Numbers somewhere in a larger array, the rest of which is NaN (bool: true). */
export function scatter(
  values: Float64Array,
  shape: readonly number[],
  dtype: FloatDType | "bool",
  seed: number,
): TensorInput {
  const place = choosePlace(shape, seed, false);
  const all = new Float64Array(place.length).fill(dtype === "bool" ? 1 : NaN);
  positions(shape, place).forEach((at, i) => (all[at] = values[i]!));
  return { data: encoded(all, dtype), shape, dtype, strides: place.strides, offset: place.offset };
}

/** What the memory of `scattered` holds at first. */
const untouched = 0x1234;

/** A tensor to write to, in a larger array (without a seed: of its own), and a check that nothing else was written. */
export function scattered(
  shape: readonly number[],
  dtype: FloatDType,
  seed: number | undefined,
): { tensor: Tensor; gapsAreUntouched(): boolean } {
  if (seed === undefined) return { tensor: Tensor.empty(shape, { dtype }), gapsAreUntouched: () => true };
  const place = choosePlace(shape, seed, true);
  const { order, room, steps } = place;
  const data = dtype === "float32" ? new Float32Array(place.length) : new Uint16Array(place.length);
  data.fill(untouched);

  const memoryShape = order.flatMap((dim) => [room[dim]!, steps[dim]!]);
  let tensor: Tensor = Tensor.from(data as Uint16Array, memoryShape, { dtype: dtype as "float16" });
  order.forEach((dim, i) => {
    tensor = tensor.slice(2 * i, 0, shape[dim]).slice(2 * i + 1, 0, 1);
  });
  tensor = tensor.reshape(order.map((dim) => shape[dim]!));
  tensor = tensor.transpose(...shape.map((_, dim) => order.indexOf(dim)));

  const owned = new Set(positions(shape, place));
  return { tensor, gapsAreUntouched: () => data.every((value, i) => value === untouched || owned.has(i)) };
}
