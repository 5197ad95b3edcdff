import { workerData } from "node:worker_threads";
import { FoveaAttention } from "./attention.js";
import { serveEncoder } from "./encoder-worker.js";
import type { ForwardOptions } from "./forward.js";

await serveEncoder(new FoveaAttention((workerData as ForwardOptions).device));
