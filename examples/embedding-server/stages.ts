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

  /** [rows, 1] for [rows, width]: 1 / sqrt(variance + epsilon), by which a normalization multiplies. */
  inverseDeviation(input: string, width: number): string {
    const [normal, name] = [`value_${this.#nodes.length}`, `deviation_${this.#nodes.length}`];
    const scale = this.constant({ data: new Float32Array(width).fill(1), shape: [width] });
    const attributes = { axis: { i: -1 }, epsilon: { f: epsilon } };
    this.#nodes.push({
      op: "LayerNormalization",
      inputs: [input, scale],
      outputs: [normal, "", name],
      attributes,
    });
    return name;
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

/**
 * A token's row is the sum of one for its piece and one for its place, and both products are linear in it but for the normalization's
 * deviation. So they are taken of all pieces and places when the model is loaded (products of constants are folded then), and a run
 * gathers and adds.
 */
function begin({ embedding, frequencies, widen, layers }: EncoderWeights, maxTokens: number): Uint8Array {
  const graph = new GraphBuilder();
  // The encoder adds a token's embedding twice, once of them with its place.
  const pieces = graph.constant({ data: embedding.data.map((x) => 2 * x), shape: embedding.shape });
  const places = graph.constant(placesOf(frequencies, maxTokens));
  const gathered = (ofPieces: string, ofPlaces: string): string =>
    graph.op("Add", [graph.op("Gather", [ofPieces, "ids"]), graph.op("Gather", [ofPlaces, "places"])]);
  const product = (weight: Weights): string => {
    const factor = graph.constant(weight);
    return gathered(graph.op("MatMul", [pieces, factor]), graph.op("MatMul", [places, factor]));
  };

  const { weight, bias } = afterNormalization(layers[0].queryKeyValue, layers[0].attentionNorm);
  const deviation = graph.inverseDeviation(gathered(pieces, places), embedding.shape[1]!);
  const scaled = graph.op("Mul", [product(weight), deviation]);
  graph.op("Add", [scaled, graph.constant(bias)], {}, "queryKeyValue");
  graph.op("Add", [product(widen.weight), graph.constant(widen.bias)], {}, "sum");
  return graph.model(
    [tokens("ids"), tokens("places")],
    [rows("queryKeyValue", widthOf(layers[0].queryKeyValue)), rows("sum", widthOf(widen))],
  );
}

/** What gives dense(normalize(x)) as (x · weight) / deviation(x) + bias. */
function afterNormalization({ weight, bias }: Dense, norm: Normalization): Dense {
  const [inputs, outputs] = weight.shape as [number, number];
  const scaled = weight.data.map((x, at) => x * norm.scale.data[Math.floor(at / outputs)]!);
  const ofColumn = (factor: (row: number) => number, data: Float32Array) => (column: number) => {
    let sum = 0;
    for (let row = 0; row < inputs; row++) sum += factor(row) * data[row * outputs + column]!;
    return sum;
  };
  // Rows lose their mean when columns do.
  const means = Float64Array.from({ length: outputs }, (_, column) => ofColumn(() => 1 / inputs, scaled)(column));
  const shift = ofColumn((row) => norm.bias.data[row]!, weight.data);
  return {
    weight: { data: scaled.map((x, at) => x - means[at % outputs]!), shape: weight.shape },
    bias: { data: bias.data.map((x, column) => x + shift(column)), shape: bias.shape },
  };
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
