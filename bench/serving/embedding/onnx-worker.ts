import { serveEncoder } from "../../../examples/embedding-server/encoder-worker.js";
import { OnnxAttention } from "./onnx-attention.js";

await serveEncoder(await OnnxAttention.create());
