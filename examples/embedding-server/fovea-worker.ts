import { FoveaAttention } from "./attention.js";
import { serveEncoder } from "./encoder-worker.js";

await serveEncoder(new FoveaAttention());
