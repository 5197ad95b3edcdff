// Tensors from a spec: the numbers of each sequence on their own ("bare"), and the same numbers wherever layout, padding,
// pages and strides put them. Everything that no sequence owns is NaN.
import { axes } from "../../lib/layout.js";
import { randomNumbers } from "../../lib/random.js";
import { Tensor, type AttentionOptions, type FloatDType, type Layout, type TensorInput } from "../../lib/index.js";
import { contiguous, scatter, scattered } from "./memory-layout.js";
import { seedOf } from "./seed.js";
import type { Spec, Spread } from "./spec.js";

/** One sequence on its own: [heads, length, dim] without gaps, rounded to the dtype. */
export interface BareSequence {
  readonly queryLength: number;
  readonly keyLength: number;
  readonly query: Float64Array;
  readonly key: Float64Array;
  readonly value: Float64Array;
  /** [heads, queryLength, keyLength] */
  readonly mask: Uint8Array | undefined;
  readonly bias: Float64Array | undefined;
  readonly alibiSlopes: Float32Array | undefined;
  readonly queryOffset: number | undefined;
}

export interface Problem {
  readonly spec: Spec;
  readonly sequences: readonly BareSequence[];
  readonly sinks: Float32Array | undefined;
  readonly query: TensorInput;
  readonly key: TensorInput;
  readonly value: TensorInput;
  /** All but algorithm and out. */
  readonly options: AttentionOptions;
  /** Rows and columns of the results (thd: all tokens, and nothing). */
  readonly queryRows: number;
  readonly keyColumns: number;
  /** Where the rows of a sequence start among the queries (thd). */
  readonly queryStarts: readonly number[];
  /** A fresh `out`, and a check that its gaps are as they were. */
  newOut(): { tensor: Tensor; gapsAreUntouched(): boolean };
}

export function build(spec: Spec): Problem {
  const batch = spec.queries.length;
  const ragged = spec.layout === "thd";
  const longestQuery = Math.max(0, ...spec.queries);
  const longestKey = Math.max(0, ...spec.keys);
  const pages = spec.pageSize > 0 ? paginate(spec, longestKey) : undefined;
  const queryStarts = startsOf(spec.queries);
  const keyStarts = startsOf(spec.keys);
  const queryRows = (ragged ? queryStarts[batch]! : longestQuery) + spec.spareQueries;
  const keyRows = (ragged ? keyStarts[batch]! : longestKey) + spec.spareKeys;
  const keyColumns = pages ? pages.maxPages * spec.pageSize : ragged ? 0 : keyRows;

  const spreadSizes = ragged
    ? { q: longestQuery + spec.spareQueries, k: longestKey + spec.spareKeys }
    : { q: queryRows, k: keyColumns };
  const sizes = { b: batch, h: spec.heads, ...spreadSizes };
  const mask = spec.mask === undefined ? undefined : spreadMask(spec, spec.mask, sizes);
  const bias = spec.bias === undefined ? undefined : spreadBias(spec, spec.bias, sizes);
  const slopes =
    spec.alibi && Float32Array.from(numbers(spec, "slopes", (spec.alibi === "h" ? 1 : batch) * spec.heads, "uniform"));
  const sinks = spec.sinks ? Float32Array.from(numbers(spec, "sinks", spec.heads)) : undefined;

  const sequences = spec.queries.map((queryLength, b): BareSequence => {
    const keyLength = spec.keys[b]!;
    const from = spec.sharedKeys ? 0 : b;
    const rounded = (what: string, length: number) => round(numbers(spec, what, length), spec.dtype);
    return {
      queryLength,
      keyLength,
      query: rounded(`query ${b}`, spec.heads * queryLength * spec.headDim),
      key: rounded(`key ${from}`, spec.kvHeads * keyLength * spec.headDim),
      value: rounded(`value ${from}`, spec.kvHeads * keyLength * spec.valueDim),
      mask: mask && Uint8Array.from(corner(mask, b, spec.heads, queryLength, keyLength)),
      bias: bias && corner(bias, b, spec.heads, queryLength, keyLength),
      alibiSlopes: slopes?.slice(spec.alibi === "h" ? 0 : b * spec.heads).slice(0, spec.heads),
      queryOffset: typeof spec.queryOffset === "number" ? spec.queryOffset : spec.queryOffset?.[b],
    };
  });

  // Dense keys of a batch that shares them exist once.
  const keyBatch = spec.sharedKeys ? 1 : batch;
  const keyOwners = sequences.slice(0, keyBatch);
  const rowOfKey = pages
    ? (b: number, h: number, j: number) => {
        const page = pages.table[b * pages.maxPages + Math.floor(j / spec.pageSize)]!;
        return rowIndex(pages.layout, spec.kvHeads, spec.pageSize, page, 0, h, j % spec.pageSize);
      }
    : (b: number, h: number, j: number) => rowIndex(spec.layout, spec.kvHeads, keyRows, b, keyStarts[b]!, h, j);
  const keyShape = (dim: number) =>
    pages
      ? shapeOf(pages.layout, pages.count, spec.kvHeads, spec.pageSize, dim)
      : shapeOf(spec.layout, keyBatch, spec.kvHeads, keyRows, dim);
  const keyTensor = (what: "key" | "value", dim: number): TensorInput => {
    const all = rows(keyShape(dim), dim, keyOwners, (s) => [s.keyLength, s[what]], spec.kvHeads, rowOfKey);
    const placed = place(spec, what, all, keyShape(dim), spec.dtype);
    return spec.sharedKeys ? spreadBatch(placed, batch) : placed;
  };
  const queryShape = shapeOf(spec.layout, batch, spec.heads, queryRows, spec.headDim);
  const rowOfQuery = (b: number, h: number, i: number) =>
    rowIndex(spec.layout, spec.heads, queryRows, b, queryStarts[b]!, h, i);
  const queries = rows(queryShape, spec.headDim, sequences, (s) => [s.queryLength, s.query], spec.heads, rowOfQuery);

  const uneven = (lengths: readonly number[], room: number) => lengths.some((length) => length !== room);
  const tellQueries = !ragged && (spec.lengths || uneven(spec.queries, queryRows));
  const tellKeys = pages !== undefined || (!ragged && (spec.lengths || uneven(spec.keys, keyRows)));
  const options: AttentionOptions = {
    layout: spec.layout,
    causal: spec.causal,
    window: spec.window,
    queryOffset: spec.queryOffset,
    scale: spec.scale,
    softcap: spec.softcap,
    mask: mask && place(spec, "mask", mask.values, mask.shape, "bool"),
    bias: bias && place(spec, "bias", bias.values, bias.shape, spec.biasDtype),
    alibiSlopes: slopes && Tensor.from(slopes, spec.alibi === "h" ? [spec.heads] : [batch, spec.heads]),
    sinks,
    queryLengths: tellQueries ? Int32Array.from(spec.queries) : undefined,
    keyLengths: tellKeys ? Int32Array.from(spec.keys) : undefined,
    cuSeqlensQuery: ragged ? Int32Array.from(queryStarts) : undefined,
    cuSeqlensKey: ragged && !pages ? Int32Array.from(keyStarts) : undefined,
    pageTable: pages && Tensor.from(Int32Array.from(pages.table), [batch, pages.maxPages]),
    returnLse: spec.lse,
    returnWeights: spec.weights,
    returnScores: spec.scores,
  };
  const outShape = shapeOf(spec.layout, batch, spec.heads, queryRows, spec.valueDim);
  return {
    spec,
    sequences,
    sinks,
    query: place(spec, "query", queries, queryShape, spec.dtype),
    key: keyTensor("key", spec.headDim),
    value: keyTensor("value", spec.valueDim),
    options,
    queryRows,
    keyColumns,
    queryStarts,
    newOut: () => scattered(outShape, spec.dtype, spec.strides === undefined ? undefined : spec.strides + 1),
  };
}

