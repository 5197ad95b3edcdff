// Attention as the textbook has it: float64 throughout, one query at a time, nothing clever. The oracle that every kernel is
// compared with, and the place to read what an option means.
import { allocateFloat64, decode, encode, type FloatDType } from "./dtype.js";
import { abortError } from "./errors.js";
import { shapeOnly, type FloatDTypeOf, type TensorInput } from "./input.js";
import { axes, place, type Placed } from "./layout.js";
import type { AttentionOptions, AttentionResult, KnownOptions } from "./options.js";
import type { Sequence } from "./sequences.js";
import { checkMerge, type AttentionPart, type MergeCall, type MergeOptions } from "./merge.js";
import { checkCall, placeOutputs, requireOnHost, type Call } from "./shape.js";
import { wrap } from "./tensor.js";
import { forEachIndex, product } from "./view.js";

/** What `attention` returns, less the plan: there is none. */
export type ReferenceResult<Options = AttentionOptions, D extends FloatDType = FloatDType> = Omit<
  AttentionResult<Options, D>,
  "plan"
>;

/**
 * As `attentionSync`, in plain TypeScript and float64: slow, and as exact as can be. The results are rounded once, output to
 * the query's dtype and the others to float32. `algorithm` changes nothing.
 */
export function referenceAttention<Query extends TensorInput, const Options extends AttentionOptions = {}>(
  query: Query,
  key: TensorInput,
  value: TensorInput,
  options?: Options & KnownOptions<Options>,
): ReferenceResult<Options, FloatDTypeOf<Query>> {
  const call = checkCall(query, key, value, options);
  if (options?.signal?.aborted === true) throw abortError(options.signal);
  const { output, lse, weights, scores } = compute(call);
  const float32 = (values: Float64Array, shape: readonly number[]) => wrap(encode(values, "float32"), "float32", shape);
  const result = {
    output: writeOutput(call, output),
    ...(lse && { lse: float32(lse, call.lseShape) }),
    ...(weights && { weights: float32(weights, call.weightsShape) }),
    ...(scores && { scores: float32(scores, call.weightsShape) }),
  };
  return result as unknown as ReferenceResult<Options, FloatDTypeOf<Query>>;
}

/** The results before they are rounded, contiguous in the shapes that the tensors would have. */
export interface Float64Results {
  readonly output: Float64Array;
  readonly lse: Float64Array | undefined;
  readonly weights: Float64Array | undefined;
  readonly scores: Float64Array | undefined;
}

/** As `referenceAttention`, without any rounding. For tests. */
export function referenceAttentionFloat64(
  query: TensorInput,
  key: TensorInput,
  value: TensorInput,
  options: AttentionOptions = {},
): Float64Results {
  return compute(checkCall(query, key, value, options));
}

/** As `mergeAttention`, in float64 and without any rounding. For tests. */
export function referenceMergeFloat64(
  parts: readonly AttentionPart[],
  options?: MergeOptions,
): { readonly output: Float64Array; readonly lse: Float64Array } {
  const call = checkMerge(parts, options);
  const { batch, heads, rows, dims, layout } = call;
  const shape = shapeOnly("output", call.dtype, "cpu", call.outputShape);
  const at = place(shape, axes[layout]);
  const output = new Float64Array(batch * heads * rows * dims);
  const lse = new Float64Array(batch * heads * rows);
  for (let b = 0, i = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let row = 0; row < rows; row++, i++) {
        const merged = mergeRow(call, b, h, row);
        lse[i] = merged.lse;
        merged.output.forEach((sum, d) => (output[start(at, b, h, row) + d * at.column] = sum));
      }
    }
  }
  return { output, lse };
}

/** One row: the parts' averages, each weighted by what its keys have of the softmax over all. Infinities are equal. */
function mergeRow({ parts, dims }: MergeCall, b: number, h: number, row: number) {
  const lses = parts.map(({ lse }) => element(lse, b, h, row, 0));
  const largest = lses.reduce((most, lse) => Math.max(most, lse));
  const weights = lses.map((lse) => (lse === largest ? 1 : Math.exp(lse - largest)));
  const sum = weights.reduce((total, weight) => total + weight);
  const output = new Float64Array(dims);
  parts.forEach((part, i) => {
    if (lses[i] === -Infinity) return; // saw no key
    const averages = vector(part.output, start(part.output, b, h, row), dims);
    averages.forEach((x, d) => (output[d]! += (weights[i]! / sum) * x));
  });
  return { output, lse: largest === -Infinity ? -Infinity : largest + Math.log(sum) };
}

