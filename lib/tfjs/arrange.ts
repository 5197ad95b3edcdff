// A program's tensors as those of attention: [batch, heads, length, dim], one scale, one bias. Undefined where they are not.
import { types } from "node:util";
import type { Tensor } from "@tensorflow/tfjs-core";
import { broadcastShape, inShape, reordered, spread } from "../dropin/views.js";
import { HostStorage } from "../storage.js";
import { contiguousStrides, makeView, product, sameShape, stridesFor, reshaped, type View } from "../view.js";
import { integersOf, orderOf, resolved } from "./composite.js";
import type { Program, Transform } from "./program.js";

/** Longest headDim and valueDim, and largest scale, of attention. */
const maxDim = 512;
const maxScale = 2.3e38;

/** What is added to the scores: inputs, each times a factor. */
export interface Added {
  readonly place: number;
  factor: number;
}

/** The one mask: true (or, with `inverted`, false) leaves a score; others become `value`, and what is added later is added to them. */
export interface Masked {
  readonly place: number;
  readonly inverted: boolean;
  value: number;
  /** The first of `added` that comes after it. */
  readonly addedFrom: number;
}

export interface Arrangement {
  readonly scale: number;
  readonly added: readonly Added[];
  readonly masked: Masked | undefined;
  /** Query, key and value of their data, in four dimensions. */
  place(name: "q" | "k" | "v", data: Float32Array): View;
  /** A bias, or a mask, of this shape, in four dimensions. */
  placeBias(data: Float32Array | Uint8Array, shape: readonly number[]): View;
  /** Of the output before and after its transposes, and their order. */
  readonly outputShape: readonly number[];
  readonly finalShape: readonly number[];
  readonly order: readonly number[];
  /** An output that is finally [..] in memory, as attention writes it; undefined where strides cannot show it. */
  outView(data: Float32Array): View | undefined;
}

export function arrange(program: Program, inputs: readonly Tensor[]): Arrangement | undefined {
  const factor = { value: 1 };
  const orders = ([program.q, program.k, program.v] as const).map((list, i) =>
    operandOrder(list, inputs[i]!.shape.length, inputs, i < 2 ? factor : undefined),
  );
  if (orders.includes(undefined) || inputs.slice(0, 3).some(({ dtype }) => dtype !== "float32")) return undefined;
  const [q, k, v] = orders.map((order, i) => order!.map((dim) => inputs[i]!.shape[dim]!)) as [
    number[],
    number[],
    number[],
  ];
  const scores = followScores(program, inputs, q, k, factor.value);
  if (scores === undefined) return undefined;
  const { batch, grouped, scored, weighed, added, masked, scale } = scores;
  const [L, S, D, E] = [q.at(-2)!, k.at(-2)!, q.at(-1)!, v.at(-1)!];
  const valueBatch = broadcastShape(weighed, v.slice(0, -2));
  const fits =
    v.at(-2) === S &&
    k.at(-1) === D &&
    valueBatch !== undefined &&
    sameShape(valueBatch, weighed) &&
    product(weighed) === product(scored) &&
    Math.abs(scale) <= maxScale &&
    Math.min(L, S, D, E, product(weighed)) > 0 &&
    Math.max(D, E) <= maxDim;
  if (!fits) return undefined;

  const outputShape = [...weighed, L, E];
  let order = outputShape.map((_, dim) => dim);
  for (const one of program.out) {
    if (one[0] === "mul" || one[0] === "div") return undefined;
    order = orderOf(one, order.length, inputs).map((dim) => order[dim]!);
  }
  const finalShape = order.map((dim) => outputShape[dim]!);
  const inner = { q: [L, D], k: [S, D], v: [S, E] };
  return {
    scale,
    added,
    masked,
    outputShape,
    finalShape,
    order,
    place(name, data) {
      const at = { q: 0, k: 1, v: 2 }[name];
      let view = reordered(viewOver(data, inputs[at]!.shape), orders[at]!);
      const steps = name === "v" ? [weighed, scored] : [batch, grouped, scored];
      for (const [i, dims] of steps.entries()) {
        const shape = [...dims, ...inner[name]];
        // Between the first and the second, dimensions are only grouped in another way; at the end a bias may spread them.
        view = i === 1 ? inShape(name, view, shape) : spread(name, view, shape, "batch, length, dim");
      }
      return inFour(name, view);
    },
    placeBias(data, own) {
      const ones = new Array<number>(scored.length + 2 - own.length).fill(1);
      const view = viewOver(data, [...ones, ...own]);
      const apart = scored.length > 2 && view.shape.slice(0, -3).some((size) => size !== 1);
      const shape = [...scored.slice(0, -1), ...view.shape.slice(-3)];
      return inFour("bias", apart ? spread("bias", view, shape, "batch, heads, length, length") : view);
    },
    outView(data) {
      const inverse = outputShape.map((_, dim) => order.indexOf(dim));
      const view = reordered(viewOver(data, finalShape), inverse);
      const shape = four([...scored, L, E]);
      const strides = stridesFor(view, shape);
      return strides && reshaped(view, shape, strides, view.offset);
    },
  };
}

