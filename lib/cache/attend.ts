// Attention over what is cached: a checked call of the same kind as `attention`'s.
import { deviceError, FoveaError, shapeError } from "../errors.js";
import { dtypeError, floatDType, inputView, shapeOnly } from "../input.js";
import { axes, place } from "../layout.js";
import { placePerHead } from "../modifiers.js";
import { checkNames, checkRules } from "../rules.js";
import type { Sequence } from "../sequences.js";
import { checkMemory, checkOut, maxHeads, type Call } from "../shape.js";
import { viewOf, wrap } from "../tensor.js";
import type { View } from "../view.js";
import { newView } from "../memory.js";
import { fill, statesOf } from "./append.js";
import { attendNames, checkLayer, checkStarts, type AttendOptions } from "./options.js";
import type { LayerPages, PageShape } from "./pages.js";
import { checkRope, type Rotation } from "./rope.js";
import { requireStill, type Segment, type SequenceState } from "./sequence.js";
import type { RowStore } from "./store.js";

/** A checked attend. */
export interface Attend {
  readonly states: readonly SequenceState[];
  readonly call: Call;
  /** The call's, as it was when the call was made. */
  readonly signal: AbortSignal | undefined;
  /** The query to rotate first, into the one of `call`. */
  readonly rotate: RowStore | undefined;
}

/** `bare`: a shape without data will do, as nothing will run. */
export function prepareAttend(
  shape: PageShape,
  layers: readonly LayerPages[],
  queryInput: unknown,
  sequences: unknown,
  options: AttendOptions,
  bare: boolean,
): Attend {
  checkNames("options", options, attendNames);
  const layer = checkLayer(options.layer, layers.length);
  const { causal = true, scale, window, softcap, returnLse, signal } = options;
  const rules = checkRules({ layout: "thd", causal, scale, window, softcap, returnLse, signal });
  const states = statesOf(sequences, layers, false);
  const query = checkQuery(queryInput, shape, bare);
  const [tokens, heads] = query.shape as [number, number, number];
  const starts = checkStarts(options.cuSeqlens, states.length, tokens);
  const lengths = states.map((state, i) => visibleLength(state, i, layer, starts));
  const first = (i: number) => lengths[i]! - (starts[i + 1]! - starts[i]!);
  const rotation = checkRope(options.rope, shape.headDim, tokens, () => fill(tokens, starts, first));
  const { key, value, keyScales, valueScales } = layers[layer]!;
  const { table, ragged } = tabulate(states, lengths, starts, shape.pageSize);
  const outputShape = [tokens, heads, shape.valueDim];
  const dtype = floatDType("query", query);
  const call: Call = {
    rules,
    home: query.device,
    device: shape.device,
    dtype,
    storedDtype: shape.dtype,
    scale: rules.scale ?? 1 / Math.sqrt(shape.headDim),
    heads,
    kvHeads: shape.kvHeads,
    headDim: shape.headDim,
    valueDim: shape.valueDim,
    sequences: ragged,
    query: place(query, axes.thd),
    key: place(key, axes.bhsd),
    value: place(value, axes.bhsd),
    keyScales: keyScales && { view: keyScales },
    valueScales: valueScales && { view: valueScales },
    mask: undefined,
    bias: undefined,
    alibiSlopes: placePerHead("alibiSlopes", options.alibiSlopes, heads, states.length, bare),
    sinks: placePerHead("sinks", options.sinks, heads, undefined, bare),
    pageTable: { view: viewOf(wrap(table, "int32", [table.length]), "cache"), batch: 0, head: 0, row: 0, column: 1 },
    pageSize: shape.pageSize,
    pages: shape.pages,
    outputShape,
    lseShape: [heads, tokens],
    weightsShape: [],
    out:
      options.out === undefined
        ? undefined
        : checkOut(options.out, outputShape, dtype, "query", () => "tokens, heads, valueDim"),
  };
  checkMemory(call, bare);
  if (rotation === undefined) return { states, call, signal, rotate: undefined };
  const rotated = (bare ? shapeOnly : newView)("query", dtype, query.device, query.shape);
  const rotate = rotateInto(rotated, query, shape, rotation);
  return { states, call: { ...call, query: place(rotated, axes.thd) }, signal, rotate };
}

