// The dense part of the transformer as three ONNX graphs, with attention between them:
//   begin:  tokens → query, key, value of layer 0 (and the sum that its output is added to)
//   middle: attention of layer 0 → query, key, value of layer 1 (and the sum)
//   end:    attention of layer 1 → embeddings of texts
// Rows are the tokens of all texts of a pass, one after the other: nothing is padded.

import type { Dense, EncoderWeights, LayerWeights, Normalization } from "./encoder-weights.js";
import { encodeModel, type Attribute, type Value, type Node, type Weights } from "./onnx-model.js";

const epsilon = 1e-6; // of the normalizations

/** Collects nodes; each method returns the name of what its nodes give. */
class GraphBuilder {
  readonly #nodes: Node[] = [];
  readonly #constants: Record<string, number | Weights> = {};

  constant(value: number | Weights): string {
    const name = `constant_${Object.keys(this.#constants).length}`;
    this.#constants[name] = value;
    return name;
  }

  op(op: string, inputs: readonly string[], attributes: Record<string, Attribute> = {}, output?: string): string {
    const name = output ?? `value_${this.#nodes.length}`;
    this.#nodes.push({ op, inputs, outputs: [name], attributes });
    return name;
  }

  dense(input: string, { weight, bias }: Dense, output?: string): string {
    return this.op("Gemm", [input, this.constant(weight), this.constant(bias)], {}, output);
  }

  normalize(input: string, { scale, bias }: Normalization): string {
    const attributes = { axis: { i: -1 }, epsilon: { f: epsilon } };
    return this.op("LayerNormalization", [input, this.constant(scale), this.constant(bias)], attributes);
  }

  model(inputs: readonly Value[], outputs: readonly Value[]): Uint8Array {
    return encodeModel({ nodes: this.#nodes, inputs, outputs, constants: this.#constants });
  }
}

const rows = (name: string, width: number): Value => ({ name, dtype: "float32", shape: ["tokens", width] });
const tokens = (name: string): Value => ({ name, dtype: "int32", shape: ["tokens"] });
const widthOf = ({ weight }: Dense): number => weight.shape[1]!;

/** The sum after attention, [tokens, width]. */
const afterAttention = (graph: GraphBuilder, { attentionOutput }: LayerWeights): string =>
  graph.op("Add", [graph.dense("attended", attentionOutput), "residual"]);

const expanded = (graph: GraphBuilder, sum: string, { feedForwardNorm, expand }: LayerWeights): string =>
  graph.op("Relu", [graph.dense(graph.normalize(sum, feedForwardNorm), expand)]);

/** The encoder adds a token's embedding twice, once of them with its place. */
function begin({ embedding, frequencies, widen, layers }: EncoderWeights, maxTokens: number): Uint8Array {
  const graph = new GraphBuilder();
  const twice = { data: embedding.data.map((x) => 2 * x), shape: embedding.shape };
  const token = graph.op("Gather", [graph.constant(twice), "ids"]);
  const place = graph.op("Gather", [graph.constant(placesOf(frequencies, maxTokens)), "places"]);
  const input = graph.op("Add", [token, place]);
  graph.dense(graph.normalize(input, layers[0].attentionNorm), layers[0].queryKeyValue, "queryKeyValue");
  graph.dense(input, widen, "sum");
  return graph.model(
    [tokens("ids"), tokens("places")],
    [rows("queryKeyValue", widthOf(layers[0].queryKeyValue)), rows("sum", widthOf(widen))],
  );
}

/** [maxTokens, width]: sin(place · frequency), then cos, in float32 as the encoder has it. */
function placesOf(frequencies: Float32Array, maxTokens: number): Weights {
  const half = frequencies.length;
  const data = new Float32Array(maxTokens * 2 * half);
  for (let place = 0; place < maxTokens; place++) {
    for (const [i, frequency] of frequencies.entries()) {
      const angle = Math.fround(place * frequency);
      data[(2 * place + 0) * half + i] = Math.sin(angle);
      data[(2 * place + 1) * half + i] = Math.cos(angle);
    }
  }
  return { data, shape: [maxTokens, 2 * half] };
}

function middle({ layers }: EncoderWeights): Uint8Array {
  const graph = new GraphBuilder();
  const [first, second] = layers;
  const width = widthOf(first.attentionOutput);
  const sum = afterAttention(graph, first);
  const fed = graph.dense(expanded(graph, sum, first), first.contract);
  const input = graph.op("Add", [fed, sum], {}, "sum");
  graph.dense(graph.normalize(input, second.attentionNorm), second.queryKeyValue, "queryKeyValue");
  return graph.model(
    [rows("attended", first.attentionOutput.weight.shape[0]!), rows("residual", width)],
    [rows("queryKeyValue", widthOf(second.queryKeyValue)), rows("sum", width)],
  );
}

/**
 * `means` [texts, tokens] has 1 / length where a token is the text's. The last product is linear, so that the mean over a text's
 * tokens may be taken before it: one row per text instead of one per token.
 */
function end({ layers, head }: EncoderWeights): Uint8Array {
  const graph = new GraphBuilder();
  const [, last] = layers;
  const width = widthOf(last.attentionOutput);
  const sum = afterAttention(graph, last);
  const mean = (input: string): string => graph.op("MatMul", ["means", input]);
  const contracted = graph.op("MatMul", [mean(expanded(graph, sum, last)), graph.constant(last.contract.weight)]);
  const text = graph.op("Add", [contracted, mean(graph.op("Add", [sum, graph.constant(last.contract.bias)]))]);
  const vector = graph.op("Tanh", [graph.dense(text, head)]);
  graph.op("LpNormalization", [vector], { axis: { i: -1 }, p: { i: 2 } }, "embeddings");
  return graph.model(
    [
      rows("attended", last.attentionOutput.weight.shape[0]!),
      rows("residual", width),
      { name: "means", dtype: "float32", shape: ["texts", "tokens"] },
    ],
    [{ name: "embeddings", dtype: "float32", shape: ["texts", widthOf(head)] }],
  );
}

export type Stage = "begin" | "middle" | "end";

/** The bytes of each stage's model, for texts of up to `maxTokens`. */
export const stageModels = (weights: EncoderWeights, maxTokens: number): Record<Stage, Uint8Array> => ({
  begin: begin(weights, maxTokens),
  middle: middle(weights),
  end: end(weights),
});