/** The order of dimensions that transforms make; factors go into `factor`, where there may be any. */
function operandOrder(
  list: readonly Transform[],
  rank: number,
  inputs: readonly Tensor[],
  factor: { value: number } | undefined,
): number[] | undefined {
  let order = Array.from({ length: rank }, (_, dim) => dim);
  for (const one of list) {
    if (one[0] === "mul" || one[0] === "div") {
      const number = numberOf(inputs[one[1]]!, rank);
      if (number === undefined || factor === undefined) return undefined;
      factor.value = one[0] === "mul" ? factor.value * number : factor.value / number;
    } else order = orderOf(one, rank, inputs).map((dim) => order[dim]!);
  }
  return order;
}

interface Scores {
  readonly scale: number;
  readonly added: Added[];
  readonly masked: Masked | undefined;
  /** Leading dimensions: of the product; as they are grouped where biases are added, before and after those spread them; of the weights. */
  readonly batch: readonly number[];
  readonly grouped: readonly number[];
  readonly scored: readonly number[];
  readonly weighed: readonly number[];
}

/** Follows the shape of the scores through the steps. */
function followScores(
  program: Program,
  inputs: readonly Tensor[],
  q: readonly number[],
  k: readonly number[],
  factor: number,
): Scores | undefined {
  const batch = broadcastShape(q.slice(0, -2), k.slice(0, -2));
  if (batch === undefined || q.length < 2 || k.length < 2) return undefined;
  const ends = [q.at(-2)!, k.at(-2)!];
  let shape = [...batch, ...ends];
  let scale = factor;
  const added: Added[] = [];
  let grouped: number[] | undefined;
  let scored: number[] | undefined;
  const whole = (): boolean => shape.length >= 2 && sameShape(shape.slice(-2), ends);
  const regroup = (place: number): boolean => {
    const next = resolved(integersOf(inputs[place]!), product(shape));
    const fits = product(next) === product(shape) && next.at(-1) === ends[1];
    shape = next;
    return fits;
  };
  let masked: Masked | undefined;
  for (const [name, place, elsewhere] of program.steps) {
    const other = inputs[place]!;
    if (name === "reshape") {
      if (!regroup(place)) return undefined;
    } else if (name === "mul" || name === "div") {
      const number = numberOf(other, shape.length);
      if (number === undefined) return undefined;
      const times = name === "mul" ? number : 1 / number;
      scale *= times;
      for (const one of added) one.factor *= times;
      if (masked !== undefined) masked.value *= times;
    } else {
      const lead = shape.slice(0, -2);
      const isMask = name === "where" || name === "unless";
      if (
        !whole() ||
        other.dtype !== (isMask ? "bool" : "float32") ||
        (scored !== undefined && !sameShape(scored, lead))
      )
        return undefined;
      const next = broadcastShape(shape, other.shape);
      if (next === undefined) return undefined;
      grouped ??= lead;
      shape = next;
      if (!whole()) return undefined;
      scored = shape.slice(0, -2);
      if (isMask) {
        const value = numberOf(inputs[elsewhere]!, shape.length);
        if (value === undefined) return undefined;
        masked = { place, inverted: name === "unless", value, addedFrom: added.length };
      } else added.push({ place, factor: name === "add" ? 1 : -1 });
    }
  }
  for (const place of program.after) if (!regroup(place)) return undefined;
  // What is added both before a mask and after it would have to be told apart.
  if (masked !== undefined && masked.addedFrom > 0 && masked.addedFrom < added.length) return undefined;
  if (!whole()) return undefined;
  const weighed = shape.slice(0, -2);
  return { scale, added, masked, batch, grouped: grouped ?? batch, scored: scored ?? grouped ?? batch, weighed };
}

/** A tensor of one element, which adds no dimensions to what it multiplies. */
function numberOf(tensor: Tensor, rank: number): number | undefined {
  return tensor.size === 1 && tensor.shape.length <= rank ? tensor.dataSync()[0] : undefined;
}

export function viewOver(data: Float32Array | Uint8Array, shape: readonly number[]): View {
  const dtype = types.isUint8Array(data) ? "bool" : "float32";
  return makeView("tensor", new HostStorage(data), dtype, "cpu", shape, contiguousStrides(shape), 0);
}

/** [..., heads, length, dim] as four dimensions. */
export const four = (shape: readonly number[]): number[] => {
  const lead = shape.slice(0, -2);
  if (lead.length < 2) return [lead[0] ?? 1, 1, ...shape.slice(-2)];
  return [product(lead.slice(0, -1)), ...shape.slice(-3)];
};

const inFour = (name: string, view: View): View => inShape(name, view, four(view.shape));
