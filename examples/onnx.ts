// One step of text generation as a model of opset 23 has it: the operator Attention with past and present, on onnxruntime's
// tensors.
//   npx tsx examples/onnx.ts
// In a project of your own, import from "fovea/onnx"; the Tensor of onnxruntime-node or -web is the same.

import { Tensor } from "onnxruntime-common";
import { onnxAttention } from "../lib/onnx.js";

const [batch, heads, kvHeads, size, past] = [1, 32, 8, 128, 1000];
const waves = (...dims: number[]) => {
  const length = dims.reduce((a, b) => a * b);
  return new Tensor(
    "float32",
    Float32Array.from({ length }, (_, i) => Math.sin(i * i)),
    dims,
  );
};

const { Y, present_key, present_value } = await onnxAttention(
  {
    Q: waves(batch, 1, heads * size),
    K: waves(batch, 1, kvHeads * size),
    V: waves(batch, 1, kvHeads * size),
    past_key: waves(batch, kvHeads, past, size),
    past_value: waves(batch, kvHeads, past, size),
  },
  { q_num_heads: heads, kv_num_heads: kvHeads, is_causal: 1 },
  { opset: 23, outputs: ["present_key", "present_value"] },
);
console.log("Y", Y.type, Y.dims, Y.data.slice(0, 4));
console.log("present_key", present_key.dims, "present_value", present_value.dims);
