// attn_mask and nonpad_kv_seqlen, as attention's mask and bias.
import { broadcastShape, spread } from "../dropin/views.js";
import { FoveaError, list } from "../errors.js";
import { assertFree } from "../flight.js";
import { forEachIndex, product, reshaped, type View } from "../view.js";
import type { OnnxOpset } from "./attributes.js";
import { allocateArray, converted, denseArray, viewOver, type Input, type Kind } from "./tensors.js";

export interface Masks {
  readonly mask: View | undefined;
  readonly bias: View | undefined;
}

/** -Infinity in each kind; false of bool. */
const closed = { float32: -Infinity, float64: -Infinity, float16: 0xfc00, bfloat16: 0xff80, bool: 0 } as const;

/**
 * `full`: [batch, heads, queries, keys], to which the mask broadcasts. `kind`: what is computed in. `lengths`, where they are
 * given, become part of the mask.
 */
export function placeMask(
  given: Input | undefined,
  full: readonly [number, number, number, number],
  opset: OnnxOpset,
  kind: Kind,
  lengths: Int32Array | undefined,
): Masks {
  const mask = given && inFour(given, full, opset);
  const ofLengths = lengths && lengthMask(lengths, full[3]);
  if (given === undefined || mask === undefined) return { mask: ofLengths, bias: undefined };
  if (given.kind === "bool") return { mask: ofLengths === undefined ? mask : both(mask, ofLengths), bias: undefined };
  if (given.kind === "float64" && kind !== "float64") {
    const message = `attn_mask: expected "bool" or a type as Q's, got "float64"`;
    throw new FoveaError("ERR_FOVEA_DTYPE", message);
  }
  const bias = kind === "float64" ? converted("attn_mask", { kind: given.kind, view: mask }, kind) : mask;
  return { mask: ofLengths, bias };
}

/** Four dimensions, each of them full or 1; from opset 24 on, keys that are not there are closed. */
function inFour({ kind, view }: Input, full: readonly number[], opset: OnnxOpset): View {
  const { shape } = view;
  if (shape.length < 1 || shape.length > 4) {
    throw new FoveaError("ERR_FOVEA_SHAPE", `attn_mask: expected 1 to 4 dimensions, got ${list(shape)}`);
  }
  const padded = opset >= 24 && shape.at(-1)! < full[3]! ? padKeys({ kind, view }, full[3]!) : view;
  spread("attn_mask", padded, full, "batch, q_num_heads, q_sequence_length, total_sequence_length"); // for its check
  const ones = new Array<number>(4 - padded.shape.length).fill(1);
  const zeros = ones.map(() => 0);
  return reshaped(padded, [...ones, ...padded.shape], [...zeros, ...padded.strides], padded.offset);
}

function padKeys({ kind, view }: Input, keys: number): View {
  assertFree("attn_mask", view, false);
  const given = view.shape.at(-1)!;
  const rows = product(view.shape.slice(0, -1));
  const from = denseArray(view, kind, false);
  const to = allocateArray(kind, rows * keys).fill(closed[kind]);
  for (let row = 0; row < rows; row++) to.set(from.subarray(row * given, (row + 1) * given), row * keys);
  return viewOver(to, kind, [...view.shape.slice(0, -1), keys]);
}

/** [batch, 1, 1, keys] */
function lengthMask(lengths: Int32Array, keys: number): View {
  const bits = new Uint8Array(lengths.length * keys);
  for (const [b, length] of lengths.entries()) bits.fill(1, b * keys, b * keys + length);
  return viewOver(bits, "bool", [lengths.length, 1, 1, keys]);
}

/** Where both are true. */
function both(a: View, b: View): View {
  assertFree("attn_mask", a, false);
  const shape = broadcastShape(a.shape, b.shape)!;
  const to = new Uint8Array(product(shape));
  const [one, other] = [a, b].map((view) => spread("attn_mask", view, shape, "batch, heads, queries, keys")) as [
    View,
    View,
  ];
  const [ofOne, ofOther] = [one.storage!.array("attn_mask"), other.storage!.array("attn_mask")];
  forEachIndex(one, (index, position) => (to[position] = ofOne[index] === 0 ? 0 : 1));
  forEachIndex(other, (index, position) => (to[position]! &= ofOther[index]!));
  return viewOver(to, "bool", shape);
}
