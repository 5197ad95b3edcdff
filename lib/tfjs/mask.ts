// A graph's mask puts a low number in place of scores (Where), attention leaves them out. That is the same where every row keeps a
// score that is higher by more than float32 can see; where one may not, fovea's kernels are not asked.
import type { Arrangement } from "./arrange.js";
import { broadcastShape, spread } from "../dropin/views.js";
import type { View } from "../view.js";

/** exp of less than this is 0 in float32, also times the longest row. */
const invisible = 150;

export interface Numbers<Data = Float32Array> {
  readonly data: Data;
  readonly shape: readonly number[];
}

/** The mask in four dimensions, true where a key is seen; undefined where what it masks might still count. */
export function placeMask(
  arrangement: Arrangement,
  { data, shape }: Numbers<Uint8Array>,
  q: Float32Array,
  k: Float32Array,
  bias: View | undefined,
): View | undefined {
  const { scale, masked } = arrangement;
  const { inverted, value, addedFrom } = masked!;
  const mask = arrangement.placeBias(inverted ? data.map((bit) => (bit === 0 ? 1 : 0)) : data, shape);
  const headDim = arrangement.place("q", q).shape[3]!;
  const least = -Math.abs(scale) * headDim * largest(q, Math.abs) * largest(k, Math.abs);
  const most = value + (bias !== undefined && addedFrom === 0 ? largest(bias.storage!.array("bias"), Number) : 0);
  return keepsEachRow(mask, bias, most + invisible - least) ? mask : undefined;
}

function largest(data: ArrayLike<number>, of: (x: number) => number): number {
  let most = -Infinity;
  for (let i = 0; i < data.length; i++) {
    const value = of(data[i]!);
    if (!(value <= most)) most = value; // NaN stays
  }
  return most;
}

/** Whether each row has a key that is seen and whose bias is more than `floor`. */
function keepsEachRow(mask: View, bias: View | undefined, floor: number): boolean {
  const shape = bias === undefined ? mask.shape : broadcastShape(mask.shape, bias.shape)!;
  const [bits, biases] = [mask, bias].map((view) => view && spread("mask", view, shape, "batch, heads, queries, keys"));
  const seen = bits!.storage!.array("mask");
  const added = biases?.storage!.array("bias");
  const [batch, heads, queries, keys] = shape as [number, number, number, number];
  const at = ({ offset, strides }: View, b: number, h: number, i: number): number =>
    offset + b * strides[0]! + h * strides[1]! + i * strides[2]!;
  for (let row = 0; row < batch * heads * queries; row++) {
    const [b, h, i] = [Math.floor(row / (heads * queries)), Math.floor(row / queries) % heads, row % queries];
    const bit = at(bits!, b, h, i);
    const extra = biases === undefined ? 0 : at(biases, b, h, i);
    let found = false;
    for (let j = 0; j < keys && !found; j++) {
      const more = added === undefined ? 0 : added[extra + j * biases!.strides[3]!]!;
      found = seen[bit + j * bits!.strides[3]!] !== 0 && more > floor;
    }
    if (!found) return false;
  }
  return true;
}
