// The operator's inputs, checked, as [batch, heads, length, size].
import { reordered } from "../dropin/views.js";
import { FoveaError, list, shapeError } from "../errors.js";
import { assertFree } from "../flight.js";
import { contiguousStrides, reshaped, type View } from "../view.js";
import { attributeError, type Attributes, type OnnxOpset } from "./attributes.js";
import { placeMask, type Masks } from "./mask.js";
import {
  allocateArray,
  converted,
  denseArray,
  readLengths,
  readTensor,
  viewOver,
  type Input,
  type InputName,
  type Kind,
  type OnnxAttentionInputs,
} from "./tensors.js";

export interface PlacedCall {
  /** What it is computed in. */
  readonly kind: Kind;
  /** Of Q, K, Y and qk_matmul_output, and of V. */
  readonly type: Kind;
  readonly valueType: Kind;
  /** Whether Q has three dimensions, and Y therefore. */
  readonly flat: boolean;
  readonly query: View;
  readonly key: View;
  readonly value: View;
  /** Of the types that they came in. */
  readonly presentKey: View;
  readonly presentValue: View;
  readonly masks: Masks;
  /** Keys of each sequence that exist; undefined: all, or the mask says it. */
  readonly lengths: Int32Array | undefined;
  /** The place of query 0 among the keys, for causal masks and windows. */
  readonly offset: number | number[];
  readonly wantsScores: boolean;
}

export function placeCall(
  inputs: OnnxAttentionInputs,
  rules: Attributes,
  opset: OnnxOpset,
  wantsScores: boolean,
): PlacedCall {
  const read = (name: InputName): Input & { kind: Kind } => readTensor(name, inputs[name]!) as Input & { kind: Kind };
  const [Q, K, V] = [read("Q"), read("K"), read("V")];
  sameKind("K", K, Q);
  const rank = Q.view.shape.length;
  const query = inHeads("Q", Q.view, rank, "q_num_heads", rules.heads);
  const key = inHeads("K", K.view, rank, "kv_num_heads", rules.kvHeads);
  const value = inHeads("V", V.view, rank, "kv_num_heads", rules.kvHeads);
  checkSizes(query, key, value);

  const past = placePast(inputs, read, { ...K, view: key }, { ...V, view: value });
  const [presentKey, presentValue] = past?.present ?? [key, value];
  const [batch, heads, length] = query.shape as [number, number, number];
  const total = presentKey.shape[2]!;
  const lengths = placeLengths(inputs, opset, batch, total);
  const kind = computedIn(Q.kind, V.kind, rules);
  // Scores before the mask are wanted of every key, and only a mask leaves them there.
  const byMask = lengths !== undefined && wantsScores && rules.outputMode < 2;
  const masks = placeMask(
    inputs.attn_mask === undefined ? undefined : readTensor("attn_mask", inputs.attn_mask),
    [batch, heads, length, total],
    opset,
    kind,
    byMask ? lengths : undefined,
  );
  return {
    kind,
    type: Q.kind,
    valueType: V.kind,
    flat: rank === 3,
    query: converted("Q", { kind: Q.kind, view: query }, kind),
    key: converted("K", { kind: K.kind, view: presentKey }, kind),
    value: byMask
      ? cleared(V.kind, presentValue, lengths, kind)
      : converted("V", { kind: V.kind, view: presentValue }, kind),
    presentKey,
    presentValue,
    masks,
    lengths: byMask ? undefined : lengths,
    offset: lengths === undefined ? (past?.length ?? 0) : Array.from(lengths, (own) => own - length),
    wantsScores,
  };
}

/** [batch, length, heads * size] as [batch, heads, length, size]; four dimensions as they are. */
function inHeads(name: string, view: View, rank: number, attribute: string, heads: number | undefined): View {
  const { shape } = view;
  if ((rank !== 3 && rank !== 4) || shape.length !== rank) {
    const wanted = name === "Q" ? "3 or 4 dimensions" : `${rank} dimensions as in Q`;
    throw new FoveaError("ERR_FOVEA_SHAPE", `${name}: expected ${wanted}, got ${list(shape)}`);
  }
  if (rank === 4) {
    if (heads === undefined || heads === shape[1]) return view;
    throw attributeError(attribute, `${shape[1]!}, the heads of ${name}`, String(heads));
  }
  if (heads === undefined) throw attributeError(attribute, "the number of heads, as Q has 3 dimensions", "undefined");
  const [batch, length, width] = shape as [number, number, number];
  if (width % heads !== 0)
    throw shapeError(name, ["*", "*", `${heads} * size`], `batch, length, ${attribute} * size`, shape);
  const split = [batch, length, heads, width / heads];
  return reordered(reshaped(view, split, contiguousStrides(split), view.offset), [0, 2, 1, 3]);
}

