// Runs the encoder on texts and takes from its graph what goes into, and comes out of, the attention of both layers.

import { dispose, tensor1d, tensor2d, type Tensor } from "@tensorflow/tfjs-core";
import type { GraphModel } from "@tensorflow/tfjs-converter";
import { loadEncoderFiles } from "./graph.js";
import { Tokenizer, type Token } from "./tokenizer.js";

/** A dense float32 array; fovea takes it as it is. */
export interface Values {
  data: Float32Array;
  shape: number[];
}

/** The attention of one layer as the encoder itself computed it: output = weights · value, weights = softmax(query · keyᵀ). */
export interface AttentionLayer {
  /** [texts, heads, length, headDim], already multiplied by the scale. */
  query: Values;
  /** [texts, heads, length, headDim] */
  key: Values;
  /** [texts, heads, length, headDim] */
  value: Values;
  /** [texts, heads, length, length] */
  weights: Values;
  /** [texts, heads, length, headDim] */
  output: Values;
}

export interface Encoded {
  /** The tokens of each text. */
  tokens: Token[][];
  /** How many tokens each text has; shorter texts are padded to the longest, and padding is no key. */
  lengths: Int32Array;
  layers: AttentionLayer[];
}

const root = "module_apply_default/Encoder_en/KonaTransformer";
const layerCount = 2;

/** The graph's names of an AttentionLayer's members. */
const nodes: Record<keyof AttentionLayer, string> = {
  query: "mul",
  key: "split_heads_1/transpose",
  value: "split_heads_2/transpose",
  weights: "DotProductAttention/BaseDotProductAttention/attention_weights",
  output: "DotProductAttention/BaseDotProductAttention/MatMul_1",
};
const members = Object.keys(nodes) as (keyof AttentionLayer)[];

export class Encoder {
  readonly #graph: GraphModel;
  readonly #tokenizer: Tokenizer;

  private constructor(graph: GraphModel, tokenizer: Tokenizer) {
    this.#graph = graph;
    this.#tokenizer = tokenizer;
  }

  static async load(): Promise<Encoder> {
    const { graph, vocabulary } = await loadEncoderFiles();
    return new Encoder(graph, new Tokenizer(vocabulary));
  }

  async encode(texts: readonly string[]): Promise<Encoded> {
    const tokens = texts.map((text) => this.#tokenizer.tokenize(text));
    // The tokens of all texts in a row, and for each the text it belongs to and its place there.
    const values = tokens.flat().map(({ id }) => id);
    const indices = tokens.flatMap((list, text) => list.map((_, place) => [text, place] as [number, number]));

    const names = Array.from({ length: layerCount }, (_, layer) =>
      members.map(
        (member) =>
          `${root}/Encode/TransformerStack/Layer_${layer}/TransformerLayer/MultiheadAttention/${nodes[member]}`,
      ),
    ).flat();
    // The graph cuts texts at 128 tokens before anything else. Feeding the two nodes behind the cut leaves texts whole:
    // places are a sum of sines, which have no longest text.
    const inputs = {
      [`${root}/ClipToMaxLength/GatherV2`]: tensor2d(indices, [indices.length, 2], "int32"),
      [`${root}/ClipToMaxLength/GatherV2_1`]: tensor1d(values, "int32"),
    };
    const results = (await this.#graph.executeAsync(inputs, names)) as Tensor[];
    const read = await Promise.all(
      results.map(async (result) => ({ data: (await result.data()) as Float32Array, shape: result.shape })),
    );
    dispose(inputs);
    dispose(results);

    const layers = Array.from({ length: layerCount }, (_, layer) =>
      Object.fromEntries(members.map((member, index) => [member, read[layer * members.length + index]])),
    ) as unknown as AttentionLayer[];
    return { tokens, lengths: Int32Array.from(tokens, (list) => list.length), layers };
  }
}
