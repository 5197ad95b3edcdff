import { workerData } from "node:worker_threads";
import { setThreads } from "../../lib/index.js";
import { FoveaAttention } from "./attention.js";
import { serveEncoder } from "./encoder-worker.js";
import type { ForwardOptions } from "./forward.js";

setThreads(1); // as many as there are processors compute already: the workers
await serveEncoder(new FoveaAttention((workerData as ForwardOptions).device));