function checkSizes({ shape: query }: View, { shape: key }: View, { shape: value }: View): void {
  const size = ([batch, heads, length, dim]: readonly (number | string)[]) => [batch!, heads!, length!, dim!];
  const labels = (what: string) => `batch, kv_num_heads, kv_sequence_length, ${what}`;
  if (key[0] !== query[0] || key[3] !== query[3]) {
    throw shapeError("K", size([query[0]!, "*", "*", query[3]!]), labels("head_size"), key);
  }
  if (value[0] !== key[0] || value[1] !== key[1] || value[2] !== key[2]) {
    throw shapeError("V", size([key[0]!, key[1]!, key[2]!, "*"]), labels("v_head_size"), value);
  }
  if (key[1] === 0 || query[1]! % key[1]! !== 0) {
    const message = `K: expected heads that divide the ${query[1]!} of Q, got ${key[1]!}`;
    throw new FoveaError("ERR_FOVEA_SHAPE", message);
  }
}

function placePast(
  inputs: OnnxAttentionInputs,
  read: (name: InputName) => Input & { kind: Kind },
  key: Input & { kind: Kind },
  value: Input & { kind: Kind },
): { present: readonly [View, View]; length: number } | undefined {
  if ((inputs.past_key === undefined) !== (inputs.past_value === undefined)) {
    throw new FoveaError("ERR_FOVEA_OPTION", "past_key, past_value: expected both or neither");
  }
  if (inputs.past_key === undefined) return undefined;
  const [pastKey, pastValue] = [read("past_key"), read("past_value")];
  sameKind("past_key", pastKey, key);
  sameKind("past_value", pastValue, value);
  const length = pastKey.view.shape[2] ?? 0;
  const present = [
    concatenated("past_key", pastKey, key, "*"),
    concatenated("past_value", pastValue, value, length),
  ] as const;
  return { present, length };
}

/** Past rows and then new ones, in new memory: [batch, heads, past + new, size]. */
function concatenated(name: string, past: Input & { kind: Kind }, now: Input, length: number | "*"): View {
  const [batch, heads, added, size] = now.view.shape as [number, number, number, number];
  const { shape } = past.view;
  const fits = shape.length === 4 && shape[0] === batch && shape[1] === heads && shape[3] === size;
  if (!fits || (length !== "*" && shape[2] !== length)) {
    throw shapeError(name, [batch, heads, length, size], "batch, kv_num_heads, past_sequence_length, size", shape);
  }
  assertFree(name, past.view, false);
  assertFree(name === "past_key" ? "K" : "V", now.view, false);
  const before = past.view.storage!.array(name);
  const fresh = denseArray(now.view, past.kind, false);
  const total = shape[2]! + added;
  const all = allocateArray(past.kind, batch * heads * total * size);
  for (let row = 0; row < batch * heads; row++) {
    const [pastSize, newSize] = [shape[2]! * size, added * size];
    const to = row * total * size;
    all.set(before.subarray(row * pastSize, (row + 1) * pastSize), to);
    all.set(fresh.subarray(row * newSize, (row + 1) * newSize), to + pastSize);
  }
  return viewOver(all, past.kind, [batch, heads, total, size]);
}

function placeLengths(
  inputs: OnnxAttentionInputs,
  opset: OnnxOpset,
  batch: number,
  total: number,
): Int32Array | undefined {
  if (inputs.nonpad_kv_seqlen === undefined) return undefined;
  if (opset < 24) throw attributeError("nonpad_kv_seqlen", "opset 24 or 25", `opset ${opset}`);
  if (inputs.past_key !== undefined) {
    throw new FoveaError("ERR_FOVEA_OPTION", "nonpad_kv_seqlen: not with past_key and past_value");
  }
  return readLengths("nonpad_kv_seqlen", inputs.nonpad_kv_seqlen, batch, total);
}

/** V with zeros past the lengths: a mask weighs what lies there with 0, which of NaN is NaN. */
function cleared(from: Kind, view: View, lengths: Int32Array, to: Kind): View {
  assertFree("V", view, false);
  const [, heads, keys, size] = view.shape as [number, number, number, number];
  const all = denseArray(view, from, true);
  for (const [b, length] of lengths.entries()) {
    for (let row = b * heads; row < (b + 1) * heads; row++) {
      all.fill(0, (row * keys + length) * size, (row + 1) * keys * size);
    }
  }
  return converted("V", { kind: from, view: viewOver(all, from, view.shape) }, to);
}

/** The wider of the two types, and double where the softmax is to be. */
function computedIn(query: Kind, value: Kind, { softmaxPrecision }: Attributes): Kind {
  const widest = query === value ? query : [query, value].includes("float64") ? "float64" : "float32";
  if (softmaxPrecision === undefined || softmaxPrecision === query) return widest;
  if (softmaxPrecision === "float64") return "float64";
  if (softmaxPrecision === "float32" && widest !== "float64") return widest;
  const wanted = widest === "float64" ? "11 (double)" : `11 (double), 1 (float) or the type of Q (${query})`;
  throw attributeError("softmax_precision", `${wanted}, as fovea computes no softmax in less`, softmaxPrecision);
}

function sameKind(name: string, { kind }: Input, wanted: Input): void {
  if (kind === wanted.kind) return;
  const where = name === "K" ? "Q" : name === "past_key" ? "K" : "V";
  throw new FoveaError("ERR_FOVEA_DTYPE", `${name}: expected "${wanted.kind}" as in ${where}, got "${kind}"`);
}
