// Shapes as other frameworks have them, made into the four dimensions of `attention`: broadcasting, transposing, and leading
// dimensions taken together. Nothing is copied where strides can show it.
import { FoveaError, list } from "../errors.js";
import { assertFree } from "../flight.js";
import { packed } from "../memory.js";
import { makeTensor, type Tensor } from "../tensor.js";
import { product, reshaped, stridesFor, type View } from "../view.js";

/** The shape that all of them broadcast to, aligned at the right; undefined where they do not fit together. */
export function broadcastShape(...shapes: readonly (readonly number[])[]): number[] | undefined {
  const rank = Math.max(...shapes.map((shape) => shape.length));
  const result = new Array<number>(rank).fill(1);
  for (const shape of shapes) {
    for (const [i, size] of shape.entries()) {
      const dim = i + rank - shape.length;
      if (result[dim] === 1) result[dim] = size;
      else if (size !== 1 && size !== result[dim]) return undefined;
    }
  }
  return result;
}

/** The view spread to `shape`, aligned at the right. `labels` say in an error what its dimensions are. */
export function spread(name: string, view: View, shape: readonly number[], labels: string): View {
  const missing = shape.length - view.shape.length;
  const fits = missing >= 0 && view.shape.every((size, i) => size === 1 || size === shape[i + missing]);
  if (!fits) {
    const message = `${name}: expected a shape that broadcasts to ${list(shape)} (${labels}), got ${list(view.shape)}`;
    throw new FoveaError("ERR_FOVEA_SHAPE", message);
  }
  const strides = shape.map((size, dim) => {
    const own = view.shape[dim - missing] ?? 1;
    return own === 1 && size !== 1 ? 0 : (view.strides[dim - missing] ?? 0);
  });
  return reshaped(view, shape, strides, view.offset);
}

/** The view with its dimensions in another order: dimension i of the result is `order[i]` of the view. */
export function reordered(view: View, order: readonly number[]): View {
  const pick = (from: readonly number[]): number[] => order.map((dim) => from[dim]!);
  return reshaped(view, pick(view.shape), pick(view.strides), view.offset);
}

/** The view in another shape of the same size; a copy where strides cannot show it. */
export function inShape(name: string, view: View, shape: readonly number[]): View {
  const strides = stridesFor(view, shape);
  if (strides !== undefined) return reshaped(view, shape, strides, view.offset);
  assertFree(name, view, false);
  return inShape(name, packed(name, view), shape);
}

/** `[...lead, a, b, c]` as `[product of lead, a, b, c]`. */
export function foldLead(name: string, view: View): View {
  const { shape } = view;
  const inner = shape.slice(-3);
  return inShape(name, view, [product(shape.slice(0, -3)), ...inner]);
}

/** Runs `call` with a way to make tensors of views that are let go once it is done. */
export async function withTensors<T>(call: (tensor: (view: View) => Tensor) => Promise<T>): Promise<T> {
  const made: Tensor[] = [];
  try {
    return await call((view) => {
      const tensor = makeTensor(view);
      made.push(tensor);
      return tensor;
    });
  } finally {
    for (const tensor of made) tensor.dispose();
  }
}

/** The tensor in another shape of the same size; the handle that was given ends. */
export function takeShape<T extends Tensor>(tensor: T, shape: readonly number[]): T {
  const result = tensor.reshape(shape) as T;
  tensor.dispose();
  return result;
}
