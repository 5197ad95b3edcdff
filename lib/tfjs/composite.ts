// A program computed by TensorFlow.js, operation by operation, as the graph said it.
import {
  add,
  div,
  matMul,
  mul,
  reshape,
  softmax,
  sub,
  tidy,
  transpose,
  where,
  type Tensor,
} from "@tensorflow/tfjs-core";
import { broadcastShape } from "../dropin/views.js";
import { product } from "../view.js";
import type { Program, Transform } from "./program.js";

/** `told`: hears of the weights, which it must not keep. */
export function composite(program: Program, inputs: readonly Tensor[], told?: (weights: Tensor) => void): Tensor {
  return tidy(() => {
    const [q, k, v] = [program.q, program.k, program.v].map((list, i) => transformed(inputs[i]!, list, inputs));
    let scores = matMul(q!, k!, false, true);
    for (const [name, place, value] of program.steps) {
      const other = inputs[place]!;
      if (name === "reshape") scores = reshape(scores, integersOf(other));
      else if (name === "where") scores = where(other, scores, inputs[value]!);
      else if (name === "unless") scores = where(other, inputs[value]!, scores);
      else scores = { mul, div, add, sub }[name](scores, other);
    }
    let weights = softmax(scores);
    for (const place of program.after) weights = reshape(weights, integersOf(inputs[place]!));
    told?.(weights);
    return transformed(matMul(weights, v!), program.out, inputs);
  });
}

function transformed(tensor: Tensor, list: readonly Transform[], inputs: readonly Tensor[]): Tensor {
  let result = tensor;
  for (const one of list) {
    if (one[0] === "mul") result = mul(result, inputs[one[1]]!);
    else if (one[0] === "div") result = div(result, inputs[one[1]]!);
    else result = transpose(result, orderOf(one, result.shape.length, inputs));
  }
  return result;
}

/** The order of dimensions that a transform gives, of those that have one. */
export function orderOf(
  one: Exclude<Transform, ["mul" | "div", number]>,
  rank: number,
  inputs: readonly Tensor[],
): number[] {
  if (one[0] === "perm") return integersOf(inputs[one[1]]!).map((dim) => (dim < 0 ? dim + rank : dim));
  if (one[0] === "axes") return one.slice(1) as number[];
  return Array.from({ length: rank }, (_, dim) => (dim < rank - 2 ? dim : 2 * rank - 3 - dim));
}

/** The shape of what the program's softmax is of, or (after any of its reshapes) gives. */
export function scoresShape(program: Program, inputs: readonly Tensor[]): number[] {
  const [q, k] = [program.q, program.k].map((list, i) => transformedShape(inputs[i]!.shape, list, inputs));
  const batch = broadcastShape(q!.slice(0, -2), k!.slice(0, -2)) ?? [];
  let shape = [...batch, q!.at(-2)!, k!.at(-2)!];
  for (const [name, place] of program.steps) {
    if (name === "reshape") shape = resolved(integersOf(inputs[place]!), product(shape));
    else shape = broadcastShape(shape, inputs[place]!.shape) ?? shape;
  }
  for (const place of program.after) shape = resolved(integersOf(inputs[place]!), product(shape));
  return shape;
}

function transformedShape(shape: readonly number[], list: readonly Transform[], inputs: readonly Tensor[]): number[] {
  let result = [...shape];
  for (const one of list) {
    if (one[0] === "mul" || one[0] === "div") result = broadcastShape(result, inputs[one[1]]!.shape) ?? result;
    else result = orderOf(one, result.length, inputs).map((dim) => result[dim]!);
  }
  return result;
}

/** A shape with its -1 filled in. */
export function resolved(shape: readonly number[], size: number): number[] {
  const known = product(shape.filter((length) => length !== -1));
  return shape.map((length) => (length === -1 ? (known === 0 ? 0 : size / known) : length));
}

export const integersOf = (tensor: Tensor): number[] => Array.from(tensor.dataSync());
