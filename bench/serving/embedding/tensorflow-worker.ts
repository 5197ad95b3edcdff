import { workerData } from "node:worker_threads";
import { dispose, tensor1d, tensor2d, type Tensor } from "@tensorflow/tfjs-core";
import { serve } from "../../../examples/embedding-server/worker-pool.js";
import { loadEncoderFiles, loadModel } from "../../../lib/encoder/graph.js";
import { Tokenizer } from "../../../lib/encoder/tokenizer.js";

export interface TensorFlowRequest {
  readonly texts: readonly string[];
}

export interface TensorFlowReply {
  /** [texts, 512] */
  readonly embeddings: Float32Array;
  readonly lengths: readonly number[];
  readonly truncated: readonly boolean[];
}

const { maxTokens } = workerData as { maxTokens: number };
const { artifacts, vocabulary } = await loadEncoderFiles();
const graph = await loadModel(artifacts);
const tokenizer = new Tokenizer(vocabulary);
// Behind the node that cuts texts at 128 tokens.
const clip = "module_apply_default/Encoder_en/KonaTransformer/ClipToMaxLength";

serve(async ({ texts }: TensorFlowRequest): Promise<TensorFlowReply> => {
  const all = texts.map((text) => tokenizer.tokenize(text).map(({ id }) => id));
  const tokens = all.map((ids) => ids.slice(0, maxTokens));
  const places = tokens.flatMap((ids, text) => ids.map((_, place) => [text, place] as [number, number]));
  const inputs = {
    [`${clip}/GatherV2`]: tensor2d(places, [places.length, 2], "int32"),
    [`${clip}/GatherV2_1`]: tensor1d(tokens.flat(), "int32"),
  };
  const output = (await graph.executeAsync(inputs, graph.outputs[0]!.name)) as Tensor;
  const embeddings = (await output.data()) as Float32Array;
  dispose([output, ...Object.values(inputs)]);
  return {
    embeddings: embeddings.slice(), // its memory is TensorFlow.js's
    lengths: tokens.map(({ length }) => length),
    truncated: all.map(({ length }) => length > maxTokens),
  };
});
