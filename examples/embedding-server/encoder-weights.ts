// The trained weights of the Universal Sentence Encoder Lite by the names that its transformer's parts have here.

import { readEncoderFiles } from "../../lib/encoder/files.js";
import type { Vocabulary } from "../../lib/encoder/tokenizer.js";
import type { Weights } from "./onnx-model.js";

/** y = x · weight + bias. */
export interface Dense {
  /** [inputs, outputs] */
  weight: Weights;
  /** [outputs] */
  bias: Weights;
}

export interface Normalization {
  scale: Weights;
  bias: Weights;
}

export interface LayerWeights {
  attentionNorm: Normalization;
  /** To query, key and value, side by side. */
  queryKeyValue: Dense;
  attentionOutput: Dense;
  feedForwardNorm: Normalization;
  expand: Dense;
  contract: Dense;
}

export interface EncoderWeights {
  /** [pieces, width] */
  embedding: Weights;
  /** The frequencies of the sines and cosines that tell a token its place. */
  frequencies: Float32Array;
  /** Widens the first layer's input to its output's width, for the sum of both. */
  widen: Dense;
  layers: [LayerWeights, LayerWeights];
  /** Behind the mean of a text's tokens. */
  head: Dense;
}

export const layers = [
  { heads: 4, headDim: 64 },
  { heads: 4, headDim: 128 },
] as const;
/** Elements of an embedding. */
export const embeddingSize = 512;

const root = "module_apply_default/Encoder_en/KonaTransformer/Encode";

export async function readWeights(): Promise<{ weights: EncoderWeights; vocabulary: Vocabulary }> {
  const { artifacts, vocabulary } = await readEncoderFiles();
  const all = new Map<string, Weights>();
  let begin = 0;
  for (const { name, shape } of artifacts.weightSpecs) {
    const count = shape.reduce((product, size) => product * size, 1);
    all.set(name, { data: new Float32Array(artifacts.weightData, begin, count), shape });
    begin += 4 * count; // int32 or float32
  }

  const get = (name: string): Weights => {
    const weights = all.get(name);
    if (weights === undefined) throw new Error(`The encoder has no weights ${name}`);
    return weights;
  };
  const whole = (name: string): Weights => get(`${name}/ConcatPartitions/concat`);
  const matrix = ({ data, shape }: Weights): Weights => ({ data, shape: shape.slice(-2) }); // of a convolution over 1 token
  const norm = (name: string): Normalization => ({
    scale: whole(`${name}/layer_prepostprocess/layer_norm/layer_norm_scale`),
    bias: whole(`${name}/layer_prepostprocess/layer_norm/layer_norm_bias`),
  });
  const layer = (index: number): LayerWeights => {
    const name = `${root}/Layer_${index}/TransformerLayer`;
    const transform = (part: string): Dense => ({
      weight: matrix(get(`${name}/MultiheadAttention/${part}/kernel/part_0`.replace("_apply_default", ""))),
      bias: whole(`${name}/MultiheadAttention/${part}/bias`),
    });
    const feedForward = (part: string): Dense => ({
      weight: get(`${root}/TransformerStack/Layer_${index}/TransformerLayer/FFN/${part}/Tensordot/Reshape_1`),
      bias: whole(`${name}/FFN/${part}/bias`),
    });
    return {
      attentionNorm: norm(name),
      queryKeyValue: transform("qkv_transform_single"),
      attentionOutput: transform("output_transform_single"),
      feedForwardNorm: norm(`${name}/FFN`),
      expand: feedForward("conv1"),
      contract: feedForward("conv2"),
    };
  };
  const weights: EncoderWeights = {
    embedding: get("module/Embeddings_en"),
    frequencies: get(`${root}/TransformerStack/Layer_0/AddTimingSignal/TimingSignal/ExpandDims_1`).data,
    widen: {
      weight: whole(`${root}/Layer_0/TransformerLayer/dense/kernel`),
      bias: whole(`${root}/Layer_0/TransformerLayer/dense/bias`),
    },
    layers: [layer(0), layer(1)],
    head: {
      weight: get("module/Encoder_en/hidden_layers/tanh_layer_0/weights"),
      bias: get("module/Encoder_en/hidden_layers/tanh_layer_0/bias"),
    },
  };
  return { weights, vocabulary };
}
