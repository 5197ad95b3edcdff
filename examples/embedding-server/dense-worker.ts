// A worker thread that computes the dense layers: onnxruntime's `run` blocks the thread that calls it. Texts become tokens here,
// too: long ones would hold up the event loop.

import { workerData } from "node:worker_threads";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { Tokenizer } from "../../lib/encoder/tokenizer.js";
import { layers, readWeights } from "./encoder-weights.js";
import { stageModels, type Stage } from "./stages.js";
import { serve } from "./worker-pool.js";

export interface DenseOptions {
  /** Tokens of a text that are read; the rest is cut off. */
  readonly maxTokens: number;
}

export type DenseRequest =
  | { readonly stage: "begin"; readonly texts: readonly string[]; readonly withPieces: boolean }
  | { readonly stage: "middle"; readonly attended: Float32Array; readonly residual: Float32Array }
  | {
      readonly stage: "end";
      readonly attended: Float32Array;
      readonly residual: Float32Array;
      /** Tokens of each text. */
      readonly lengths: readonly number[];
    };

export interface Rows {
  /** [tokens, 3 · heads · headDim]: query, key and value side by side. */
  readonly queryKeyValue: Float32Array;
  /** [tokens, width]: what the layer's output is added to. */
  readonly residual: Float32Array;
}

export interface Begun extends Rows {
  /** Tokens of each text. */
  readonly lengths: readonly number[];
  /** Whether a text was cut off. */
  readonly truncated: readonly boolean[];
  /** Of each text's tokens; none when they were not asked for. */
  readonly pieces: readonly (readonly string[])[];
}

export interface DenseReplies {
  begin: Begun;
  middle: Rows;
  /** [texts, 512] */
  end: { readonly embeddings: Float32Array };
}

const { maxTokens } = workerData as DenseOptions;
const { weights, vocabulary } = await readWeights();
const tokenizer = new Tokenizer(vocabulary);
const widths = [layers[0].heads * layers[0].headDim, layers[1].heads * layers[1].headDim] as const;
const residualWidth = weights.widen.bias.shape[0]!;

// As many threads as there are workers compute; and shapes differ from run to run, so no plan of memory is worth keeping.
const sessions = new Map<Stage, InferenceSession>();
for (const [stage, model] of Object.entries(stageModels(weights, maxTokens)) as [Stage, Uint8Array][]) {
  sessions.set(
    stage,
    await InferenceSession.create(model, { intraOpNumThreads: 1, enableMemPattern: false, logSeverityLevel: 3 }),
  );
}

const int32 = (data: number[]): Tensor => new Tensor("int32", Int32Array.from(data), [data.length]);
const rows = (data: Float32Array, width: number): Tensor => new Tensor("float32", data, [data.length / width, width]);

async function run(stage: Stage, inputs: Record<string, Tensor>): Promise<Record<string, Float32Array>> {
  const outputs = await sessions.get(stage)!.run(inputs);
  return Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name, data as Float32Array]));
}

async function begin(texts: readonly string[], withPieces: boolean): Promise<Begun> {
  const all = texts.map((text) => tokenizer.tokenize(text));
  const kept = all.map((tokens) => tokens.slice(0, maxTokens));
  const inputs = {
    ids: int32(kept.flatMap((tokens) => tokens.map(({ id }) => id))),
    places: int32(kept.flatMap((tokens) => tokens.map((_, place) => place))),
  };
  const { queryKeyValue, sum } = await run("begin", inputs);
  return {
    lengths: kept.map(({ length }) => length),
    truncated: all.map(({ length }) => length > maxTokens),
    pieces: withPieces ? kept.map((tokens) => tokens.map(({ piece }) => piece)) : [],
    queryKeyValue: queryKeyValue!,
    residual: sum!,
  };
}

async function middle(attended: Float32Array, residual: Float32Array): Promise<Rows> {
  const inputs = { attended: rows(attended, widths[0]), residual: rows(residual, residualWidth) };
  const { queryKeyValue, sum } = await run("middle", inputs);
  return { queryKeyValue: queryKeyValue!, residual: sum! };
}

async function end(
  attended: Float32Array,
  residual: Float32Array,
  lengths: readonly number[],
): Promise<DenseReplies["end"]> {
  const count = residual.length / residualWidth;
  const means = new Float32Array(lengths.length * count);
  let first = 0;
  for (const [text, length] of lengths.entries()) {
    means.fill(1 / length, text * count + first, text * count + first + length);
    first += length;
  }
  const { embeddings } = await run("end", {
    attended: rows(attended, widths[1]),
    residual: rows(residual, residualWidth),
    means: new Tensor("float32", means, [lengths.length, count]),
  });
  return { embeddings: embeddings! };
}

serve((request: DenseRequest): Promise<DenseReplies[Stage]> => {
  if (request.stage === "begin") return begin(request.texts, request.withPieces);
  if (request.stage === "middle") return middle(request.attended, request.residual);
  return end(request.attended, request.residual, request.lengths);
});
