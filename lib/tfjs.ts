// fovea/tfjs: attention in TensorFlow.js's graph models, and on its tensors.
export { attention, attentionSync } from "./tfjs/attention.js";
export type { TfjsAttentionOptions, TfjsAttentionResult } from "./tfjs/attention.js";
export { fuseAttention } from "./tfjs/fuse.js";
export type { Fused, FusedSource, FuseOptions, FuseReport, ModelSource } from "./tfjs/fuse.js";
export { fusedCalls } from "./tfjs/op.js";
export type { FusedCalls } from "./tfjs/op.js";
export { recordWeights } from "./tfjs/record.js";
export type { Recorded, RecordedWeights } from "./tfjs/record.js";
