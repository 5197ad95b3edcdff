// Runs the encoder on texts and takes from its graph what goes into, and comes out of, the attention of both layers.

import { dispose, tensor1d, tensor2d, type io, type Tensor as TfTensor } from "@tensorflow/tfjs-core";
import type { GraphModel } from "@tensorflow/tfjs-converter";
import type { Tensor } from "../tensor.js";
import { fuseAttention } from "../tfjs/fuse.js";
import { recordWeights } from "../tfjs/record.js";
import { loadEncoderFiles, loadModel } from "./graph.js";
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

/** The attention weights of a text in each layer. */
export interface Attended {
  tokens: Token[];
  /** [1, heads, length, length] */
  layers: Tensor<"float32">[];
}

export class Encoder {
  readonly #artifacts: io.ModelArtifacts;
  readonly #tokenizer: Tokenizer;
  #graph: Promise<GraphModel> | undefined;
  #fused: Promise<{ graph: GraphModel; nodes: string[] }> | undefined;

  private constructor(artifacts: io.ModelArtifacts, tokenizer: Tokenizer) {
    this.#artifacts = artifacts;
    this.#tokenizer = tokenizer;
  }

  static async load(): Promise<Encoder> {
    const { artifacts, vocabulary } = await loadEncoderFiles();
    return new Encoder(artifacts, new Tokenizer(vocabulary));
  }

  /** What a text's tokens attend to, by fovea's ops in the fused graph. */
  async attend(text: string): Promise<Attended> {
    this.#fused ??= fuseAttention(this.#artifacts, { async: true }).then(async ({ source, report }) => {
      return { graph: await loadModel(source), nodes: report.fused.map(({ node }) => node) };
    });
    const { graph, nodes } = await this.#fused;
    const tokens = this.#tokenizer.tokenize(text);
    const inputs = inputsOf([tokens]);
    const { result, weights } = await recordWeights(() => graph.executeAsync(inputs, nodes));
    dispose(inputs);
    dispose(result);
    return { tokens, layers: nodes.map((node) => weights.find((one) => one.node === node)!.weights) };
  }

  async encode(texts: readonly string[]): Promise<Encoded> {
    this.#graph ??= loadModel(this.#artifacts);
    const graph = await this.#graph;
    const tokens = texts.map((text) => this.#tokenizer.tokenize(text));
    const names = Array.from({ length: layerCount }, (_, layer) =>
      members.map(
        (member) =>
          `${root}/Encode/TransformerStack/Layer_${layer}/TransformerLayer/MultiheadAttention/${nodes[member]}`,
      ),
    ).flat();
    const inputs = inputsOf(tokens);
    const results = (await graph.executeAsync(inputs, names)) as TfTensor[];
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

/** The tokens of all texts in a row, and for each the text it belongs to and its place there. */
function inputsOf(tokens: readonly (readonly Token[])[]): Record<string, TfTensor> {
  const values = tokens.flat().map(({ id }) => id);
  const indices = tokens.flatMap((list, text) => list.map((_, place) => [text, place] as [number, number]));
  // The graph cuts texts at 128 tokens before anything else. Feeding the two nodes behind the cut leaves texts whole:
  // places are a sum of sines, which have no longest text.
  return {
    [`${root}/ClipToMaxLength/GatherV2`]: tensor2d(indices, [indices.length, 2], "int32"),
    [`${root}/ClipToMaxLength/GatherV2_1`]: tensor1d(values, "int32"),
  };
}
