import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-cpu";
import "@tensorflow/tfjs-backend-wasm";
import { Tensor } from "../../lib/index.js";
import { attentionSync } from "../../lib/tfjs.js";
import type { Pair, Point } from "./points.js";

/** Matrix products and softmax on the WebAssembly backend, as a graph model runs them, tensors to numbers. */
export async function tfjsPairs({ heads, length, headDim, causal }: Point): Promise<Pair[]> {
  tf.enableProdMode();
  await tf.setBackend("wasm");
  const shape = [1, heads, length, headDim];
  const [q, k, v] = [1, 2, 3].map((seed) => tf.tensor(Tensor.random(shape, { seed }).data, shape));
  const mask = tf.tensor(
    Float32Array.from({ length: length * length }, (_, at) => (at % length > Math.floor(at / length) ? -1e9 : 0)),
    [length, length],
  );
  const theirs = {
    name: "TensorFlow.js matMul, softmax",
    call: async () => {
      const output = tf.tidy(() => {
        const scores = tf.mul(tf.matMul(q!, k!, false, true), headDim ** -0.5);
        return tf.matMul(tf.softmax(causal ? tf.add(scores, mask) : scores), v!);
      });
      const data = (await output.data()) as Float32Array;
      output.dispose();
      return data;
    },
  };
  const ours = {
    name: "fovea/tfjs",
    call: async () => {
      const { output } = attentionSync(q!, k!, v!, { causal });
      const data = (await output.data()) as Float32Array;
      output.dispose();
      return data;
    },
  };
  return [{ theirs, ours }];
}
