// A trained encoder (Universal Sentence Encoder Lite) in TensorFlow.js with its attention fused: the same embeddings, sooner.
//   npx tsx examples/tfjs.ts
// In a project of your own, import from "fovea/tfjs".

import { loadGraphModel, type GraphModel } from "@tensorflow/tfjs-converter";
import { dispose, enableProdMode, setBackend, tensor1d, tensor2d, type Tensor } from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-wasm";
import { fusedCalls, fuseAttention } from "../lib/tfjs.js";
import { readEncoderFiles } from "../lib/encoder/files.js";
import { Tokenizer } from "../lib/encoder/tokenizer.js";

enableProdMode();
await setBackend("wasm");
const { artifacts, vocabulary } = await readEncoderFiles();
const { source, report } = await fuseAttention(artifacts);
for (const { node, replaced } of report.fused) console.log(`fused ${replaced.length} nodes into ${node}`);
for (const { softmax, reason } of report.skipped) console.log(`left ${softmax}: ${reason}`);

const tokenizer = new Tokenizer(vocabulary);
const texts = ["How old are you?", "What is your age?", "The weather is fine today."].map((text) =>
  `${text} `.repeat(30),
);
const tokens = texts.map((text) => tokenizer.tokenize(text).map(({ id }) => id));
const indices = tokens.flatMap((ids, text) => ids.map((_, place) => [text, place] as [number, number]));

async function embed(model: GraphModel): Promise<{ vectors: Float32Array; milliseconds: number }> {
  const inputs = { indices: tensor2d(indices, [indices.length, 2], "int32"), values: tensor1d(tokens.flat(), "int32") };
  const begin = performance.now();
  const output = (await model.executeAsync(inputs)) as Tensor;
  const vectors = (await output.data()) as Float32Array;
  const milliseconds = performance.now() - begin;
  dispose([inputs, output]);
  return { vectors, milliseconds };
}

const load = (from: typeof artifacts) => loadGraphModel({ load: () => Promise.resolve(from) });
const [plain, fused] = [await load(artifacts), await load(source)];
await embed(plain); // a first run compiles
await embed(fused);
const [a, b] = [await embed(plain), await embed(fused)];
const farthest = a.vectors.reduce((most, value, i) => Math.max(most, Math.abs(value - b.vectors[i]!)), 0);
const similarity = (x: number, y: number): string =>
  b.vectors
    .subarray(x * 512, (x + 1) * 512)
    .reduce((sum, value, i) => sum + value * b.vectors[y * 512 + i]!, 0)
    .toFixed(3);

console.log(`TensorFlow.js ${a.milliseconds.toFixed(0)} ms, fused ${b.milliseconds.toFixed(0)} ms`);
console.log(`largest difference of the embeddings ${farthest.toExponential(1)}; ops run`, fusedCalls());
console.log(`similar: question and question ${similarity(0, 1)}, question and weather ${similarity(0, 2)}`);