/** Where a row of [batch, heads, rows] is, counted in rows; `start` is where the sequence's rows start (thd). */
export function rowIndex(
  layout: Layout,
  heads: number,
  rowsPerBatch: number,
  batch: number,
  start: number,
  head: number,
  row: number,
): number {
  if (layout === "bhsd") return (batch * heads + head) * rowsPerBatch + row;
  return (layout === "bshd" ? batch * rowsPerBatch + row : start + row) * heads + head;
}

function shapeOf(layout: Layout, batch: number, heads: number, length: number, dim: number): number[] {
  const at = axes[layout];
  const shape: number[] = [];
  if (at.batch >= 0) shape[at.batch] = batch;
  shape[at.head] = heads;
  shape[at.row] = length;
  shape[at.column] = dim;
  return shape;
}

/** The rows of all sequences, where they belong; NaN elsewhere. */
function rows(
  shape: readonly number[],
  dim: number,
  sequences: readonly BareSequence[],
  of: (sequence: BareSequence) => [length: number, data: Float64Array],
  heads: number,
  rowAt: (batch: number, head: number, row: number) => number,
): Float64Array {
  const all = new Float64Array(shape.reduce((a, b) => a * b, 1)).fill(NaN);
  sequences.forEach((sequence, b) => {
    const [length, data] = of(sequence);
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < length; i++) {
        const row = data.subarray((h * length + i) * dim, (h * length + i + 1) * dim);
        all.set(row, rowAt(b, h, i) * dim);
      }
    }
  });
  return all;
}

function place(
  spec: Spec,
  what: string,
  values: Float64Array,
  shape: readonly number[],
  dtype: FloatDType | "bool",
): TensorInput {
  if (spec.strides === undefined) return contiguous(values, shape, dtype);
  return scatter(values, shape, dtype, seedOf(spec.strides, what));
}

/** The same view for every sequence: stride 0. */
function spreadBatch(input: TensorInput, batch: number): TensorInput {
  const {
    data,
    shape,
    strides,
    dtype,
    offset = 0,
  } = input as {
    data: Float32Array;
    shape: number[];
    strides: number[];
    dtype: string;
    offset?: number;
  };
  return { data, dtype, offset, shape: [batch, ...shape.slice(1)], strides: [0, ...strides.slice(1)] };
}

