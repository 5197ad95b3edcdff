// The embedding server with one of its parts replaced: what examples/embedding-server/main.ts runs is "fovea".
//   npx tsx bench/serving/embedding/contestant.ts NAME OPTIONS_AS_JSON

import { Forward, type Encoder } from "../../../examples/embedding-server/forward.js";
import {
  createServer,
  defaults,
  serveUntilSignal,
  type ServerOptions,
} from "../../../examples/embedding-server/server.js";
import { TensorFlowEncoder } from "./tensorflow.js";

export type Name = "fovea" | "plain attention" | "tensorflow" | "tensorflow, one instance";

const workers = 2;

const [name, given] = process.argv.slice(2) as [Name, string];
const options: ServerOptions = { ...defaults, ...(JSON.parse(given) as Partial<ServerOptions>) };
const { maxTokens } = options;

async function encoder(): Promise<Encoder> {
  if (name === "tensorflow") return TensorFlowEncoder.start(workers, maxTokens);
  if (name === "tensorflow, one instance") return TensorFlowEncoder.start(1, maxTokens);
  const plain = name === "plain attention" ? new URL("onnx-worker.ts", import.meta.url) : undefined;
  return Forward.start({ workers, maxTokens, device: "cpu" }, plain);
}

await serveUntilSignal(createServer(await encoder(), options), {
  host: "127.0.0.1",
  port: 0,
  timeout: options.timeout,
});
