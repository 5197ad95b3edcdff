import type { Device } from "./device.js";
import type { FloatDType, StoredDType } from "./dtype.js";
import { deviceError, FoveaError, list, shapeError, show } from "./errors.js";
import { assertFree, nothingInFlight, sharesMemory } from "./flight.js";
import { dtypeError, floatDType, inputView } from "./input.js";
import { arrange, axes, labels, place, placeLse, type Placed } from "./layout.js";
import { checkPages, placeBias, placeMask, placePageTable, placePerHead } from "./modifiers.js";
import type { AttentionOptions, Layout } from "./options.js";
import { checkRules, type Rules } from "./rules.js";
import { denseSequences, maxBatch, raggedSequences, withRest, type Sequence } from "./sequences.js";
import { Tensor } from "./tensor.js";
import { sameShape, type View } from "./view.js";

/** headDim and valueDim go from 1 to this. */
export const maxDim = 512;
/** heads go from 1 to this. */
export const maxHeads: number = 2 ** 20;

/** A checked call: what to compute, on what. */
export interface Call {
  readonly rules: Rules;
  /** Where tensors live, results too, and where it is computed: the same, unless host tensors are sent to a GPU and back. */
  readonly home: Device;
  readonly device: Device;
  readonly dtype: FloatDType;
  /** Of keys and values; int8 ones have scales, [pages, kvHeads, pageSize]. */
  readonly storedDtype: StoredDType;
  readonly scale: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly valueDim: number;
  /** Those of the batch, and with thd one more for rows that are past the last. */
  readonly sequences: readonly Sequence[];
  readonly query: Placed;
  readonly key: Placed;
  readonly value: Placed;
  readonly mask: Placed | undefined;
  readonly bias: Placed | undefined;
  readonly alibiSlopes: Placed | undefined;
  readonly sinks: Placed | undefined;
  readonly pageTable: Placed | undefined;
  readonly keyScales: { readonly view: View } | undefined;
  readonly valueScales: { readonly view: View } | undefined;
  /** Rows of a page, and number of pages; 0 when not paged. */
  readonly pageSize: number;
  readonly pages: number;
  readonly outputShape: readonly number[];
  readonly lseShape: readonly number[];
  /** Of weights and scores; empty with thd, which has none. */
  readonly weightsShape: readonly number[];
  readonly out: { readonly tensor: Tensor; readonly view: View } | undefined;
}

/** What a call writes. */
export interface Outputs {
  readonly output: Placed;
  readonly lse: Placed | undefined;
  readonly weights: Placed | undefined;
  readonly scores: Placed | undefined;
}

/** Checks everything about a call. `bare`: shapes without data will do, as nothing will run. */
export function checkCall(
  queryInput: unknown,
  keyInput: unknown,
  valueInput: unknown,
  options: AttentionOptions = {},
  bare = false,
): Call {
  const rules = checkRules(options);
  const { layout } = rules;
  const ragged = layout === "thd";
  const query = inputView("query", queryInput, bare);
  const key = inputView("key", keyInput, bare);
  const value = inputView("value", valueInput, bare);
  const dtype = floatDType("query", query);
  if (key.dtype !== dtype) throw dtypeError("key", `"${dtype}" as in query`, key);
  if (value.dtype !== dtype) throw dtypeError("value", `"${dtype}" as in query`, value);

  const paged = options.pageTable !== undefined;
  const keyLayout = paged && ragged ? "bshd" : layout; // pages of ragged calls are [pages, pageSize, kvHeads, dim]
  const sizes = checkSizes(query, key, value, layout, keyLayout, paged);
  const { heads, queryRows, keyRows, valueDim } = sizes;
  const pageTable = placePageTable(options, bare);
  const keyColumns = pageTable === undefined ? keyRows : pageTable.view.shape[1]! * keyRows;
  const sequences = ragged
    ? raggedSequences(options, queryRows, keyRows, keyColumns)
    : denseSequences(options, sizes.batch, queryRows, keyColumns);
  const batch = sequences.length;
  if (pageTable !== undefined) checkPages(pageTable, sequences, keyRows, sizes.pages);
  const longestQuery = ragged ? longest(sequences, "queryLength") : queryRows;
  const longestKey = ragged ? longest(sequences, "keyLength") : keyColumns;
  const outputShape = arrange(layout, batch, heads, queryRows, valueDim);
  const outLabels = () => labels(layout, "batch", "heads", "queryLength", "valueDim");

  const call: Call = {
    rules,
    home: query.device,
    device: rules.device ?? query.device,
    dtype,
    storedDtype: dtype,
    scale: rules.scale ?? 1 / Math.sqrt(sizes.headDim),
    heads,
    kvHeads: sizes.kvHeads,
    headDim: sizes.headDim,
    valueDim,
    sequences: ragged ? withRest(sequences, queryRows) : sequences,
    query: place(query, axes[layout]),
    key: place(key, axes[keyLayout]),
    value: place(value, axes[keyLayout]),
    mask: placeMask(options, [batch, heads, longestQuery, longestKey], ragged, bare),
    bias: placeBias(options, [batch, heads, longestQuery, longestKey], ragged, bare),
    alibiSlopes: placePerHead("alibiSlopes", options.alibiSlopes, heads, batch, bare),
    sinks: placePerHead("sinks", options.sinks, heads, undefined, bare),
    pageTable,
    keyScales: undefined,
    valueScales: undefined,
    pageSize: paged ? keyRows : 0,
    pages: sizes.pages,
    outputShape,
    lseShape: ragged ? [heads, queryRows] : [batch, heads, queryRows],
    weightsShape: ragged ? [] : [batch, heads, queryRows, keyColumns],
    out: options.out === undefined ? undefined : checkOut(options.out, outputShape, dtype, "query", outLabels),
  };
  checkMemory(call, bare);
  return call;
}