/** [tokens, heads, headDim] */
function checkQuery(input: unknown, shape: PageShape, bare: boolean): View {
  const view = inputView("query", input, bare);
  const { kvHeads, headDim, dtype, device } = shape;
  floatDType("query", view);
  if (view.shape.length !== 3 || view.shape[2] !== headDim) {
    throw shapeError("query", ["*", "*", headDim], "tokens, heads, headDim", view.shape);
  }
  const heads = view.shape[1]!;
  if (heads < 1 || heads > maxHeads || heads % kvHeads !== 0) {
    throw shapeError("query", ["*", `multiple of ${kvHeads}`, headDim], "tokens, heads, headDim", view.shape);
  }
  if (view.storage !== undefined && view.device !== device) {
    throw deviceError("query", `${device}, where the cache is`, view.device);
  }
  if (device !== "cpu" && dtype !== "int8" && view.dtype !== dtype)
    throw dtypeError("query", `"${dtype}" as in the cache`, view);
  return view.storage === undefined ? { ...view, device } : view;
}

/** Tokens that the queries of a sequence may see. */
function visibleLength(state: SequenceState, i: number, layer: number, starts: Int32Array): number {
  requireStill(state, `sequences[${i}]`, false);
  const length = state.lengthIn(layer);
  const queries = starts[i + 1]! - starts[i]!;
  if (queries <= length) return length;
  const message = `cuSeqlens: expected at most ${length} queries for sequences[${i}], which has ${length} tokens in layer ${layer}`;
  throw new FoveaError("ERR_FOVEA_BOUNDS", `${message}, got ${queries}; append theirs first`);
}

/** The sequences, and all their pages in one table. */
function tabulate(
  states: readonly SequenceState[],
  lengths: readonly number[],
  starts: Int32Array,
  pageSize: number,
): { table: Int32Array<ArrayBuffer>; ragged: Sequence[] } {
  const pages = lengths.map((length) => Math.ceil(length / pageSize));
  const table = new Int32Array(pages.reduce((sum, count) => sum + count, 0));
  const ids = new Map<Segment, number>();
  let pageStart = 0;
  const ragged = states.map((state, index): Sequence => {
    const keyLength = lengths[index]!;
    const queryStart = starts[index]!;
    const queryLength = starts[index + 1]! - queryStart;
    table.set(state.table.subarray(0, pages[index]), pageStart);
    const own = pageStart;
    pageStart += pages[index]!;
    return {
      index,
      queryStart,
      keyStart: 0,
      queryLength,
      queryRows: queryLength,
      keyLength,
      keyColumns: keyLength,
      queryOffset: keyLength - queryLength,
      pageStart: own,
      segments: state.segments.flatMap((segment) => [segment.end, numberOf(segment, ids)]),
    };
  });
  return { table, ragged };
}

function numberOf(segment: Segment, ids: Map<Segment, number>): number {
  const known = ids.get(segment);
  if (known === undefined) ids.set(segment, ids.size);
  return known ?? ids.size - 1;
}

/** A rotated copy is rows in pages of one token. */
function rotateInto(to: View, query: View, shape: PageShape, rotation: Rotation): RowStore {
  const [tokens, heads] = query.shape as [number, number, number];
  return {
    from: place(query, axes.thd),
    tokens,
    heads,
    dims: shape.headDim,
    pages: tokens,
    pageSize: 1,
    to,
    toDtype: floatDType("query", query),
    scales: undefined,
    slots: Int32Array.from({ length: tokens }, (_, i) => i),
    rotation,
  };
}
