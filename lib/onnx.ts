// fovea/onnx: the Attention operator of ONNX's opsets 23, 24 and 25, on tensors as onnxruntime has them.
export { onnxAttention } from "./onnx/attention.js";
export type { OnnxAttentionOptions, OnnxAttentionOutputs, OnnxOutputName } from "./onnx/attention.js";
export type { OnnxAttentionAttributes } from "./onnx/attributes.js";
export type { OnnxAttentionInputs, OnnxTensor } from "./onnx/tensors.js";
