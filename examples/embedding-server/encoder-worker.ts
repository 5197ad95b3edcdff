// A worker thread that computes whole forward passes: onnxruntime's `run` blocks the thread that calls it, and what lies between its
// layers is megabytes that stay here. Texts become tokens here, too: long ones would hold up the event loop.

import { workerData } from "node:worker_threads";
import { FoveaError } from "../../lib/index.js";
import { Tokenizer } from "../../lib/encoder/tokenizer.js";
import type { Attention } from "./attention.js";
import { readWeights } from "./encoder-weights.js";
import type { ForwardOptions } from "./forward.js";
import { Transformer, type Transformed } from "./transformer.js";
import { serve } from "./worker-pool.js";

export interface EncodeRequest {
  readonly texts: readonly string[];
  /** Indices of the texts for which what tokens attend to is wanted, too. */
  readonly wanted: readonly number[];
}

export interface EncodeReply extends Transformed {
  /** Tokens of each text. */
  readonly lengths: readonly number[];
  /** Whether a text was cut off. */
  readonly truncated: readonly boolean[];
  /** Of the tokens of each wanted text. */
  readonly pieces: readonly (readonly string[])[];
}

/** A GPU that is lost stays so while the process lives: no worker can start any more, and the server says that none is running. */
function endWithoutGpu(error: unknown): never {
  if (error instanceof FoveaError && error.code === "ERR_FOVEA_DEVICE_LOST") {
    console.error(error.message);
    process.exit(1);
  }
  throw error;
}

/** Serves, from now on, once it has computed something: what cannot work fails at the start. */
export async function serveEncoder(attention: Attention): Promise<void> {
  const { maxTokens } = workerData as ForwardOptions;
  const { weights, vocabulary } = await readWeights();
  const tokenizer = new Tokenizer(vocabulary);
  const transformer = await Transformer.create(weights, maxTokens, attention);
  await transformer.run([[0]], []);

  serve(async ({ texts, wanted }: EncodeRequest): Promise<EncodeReply> => {
    const all = texts.map((text) => tokenizer.tokenize(text));
    const kept = all.map((tokens) => tokens.slice(0, maxTokens));
    const ids = kept.map((tokens) => tokens.map(({ id }) => id));
    const encoded = await transformer.run(ids, wanted).catch(endWithoutGpu);
    return {
      ...encoded,
      lengths: kept.map(({ length }) => length),
      truncated: all.map(({ length }) => length > maxTokens),
      pieces: wanted.map((i) => kept[i]!.map(({ piece }) => piece)),
    };
  });
}
