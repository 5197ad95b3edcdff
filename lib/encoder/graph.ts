// The Universal Sentence Encoder Lite, to be run by TensorFlow.js on its WebAssembly backend.

import { loadGraphModel, type GraphModel } from "@tensorflow/tfjs-converter";
import { enableProdMode, setBackend, type io } from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-wasm";
import { readEncoderFiles } from "./files.js";
import type { Vocabulary } from "./tokenizer.js";

export interface EncoderFiles {
  artifacts: io.ModelArtifacts;
  vocabulary: Vocabulary;
}

/** Starts TensorFlow.js, too. */
export async function loadEncoderFiles(): Promise<EncoderFiles> {
  enableProdMode(); // or TensorFlow.js advises to install its native package
  if (!(await setBackend("wasm"))) throw new Error("TensorFlow.js: the WebAssembly backend does not start");
  return readEncoderFiles();
}

export const loadModel = (artifacts: io.ModelArtifacts): Promise<GraphModel> =>
  loadGraphModel({ load: () => Promise.resolve(artifacts) });
