// The encoder's transformer over the tokens of many texts at once: dense layers by onnxruntime, attention between them.

import { InferenceSession, Tensor } from "onnxruntime-node";
import type { Attention } from "./attention.js";
import { layers, type EncoderWeights } from "./encoder-weights.js";
import { free } from "./free.js";
import { stageModels, type Stage } from "./stages.js";

export interface Transformed {
  /** [texts, 512], each of length 1. */
  readonly embeddings: Float32Array;
  /** Of each wanted text, those of all layers, one after the other: [heads, tokens, tokens]. */
  readonly weights: readonly Float32Array[];
  /** That attention took. */
  readonly attentionMilliseconds: number;
}

export class Transformer {
  readonly #sessions: Record<Stage, InferenceSession>;
  readonly #attention: Attention;

  private constructor(sessions: Record<Stage, InferenceSession>, attention: Attention) {
    this.#sessions = sessions;
    this.#attention = attention;
  }

  /** For texts of up to `maxTokens` tokens. */
  static async create(weights: EncoderWeights, maxTokens: number, attention: Attention): Promise<Transformer> {
    // As many threads as there are workers compute; and shapes differ from run to run, so no plan of memory is worth keeping.
    const options = { intraOpNumThreads: 1, enableMemPattern: false, logSeverityLevel: 3 } as const;
    const { begin, middle, end } = stageModels(weights, maxTokens);
    const sessions = {
      begin: await InferenceSession.create(begin, options),
      middle: await InferenceSession.create(middle, options),
      end: await InferenceSession.create(end, options),
    };
    return new Transformer(sessions, attention);
  }

  /** `ids` are the tokens of each text, `wanted` the indices of texts for which what tokens attend to is wanted, too. */
  async run(ids: readonly (readonly number[])[], wanted: readonly number[]): Promise<Transformed> {
    const starts = new Int32Array(ids.length + 1);
    for (const [i, { length }] of ids.entries()) starts[i + 1] = starts[i]! + length;

    const begun = await this.#sessions.begin.run({
      ids: int32(ids.flat()),
      places: int32(ids.flatMap((own) => own.map((_, place) => place))),
    });
    const first = await this.#attend(begun, starts, 0, wanted);
    const middle = await this.#sessions.middle.run({ attended: first.attended, residual: begun["sum"]! });
    free(dataOf(begun));
    const second = await this.#attend(middle, starts, 1, wanted);
    const { embeddings } = await this.#sessions.end.run({
      attended: second.attended,
      residual: middle["sum"]!,
      means: meansOf(starts),
    });
    free(dataOf(middle));
    return {
      embeddings: embeddings!.data as Float32Array,
      weights: wanted.flatMap((_, i) => [first.weights[i]!, second.weights[i]!]),
      attentionMilliseconds: first.milliseconds + second.milliseconds,
    };
  }

  async #attend(outputs: InferenceSession.ReturnType, starts: Int32Array, layer: 0 | 1, wanted: readonly number[]) {
    const { heads, headDim } = layers[layer];
    const rows = outputs["queryKeyValue"]!.data as Float32Array;
    const begin = performance.now();
    const { attended, weights } = await this.#attention.attend(rows, starts, layers[layer], wanted);
    const milliseconds = performance.now() - begin;
    return { attended: new Tensor("float32", attended, [starts.at(-1)!, heads * headDim]), weights, milliseconds };
  }
}

const dataOf = (outputs: InferenceSession.ReturnType): Float32Array[] =>
  Object.values(outputs).map(({ data }) => data as Float32Array);
const int32 = (data: readonly number[]): Tensor => new Tensor("int32", Int32Array.from(data), [data.length]);

/** [texts, tokens]: 1 / length where a token is the text's. */
function meansOf(starts: Int32Array): Tensor {
  const [texts, tokens] = [starts.length - 1, starts.at(-1)!];
  const means = new Float32Array(texts * tokens);
  for (let text = 0; text < texts; text++) {
    const [first, end] = [starts[text]!, starts[text + 1]!];
    means.fill(1 / (end - first), text * tokens + first, text * tokens + end);
  }
  return new Tensor("float32", means, [texts, tokens]);
}
