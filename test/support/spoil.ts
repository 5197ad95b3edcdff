// Tensors for tests of extremes, [batch, heads, length, dim].
import { Tensor } from "../../lib/index.js";

/** Normally distributed, times `factor`. */
export function drawn(seed: number, shape: readonly number[], factor = 1): Tensor<"float32"> {
  const tensor = Tensor.random(shape, { seed });
  tensor.data.forEach((x, i) => (tensor.data[i] = x * factor));
  return tensor;
}

/** A copy with a number in the place of some keys or values, in every head. */
export function spoiled(tensor: Tensor<"float32">, rows: readonly number[], number: number): Tensor<"float32"> {
  const copy = Tensor.from(tensor.data.slice(), tensor.shape);
  const [batch, heads, length, dim] = tensor.shape as [number, number, number, number];
  for (let h = 0; h < batch * heads; h++) {
    for (const j of rows) copy.data.fill(number, (h * length + j) * dim, (h * length + j + 1) * dim);
  }
  return copy;
}