/** Where a call's tensors are, and whether it may touch them now. */
export function checkMemory(call: Call, bare: boolean): void {
  checkDevices(call);
  if (call.out !== undefined) checkOverlap(call, call.out.view);
  if (!bare && !nothingInFlight()) checkFree(call);
}

interface Sizes {
  /** 0 when ragged: the sequences tell. */
  readonly batch: number;
  /** 0 when not paged. */
  readonly pages: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly queryRows: number;
  /** Keys of a sequence, of all sequences (thd), or of a page. */
  readonly keyRows: number;
  readonly headDim: number;
  readonly valueDim: number;
}

/** Whether query, key and value fit together. */
function checkSizes(query: View, key: View, value: View, layout: Layout, keyLayout: Layout, paged: boolean): Sizes {
  const [keyBatch, keyLength] = paged ? (["pages", "pageSize"] as const) : (["batch", "keyLength"] as const);
  const keyLabels = () => labels(keyLayout, keyBatch, "kvHeads", keyLength, "headDim");
  const valueLabels = () => labels(keyLayout, keyBatch, "kvHeads", keyLength, "valueDim");
  checkRank("query", query, layout, () => labels(layout, "batch", "heads", "queryLength", "headDim"));
  checkRank("key", key, keyLayout, keyLabels);
  checkRank("value", value, keyLayout, valueLabels);

  const at = axes[layout];
  const keyAt = axes[keyLayout];
  const heads = query.shape[at.head]!;
  const headDim = query.shape[at.column]!;
  const batch = at.batch < 0 ? 0 : query.shape[at.batch]!;
  const kvHeads = key.shape[keyAt.head]!;
  const keyRows = key.shape[keyAt.row]!;
  const pages = paged ? key.shape[keyAt.batch]! : 0;
  const valueDim = value.shape[keyAt.column]!;

  const expectedKey = arrange<number | string>(keyLayout, paged ? "*" : batch, "*", "*", headDim);
  if (!fits(key.shape, expectedKey)) throw shapeError("key", expectedKey, keyLabels(), key.shape);
  const expectedValue = arrange<number | string>(keyLayout, paged ? pages : batch, kvHeads, keyRows, "*");
  if (!fits(value.shape, expectedValue)) throw shapeError("value", expectedValue, valueLabels(), value.shape);
  if (headDim < 1 || headDim > maxDim) throw sizeError("query", `headDim from 1 to ${maxDim}`, query);
  if (valueDim < 1 || valueDim > maxDim) throw sizeError("value", `valueDim from 1 to ${maxDim}`, value);
  if (heads < 1 || heads > maxHeads) throw sizeError("query", `heads from 1 to ${maxHeads}`, query);
  checkBatch("query", query, batch);
  if (kvHeads < 1 || heads % kvHeads !== 0) throw sizeError("key", `kvHeads that divides heads (${heads})`, key);
  if (paged && keyRows < 1) throw sizeError("key", "pageSize >= 1", key);
  return { batch, pages, heads, kvHeads, queryRows: query.shape[at.row]!, keyRows, headDim, valueDim };
}

function checkRank(name: string, view: View, layout: Layout, labels: () => string): void {
  if (view.shape.length === (layout === "thd" ? 3 : 4)) return;
  throw shapeError(name, arrange(layout, "*", "*", "*", "*"), labels(), view.shape);
}

/** Whether a shape (of the right rank) is the expected one, where "*" stands for any size. */
function fits(shape: readonly number[], expected: readonly (number | string)[]): boolean {
  for (let i = 0; i < shape.length; i++) {
    if (expected[i] !== "*" && shape[i] !== expected[i]) return false;
  }
  return true;
}

/** Throws ERR_FOVEA_SHAPE for more sequences than a call may have. */
export function checkBatch(name: string, view: View, batch: number): void {
  if (batch > maxBatch) throw sizeError(name, `a batch of at most ${maxBatch}`, view);
}

