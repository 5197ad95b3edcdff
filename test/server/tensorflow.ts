// Embeddings as TensorFlow.js computes them, with the model as it comes.

import type { GraphModel } from "@tensorflow/tfjs-converter";
import { dispose, tensor1d, tensor2d, type Tensor } from "@tensorflow/tfjs-core";
import { loadEncoderFiles, loadModel } from "../../lib/encoder/graph.js";
import { Tokenizer } from "../../lib/encoder/tokenizer.js";

const size = 512;

export class TensorFlowEncoder {
  readonly #graph: GraphModel;
  readonly #tokenizer: Tokenizer;

  private constructor(graph: GraphModel, tokenizer: Tokenizer) {
    this.#graph = graph;
    this.#tokenizer = tokenizer;
  }

  static async load(): Promise<TensorFlowEncoder> {
    const { artifacts, vocabulary } = await loadEncoderFiles();
    return new TensorFlowEncoder(await loadModel(artifacts), new Tokenizer(vocabulary));
  }

  /** The last text must not be empty. */
  async embed(texts: readonly string[]): Promise<Float32Array[]> {
    const tokens = texts.map((text) => this.#tokenizer.tokenize(text).map(({ id }) => id));
    const indices = tokens.flatMap((ids, text) => ids.map((_, place) => [text, place] as [number, number]));
    const inputs = {
      indices: tensor2d(indices, [indices.length, 2], "int32"),
      values: tensor1d(tokens.flat(), "int32"),
    };
    const output = (await this.#graph.executeAsync(inputs)) as Tensor;
    const data = (await output.data()) as Float32Array;
    dispose([output, ...Object.values(inputs)]);
    return texts.map((_, i) => data.subarray(i * size, (i + 1) * size));
  }
}

/** 1 - cosine of the angle between both. */
export function cosineDistance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [product, sizeA, sizeB] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    product += a[i]! * b[i]!;
    sizeA += a[i]! ** 2;
    sizeB += b[i]! ** 2;
  }
  return 1 - product / Math.sqrt(sizeA * sizeB);
}