function compute(call: Call): Float64Results {
  requireOnHost(call);
  const { heads, kvHeads, headDim, valueDim, rules } = call;
  const fill = rules.returnScores === "biased" ? -Infinity : 0;
  const results = {
    output: allocateFloat64(product(call.outputShape)),
    lse: rules.returnLse ? allocateFloat64(product(call.lseShape)).fill(-Infinity) : undefined,
    weights: rules.returnWeights ? allocateFloat64(product(call.weightsShape)) : undefined,
    scores: rules.returnScores && allocateFloat64(product(call.weightsShape)).fill(fill),
  };
  const at = placeOutputs(call, shapeOnly("output", "float32", "cpu", call.outputShape), (shape) =>
    shapeOnly("output", "float32", "cpu", shape),
  );

  for (const sequence of call.sequences) {
    const { index, queryStart, queryLength, keyLength } = sequence;
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor(head / (heads / kvHeads));
      const keys = readKeys(call, call.key, sequence, kvHead, headDim);
      const values = readKeys(call, call.value, sequence, kvHead, valueDim);
      const sink = call.sinks ? element(call.sinks, 0, head, 0, 0) : -Infinity;

      for (let i = 0; i < queryLength; i++) {
        const row = queryStart + i;
        const query = vector(call.query, start(call.query, index, head, row), headDim);
        const { scores, returned } = scoreRow(call, sequence, head, i, query, keys);
        const { weights, lse } = softmax(scores, sink);

        for (let j = 0; j < keyLength; j++) {
          if (scores[j] === -Infinity) continue; // so that nothing of a masked value, not even a NaN, gets through
          for (let d = 0; d < valueDim; d++) {
            results.output[start(at.output, index, head, row) + d * at.output.column]! += weights[j]! * values[j]![d]!;
          }
        }
        if (at.lse) results.lse![start(at.lse, index, head, row)] = lse;
        if (at.weights) results.weights!.set(weights, start(at.weights, index, head, row));
        if (at.scores) results.scores!.set(returned, start(at.scores, index, head, row));
      }
    }
  }
  return results;
}

/** The scores of one query, -Infinity where it may not attend, and those of the stage that is to be returned. */
function scoreRow(
  call: Call,
  sequence: Sequence,
  head: number,
  i: number,
  query: Float64Array,
  keys: readonly Float64Array[],
): { scores: Float64Array; returned: Float64Array } {
  const { rules, mask, bias, alibiSlopes } = call;
  const { softcap, returnScores } = rules;
  const { index } = sequence;
  const place = i + sequence.queryOffset;
  const scores = new Float64Array(keys.length);
  const returned = new Float64Array(keys.length);

  for (let j = 0; j < keys.length; j++) {
    let score = call.scale * dot(query, keys[j]!);
    if (returnScores === "scaled") returned[j] = score;
    if (softcap > 0) score = softcap * Math.tanh(score / softcap);
    if (returnScores === "capped") returned[j] = score;

    const added = bias ? element(bias, index, head, i, j) : 0;
    score += added;
    if (alibiSlopes) score -= element(alibiSlopes, index, head, 0, 0) * Math.abs(place - j);

    const allowed =
      (!rules.causal || j <= place) &&
      (rules.windowLeft < 0 || place - rules.windowLeft <= j) &&
      (rules.windowRight < 0 || j <= place + rules.windowRight) &&
      (!mask || element(mask, index, head, i, j) !== 0) &&
      added !== -Infinity;
    scores[j] = allowed ? score : -Infinity;
    if (returnScores === "biased") returned[j] = scores[j]!;
  }
  return { scores, returned };
}

/**
 * exp(score) over the sum of all and the sink's, with the largest subtracted first; 0 where a key is not allowed, even in a row
 * that is NaN.
 */
function softmax(scores: Float64Array, sink: number): { weights: Float64Array; lse: number } {
  const largest = scores.reduce((most, score) => Math.max(most, score), sink);
  if (largest === -Infinity) return { weights: new Float64Array(scores.length), lse: -Infinity };
  const sinkPart = sink === largest ? 1 : Math.exp(sink - largest); // an infinite one takes all
  const sum = scores.reduce((total, score) => total + Math.exp(score - largest), sinkPart);
  const lse = largest + Math.log(sum);
  return { weights: scores.map((score) => (score === -Infinity ? 0 : Math.exp(score - largest) / sum)), lse };
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** The keys (or values) of a sequence that exist, one vector each. */
function readKeys(call: Call, from: Placed, sequence: Sequence, head: number, length: number): Float64Array[] {
  const { pageTable, pageSize } = call;
  return Array.from({ length: sequence.keyLength }, (_, j) => {
    if (!pageTable) return vector(from, start(from, sequence.index, head, sequence.keyStart + j), length);
    const page = element(pageTable, sequence.index, 0, 0, Math.floor(j / pageSize));
    return vector(from, start(from, page, head, j % pageSize), length);
  });
}

/** `length` elements as numbers, from the storage index `first` on. */
function vector({ view, column }: Placed, first: number, length: number): Float64Array {
  const data = view.storage!.array("tensor");
  return Float64Array.from({ length }, (_, i) => decode(view.dtype, data, first + i * column));
}

/** The storage index of a row's first element. */
function start(placed: Placed, batch: number, head: number, row: number): number {
  return placed.view.offset + batch * placed.batch + head * placed.head + row * placed.row;
}

function element(placed: Placed, batch: number, head: number, row: number, column: number): number {
  const data = placed.view.storage!.array("tensor");
  return decode(placed.view.dtype, data, start(placed, batch, head, row) + column * placed.column);
}

/** The output as a tensor of the call's dtype: `out`, where it is given. */
function writeOutput(call: Call, output: Float64Array) {
  const rounded = encode(output, call.dtype);
  if (call.out === undefined) return wrap(rounded, call.dtype, call.outputShape);
  const { tensor, view } = call.out;
  const data = view.storage!.array("out");
  forEachIndex(view, (index, position) => (data[index] = rounded[position]!));
  return tensor;
}