interface Spreaded {
  readonly values: Float64Array;
  readonly shape: readonly number[];
}

type SpreadSizes = Readonly<Record<"b" | "h" | "q" | "k", number>>;

function spreadShape(spread: Spread, sizes: SpreadSizes): number[] {
  return [...spread].map((letter) => (letter === "1" ? 1 : sizes[letter as keyof SpreadSizes]));
}

/** Whether element i of a mask or bias is of another text than its query's; texts lie along the diagonal. */
function isOfOtherText(spec: Spec, shape: readonly number[], i: number): boolean {
  const [rows, columns] = [shape.at(-2)!, shape.at(-1)!];
  const [row, column] = [Math.floor(i / columns) % rows, i % columns];
  return Math.floor(column / spec.texts) !== Math.floor((row * columns) / rows / spec.texts);
}

/** Bernoulli 0.7, and where rows differ one in eight of them is all false; with texts, Bernoulli 0.999 within. */
function spreadMask(spec: Spec, spread: Spread, sizes: SpreadSizes): Spreaded {
  const shape = spreadShape(spread, sizes);
  const columns = shape.at(-1)!;
  const random = numbers(
    spec,
    "mask",
    shape.reduce((a, b) => a * b, 1),
    "uniform",
  );
  const rowCount = columns === 0 ? 0 : random.length / columns;
  const rowLuck = numbers(spec, "mask rows", rowCount, "uniform");
  const values = random.map((luck, i) => {
    if (spec.texts > 0) return luck < 0.999 && !isOfOtherText(spec, shape, i) ? 1 : 0;
    if (rowCount > 1 && rowLuck[Math.floor(i / columns)]! < 0.125) return 0;
    return luck < 0.7 ? 1 + Math.floor(luck * 300) : 0; // any number but 0 is true
  });
  return { values, shape };
}

/** N(0,1), one in eight of them -Infinity; with texts, those of others. */
function spreadBias(spec: Spec, spread: Spread, sizes: SpreadSizes): Spreaded {
  const shape = spreadShape(spread, sizes);
  const count = shape.reduce((a, b) => a * b, 1);
  const masked = numbers(spec, "bias mask", count, "uniform");
  const values = round(numbers(spec, "bias", count), spec.biasDtype);
  const isHidden = (i: number) => (spec.texts > 0 ? isOfOtherText(spec, shape, i) : masked[i]! < 0.125);
  return { values: values.map((value, i) => (isHidden(i) ? -Infinity : value)), shape };
}

/** What one sequence sees of a mask or bias: [heads, queryLength, keyLength]. */
function corner({ values, shape }: Spreaded, b: number, heads: number, queries: number, keys: number): Float64Array {
  const [B, H, Q, K] = [1, 1, 1, 1].map((one, i) => shape[i + shape.length - 4] ?? one) as [
    number,
    number,
    number,
    number,
  ];
  const own = new Float64Array(heads * queries * keys);
  let to = 0;
  for (let h = 0; h < heads; h++) {
    for (let i = 0; i < queries; i++) {
      const row = (((B === 1 ? 0 : b) * H + (H === 1 ? 0 : h)) * Q + (Q === 1 ? 0 : i)) * K;
      for (let j = 0; j < keys; j++) own[to++] = values[row + (K === 1 ? 0 : j)]!;
    }
  }
  return own;
}

interface Pages {
  readonly layout: Layout;
  readonly count: number;
  readonly maxPages: number;
  readonly table: readonly number[];
}

/** Pages in random order, some of them nobody's; entries past a sequence's length are no pages at all. */
function paginate(spec: Spec, longestKey: number): Pages {
  const maxPages = Math.ceil((longestKey + spec.spareKeys) / spec.pageSize);
  const needed = spec.keys.map((length) => Math.ceil(length / spec.pageSize));
  const count = needed.reduce((a, b) => a + b, 0) + 2;
  const luck = numbers(spec, "pages", count, "uniform");
  const order = Array.from(luck.keys()).toSorted((a, b) => luck[a]! - luck[b]!);
  const table = new Array<number>(spec.keys.length * maxPages).fill(-1);
  let next = 0;
  needed.forEach((pagesOfSequence, b) => {
    for (let i = 0; i < pagesOfSequence; i++) table[b * maxPages + i] = order[next++]!;
  });
  return { layout: spec.layout === "bhsd" ? "bhsd" : "bshd", count, maxPages, table };
}

function startsOf(lengths: readonly number[]): number[] {
  const starts = [0];
  for (const length of lengths) starts.push(starts.at(-1)! + length);
  return starts;
}

export function round(values: Float64Array, dtype: FloatDType): Float64Array {
  return Tensor.from(Float32Array.from(values), [values.length]).cast(dtype).toNumbers();
}

function numbers(
  spec: Spec,
  what: string,
  length: number,
  distribution: "normal" | "uniform" = "normal",
): Float64Array {
  return randomNumbers(length, seedOf(spec.seed, what), distribution);
}