function sizeError(name: string, expected: string, view: View): FoveaError {
  return new FoveaError("ERR_FOVEA_SHAPE", `${name}: expected ${expected}, got ${list(view.shape)}`);
}

function longest(sequences: readonly Sequence[], length: "queryLength" | "keyLength"): number {
  return sequences.reduce((most, sequence) => Math.max(most, sequence[length]), 0);
}

/** Only a Tensor will do: the elements of one never overlap, whatever its strides. `like`: what has its dtype. */
export function checkOut(
  out: unknown,
  shape: readonly number[],
  dtype: FloatDType,
  like: string,
  labels: () => string,
): { readonly tensor: Tensor; readonly view: View } {
  if (!(out instanceof Tensor)) {
    throw new FoveaError("ERR_FOVEA_ARGUMENT", `out: expected a Tensor, got ${show(out)}`);
  }
  const view = inputView("out", out, false);
  if (view.dtype !== dtype) throw dtypeError("out", `"${dtype}" as in ${like}`, view);
  if (!sameShape(view.shape, shape)) throw shapeError("out", shape, labels(), view.shape);
  return { tensor: out, view };
}

/** Visits the arguments that a call reads. Each is named here, as reading fields by names in a list takes far longer. */
function forEachInput(call: Call, visit: (name: string, view: View) => void): void {
  visit("query", call.query.view);
  visit("key", call.key.view);
  visit("value", call.value.view);
  if (call.keyScales !== undefined) visit("keyScales", call.keyScales.view);
  if (call.valueScales !== undefined) visit("valueScales", call.valueScales.view);
  if (call.mask !== undefined) visit("mask", call.mask.view);
  if (call.bias !== undefined) visit("bias", call.bias.view);
  if (call.alibiSlopes !== undefined) visit("alibiSlopes", call.alibiSlopes.view);
  if (call.sinks !== undefined) visit("sinks", call.sinks.view);
  if (call.pageTable !== undefined) visit("pageTable", call.pageTable.view);
}

/** The views a call reads. */
export function inputsOf(call: Call): View[] {
  const views: View[] = [];
  forEachInput(call, (_, view) => views.push(view));
  return views;
}

/**
 * Tensors live together, where the call is computed or on the host. The short vectors of slopes and sinks may also be on the
 * host while the others are on a GPU, or there while the others are sent.
 */
function checkDevices(call: Call): void {
  const { home, device } = call;
  if (home !== "cpu" && home !== device) {
    const message = `device: expected "${home}", where query lives, got "${device}"; move the tensors with to() first`;
    throw new FoveaError("ERR_FOVEA_DEVICE", message);
  }
  checkDeviceOf("key", call.key, home);
  checkDeviceOf("value", call.value, home);
  checkDeviceOf("mask", call.mask, home);
  checkDeviceOf("bias", call.bias, home);
  checkDeviceOf("out", call.out, home);
  checkDeviceOf("alibiSlopes", call.alibiSlopes, "cpu", device);
  checkDeviceOf("sinks", call.sinks, "cpu", device);
}

function checkDeviceOf(name: string, at: { readonly view: View } | undefined, home: Device, device = home): void {
  if (at === undefined || at.view.storage === undefined) return;
  const got = at.view.device;
  if (got === home || got === device) return;
  const wanted = home === device ? home : `${home} or ${device}`;
  throw deviceError(name, wanted, got);
}

/** Nothing that is written may be read. */
function checkOverlap(call: Call, out: View): void {
  forEachInput(call, (name, view) => {
    if (!sharesMemory(out, view)) return;
    throw new FoveaError("ERR_FOVEA_OPTION", `out: expected memory of its own, but it shares some with ${name}`);
  });
}

/** Nothing may be in the hands of a call in flight that could not stand it. */
function checkFree(call: Call): void {
  if (call.out !== undefined) assertFree("out", call.out.view, true);
  forEachInput(call, (name, view) => assertFree(name, view, false));
}

/** Throws ERR_FOVEA_DEVICE unless all tensors of a call can be read here. */
export function requireOnHost(call: Call): void {
  forEachInput(call, (name, view) => view.storage?.array(name));
  call.out?.view.storage?.array("out");
}

/** Where a call's results go: `output`, and for the others what `view` makes of their shapes (all float32). */
export function placeOutputs(call: Call, output: View, view: (shape: readonly number[]) => View): Outputs {
  const { rules, lseShape, weightsShape } = call;
  return {
    output: place(output, axes[rules.layout]),
    lse: rules.returnLse ? placeLse(view(lseShape)) : undefined,
    weights: rules.returnWeights ? place(view(weightsShape), axes.bhsd) : undefined,
    scores: rules.returnScores !== undefined ? place(view(weightsShape), axes.bhsd) : undefined,
  };
}
