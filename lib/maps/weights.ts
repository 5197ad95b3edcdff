import { FoveaError, list, show } from "../errors.js";
import { inputView, type TensorInput } from "../input.js";
import { makeTensor, Tensor } from "../tensor.js";
import { checkShape, product } from "../view.js";

/**
 * Attention weights of one layer: a tensor [heads, queryLength, keyLength] or [1, heads, queryLength, keyLength] on the host
 * (the `weights` of a result are one), or the same as JSON has it: nested arrays of numbers, or one array and its shape.
 */
export type WeightsInput =
  | TensorInput
  | { readonly data: readonly number[]; readonly shape: readonly number[] }
  | readonly (readonly (readonly number[])[])[];

/** Weights that were checked: `data[(head * queries + query) * keys + key]`. */
export interface LayerWeights {
  heads: number;
  queries: number;
  keys: number;
  data: Float64Array;
}

/** How far from their exact values 16-bit floats may take the sum of a row. */
const tolerance = 0.01;

/** Throws a FoveaError for what are not weights: NaN, negative numbers, rows whose sum is over 1. */
export function readWeights(name: string, input: WeightsInput): LayerWeights {
  const numbers = (input as { data?: unknown } | null | undefined)?.data;
  const { data, shape } = Array.isArray(input)
    ? fromArrays(name, input)
    : Array.isArray(numbers)
      ? fromNumbers(name, input as { data: readonly unknown[] })
      : fromTensor(name, input as TensorInput);
  const sizes = shape.length === 4 && shape[0] === 1 ? shape.slice(1) : shape;
  const [heads, queries, keys] = sizes as [number, number, number];
  if (sizes.length !== 3 || sizes.includes(0)) {
    const expected = "[*, *, *] or [1, *, *, *] (heads, queryLength, keyLength, none of them 0)";
    throw new FoveaError("ERR_FOVEA_SHAPE", `${name}: expected ${expected}, got ${list(shape)}`);
  }
  const weights = { heads, queries, keys, data };
  checkRows(name, weights);
  return weights;
}

function fromTensor(name: string, input: TensorInput): { data: Float64Array; shape: readonly number[] } {
  const view = inputView(name, input, false);
  if (view.dtype === "int32" || view.dtype === "bool") {
    throw new FoveaError("ERR_FOVEA_DTYPE", `${name}: expected a float dtype, got "${view.dtype}"`);
  }
  if (view.device !== "cpu") {
    const message = `${name}: expected a tensor on the host, got one on ${view.device}; read() brings it there`;
    throw new FoveaError("ERR_FOVEA_DEVICE", message);
  }
  const tensor = input instanceof Tensor ? input : makeTensor(view);
  return { data: tensor.toNumbers(), shape: view.shape };
}

function fromArrays(name: string, input: readonly unknown[]): { data: Float64Array; shape: number[] } {
  const shape: number[] = [];
  for (let level: unknown = input; Array.isArray(level); level = level[0]) shape.push(level.length);
  const size = shape.reduce((product, length) => product * length, 1);
  const data = new Float64Array(size);
  let position = 0;
  const take = (value: unknown, depth: number, place: string): void => {
    const expected = shape[depth]!;
    if (!Array.isArray(value) || value.length !== expected) {
      throw new FoveaError("ERR_FOVEA_SHAPE", `${place}: expected an array of ${expected}, got ${show(value)}`);
    }
    for (let index = 0; index < expected; index++) {
      const item: unknown = value[index];
      if (depth + 1 < shape.length) take(item, depth + 1, `${place}[${index}]`);
      else if (typeof item === "number") data[position++] = item;
      else throw numberError(`${place}[${index}]`, item);
    }
  };
  take(input, 0, name);
  return { data, shape };
}

/** `{ data, shape }` from JSON, which has no typed arrays. */
function fromNumbers(
  name: string,
  { data, shape }: { data: readonly unknown[]; shape?: unknown },
): { data: Float64Array; shape: readonly number[] } {
  checkShape(name, shape);
  if (data.length !== product(shape)) {
    const message = `${name}: expected ${product(shape)} numbers for shape ${list(shape)}, got ${data.length}`;
    throw new FoveaError("ERR_FOVEA_SHAPE", message);
  }
  const wrong = data.findIndex((value) => typeof value !== "number");
  if (wrong >= 0) throw numberError(`${name}.data[${wrong}]`, data[wrong]);
  return { data: Float64Array.from(data as readonly number[]), shape };
}

const numberError = (place: string, got: unknown): FoveaError =>
  new FoveaError("ERR_FOVEA_ARGUMENT", `${place}: expected a number, got ${show(got)}`);

function checkRows(name: string, { heads, queries, keys, data }: LayerWeights): void {
  for (let row = 0; row < heads * queries; row++) {
    const place = `in head ${Math.floor(row / queries)}, query ${row % queries}`;
    let sum = 0;
    for (let key = 0; key < keys; key++) {
      const weight = data[row * keys + key]!;
      if (!(weight >= 0)) {
        const message = `${name}: expected weights from 0 to 1, got ${weight} ${place}, key ${key}`;
        throw new FoveaError("ERR_FOVEA_ARGUMENT", message);
      }
      sum += weight;
    }
    if (!(sum <= 1 + tolerance)) {
      const expected = "expected rows that sum to 1 (less with sinks, 0 where everything is masked)";
      const message = `${name}: ${expected}, got ${sum.toPrecision(4)} ${place}. Are they scores, or [key, query]?`;
      throw new FoveaError("ERR_FOVEA_ARGUMENT", message);
    }
  }
}
